"""Training and validation of a language model, as a LightningModule. Knows nothing of files."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule
from torch import Tensor
from torch.optim import Optimizer

from sentiment.batch import Batch
from sentiment.model.language_model import LanguageModel, joined
from sentiment.model.metrics import Perplexity, ReviewMean
from sentiment.model.softmax import CandidateSampler
from sentiment.train.optim import ParameterUpdates
from sentiment.train.process_state import ProcessState

_DIRECTIONS = ("forward", "backward")


class LanguageModule(LightningModule):
    """Trains a language model by the mean cross-entropy of all words that it predicts.

    Validation always uses the softmax over the whole vocabulary, so that perplexities are
    comparable.

    Args:
        model: a language model, or (as a checkpoint keeps it) its constructor's arguments.
        updates: builds the optimizer and freezes layers; None takes AdamW for all parameters.
        sampler: draws the words in the softmax of a training step; None takes all.
    """

    def __init__(
        self,
        *,
        model: LanguageModel | Mapping[str, Any],
        updates: ParameterUpdates | None = None,
        sampler: CandidateSampler | None = None,
    ) -> None:
        super().__init__()
        self.model = model if isinstance(model, LanguageModel) else LanguageModel(**model)
        self._updates = updates or ParameterUpdates(self.model)
        self._sampler = sampler
        self.save_hyperparameters({"language_model": self.model.settings}, logger=False)
        # Over the words of the epoch so far; a checkpoint within an epoch holds their sums.
        self.train_loss, self.train_perplexity = ReviewMean(), Perplexity()
        self.val_losses = torch.nn.ModuleList(ReviewMean() for _ in self.model.projections)
        for mean in self._val_means():
            mean.persistent(False)

    def configure_callbacks(self) -> list[Callback]:
        """The callbacks that every trainer of this module needs."""
        return [self._updates, ProcessState(self._epoch_means())]

    def _epoch_means(self) -> dict[str, ReviewMean]:
        """The training metrics that are summed up over an epoch, by attribute."""
        return {"train_loss": self.train_loss, "train_perplexity": self.train_perplexity}

    def _val_means(self) -> list[ReviewMean]:
        return [mean for mean in self.val_losses if isinstance(mean, ReviewMean)]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of a batch."""
        predictions = joined(self.model(batch.token_ids, batch.lengths))
        count = len(predictions.targets)
        loss = self.model.loss(predictions, self._sampler) / max(1, count)
        for name, mean in self._epoch_means().items():
            mean.update(loss.detach(), count)
            self.log(name.replace("_", "/"), mean, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the metrics of this validation."""
        directions = self.model(batch.token_ids, batch.lengths)
        for predictions, mean in zip(directions, self._val_means(), strict=True):
            count = len(predictions.targets)
            mean.update(self.model.loss(predictions) / max(1, count), count)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of this validation."""
        losses = torch.stack([mean.compute() for mean in self._val_means()])
        for mean in self._val_means():
            mean.reset()
        self.log("val/loss", losses.mean())
        self.log("val/perplexity", losses.mean().exp(), prog_bar=True)
        if len(losses) > 1:
            for direction, loss in zip(_DIRECTIONS, losses, strict=True):
                self.log(f"val/perplexity_{direction}", loss.exp())

    def on_train_epoch_start(self) -> None:
        """Begin the metrics of the epoch."""
        for mean in self._epoch_means().values():
            mean.reset()

    def configure_optimizers(self) -> Any:
        """The optimizer, with a group of its own for the embedding, and the schedule."""
        return self._updates.configure(self)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients when all of them are complete."""
        self._updates.clip(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch, except its lengths: the encoder checks them on the CPU."""
        return batch._replace(token_ids=batch.token_ids.to(device, non_blocking=True))
