"""The contents of a checkpoint, as dataclasses whose values are checked."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from inspect import formatannotation
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from torch import Tensor

from sentiment.data.dataset import KEEP
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.model.calibration import is_temperature
from sentiment.model.rebuild import all_finite, has_type, is_plain

if TYPE_CHECKING:
    from sentiment.model.classifier import SentimentClassifier
    from sentiment.predict.ngram_classifier import NgramClassifier

_Built = TypeVar("_Built")

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


@dataclass(frozen=True, kw_only=True)
class SavedData:
    """The part of the state of ``SentimentDataModule`` that prediction and evaluation need.

    Attributes:
        vocabulary: the words, in the order of their indices.
        labels: names of the classes, in the order of the logits.
        raw_labels: the labels as written in the training files, in the same order.
        tokenizer: how texts are cleaned and split into tokens.
        max_length: tokens of a text that are used, or None for all.
        keep: which tokens of a longer text are used, one of ``KEEP``.
        text_column: the column of the training files with the texts.
        label_column: the column with the labels.
        header: whether the training files begin with a row of column names.
        train_reviews: size of the training split.
        val_reviews: size of the validation split.
        dropped_duplicates: reviews left out because they repeat others.
        train_digests: see ``SentimentDataModule.state_dict``; None from an earlier version.

    Raises:
        ValueError: a value is out of range.
    """

    vocabulary: list[str]
    labels: list[str]
    raw_labels: list[str]
    tokenizer: TokenizerSettings
    max_length: int | None
    keep: str
    text_column: str
    label_column: str
    header: bool
    train_reviews: int
    val_reviews: int
    dropped_duplicates: int
    train_digests: Tensor | None

    def __post_init__(self) -> None:
        if self.train_digests is not None and not is_plain(self.train_digests):
            raise ValueError("'train_digests' is not a plain tensor")
        for names in (self.labels, self.raw_labels):
            if len(set(names)) < len(names):
                raise ValueError("a label occurs twice")
        if self.keep not in KEEP:
            raise ValueError(f"'keep' is {self.keep!r}, none of {', '.join(KEEP)}")
        if self.max_length == 0:
            raise ValueError("'max_length' is 0, not 1 or more")
        shown = "".join([*self.labels, *self.raw_labels, self.text_column, self.label_column])
        if any("\ud800" <= character <= "\udfff" for character in shown):
            raise ValueError("labels or column names hold a lone surrogate")


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


def build(kind: type[_Built], stored: Mapping[str, Any]) -> _Built:
    """Build a dataclass from a stored dictionary; entries without a field are ignored.

    Raises:
        ValueError: a field is missing or has another type than declared.
    """
    values = {}
    for name, declared in get_type_hints(kind).items():
        if name not in stored:
            raise ValueError(f"{name!r} is missing")
        value = stored[name]
        if isinstance(declared, type) and is_dataclass(declared) and isinstance(value, dict):
            value = build(declared, value)
        if not has_type(value, declared):
            raise ValueError(f"{name!r} is not a valid {formatannotation(declared)}")
        values[name] = value
    return kind(**values)


def not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The name of the first weights of a module's state that hold NaN or infinity, or None."""
    weights = (name for name in state if not name.startswith(_SUMS))
    return next((name for name in weights if not all_finite(state[name])), None)
