from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentiment.batch import UNK_INDEX
from sentiment.data.ngrams import NgramCounts

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


@given(train=reviews, test=reviews, longest=st.integers(1, 3), min_freq=st.integers(1, 3))
def test_counts_are_those_of_a_plain_count(
    train: Reviews, test: Reviews, longest: int, min_freq: int
) -> None:
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
