"""Save the state of each process in checkpoints: random generators, and sums of the epoch.

Resumed on as many processes, a training continues as if it had not been stopped. On another number
of processes it sees the same batches, and draws other masks of dropout.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from sentiment.model.metrics import ReviewMean
from sentiment.runtime.distributed import gather, rank

log = logging.getLogger(__name__)

_GOLDEN = 0x9E3779B9  # spreads neighbouring numbers over all seeds of 32 bits


class ProcessState(Callback):
    """Saves and restores the state of each process.

    Args:
        means: the metrics that the module sums up over an epoch, by attribute.
    """

    def __init__(self, means: Mapping[str, ReviewMean]) -> None:
        self._means = means
        self._saved: list[dict[str, Any]] | None = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Gather the states of all processes; every process must call this.

        The sums in the module's own state become those over all processes.
        """
        device = pl_module.device
        sums: dict[str, Any] = {}
        for name, mean in self._means.items():
            mean.state_dict(destination=sums, prefix=f"{name}.")
        own = {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "sums": {name: value.cpu() for name, value in sums.items()},
        }
        states = gather(own)
        for name in sums:
            summed = torch.stack([state["sums"][name] for state in states]).sum(0)
            checkpoint["state_dict"][name] = summed
        checkpoint["processes"] = states

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the states until training starts."""
        self._saved = checkpoint["processes"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the generators and the sums, or give each process its own random numbers."""
        saved, self._saved = self._saved, None
        if saved is None and trainer.world_size == 1:
            return
        if saved is not None and len(saved) == trainer.world_size:
            own = saved[rank()]
            torch.set_rng_state(own["cpu"])
            if pl_module.device.type == "cuda" and own["cuda"] is not None:
                torch.cuda.set_rng_state(own["cuda"], pl_module.device)
            for name, mean in self._means.items():
                for part in ("total", "count"):
                    getattr(mean, part).copy_(own["sums"][f"{name}.{part}"])
            return
        torch.manual_seed((torch.initial_seed() + _GOLDEN * rank() + trainer.global_step) % 2**32)
        if saved is not None:
            log.warning(
                "The training was begun by %d processes and is resumed by %d: on the same batches,"
                " but dropout draws other masks than it would have.",
                len(saved),
                trainer.world_size,
            )
            if rank():  # the first process has the sums of all
                for mean in self._means.values():
                    mean.reset()
