"""Features of n-grams: what is looked up for each token, alone and in a batch."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sentiment.data.ngrams import ngram_statistics
from sentiment.model.ngram_features import NgramFeatures

VOCABULARY = 6
Ngrams = dict[tuple[int, ...], int]
texts = st.lists(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=7), min_size=2)


def fitted(
    reviews: list[list[int]], longest: int
) -> tuple[NgramFeatures, dict[tuple[int, ...], int]]:
    """The features of these reviews' n-grams, each with its own number as its one value."""
    ids = np.array([word for review in reviews for word in review], np.int64)
    lengths = np.array([len(review) for review in reviews], np.int64)
    statistics = ngram_statistics(
        ids, lengths, lengths % 2, lengths % 5,
        num_classes=2, vocabulary_size=VOCABULARY, longest=longest,
    )  # fmt: skip
    known: Ngrams = {}
    before: list[tuple[int, ...]] = [()]
    for keys in statistics.keys:
        before = [before[key // VOCABULARY] + (key % VOCABULARY,) for key in keys.tolist()]
        known |= {ngram: len(known) + number for number, ngram in enumerate(before, 1)}
    features = NgramFeatures(
        sizes=[len(keys) for keys in statistics.keys], features=1, words=VOCABULARY
    )
    values = torch.arange(1.0, len(known) + 1)[:, None]
    held_out = torch.stack([values + 100, values + 200])
    features.load([torch.from_numpy(keys) for keys in statistics.keys], values, held_out)
    return features, known


def padded(reviews: list[list[int]]) -> Tensor:
    time = max(map(len, reviews))
    return torch.tensor([review + [0] * (time - len(review)) for review in reviews])


@given(train=texts, test=texts, longest=st.integers(1, 3))
def test_each_token_has_the_values_of_the_ngrams_that_end_with_it(
    train: list[list[int]], test: list[list[int]], longest: int
) -> None:
    features, known = fitted(train, longest)
    found = features(padded(test))
    assert found.shape == (len(test), max(map(len, test)), features.output_size)
    for review, row in zip(test, found.tolist(), strict=True):
        for end, values in enumerate(row, 1):
            ngrams = [tuple(review[end - length : end]) for length in range(1, longest + 1)]
            inside = [end <= len(review) and end >= length for length in range(1, longest + 1)]
            expected = [
                known.get(ngram, 0) if whole else 0
                for ngram, whole in zip(ngrams, inside, strict=True)
            ]
            assert values == expected


def test_a_fold_has_the_values_that_leave_it_out() -> None:
    features, known = fitted([[2, 3], [2, 3], [4], [4]], 2)
    token_ids = torch.tensor([[2, 3], [2, 3]])
    pair = known[(2, 3)]
    assert features(token_ids)[:, 1, 1].tolist() == [pair, pair]
    assert features(token_ids, torch.tensor([1, 0]))[:, 1, 1].tolist() == [pair + 200, pair + 100]


def test_what_is_not_known_of_any_length_is_zero() -> None:
    features = NgramFeatures(sizes=[0, 0], features=2, words=VOCABULARY)
    assert features(torch.tensor([[2, 3]])).tolist() == [[[0] * 4] * 2]


def test_the_folds_stay_out_of_the_checkpoint() -> None:
    features, _ = fitted([[2, 3], [2, 3]], 2)
    assert set(features.state_dict()) == {"keys", "values"}
