"""Counts and features of n-grams; a review's own label does not count for it."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.batch import UNK_INDEX
from sentiment.data.ngrams import (
    FOLDS,
    NgramCounts,
    class_statistics,
    ngram_statistics,
    stratified_folds,
)

Reviews = list[list[int]]


def flat(reviews: Reviews) -> tuple[np.ndarray, np.ndarray]:
    ids = [word for review in reviews for word in review]
    return np.array(ids, np.int64), np.array([len(review) for review in reviews], np.int64)


def ngrams_of(review: list[int], longest: int) -> Counter[tuple[int, ...]]:
    return Counter(
        tuple(review[start : start + length])
        for length in range(1, longest + 1)
        for start in range(len(review) - length + 1)
        if UNK_INDEX not in review[start : start + length]
    )


reviews = st.lists(st.lists(st.integers(1, 5), max_size=8), min_size=1, max_size=8)


def spread(reviews: Reviews, by: int) -> Reviews:
    return [[word if word == UNK_INDEX else word * by for word in review] for review in reviews]


@given(
    train=reviews,
    test=reviews,
    longest=st.integers(1, 3),
    min_freq=st.integers(1, 3),
    by=st.sampled_from([1, 1 << 55]),  # the second leaves no bits to pack an id with a position
)
def test_counts_are_those_of_a_plain_count(
    train: Reviews, test: Reviews, longest: int, min_freq: int, by: int
) -> None:
    train, test = spread(train, by), spread(test, by)
    counter = NgramCounts(longest=longest, min_freq=min_freq)
    fitted = counter.fit(*flat(train)).toarray()
    total = sum((ngrams_of(review, longest) for review in train), Counter())
    # In the order of the columns: shorter first, then by the words' numbers.
    known = sorted((gram for gram in total if total[gram] >= min_freq), key=lambda g: (len(g), g))
    assert counter.features == len(known)
    for found, of in ((fitted, train), (counter.count(*flat(test)).toarray(), test)):
        expected = [[ngrams_of(review, longest)[gram] for gram in known] for review in of]
        np.testing.assert_array_equal(found, np.array(expected).reshape(len(of), len(known)))


def test_a_word_beyond_those_of_training_is_no_other_words_number() -> None:
    counter = NgramCounts(longest=2, min_freq=1)
    counter.fit(*flat([[2, 3], [3, 2]]))
    assert counter.count(*flat([[2, 7], [9, 3]])).sum() == 2


labeled = st.lists(
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


def test_an_ngram_that_no_review_has_is_typical_of_no_class() -> None:
    features = class_statistics(np.array([[0.0], [0.0]]), np.array([900.0, 100.0]))
    assert features.tolist() == [[0, 0]]


@pytest.mark.parametrize("totals", [[8.0, 0.0], [0.0, 8.0], [5.0, 3.0, 0.0]])
def test_nothing_is_typical_of_a_class_without_reviews(totals: list[float]) -> None:
    counts = np.array([[min(2.0, total)] for total in totals])
    features = class_statistics(counts, np.array(totals)).reshape(-1, 2)
    none = [index for index, total in enumerate(totals[len(totals) == 2 :]) if total in (0, 8)]
    assert not features[none].any()
    assert len(none) == 1


@given(reviews=labeled, longest=st.integers(1, 3))
def test_statistics_of_a_fold_are_those_of_the_other_folds(
    reviews: list[tuple[list[int], int]], longest: int
) -> None:
    ids = np.array([word for words, _ in reviews for word in words], np.int64)
    lengths = np.array([len(words) for words, _ in reviews], np.int64)
    classes = np.array([label for _, label in reviews], np.int64)
    folds = stratified_folds(classes, 1)
    statistics = ngram_statistics(
        ids, lengths, classes, folds, num_classes=3, vocabulary_size=5, longest=longest
    )
    words = statistics.keys[0]
    assert len(statistics.held_out) == FOLDS + 1
    for fold, held_out in [*enumerate(statistics.held_out), (-1, statistics.features)]:
        kept = [each for each, own in zip(reviews, folds, strict=True) if own != fold]
        totals = np.bincount([label for _, label in kept], minlength=3).astype(float)
        having = [
            [sum(word in text for text, label in kept if label == each) for word in words]
            for each in range(3)
        ]
        expected = class_statistics(np.array(having, float).reshape(3, -1), totals)
        assert held_out[: len(words)] == pytest.approx(expected, abs=1e-2)


def test_the_folds_are_alike_in_size_and_the_same_for_the_same_seed() -> None:
    folds = [stratified_folds(np.zeros(23, np.int64), seed).tolist() for seed in (0, 0, 1)]
    assert sorted(np.bincount(folds[0])) == [4, 4, 5, 5, 5]
    assert folds[0] == folds[1] != folds[2]


def test_each_class_is_spread_evenly_over_the_folds() -> None:
    classes = np.random.default_rng(3).permutation(np.repeat([0, 1, 2], [40, 13, 4]))
    folds = stratified_folds(classes, 0)
    for label in range(3):
        sizes = np.bincount(folds[classes == label], minlength=5)
        assert sizes.max() - sizes.min() <= 1
