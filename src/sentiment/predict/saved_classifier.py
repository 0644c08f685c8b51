"""The contents of a checkpoint, and a classifier with its facts, whose values are checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sentiment.model.abstention import stored_thresholds
from sentiment.model.calibration import is_temperature
from sentiment.model.rebuild import all_finite, is_plain
from sentiment.predict.saved import SavedData

if TYPE_CHECKING:
    from sentiment.model.classifier import SentimentClassifier
    from sentiment.predict.ngram_classifier import NgramClassifier

_SUMS = "train_"  # running sums of the training metrics, which are saved among the weights


@dataclass(frozen=True)
class SavedParts:
    """What a checkpoint of any kind holds; see ``read_checkpoint``.

    Raises:
        ValueError: weights are damaged or not finite.
    """

    format: int
    state_dict: dict[str, Any]
    hyper_parameters: dict[str, Any]
    data: dict[str, Any]
    run: dict[str, int | float | None]

    def __post_init__(self) -> None:
        for name, value in self.state_dict.items():
            if not is_plain(value):
                raise ValueError(f"the weights {name!r} are not a plain tensor")
        if diverged := not_finite(self.state_dict):
            raise ValueError(f"the weights {diverged!r} are not finite, the training had diverged")


@dataclass(frozen=True)
class SavedClassifier:
    """A classifier and what belongs to it.

    Attributes:
        classifier: a network in evaluation mode, on the CPU, or a baseline.
        data: vocabulary, labels, tokenizer settings and other facts about the data.
        run: numbers of the training, such as its seed and its best validation accuracy.

    Raises:
        ValueError: the classifier does not fit the data.
    """

    classifier: "SentimentClassifier | NgramClassifier"
    data: SavedData
    run: dict[str, int | float | None]

    def __post_init__(self) -> None:
        for name, entries, size in (
            ("vocabulary", self.data.vocabulary, "vocabulary_size"),
            ("labels", self.data.labels, "num_classes"),
            ("raw_labels", self.data.raw_labels, "num_classes"),
        ):
            if len(entries) != (expected := self.classifier.settings[size]):
                raise ValueError(f"{name!r} has {len(entries)} entries for {size}={expected}")
        if not is_temperature(temperature := float(self.classifier.temperature)):
            raise ValueError(f"the temperature is {temperature}, out of range")
        stored_thresholds(self.run, len(self.data.labels))


@dataclass(frozen=True)
class SavedEnsemble:
    """Several classifiers in one checkpoint, whose probabilities are averaged.

    Attributes:
        members: the classifiers.
        names: what messages call each.
        weights: how much each counts.
        temperature: what the logarithms of the averaged probabilities are divided by.

    Raises:
        ValueError: there is no member, or a number is out of range.
    """

    members: list[SavedClassifier]
    names: list[str]
    weights: list[float]
    temperature: float

    def __post_init__(self) -> None:
        if not len(self.members) == len(self.names) == len(self.weights) > 0:
            raise ValueError("there is not one weight for each member")
        if not all(0 < weight < inf for weight in self.weights):
            raise ValueError(f"the weights are {self.weights}, not numbers above 0")
        if not is_temperature(self.temperature):
            raise ValueError(f"the temperature is {self.temperature}, out of range")


def not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The name of the first weights of a module's state that hold NaN or infinity, or None."""
    weights = (name for name in state if not name.startswith(_SUMS))
    return next((name for name in weights if not all_finite(state[name])), None)
