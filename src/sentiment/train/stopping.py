"""Ending a training, in all processes: when asked to, or when its numbers are no longer finite."""

import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch import callbacks
from torch import Tensor

from sentiment.predict.saved_classifier import not_finite
from sentiment.runtime.distributed import all_reduce_max, in_process_group, rank
from sentiment.runtime.errors import InputError

# Seconds within which a second signal is the same one, which torchrun passes on.
_ONE_WISH = 1.0
_STEPS = 50  # between two checks, if a check waits for a device or other processes


def within_epoch(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a training can be resumed after this batch: within an epoch, between two steps."""
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
        asked: the signal that this process has received.
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
        """Handle the two signals while the block runs, except one that was ignored before.

        After several processes have agreed to stop, both are ignored, because one of them may get
        its signal only while it ends.
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
        """Handle SIGTERM again: Lightning's handler exits with code 0 and saves nothing."""
        self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle SIGTERM again if there is no sanity check.

        Ends a resumed training at once if early stopping had ended it already.
        """
        self._listen()
        early = trainer.early_stopping_callback
        if isinstance(early, callbacks.EarlyStopping) and early.wait_count >= early.patience:
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


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, for which an equally good epoch of a lower loss is better.

    It takes the arguments of Lightning's that have a setting in ``callbacks.early_stopping``.
    """

    def __init__(
        self,
        *,
        monitor: str,
        mode: str,
        patience: int = 5,
        min_delta: float = 0.0,
        strict: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(monitor, min_delta, patience, verbose, mode, strict)
        self._best_loss = -math.inf  # of the best epoch; unknown in a checkpoint of version 0.1.0

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        loss = float(trainer.callback_metrics.get("val/loss", math.inf))
        tied = trainer.callback_metrics.get(self.monitor) == self.best_score
        if tied and loss < self._best_loss:
            self.wait_count = -1  # this epoch, which is not better by the metric, counts as one
        super()._run_early_stopping_check(trainer)
        if self.wait_count == 0:
            self._best_loss = loss

    def state_dict(self) -> dict[str, Any]:
        """How long it has waited, and for what."""
        return {**super().state_dict(), "best_loss": self._best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Wait on."""
        super().load_state_dict(state_dict)
        self._best_loss = state_dict.get("best_loss", self._best_loss)


class EndWhenDiverged(Callback):
    """Ends a training on the first loss, metric or weight that is not finite, in all processes.

    The checkpoints saved before remain. On a CPU each loss is checked; on a device, and with
    several processes, those of 50 steps together, because each check waits for the device.

    Args:
        monitors: the metric that each key of the config names, such as
            ``callbacks.checkpoint.monitor``.
    """

    def __init__(self, monitors: Mapping[str, str | None]) -> None:
        self._monitors = {key: name for key, name in monitors.items() if name is not None}
        self._losses: list[Tensor] = []  # since the last look

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the losses of an earlier training."""
        self._losses.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the losses, if it is time.

        Raises:
            InputError: a loss is not finite.
        """
        self._losses.append(outputs["loss"].detach())
        at_once = trainer.world_size == 1 and pl_module.device.type == "cpu"
        due = at_once or len(self._losses) == _STEPS
        if not due and batch_idx + 1 < trainer.num_training_batches:
            return
        losses = torch.stack(self._losses).tolist()
        self._losses.clear()
        # How many batches ago the first was (this one is 1); 0 if all are finite.
        wrong = (len(losses) - at for at, loss in enumerate(losses) if not math.isfinite(loss))
        if ago := all_reduce_max(next(wrong, 0)):
            step = trainer.global_step - (ago - 1) // trainer.accumulate_grad_batches
            raise _diverged(trainer, pl_module, f"step {step}: the training loss is not finite")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the loss of this validation and the monitored metrics.

        Raises:
            InputError: one of them is not finite.
        """
        self._check(trainer, pl_module, "val/loss")
        for key, name in self._monitors.items():
            value = trainer.callback_metrics.get(name)
            if name.endswith("/auroc") and value is not None and not math.isfinite(value):
                raise InputError(
                    f"config: {key}={name}: is {float(value)} in epoch {trainer.current_epoch + 1},"
                    " because all reviews that validate have one class; choose another, such as"
                    " val/loss, or give reviews of all classes"
                )
            self._check(trainer, pl_module, name)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the loss of the test.

        Raises:
            InputError: the loss is not finite.
        """
        self._check(trainer, pl_module, "test/loss")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the weights that are about to be saved.

        Raises:
            InputError: a weight is not finite.
        """
        if name := not_finite(checkpoint["state_dict"]):
            problem = f"step {trainer.global_step}: the weights {name} are not finite"
            raise _diverged(trainer, pl_module, problem)

    def _check(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        value = trainer.callback_metrics.get(name)
        if value is not None and not math.isfinite(value):
            problem = f"step {trainer.global_step}: {name} is {float(value)}"
            raise _diverged(trainer, pl_module, problem)


def _diverged(trainer: Trainer, module: LightningModule, problem: str) -> InputError:
    """Build the error: what has diverged, in which step, and what to try."""
    groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
    rate = f" (learning rate {groups[0]['lr']:g})" if groups else ""
    tries = ["lower optimizer.lr"]
    if not trainer.gradient_clip_val or trainer.gradient_clip_val > 1:
        tries.append("clip gradients by trainer.gradient_clip_val=1")
    if trainer.precision != "32-true":
        tries.append(f"give trainer.precision=32-true in place of {trainer.precision}")
    if module.hparams.get("class_weights"):
        tries.append("bring the weights of the classes closer together (loss.class_weights)")
    return InputError(
        f"training: epoch {trainer.current_epoch + 1}, {problem}{rate}: {', or '.join(tries)};"
        " earlier checkpoints are kept, and none was saved with these values"
    )
