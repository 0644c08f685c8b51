import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from sentiment.report.comparison_page import mcnemar
from sentiment.report.curves import (
    coverage,
    covered,
    groups_of_column,
    groups_of_numbers,
    groups_of_unknown,
    precision_recall,
    roc,
)

RANDOM = np.random.default_rng(0)
POSITIVE = RANDOM.random(3000) < 0.3
SCORES = np.clip(RANDOM.normal(0.4 + 0.2 * POSITIVE, 0.2), 0, 1).round(3)  # with ties


def test_areas_are_those_of_scikit_learn() -> None:
    curve, precision = roc(SCORES, POSITIVE), precision_recall(SCORES, POSITIVE)
    assert curve.area == pytest.approx(roc_auc_score(POSITIVE, SCORES))
    assert precision.area == pytest.approx(average_precision_score(POSITIVE, SCORES))
    # The drawn points have nearly the same area as all.
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(curve.area, abs=2e-3)
    for each in (curve, precision):
        assert len(each.x) <= 210
        assert (each.x[0], each.x[-1]) == (0, 1)


@pytest.mark.parametrize("reviews", [1, 5, 25, 5000])
def test_all_reviews_have_the_accuracy_of_all(reviews: int) -> None:
    score, right = RANDOM.random(reviews), RANDOM.random(reviews) < 0.8
    curve = coverage(score, right)
    assert (curve.x[-1], curve.y[-1]) == (1, pytest.approx(right.mean()))
    lowest, group = covered(score, right, 1.0)
    assert (lowest, group.reviews, group.accuracy) == (score.min(), reviews, right.mean())


def test_the_surest_half() -> None:
    score, right = np.array([0.6, 0.9, 0.7, 0.8]), np.array([False, True, False, True])
    lowest, group = covered(score, right, 0.5)
    assert (lowest, group.reviews, group.accuracy) == (0.8, 2, 1.0)
    assert (group.name, group.interval[1]) == ("50 %", 1.0)


def test_groups_of_numbers_are_fifths() -> None:
    values = np.arange(100.0)
    groups = groups_of_numbers(values, values < 20)
    assert [group.name for group in groups][:2] == ["0 to 19", "20 to 39"]
    assert [group.reviews for group in groups] == [20] * 5
    assert [group.accuracy for group in groups] == [1, 0, 0, 0, 0]


def test_a_column_of_few_numbers_is_in_their_order() -> None:
    groups = groups_of_column(["10", "9", " 9 ", "10", "10", ""], np.array([1, 1, 0, 1, 1, 0]) > 0)
    assert [(group.name, group.reviews, group.accuracy) for group in groups] == [
        ("9", 2, 0.5),
        ("10", 3, 1.0),
        ("(empty)", 1, 0.0),
    ]


def test_a_column_of_many_numbers_is_in_fifths() -> None:
    cells = ["", *map(str, range(50))]
    groups = groups_of_column(cells, np.ones(51, bool))
    assert [group.name for group in groups] == [
        "0 to 9", "10 to 19", "20 to 29", "30 to 39", "40 to 49", "(empty)",
    ]  # fmt: skip


def test_a_column_of_words_is_by_frequency_and_the_rest_is_one_group() -> None:
    cells = ["web"] * 5 + ["nan"] * 3 + [f"shop {number}" for number in range(20)]
    groups = groups_of_column(cells, np.ones(28, bool))
    assert [group.name for group in groups][:2] == ["web", "nan"]
    assert (groups[-1].name, groups[-1].reviews) == ("(10 other values)", 10)
    assert sum(group.reviews for group in groups) == 28


def test_groups_of_unknown_words() -> None:
    tokens, known = np.array([0, 10, 10, 10]), np.array([0, 10, 10, 5])
    groups = groups_of_unknown(tokens, known, np.array([True, True, True, False]))
    assert groups[0].name == "0.00 %"
    assert (groups[-1].accuracy, "50.00 %" in groups[-1].name) == (0, True)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (0, 3), (5, 9), (300, 420), (4000, 4000)])
def test_mcnemar_is_a_binomial_test(one: int, other: int) -> None:
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-6)


def test_groups_of_large_numbers_hold_all_reviews() -> None:
    seconds = 1_700_000_000 + np.arange(100.0)
    groups = groups_of_numbers(seconds, np.arange(100) % 2 == 0)
    assert sum(group.reviews for group in groups) == 100
    assert len({group.name for group in groups}) == 5
