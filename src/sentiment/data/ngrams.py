"""Counts of word n-grams, by array work from flat token ids."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sentiment.data.facts import UNK_INDEX

_Ints = npt.NDArray[np.int64]


class NgramCounts:
    """Counts the n-grams of 1 to ``longest`` words that training reviews have more than once.

    An n-gram never crosses from one review into the next, and has no unknown word.

    Args:
        longest: words in the longest n-grams.
        min_freq: n-grams seen less often in training are left out.
        words: ids of words are below this; None goes by the training reviews.
    """

    def __init__(self, *, longest: int, min_freq: int = 2, words: int | None = None) -> None:
        self._longest = longest
        self._min_freq = min_freq
        self._keys: list[_Ints] = []  # of each length, sorted
        self._words = words or 0
        self._words_given = words is not None

    @property
    def features(self) -> int:
        """How many n-grams are counted."""
        return sum(len(keys) for keys in self._keys)

    @property
    def keys(self) -> list[_Ints]:
        """Sorted numbers for the n-grams of each length; with ``words``, all that is known."""
        return list(self._keys)

    @property
    def words(self) -> int:
        """Ids of words are below this."""
        return self._words

    @classmethod
    def of_keys(cls, keys: Sequence[_Ints], *, words: int) -> "NgramCounts":
        """One that has been fitted; see ``keys``."""
        fitted = cls(longest=len(keys), words=words)
        fitted._keys = list(keys)
        return fitted

    def fit(self, token_ids: _Ints, lengths: _Ints) -> sparse.csr_matrix:
        """Find the n-grams of training reviews, and count them; see ``count``."""
        self._keys = []
        if not self._words_given:
            self._words = int(token_ids.max(initial=0)) + 1
        return self._count(token_ids, lengths, learn=True)

    def count(self, token_ids: _Ints, lengths: _Ints) -> sparse.csr_matrix:
        """Count the known n-grams of each review.

        Args:
            token_ids: (tokens,) all reviews one after the other.
            lengths: (reviews,) tokens of each.

        Returns:
            (reviews, features) float32.
        """
        return self._count(token_ids, lengths, learn=False)

    def _count(self, token_ids: _Ints, lengths: _Ints, *, learn: bool) -> sparse.csr_matrix:
        reviews = np.repeat(np.arange(len(lengths)), lengths)
        known = (token_ids != UNK_INDEX) & (token_ids < self._words)
        starts = np.flatnonzero(known)
        keys = token_ids[starts]
        blocks = []
        for length in range(1, self._longest + 1):
            if learn:
                found, counts = np.unique(keys, return_counts=True)
                self._keys.append(found[counts >= self._min_freq])
            ranks, hit = _ranks(keys, self._keys[length - 1])
            ranks, starts = ranks[hit], starts[hit]
            shape = (len(lengths), len(self._keys[length - 1]))
            ones = np.ones(len(ranks), np.float32)
            blocks.append(sparse.coo_matrix((ones, (reviews[starts], ranks)), shape).tocsr())
            # One word more goes on from here, if this review and the known words do.
            ends = np.minimum(starts + length, len(token_ids) - 1)
            longer = (starts + length == ends) & known[ends] & (reviews[starts] == reviews[ends])
            starts, ends = starts[longer], ends[longer]
            keys = ranks[longer] * self._words + token_ids[ends]
        return sparse.hstack(blocks, format="csr")


def _ranks(keys: _Ints, sorted_keys: _Ints) -> tuple[_Ints, npt.NDArray[np.bool_]]:
    """Where each key stands among the sorted ones, and whether it does."""
    if not len(sorted_keys):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
    ranks = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return ranks, sorted_keys[ranks] == keys
