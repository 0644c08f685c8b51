"""Ending a training whose numbers are no longer finite, before a checkpoint holds them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from sentiment.predict.checkpoint import not_finite
from sentiment.runtime.distributed import all_reduce_max
from sentiment.runtime.errors import InputError

_STEPS = 50  # between two looks where a look waits for a device or for other processes


class EndWhenDiverged(Callback):
    """Ends a training on the first loss, metric or weight that is not finite, in all processes.

    The checkpoints that were saved before stay as they are. On a CPU each loss is looked at; on a
    device, and with several processes, those of the last 50 steps together, which costs no wait in
    between.

    Args:
        monitors: the metric that each key of the config names, such as
            ``callbacks.checkpoint.monitor``.
    """

    def __init__(self, monitors: Mapping[str, str | None]) -> None:
        self._monitors = {key: name for key, name in monitors.items() if name is not None}
        self._losses: list[Tensor] = []  # since the last look

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know no loss of another training."""
        self._losses.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the losses, if it is time.

        Raises:
            InputError: one is not finite.
        """
        self._losses.append(outputs["loss"].detach())
        at_once = trainer.world_size == 1 and pl_module.device.type == "cpu"
        due = at_once or len(self._losses) == _STEPS
        if not due and batch_idx + 1 < trainer.num_training_batches:
            return
        losses = torch.stack(self._losses).tolist()
        self._losses.clear()
        # How many batches ago the first was, this one being 1; 0 where all are finite.
        wrong = (len(losses) - at for at, loss in enumerate(losses) if not math.isfinite(loss))
        if ago := all_reduce_max(next(wrong, 0)):
            step = trainer.global_step - (ago - 1) // trainer.accumulate_grad_batches
            raise _diverged(trainer, pl_module, f"step {step}: the training loss is not finite")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the loss of this validation, and at the metrics that something goes by.

        Raises:
            InputError: one is not finite.
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
        """Look at the loss of the test.

        Raises:
            InputError: it is not finite.
        """
        self._check(trainer, pl_module, "test/loss")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at the weights that are to be saved.

        Raises:
            InputError: they are not finite.
        """
        if name := not_finite(checkpoint["state_dict"]):
            told = f"step {trainer.global_step}: the weights {name} are not finite"
            raise _diverged(trainer, pl_module, told)

    def _check(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        value = trainer.callback_metrics.get(name)
        if value is not None and not math.isfinite(value):
            told = f"step {trainer.global_step}: {name} is {float(value)}"
            raise _diverged(trainer, pl_module, told)


def _diverged(trainer: Trainer, module: LightningModule, told: str) -> InputError:
    """What has happened and where, and what to try."""
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
        f"training: epoch {trainer.current_epoch + 1}, {told}{rate}: {', or '.join(tries)};"
        " nothing of this was saved, and checkpoints from before it are kept"
    )
