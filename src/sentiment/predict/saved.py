"""The facts about its data that a saved classifier needs, whose values are checked.

Imports no torch: the files that hold them may be of torch or of ONNX.
"""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from inspect import formatannotation
from typing import Any, TypeVar, get_type_hints

import numpy as np
import numpy.typing as npt

from sentiment.data.padding import KEEP
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.model.settings import has_type

_Built = TypeVar("_Built")


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
        train_digests: see ``SentimentDataModule.state_dict``; None if they are not known.
        teachers: names of those on whose probabilities it was trained.

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
    train_digests: npt.NDArray[np.int64] | None
    teachers: list[str]

    def __post_init__(self) -> None:
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


def saved_data(stored: Mapping[str, Any]) -> SavedData:
    """The facts of a stored dictionary, which may be of an earlier version; errors as ``build``."""
    return build(SavedData, {"train_digests": None, "teachers": [], **stored})


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
