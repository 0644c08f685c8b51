"""Update the parameters of a network: optimizer, learning rates, freezing and clipping."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sentiment.model.classifier import SentimentClassifier
from sentiment.model.language_model import LanguageModel

OptimizerFactory = Callable[[Any], Optimizer]

Schedule = Callable[[Optimizer, int], dict[str, Any]]


class ParameterUpdates(Callback):
    """Builds the optimizer, freezes layers, clips gradients and steps a plateau schedule.

    The module returns this callback from ``configure_callbacks``, and calls ``configure`` and
    ``clip`` in its own hooks for the optimizer and for clipping.

    Args:
        network: a classifier or a language model, with an embedding and an encoder.
        optimizer: makes the optimizer from parameter groups.
        schedule: makes Lightning's scheduler config from the optimizer and the number of steps;
            None keeps the learning rate constant.
        frozen: whether the embedding is never trained.
        frozen_epochs: number of epochs in which the embedding is frozen at first.
        embedding_lr_scale: factor of the embedding's learning rate.
        lazy_embedding: whether a step on a CPU updates only the words of its batch; see
            ``LazyRows``. (On other devices finding them would cost more than it saves.)
        encoder_frozen_epochs: number of epochs in which the encoder is frozen at first.
        encoder_lr_scale: factor of the encoder's learning rate.

    Attributes:
        settings: the arguments that are plain values, by name.
    """

    def __init__(
        self,
        network: SentimentClassifier | LanguageModel,
        *,
        optimizer: OptimizerFactory = torch.optim.AdamW,
        schedule: Schedule | None = None,
        frozen: bool = False,
        frozen_epochs: int = 0,
        embedding_lr_scale: float = 1.0,
        lazy_embedding: bool = False,
        encoder_frozen_epochs: int = 0,
        encoder_lr_scale: float = 1.0,
    ) -> None:
        self.settings: dict[str, Any] = {
            "frozen": frozen,
            "frozen_epochs": frozen_epochs,
            "embedding_lr_scale": embedding_lr_scale,
            "lazy_embedding": lazy_embedding,
            "encoder_frozen_epochs": encoder_frozen_epochs,
            "encoder_lr_scale": encoder_lr_scale,
        }
        self._embedding, self._encoder = network.embedding, network.encoder
        self._optimizer = optimizer
        self._schedule = schedule
        self._frozen = frozen
        self._frozen_epochs = frozen_epochs
        self._embedding_lr_scale = embedding_lr_scale
        self._lazy_embedding = lazy_embedding
        self._encoder_frozen_epochs = encoder_frozen_epochs
        self._encoder_lr_scale = encoder_lr_scale
        self._lazy_rows: LazyRows | None = None
        self._validated = False  # whether a validation has run in this epoch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freeze the embedding or make its gradients sparse before DDP wraps the module."""
        # The module is moved to its device only after this.
        if self._lazy_embedding and trainer.strategy.root_device.type == "cpu":
            self._embedding.sparse = True
        if self._frozen:
            self._embedding.weight.requires_grad_(False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze layers when a training resumes within an epoch, too."""
        self._freeze(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze what is not trained in this epoch."""
        self._freeze(trainer)
        self._validated = False

    def _freeze(self, trainer: Trainer) -> None:
        if trainer.world_size > 1:  # all epochs must exchange the same gradients; see ``clip``
            return
        embedding, encoder = self._frozen_in(trainer.current_epoch)
        self._embedding.weight.requires_grad_(not embedding)
        if self._encoder_frozen_epochs:
            self._encoder.requires_grad_(not encoder)

    def _frozen_in(self, epoch: int) -> tuple[bool, bool]:
        """Whether embedding and encoder are frozen in an epoch."""
        return self._frozen or epoch < self._frozen_epochs, epoch < self._encoder_frozen_epochs

    def configure(self, module: LightningModule) -> Any:
        """Build what the module's ``configure_optimizers`` returns.

        The embedding has a parameter group of its own, and so has the encoder if its learning rate
        is scaled; the first group holds all other parameters.
        """
        embedding = self._embedding
        scales = {embedding.weight: self._embedding_lr_scale}
        if self._encoder_lr_scale != 1:
            scales |= dict.fromkeys(self._encoder.parameters(), self._encoder_lr_scale)
        groups = [
            [weight for weight in module.parameters() if weight not in scales],
            [embedding.weight],
            [weight for weight in scales if weight is not embedding.weight],
        ]
        optimizer = self._optimizer([{"params": group} for group in groups if group])
        for group in optimizer.param_groups:
            group["lr"] *= scales.get(group["params"][0], 1.0)
        if embedding.sparse:
            self._lazy_rows = LazyRows(optimizer, embedding.weight)
        if self._schedule is None:
            return optimizer
        steps = int(module.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": self._schedule(optimizer, steps)}

    def clip(
        self,
        module: LightningModule,
        optimizer: Optimizer,
        value: float | None,
        algorithm: str | None,
    ) -> None:
        """Drop the gradients of frozen layers, and clip the others.

        For the module's ``configure_gradient_clipping``. Lightning itself refuses to clip with a
        fused optimizer in mixed precision, because such an optimizer unscales the gradients of
        float16 within its step; those of bfloat16 are not scaled.
        """
        embedding, encoder = self._frozen_in(module.current_epoch)
        if embedding:
            self._embedding.weight.grad = None
        if encoder:
            for weight in self._encoder.parameters():
                weight.grad = None
        if self._lazy_rows is not None:
            self._lazy_rows.take()
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if getattr(module.trainer.precision_plugin, "scaler", None) is not None:
            module.clip_gradients(optimizer, value, algorithm)
        elif value and algorithm == "value":
            nn.utils.clip_grad_value_(weights, value)
        elif value:
            nn.utils.clip_grad_norm_(weights, value)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that this epoch has metrics of a validation."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Step a plateau schedule by the metric of this epoch, before the checkpoint is saved."""
        if isinstance(schedule := pl_module.lr_schedulers(), ReduceLROnPlateau):
            monitor = trainer.lr_scheduler_configs[0].monitor
            if monitor and (self._validated or monitor.startswith("train/")):
                schedule.step(float(trainer.callback_metrics[monitor]))


class LazyRows:
    """Lets an optimizer step the rows of an embedding that have a gradient, and no others.

    A vocabulary is far larger than a batch: reading and writing all of its rows, their gradients
    and their moments can cost as much as the network itself. Here the rows that a batch has read
    are copied into a small parameter, stepped with their own rows of the optimizer's state, and
    copied back. The other rows do not change: their moments do not decay and weight decay does not
    shrink them. (`torch.optim.SparseAdam` does the same, but for Adam without weight decay alone.)
    Plain SGD gives the same weights as without this. The state keeps the optimizer's own layout.
    Each of its tensors must be of the weight's shape and zero at first, or one value for all rows,
    as in SGD, RMSprop, Adam and AdamW.

    Args:
        optimizer: an optimizer with the embedding in a parameter group of its own.
        weight: the embedding's (words, size) weight, whose gradients are sparse.
    """

    def __init__(self, optimizer: Optimizer, weight: Tensor) -> None:
        self._optimizer = optimizer
        self._weight = weight
        self._index = torch.empty(0, dtype=torch.int64)
        self._rows: Tensor | None = None
        optimizer.register_step_post_hook(self._put_back)

    def take(self) -> None:
        """Replace the embedding in the optimizer by its rows that have a gradient, until the step.

        Call it after the backward pass and before clipping.
        """
        grad = self._weight.grad
        if grad is None:
            return
        grad = grad.coalesce()
        self._index = grad.indices()[0]
        self._rows = nn.Parameter(self._weight.detach().index_select(0, self._index))
        self._rows.grad = grad.values()
        state = self._optimizer.state.get(self._weight, {})
        if state:
            self._optimizer.state[self._rows] = {
                name: value.index_select(0, self._index) if self._is_by_row(value) else value
                for name, value in state.items()
            }
        self._exchange(self._weight, self._rows)

    def _put_back(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._rows is None:
            return
        rows, self._rows = self._rows, None
        self._exchange(rows, self._weight)
        _write_rows(self._weight.detach(), self._index, rows.detach())
        state = optimizer.state[self._weight]
        for name, value in optimizer.state.pop(rows, {}).items():
            if isinstance(value, Tensor) and value.shape == rows.shape:
                if name not in state:
                    state[name] = torch.zeros_like(self._weight)
                _write_rows(state[name], self._index, value)
            else:
                state[name] = value

    def _exchange(self, old: Tensor, new: Tensor) -> None:
        for group in self._optimizer.param_groups:
            group["params"] = [new if weight is old else weight for weight in group["params"]]

    def _is_by_row(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.shape == self._weight.shape


def _write_rows(target: Tensor, index: Tensor, rows: Tensor) -> None:
    """Replace distinct rows, whose order is irrelevant: torch's deterministic kernel is slow."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        target[index] = rows
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
