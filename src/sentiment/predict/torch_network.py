"""A network of a checkpoint, computed by torch."""

import copy
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sentiment.model.classifier import SentimentClassifier
from sentiment.predict.checkpoint import load_saved
from sentiment.predict.logits import Floats
from sentiment.predict.saved import SavedData
from sentiment.predict.saved_classifier import SavedClassifier
from sentiment.runtime.environment import require_device
from sentiment.runtime.errors import needing, out_of_memory

if TYPE_CHECKING:
    from sentiment.predict.ngram_classifier import NgramClassifier

_Ints = npt.NDArray[np.int64]

_POSITIONS, _POSITIONS_ON_CUDA = 16_384, 131_072


def _compute_alone() -> None:
    """Let a forked process compute in one thread.

    It does not have the other threads of its parent, and would wait for them forever.
    """
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_compute_alone)


class TorchNetwork:
    """A network that takes and returns NumPy arrays; attributes as in ``Network``.

    Args:
        module: the network.
        device: where it computes.

    Attributes:
        module: in evaluation mode, on the device.
    """

    padded: ClassVar[Literal[True]] = True

    def __init__(self, module: SentimentClassifier, device: str = "cpu") -> None:
        self.module = module.eval().requires_grad_(False).to(device)
        self.device = device
        self.temperature = float(module.temperature)
        self.num_parameters = sum(weight.numel() for weight in module.parameters())
        self.unknown_index = module.unknown_index
        self._on_cuda = torch.device(device).type == "cuda"
        self._on_cpu: SentimentClassifier | None = None
        self.positions = _POSITIONS_ON_CUDA if self._on_cuda else _POSITIONS

    @property
    def threads(self) -> int:
        """The threads that torch uses."""
        return torch.get_num_threads()

    def logits(self, batches: Iterable[tuple[_Ints, _Ints]]) -> list[Floats]:
        """The logits of padded batches, each (batch, classes)."""
        with torch.inference_mode():
            found = [self._classify(ids, torch.from_numpy(lengths)) for ids, lengths in batches]
        # Waits for the device only now, when it has all batches.
        return [logits.float().cpu().numpy() for logits in found]

    def attributions(self, token_ids: _Ints, label: int) -> Floats:
        """The integrated gradients of a text, (tokens,); see ``integrated_gradients``."""
        with needing("train", "to explain"):
            from sentiment.predict.gradients import integrated_gradients
        if self._on_cpu is None:  # cuDNN has no backward pass in evaluation mode
            on_cpu = torch.device(self.device).type == "cpu"
            self._on_cpu = self.module if on_cpu else copy.deepcopy(self.module).cpu()
        return integrated_gradients(self._on_cpu, token_ids, label)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_on_cpu": None}

    def _classify(self, ids: _Ints, lengths: Tensor) -> Tensor:
        """The logits of a batch, in halves if memory cannot hold it whole."""
        try:
            token_ids = torch.from_numpy(ids).to(self.device, non_blocking=self._on_cuda)
            logits: Tensor = self.module(token_ids, lengths)
            return logits
        except RuntimeError as error:
            if len(lengths) == 1 or not out_of_memory(error):
                raise
        self.positions = max(1, min(self.positions, ids.size // 2))
        parts = [slice(len(lengths) // 2), slice(len(lengths) // 2, None)]
        halves = [
            self._classify(ids[:, : lengths[part].max()][part], lengths[part]) for part in parts
        ]
        return torch.cat(halves)


class Computed(NamedTuple):
    """A network or a baseline, the facts about its data, the numbers of its training, its path."""

    classifier: "TorchNetwork | NgramClassifier"
    data: SavedData
    run: dict[str, int | float | None]
    path: Path

    @classmethod
    def of(cls, saved: SavedClassifier, device: str, path: Path) -> "Computed":
        """What a checkpoint holds, ready to compute."""
        if isinstance(saved.classifier, SentimentClassifier):
            return cls(TorchNetwork(saved.classifier, device), saved.data, saved.run, path)
        return cls(saved.classifier, saved.data, saved.run, path)


def load_computed(path: Path, device: str) -> tuple[list[Computed], list[float] | None, float]:
    """Load a classifier, or the members of an ensemble, whose names stand for their paths.

    Returns:
        The classifiers; the weights of an ensemble, else None; and its temperature, else 1.

    Raises:
        InputError: see ``load_saved``; or the device cannot be used.
    """
    require_device(device)
    saved = load_saved(path)
    if isinstance(saved, SavedClassifier):
        return [Computed.of(saved, device, path)], None, 1.0
    named = zip(saved.members, saved.names, strict=True)
    members = [Computed.of(each, device, Path(name)) for each, name in named]
    return members, saved.weights, saved.temperature
