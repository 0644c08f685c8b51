from typing import Any

import pytest
import torch

from sentiment.model.metrics import (
    Outcome,
    accuracy_by_length,
    by_class,
    summarise_predictions,
)


def rows_of(lengths: list[int], wrong: int = 0) -> list[dict[str, Any]]:
    """Accuracy by length if this number of reviews, the first ones, are wrong."""
    logits = torch.tensor([[0.0, 1.0]] * len(lengths))
    labels = torch.tensor([0] * wrong + [1] * (len(lengths) - wrong))
    return accuracy_by_length(logits, labels, torch.tensor(lengths))


def test_fifths_are_by_length_whatever_the_order() -> None:
    rows = rows_of([40, 3, 7, 1, 9, 60, 2, 8, 30, 50], wrong=3)
    assert [row["tokens"] for row in rows] == [[1, 2], [3, 7], [8, 9], [30, 40], [50, 60]]
    assert [row["reviews"] for row in rows] == [2] * 5
    assert [row["accuracy"] for row in rows] == [1, 0, 1, 0.5, 1]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([4] * 9, [([4, 4], 9)]),
        ([1, 2, 3], [([1, 1], 1), ([2, 2], 1), ([3, 3], 1)]),
        ([7], [([7, 7], 1)]),
        # A length is where its middle review is: that of 2 is the fifth of ten.
        ([1, 2, 2, 2, 2, 2, 2, 2, 3, 4], [([1, 1], 1), ([2, 2], 7), ([3, 4], 2)]),
        ([0] * 50 + [1] * 50, [([0, 0], 50), ([1, 1], 50)]),
    ],
)
def test_a_length_is_in_one_row(lengths: list[int], expected: list[Any]) -> None:
    assert [(row["tokens"], row["reviews"]) for row in rows_of(lengths)] == expected


def test_fifths_of_many_reviews_are_even() -> None:
    rows = rows_of(torch.randperm(1003).tolist(), wrong=100)
    assert all(200 <= row["reviews"] <= 201 for row in rows)
    right = sum(row["reviews"] * row["accuracy"] for row in rows)
    assert right == pytest.approx(903)


def test_an_outcome_counts_every_review_once() -> None:
    logits, labels = torch.randn(50, 3), torch.arange(50) % 3
    outcome = Outcome.of(logits, labels, torch.arange(50))
    assert outcome.confusion.sum() == outcome.reliability.reviews.sum() == 50
    assert sum(row["reviews"] for row in outcome.by_length) == 50


def test_what_cannot_be_divided_is_none() -> None:
    rows = by_class(torch.tensor([[2, 0, 1], [0, 0, 0], [1, 0, 0]]))
    assert [row["precision"] for row in rows] == [2 / 3, None, 0.0]
    assert [row["recall"] for row in rows] == [2 / 3, None, 0.0]
    assert [row["f1"] for row in rows] == [2 / 3, None, 0.0]


def test_accuracy_has_no_rounding_error() -> None:
    labels = torch.zeros(800, dtype=torch.int64)
    logits = torch.zeros(800, 2)
    logits[461:, 1] = 1.0
    assert summarise_predictions(logits, labels, "")["accuracy"] == 461 / 800
