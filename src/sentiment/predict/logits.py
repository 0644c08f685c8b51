"""What computes logits, and the probabilities that follow from them, as NumPy arrays."""

from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]  # (texts, classes), unless said otherwise

_Ints = npt.NDArray[np.int64]


class Network(Protocol):
    """A network that computes the logits of padded batches, by torch or from an ONNX file.

    A baseline, which reads all tokens one after the other, has the same attributes.
    """

    @property
    def padded(self) -> Literal[True]:
        """Whether it takes padded batches."""

    @property
    def device(self) -> str:
        """Where it computes, as torch names devices."""

    @property
    def threads(self) -> int:
        """In how many threads it computes on a CPU."""

    @property
    def temperature(self) -> float:
        """The divisor of the logits; see ``sentiment.model.calibration``."""

    @property
    def num_parameters(self) -> int:
        """The number of learned weights."""

    @property
    def unknown_index(self) -> int:
        """The token id of unknown words."""

    @property
    def positions(self) -> int:
        """How many padded positions a batch should have; it may change from batch to batch."""

    def attributions(self, token_ids: _Ints, label: int) -> Floats:
        """How much each token of a text moves the log odds of a label, (tokens,).

        Args:
            token_ids: (tokens,) of the text, at least one.
            label: index of the class.
        """

    def logits(self, batches: Iterable[tuple[_Ints, _Ints]]) -> list[Floats]:
        """The calibrated logits of padded batches, each (batch, classes).

        Args:
            batches: the token ids of each, (batch, time), and the lengths, (batch,).
        """


def softmax(logits: Floats) -> Floats:
    """The probabilities of the classes, (texts, classes)."""
    probabilities: Floats = np.exp(log_softmax(logits)).astype(np.float32)
    return probabilities


def log_softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Their logarithms, in float64, over the last dimension."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    logarithms: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return logarithms


def log_odds(logits: npt.NDArray[np.floating], label: int) -> npt.NDArray[np.float64]:
    """The log odds of a label, log(p / (1 - p)) of its probability p, (texts,) float64.

    For two classes this is the logit of the label minus the other one.
    """
    odds: npt.NDArray[np.float64] = logits[:, label] - np.logaddexp.reduce(
        np.delete(logits.astype(np.float64), label, 1), 1
    )
    return odds
