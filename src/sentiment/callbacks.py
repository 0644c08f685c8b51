"""Lightning callbacks of a training: a row for each epoch, and stopping when asked to."""

import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from sentiment.report.tables import write_csv

log = logging.getLogger(__name__)


class EpochTable(Callback):
    """Keeps one row of figures for each epoch, writes them to ``metrics.csv`` and tells them.

    The rows travel in the checkpoint, so that a resumed training goes on with the same table.

    Args:
        path: the CSV file.
        print_lines: whether to print a line for each epoch (where no progress bar shows it).
    """

    def __init__(self, path: Path, *, print_lines: bool) -> None:
        self.run: dict[str, Any] = {}  # what each checkpoint tells of the run
        self.rows: list[dict[str, float]] = []
        self.fit_seconds = 0.0  # training, validation and checkpoints, over all resumptions
        self.train_seconds = 0.0  # training alone, and what was trained on in that time
        self.train_reviews = self.train_tokens = 0
        self._path = path
        self._print_lines = print_lines
        self._start_clock()

    def _start_clock(self) -> None:
        self._epoch_started = time.perf_counter()
        self._reviews = self._tokens = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock (a training resumed within an epoch does not start that epoch)."""
        self._start_clock()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock anew."""
        self._start_clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what was trained on."""
        self._reviews += len(batch.lengths)
        self._tokens += int(batch.lengths.sum())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note how long this epoch's training took, and for how much."""
        if not trainer.sanity_checking:
            self.train_seconds += time.perf_counter() - self._epoch_started
            self.train_reviews += self._reviews
            self.train_tokens += self._tokens

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of this epoch."""
        self.fit_seconds += time.perf_counter() - self._epoch_started
        figures = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(("train/", "val/"))
        }
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"epoch": trainer.current_epoch, **dict(sorted(figures.items()))}
        self.rows.append({**row, "lr": rate, "seconds": self.fit_seconds})
        if not trainer.is_global_zero:
            return
        write_csv(self._path, self.rows)
        if self._print_lines:
            log.info(
                "epoch %d of %s: train loss %.4f, accuracy %.2f %%; val loss %.4f,"
                " accuracy %.2f %%; %.1f s",
                trainer.current_epoch + 1,
                trainer.max_epochs,
                figures.get("train/loss", float("nan")),
                100 * figures.get("train/accuracy", float("nan")),
                figures.get("val/loss", float("nan")),
                100 * figures.get("val/accuracy", float("nan")),
                self.fit_seconds,
            )

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the checkpoint tell what it is: the run's facts and the figures of its epoch."""
        last = self.rows[-1] if self.rows else {}
        figures = {name: value for name, value in last.items() if name.startswith("val/")}
        checkpoint["run"] = {**self.run, **figures, "epochs": len(self.rows)}

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {
            "rows": self.rows,
            "fit_seconds": self.fit_seconds,
            "train_seconds": self.train_seconds,
            "train_reviews": self.train_reviews,
            "train_tokens": self.train_tokens,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rows of the checkpoint."""
        self.rows = list(state_dict["rows"])
        self.fit_seconds = float(state_dict["fit_seconds"])
        self.train_seconds = float(state_dict["train_seconds"])
        self.train_reviews = int(state_dict["train_reviews"])
        self.train_tokens = int(state_dict["train_tokens"])


class ProgressBar(TQDMProgressBar):
    """Lightning's bar without the logger's version, which says nothing here."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands at the end of the bar."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class Interrupted(Exception):  # noqa: N818 (it is no error)
    """The user or the system asked the training to stop, and it did, between two batches."""


class StopWhenAsked(Callback):
    """Ends a training between two batches on Ctrl-C or SIGTERM, with everything saved.

    A second Ctrl-C ends it at once.

    Args:
        checkpoint: where the state is saved when training stops in the middle of an epoch.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.asked: signal.Signals | None = None
        self.checkpoint = checkpoint

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the two signals while the block runs."""
        before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._listen()
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back: Lightning's own handler leaves with exit code 0, nothing saved."""
        self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back where there is no sanity check."""
        self._listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, if asked to, unless the epoch is about to end."""
        done = batch_idx + 1
        whole_step = done % trainer.accumulate_grad_batches == 0
        if self.asked is not None and whole_step and done < trainer.num_training_batches:
            trainer.save_checkpoint(self.checkpoint)
            raise Interrupted

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop, if asked to, as soon as the checkpoint of this epoch is saved."""
        if self.asked is not None:
            trainer.should_stop = True

    def _listen(self) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number)
        sys.stderr.write("\nStopping after this batch (again to stop at once) ...\n")
