"""The progress bar of a training on a terminal."""

from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningModule, Trainer

from sentiment.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressBar(Callback):
    """Shows on a terminal which epoch of how many is trained or validated, and the test."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._shown = ""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a training batch."""
        self._show(trainer, _epoch(trainer), trainer.num_training_batches, batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a validation batch."""
        if not trainer.sanity_checking:
            what = f"{_epoch(trainer)}, validation"
            self._show(trainer, what, trainer.num_val_batches[0], batch_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a test batch."""
        self._show(trainer, "Test", trainer.num_test_batches[0], batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the bar of the epoch."""
        self._close()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the bar of the test."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End the bar of whatever was stopped."""
        self._close()

    def _show(self, trainer: Trainer, what: str, total: float, batch_idx: int) -> None:
        if self._bar is None or self._shown != what:
            self._close()
            self._bar = progress_bar(what, total, "batch", shown=trainer.is_global_zero)
            self._shown = what
        self._bar.update(batch_idx + 1 - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _epoch(trainer: Trainer) -> str:
    return f"Epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
