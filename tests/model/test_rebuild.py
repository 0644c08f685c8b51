import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from sentiment.model.classifier import SentimentClassifier
from sentiment.model.rebuild import all_finite, is_plain, rebuild
from sentiment.model.settings import has_type

SETTINGS: dict[str, Any] = {
    "vocabulary_size": 9, "num_classes": 3, "embedding_size": 4, "hidden_size": 5, "ngrams": 1,
    "ngram_sizes": [2],
}  # fmt: skip


def weights_of(**others: Tensor) -> dict[str, Tensor]:
    return {**SentimentClassifier(**SETTINGS).state_dict(), **others}


def test_a_module_takes_its_weights_over() -> None:
    weights = weights_of()
    module = rebuild(SentimentClassifier, SETTINGS, weights)
    assert not module.training
    assert module.settings == SentimentClassifier(**SETTINGS).settings
    for name, value in module.state_dict().items():
        assert value.data_ptr() == weights[name].data_ptr(), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_layers", 10**9), ("num_layers", 1.0), ("hidden_size", True), ("bidirectional", "yes"),
        ("cell", None), ("padding_index", 0.0), ("head_size", 4.0), ("ngram_sizes", ["a"]),
        ("ngram_sizes", 2), ("word_dropout", "0.1"), ("word_dropout", math.nan),
    ],
)  # fmt: skip
def test_settings_of_another_kind_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        rebuild(SentimentClassifier, {**SETTINGS, name: value}, weights_of())


@pytest.mark.parametrize(
    "wrong",
    [
        torch.ones(3, dtype=torch.float64),
        torch.ones(3, dtype=torch.int64),
        torch.ones(3, device="meta"),
        torch.ones(3).to_sparse(),
        torch.ones(1).expand(3),  # stores only one value
    ],
)
def test_weights_of_another_kind_are_refused(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="head.1.bias"):
        rebuild(SentimentClassifier, SETTINGS, weights_of(**{"head.1.bias": wrong}))
    assert is_plain(wrong) == (wrong.dtype != torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_is_finite(dtype: torch.dtype) -> None:
    values = torch.linspace(-3, 3, 7, dtype=dtype)
    assert all_finite(values)
    assert all_finite(values[:0])
    assert all_finite(torch.arange(3))
    for wrong in (math.nan, math.inf, -math.inf):
        values[2] = wrong
        assert not all_finite(values)


@pytest.mark.parametrize(
    ("value", "declared", "expected"),
    [
        (3, int, True), (3, float, True), (3, int | None, True), (None, int | None, True),
        (-1, int, False), (2**63, int, False), (True, int, False), (1.0, int, False),
        (["a", "b"], list[str], True), (["a", 1], list[str], False), ("ab", list[str], False),
        ([2, 3], Sequence[int], True), ([2, -3], Sequence[int], False), ([], Sequence[int], True),
        ({"a": 1.5, "b": None}, dict[str, float | None], True), ({"a": "x"}, dict[str, int], False),
        ({1: 2}, dict[str, Any], False),
    ],
)  # fmt: skip
def test_types_of_saved_values(value: Any, declared: Any, expected: bool) -> None:
    assert has_type(value, declared) == expected
