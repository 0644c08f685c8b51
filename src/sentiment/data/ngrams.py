"""Counts of word n-grams, by array work from flat token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sentiment.batch import UNK_INDEX

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


_Floats = npt.NDArray[np.floating]


_FOLDS = 5


@dataclass(frozen=True)
class NgramStatistics:
    """The known n-grams and what each tells of the classes.

    Attributes:
        keys: for each length from 1, the sorted numbers of its n-grams; see ``NgramCounts.keys``.
        features: (n-grams of all lengths, features) float16, by all training reviews.
        held_out: (folds + 1, n-grams of all lengths, features) float16, by those outside of each
            fold; the last is for reviews of no fold, by all.
        folds: (training reviews,) int64, the fold that each is in.
    """

    keys: list[_Ints]
    features: npt.NDArray[np.float16]
    held_out: npt.NDArray[np.float16]
    folds: _Ints


def ngram_statistics(
    token_ids: _Ints,
    lengths: _Ints,
    classes: _Ints,
    *,
    num_classes: int,
    vocabulary_size: int,
    longest: int,
    seed: int = 0,
) -> NgramStatistics:
    """Count the n-grams of the training reviews by class, fold by fold.

    Args:
        token_ids: (tokens,) all training reviews one after the other.
        lengths: (reviews,) tokens of each.
        classes: (reviews,) class of each.
        num_classes: how many classes there are.
        vocabulary_size: token ids are below this.
        longest: words in the longest n-grams.
        seed: of the folds.
    """
    counter = NgramCounts(longest=longest, words=vocabulary_size)
    present = counter.fit(token_ids, lengths)
    present.data[:] = 1
    reviews = len(lengths)
    shuffled = np.random.default_rng(seed).permutation(reviews)
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    folds = np.empty(reviews, np.int64)
    folds[by_class] = np.arange(reviews) % _FOLDS
    groups = folds * num_classes + classes
    members = sparse.csr_matrix(
        (np.ones(reviews, np.float32), (groups, np.arange(reviews))),
        shape=(_FOLDS * num_classes, reviews),
    )
    counts = (members @ present).toarray().reshape(_FOLDS, num_classes, -1)
    totals = np.bincount(groups, minlength=len(members.indptr) - 1)
    totals = totals.reshape(_FOLDS, num_classes).astype(np.float32)
    held_out = [
        class_statistics(counts.sum(0) - counts[fold], totals.sum(0) - totals[fold])
        for fold in range(_FOLDS)
    ]
    features = class_statistics(counts.sum(0), totals.sum(0))
    return NgramStatistics(
        keys=counter.keys,
        features=features,
        held_out=np.stack([*held_out, features]),
        folds=folds,
    )


def class_statistics(counts: _Floats, totals: _Floats) -> npt.NDArray[np.float16]:
    """How far each n-gram speaks for each class against the rest, and how surely.

    The first is a log-count ratio as in naive Bayes (Wang & Manning 2012, "Baselines and Bigrams",
    equation 1), of shares of reviews rather than of n-grams: log((c + 1) / (n + 1)), where c of the
    n reviews of a class have it, less the same of the other classes. The second is by how many
    thirds of a standard deviation c departs from what chance would give. Both are zero, as of an
    unknown n-gram, where no review has it or no review is of the class or of the others.

    Args:
        counts: (classes, n-grams) reviews of each class that have it.
        totals: (classes,) reviews of each class.

    Returns:
        (n-grams, features): both for each class, or of two classes for the second alone.
    """
    seen, reviews = counts.sum(0), totals.sum()
    features = []
    for own, total in list(zip(counts, totals, strict=True))[len(counts) == 2 :]:
        odds = np.log((own + 1) / (total + 1)) - np.log((seen - own + 1) / (reviews - total + 1))
        share = total / max(1, reviews)
        deviation = (own - seen * share) / np.sqrt(seen * share * (1 - share) + 1)
        features += [np.where((seen > 0) & (0 < total < reviews), odds, 0), deviation / 3]
    return np.stack(features, axis=-1).astype(np.float16)
