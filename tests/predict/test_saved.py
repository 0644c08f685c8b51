from typing import Any

import pytest
import torch

from sentiment.data.tokenizer import TokenizerSettings
from sentiment.predict.saved import SavedData, build

STATE: dict[str, Any] = {
    "vocabulary": ["<pad>", "<unk>", "film"],
    "labels": ["bad", "good"],
    "raw_labels": ["0", "1"],
    "tokenizer": TokenizerSettings(lowercase=False).as_dict(),
    "max_length": None,
    "keep": "head",
    "text_column": "review",
    "label_column": "sentiment",
    "header": True,
    "train_reviews": 8,
    "val_reviews": 1,
    "dropped_duplicates": 0,
    "train_digests": None,
    "teachers": [],
}


def test_fields_come_from_the_stored_state() -> None:
    data = build(SavedData, {**STATE, "max_length": 9, "position": (0, 3)})
    assert data.tokenizer == TokenizerSettings(lowercase=False)
    assert (data.max_length, data.labels, data.header) == (9, ["bad", "good"], True)


@pytest.mark.parametrize("name", STATE)
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is missing"):
        build(SavedData, {key: value for key, value in STATE.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value", "fact"),
    [
        ("vocabulary", "words", r"vocabulary.* list\[str\]"),
        ("labels", ["bad", 1], r"labels.* list\[str\]"),
        ("tokenizer", "spacy", "tokenizer"),
        ("tokenizer", {**STATE["tokenizer"], "language": 1}, "language"),
        ("tokenizer", {"stemmer": "porter"}, "language"),
        ("tokenizer", {**STATE["tokenizer"], "cleaning": 9}, "cleaning=9"),
        ("max_length", "long", r"max_length.* int \| None"),
        ("max_length", 0, "max_length.* 0, not 1"),
        ("max_length", 10**400, "max_length"),
        ("train_reviews", -1, "train_reviews"),
        ("train_reviews", True, "train_reviews"),
        ("keep", "middle", "middle.* head, tail, both"),
        ("text_column", None, "text_column"),
        ("labels", ["bad", "bad"], "twice"),
        ("train_digests", [1], "train_digests"),
        ("train_digests", torch.zeros(9, device="meta"), "train_digests"),
        ("raw_labels", ["0", "\ud800"], "surrogate"),
    ],
)
def test_a_value_that_does_not_fit_is_named(name: str, value: Any, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        build(SavedData, {**STATE, name: value})
