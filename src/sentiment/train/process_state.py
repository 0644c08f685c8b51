"""What a checkpoint keeps of each process: its random generators, and its sums of the epoch.

A training on several processes goes on as if it had not been stopped when there are as many of
them again. With another number it sees the same batches, and draws other masks of dropout.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from sentiment.model.metrics import ReviewMean
from sentiment.runtime.distributed import gather, rank

log = logging.getLogger(__name__)

_GOLDEN = 0x9E3779B9  # spreads neighbouring numbers over all seeds of 32 bits


def gather_states(
    device: torch.device, means: Mapping[str, ReviewMean], state_dict: dict[str, Any]
) -> list[dict[str, Any]]:
    """The state of each process, by its number; all of them must take part.

    Args:
        device: of this process.
        means: of the epoch so far, by name.
        state_dict: of the module; its sums become those over all processes.
    """
    sums: dict[str, Any] = {}
    for name, mean in means.items():
        mean.state_dict(destination=sums, prefix=f"{name}.")
    own = {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "sums": {name: value.cpu() for name, value in sums.items()},
    }
    states = gather(own)
    for name in sums:
        state_dict[name] = torch.stack([state["sums"][name] for state in states]).sum(0)
    return states


def take_up_state(
    states: list[dict[str, Any]] | None,
    device: torch.device,
    means: Mapping[str, ReviewMean],
    *,
    processes: int,
    steps: int,
) -> None:
    """Give this process the generators and the sums that it begins or goes on with.

    Args:
        states: of ``gather_states``; None where a training begins.
        device: of this process.
        means: of the epoch so far, by name; the first process has the sums of all of them.
        processes: of this training.
        steps: made so far.
    """
    if states is not None and len(states) == processes:
        own = states[rank()]
        torch.set_rng_state(own["cpu"])
        if device.type == "cuda" and own["cuda"] is not None:
            torch.cuda.set_rng_state(own["cuda"], device)
        for name, mean in means.items():
            for part in ("total", "count"):
                getattr(mean, part).copy_(own["sums"][f"{name}.{part}"])
        return
    torch.manual_seed((torch.initial_seed() + _GOLDEN * rank() + steps) % 2**32)
    if states is not None:
        log.warning(
            "The training was begun by %d processes and goes on with %d: on the same batches, but"
            " dropout draws other masks than it would have.",
            len(states),
            processes,
        )
        if rank():
            for mean in means.values():
                mean.reset()
