"""Training and validation of a language model, as a LightningModule. Knows nothing of files."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from sentiment.batch import Batch
from sentiment.model.language_model import LanguageModel, joined
from sentiment.model.metrics import Perplexity, ReviewMean
from sentiment.model.softmax import CandidateSampler
from sentiment.train.optim import OptimizerFactory, ParameterUpdates, Schedule, step_plateau
from sentiment.train.process_state import gather_states, take_up_state

_DIRECTIONS = ("forward", "backward")


class LanguageModule(LightningModule):
    """Fits a language model by cross-entropy, the mean over all words that it predicts.

    Validation takes the softmax over the whole vocabulary, whatever training does, so that
    perplexities compare.

    Args:
        model: a language model, or (as a checkpoint keeps it) its constructor's arguments.
        optimizer: makes the optimizer from parameter groups.
        schedule: makes a Lightning scheduler from the optimizer and the number of steps, or None.
        sampler: draws the words that take part in the softmax of a training step; None takes all.
        frozen: whether the embedding stays as it is.
        frozen_epochs: epochs in which it stays as it is before it is trained too.
        embedding_lr_scale: the embedding's learning rate as a share of the others'.
        lazy_embedding: whether a step on a CPU touches only the words of its batch, where a sampler
            draws them.
    """

    def __init__(
        self,
        *,
        model: LanguageModel | Mapping[str, Any],
        optimizer: OptimizerFactory = torch.optim.AdamW,
        schedule: Schedule | None = None,
        sampler: CandidateSampler | None = None,
        frozen: bool = False,
        frozen_epochs: int = 0,
        embedding_lr_scale: float = 1.0,
        lazy_embedding: bool = False,
    ) -> None:
        super().__init__()
        self.model = model if isinstance(model, LanguageModel) else LanguageModel(**model)
        self._stepping = ParameterUpdates(
            self.model.embedding,
            self.model.encoder,
            optimizer=optimizer,
            schedule=schedule,
            frozen=frozen,
            frozen_epochs=frozen_epochs,
            embedding_lr_scale=embedding_lr_scale,
            # A softmax over all words has a gradient for each of them.
            lazy_embedding=lazy_embedding and sampler is not None,
        )
        self._sampler = sampler
        self.save_hyperparameters({"language_model": self.model.settings})
        # Over the words of the epoch so far; a checkpoint within an epoch holds their sums.
        self.train_loss, self.train_perplexity = ReviewMean(), Perplexity()
        self.val_losses = torch.nn.ModuleList(ReviewMean() for _ in self.model.projections)
        for mean in self._val_means():
            mean.persistent(False)
        self._validated = False  # in this epoch
        self._process_states: list[dict[str, Any]] | None = None

    def _train_means(self) -> dict[str, ReviewMean]:
        return {"train_loss": self.train_loss, "train_perplexity": self.train_perplexity}

    def _val_means(self) -> list[ReviewMean]:
        return [mean for mean in self.val_losses if isinstance(mean, ReviewMean)]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of a batch."""
        predictions = joined(self.model(batch.token_ids, batch.lengths))
        count = len(predictions.targets)
        loss = self.model.loss(predictions, self._sampler) / max(1, count)
        for name, mean in self._train_means().items():
            mean.update(loss.detach(), count)
            self.log(name.replace("_", "/"), mean, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the figures of this validation."""
        ways = self.model(batch.token_ids, batch.lengths)
        for predictions, mean in zip(ways, self._val_means(), strict=True):
            count = len(predictions.targets)
            mean.update(self.model.loss(predictions) / max(1, count), count)

    def on_validation_epoch_end(self) -> None:
        """Log the figures of this validation."""
        self._validated = not self.trainer.sanity_checking
        losses = torch.stack([mean.compute() for mean in self._val_means()])
        for mean in self._val_means():
            mean.reset()
        self.log("val/loss", losses.mean())
        self.log("val/perplexity", losses.mean().exp(), prog_bar=True)
        if len(losses) > 1:
            for way, loss in zip(_DIRECTIONS, losses, strict=True):
                self.log(f"val/perplexity_{way}", loss.exp())

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's figures; freeze the embedding for as long as the settings say."""
        for mean in self._train_means().values():
            mean.reset()
        self._validated = False
        self._stepping.freeze(self.trainer)

    def on_train_epoch_end(self) -> None:
        """Let a plateau schedule see the figure of this epoch, before the checkpoint is saved."""
        step_plateau(self, validated=self._validated)

    def setup(self, stage: str) -> None:
        """Settle what must be so before the module moves to its device."""
        self._stepping.settle(self.trainer)

    def configure_optimizers(self) -> Any:
        """The optimizer, with a group of its own for the embedding, and the schedule."""
        return self._stepping.configure(self)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients when all of them are complete."""
        self._stepping.clip(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch, except its lengths: the encoder checks them on the CPU."""
        return batch._replace(token_ids=batch.token_ids.to(device, non_blocking=True))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the process needs to go on as if it had not been stopped."""
        checkpoint["processes"] = gather_states(
            self.device, self._train_means(), checkpoint["state_dict"]
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep that state until training starts."""
        self._process_states = checkpoint["processes"]

    def on_train_start(self) -> None:
        """Take up the state that a checkpoint left, in the middle of an epoch or not."""
        self._stepping.freeze(self.trainer)
        if self._process_states is not None:
            take_up_state(
                self._process_states,
                self.device,
                self._train_means(),
                processes=1,
                steps=self.trainer.global_step,
            )
            self._process_states = None
