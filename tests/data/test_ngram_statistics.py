"""What n-grams tell of the classes: the formulas, and that no review sees its own label."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.data.ngrams import class_statistics, ngram_statistics

reviews = st.lists(
    st.tuples(st.lists(st.integers(1, 4), max_size=6), st.integers(0, 2)), min_size=1, max_size=12
)


def test_the_ratio_and_the_deviation_of_two_classes() -> None:
    # 6 of 10 reviews of the first class have the n-gram, and 1 of 20 of the second.
    odds, deviation = class_statistics(np.array([[6.0], [1.0]]), np.array([10.0, 20.0]))[0]
    assert odds == pytest.approx(math.log(2 / 21 / (7 / 11)), rel=1e-3)
    # Chance would give 7 * 2/3 of the second, with a variance of 7 * 2/9.
    assert deviation == pytest.approx((1 - 14 / 3) / math.sqrt(14 / 9 + 1) / 3, rel=1e-3)


def test_more_classes_have_each_their_own_against_the_rest() -> None:
    counts, totals = np.array([[2.0], [3.0], [0.0]]), np.array([4.0, 8.0, 8.0])
    features = class_statistics(counts, totals)[0]
    assert features[0] == pytest.approx(math.log(3 / 5 / (4 / 17)), rel=1e-3)
    assert features[4] == pytest.approx(math.log(1 / 9 / (6 / 13)), rel=1e-3)


def test_what_no_review_has_speaks_for_nothing() -> None:
    features = class_statistics(np.array([[0.0], [0.0]]), np.array([900.0, 100.0]))
    assert features.tolist() == [[0, 0]]


@pytest.mark.parametrize("totals", [[8.0, 0.0], [0.0, 8.0], [5.0, 3.0, 0.0]])
def test_a_class_without_reviews_has_nothing_that_speaks_for_it(totals: list[float]) -> None:
    counts = np.array([[min(2.0, total)] for total in totals])
    features = class_statistics(counts, np.array(totals)).reshape(-1, 2)
    none = [index for index, total in enumerate(totals[len(totals) == 2 :]) if total in (0, 8)]
    assert not features[none].any()
    assert len(none) == 1


@given(reviews=reviews, longest=st.integers(1, 3))
def test_each_fold_is_told_what_the_others_alone_hold(
    reviews: list[tuple[list[int], int]], longest: int
) -> None:
    ids = np.array([word for words, _ in reviews for word in words], np.int64)
    lengths = np.array([len(words) for words, _ in reviews], np.int64)
    classes = np.array([label for _, label in reviews], np.int64)
    evidence = ngram_statistics(
        ids, lengths, classes, num_classes=3, vocabulary_size=5, longest=longest, seed=1
    )
    words = evidence.keys[0]
    for fold, held_out in [*enumerate(evidence.held_out), (-1, evidence.features)]:
        kept = [each for each, own in zip(reviews, evidence.folds, strict=True) if own != fold]
        totals = np.bincount([label for _, label in kept], minlength=3).astype(float)
        having = [
            [sum(word in text for text, label in kept if label == each) for word in words]
            for each in range(3)
        ]
        expected = class_statistics(np.array(having, float).reshape(3, -1), totals)
        assert held_out[: len(words)] == pytest.approx(expected, abs=1e-2)


def test_the_folds_are_alike_in_size_and_the_same_for_the_same_seed() -> None:
    def folds(seed: int) -> list[int]:
        ones = np.ones(23, np.int64)
        found = ngram_statistics(
            2 * ones, ones, ones - 1, num_classes=2, vocabulary_size=3, longest=1, seed=seed
        )
        return [int(fold) for fold in found.folds]

    assert sorted(np.bincount(folds(0))) == [4, 4, 5, 5, 5]
    assert folds(0) == folds(0) != folds(1)


def test_each_class_is_spread_evenly_over_the_folds() -> None:
    classes = np.random.default_rng(3).permutation(np.repeat([0, 1, 2], [40, 13, 4]))
    ones = np.ones(len(classes), np.int64)
    folds = ngram_statistics(
        2 * ones, ones, classes, num_classes=3, vocabulary_size=3, longest=1
    ).folds
    for label in range(3):
        sizes = np.bincount(folds[classes == label], minlength=5)
        assert sizes.max() - sizes.min() <= 1
