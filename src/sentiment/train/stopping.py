"""Ending a training when asked to: between two batches, with everything saved, in all processes."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from sentiment.runtime.distributed import all_reduce_max, in_process_group, rank

# Within so many seconds a second signal is the same wish: the terminal's, passed on by torchrun.
_ONE_WISH = 1.0


def within_epoch(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a training can go on after this batch: its step is whole, its epoch not yet done."""
    done = batch_idx + 1
    return done % trainer.accumulate_grad_batches == 0 and done < trainer.num_training_batches


class Interrupted(Exception):  # noqa: N818 (it is no error)
    """The user or the system asked the training to stop, and it did, between two batches."""


class StopOnSignal(Callback):
    """Ends a training between two batches on Ctrl-C or SIGTERM, with everything saved.

    A second Ctrl-C ends it at once. Of several processes, asking one is enough: all stop after the
    same batch.

    Args:
        checkpoint: where the state is saved when training stops in the middle of an epoch.

    Attributes:
        asked: the signal that this process has had.
        agreed: the signal by which all processes end the training.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.asked: signal.Signals | None = None
        self.agreed: signal.Signals | None = None
        self.checkpoint = checkpoint
        self._asked_at = 0.0
        self._ignored: set[signal.Signals] = set()

    def agree(self) -> bool:
        """Whether any process was asked to stop; all of them must take part."""
        number = all_reduce_max(self.asked or 0)
        self.agreed = signal.Signals(number) if number else None
        return self.agreed is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the two signals while the block runs, but for one that was ignored before.

        Where several processes have agreed to stop, one may get its own signal only while it ends:
        then the signals are ignored.
        """
        before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
        self._ignored = {name for name, handler in before.items() if handler == signal.SIG_IGN}
        try:
            self._listen()
            yield
        finally:
            ending = self.agreed is not None and in_process_group()
            for name, handler in before.items():
                signal.signal(name, signal.SIG_IGN if ending else handler)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back: Lightning's own handler leaves with exit code 0, nothing saved."""
        self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back where there is no sanity check.

        A resumed training that early stopping had ended already ends at once.
        """
        self._listen()
        early = trainer.early_stopping_callback
        if isinstance(early, EarlyStopping) and early.wait_count >= early.patience:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, if asked to, unless the epoch is about to end."""
        if within_epoch(trainer, batch_idx) and self.agree():
            trainer.save_checkpoint(self.checkpoint)
            raise Interrupted

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop, if asked to, as soon as the checkpoint of this epoch is saved."""
        if self.agree():
            trainer.should_stop = True

    def _listen(self) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN if name in self._ignored else self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked is not None:
            if now - self._asked_at > _ONE_WISH:
                raise KeyboardInterrupt
            return
        self.asked, self._asked_at = signal.Signals(number), now
        if rank() == 0:
            sys.stderr.write("\nStopping after this batch (again to stop at once) ...\n")
