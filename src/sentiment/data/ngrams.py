"""Counts of word n-grams, and how they differ between classes, by array operations on token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sentiment.batch import UNK_INDEX

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.floating]
FOLDS = 5


class NgramCounts:
    """Counts n-grams of 1 to ``longest`` words within reviews; none has an unknown word.

    Args:
        longest: words in the longest n-grams.
        min_freq: n-grams that occur less often in training are left out.
        words: word ids are below this; None finds it from the training reviews.

    Attributes:
        keys: sorted numbers of the n-grams of each length; with ``words``, all that is learned.
        words: word ids are below this.
    """

    def __init__(self, *, longest: int, min_freq: int = 2, words: int | None = None) -> None:
        self._longest = longest
        self._min_freq = min_freq
        self.keys: list[_Ints] = []
        self.words = words or 0
        self._words_given = words is not None

    @property
    def features(self) -> int:
        """How many n-grams are counted."""
        return sum(map(len, self.keys))

    @classmethod
    def of_keys(cls, keys: Sequence[_Ints], *, words: int) -> "NgramCounts":
        """A fitted counter from the ``keys`` and ``words`` of another."""
        fitted = cls(longest=len(keys), words=words)
        fitted.keys = list(keys)
        return fitted

    def fit(self, token_ids: _Ints, lengths: _Ints) -> sparse.csr_matrix:
        """Find the n-grams of training reviews, and count them; see ``count``."""
        self.keys = []
        if not self._words_given:
            self.words = int(token_ids.max(initial=0)) + 1
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
        known = (token_ids != UNK_INDEX) & (token_ids < self.words)
        starts = np.flatnonzero(known)
        keys = token_ids[starts]
        blocks = []
        for length in range(1, self._longest + 1):
            if learn:
                found, counts = np.unique(keys, return_counts=True)
                self.keys.append(found[counts >= self._min_freq])
            ranks, hit = _ranks(keys, self.keys[length - 1])
            ranks, starts = ranks[hit], starts[hit]
            shape = (len(lengths), len(self.keys[length - 1]))
            ones = np.ones(len(ranks), np.float32)
            blocks.append(sparse.coo_matrix((ones, (reviews[starts], ranks)), shape).tocsr())
            # Longer n-grams extend these by a known word of the same review.
            ends = np.minimum(starts + length, len(token_ids) - 1)
            longer = (starts + length == ends) & known[ends] & (reviews[starts] == reviews[ends])
            starts, ends = starts[longer], ends[longer]
            keys = ranks[longer] * self.words + token_ids[ends]
        return sparse.hstack(blocks, format="csr")


def _ranks(keys: _Ints, sorted_keys: _Ints) -> tuple[_Ints, npt.NDArray[np.bool_]]:
    """The index of each key among the sorted ones, and whether it is among them."""
    if not len(sorted_keys):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
    ranks = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return ranks, sorted_keys[ranks] == keys


@dataclass(frozen=True)
class NgramStatistics:
    """The known n-grams and how each is related to the classes; see ``class_statistics``.

    A review's own label is among the counts of its n-grams, and a network would learn to read it
    there: so each training review gets the counts of the other folds alone.

    Attributes:
        keys: for each length from 1, the sorted numbers of its n-grams; see ``NgramCounts.keys``.
        features: (n-grams of all lengths, features) float16, from all training reviews.
        held_out: (FOLDS + 1, n-grams of all lengths, features) float16, from the reviews outside
            of each fold; the last, from all reviews, is for those without labels.
    """

    keys: list[_Ints]
    features: npt.NDArray[np.float16]
    held_out: npt.NDArray[np.float16]


def stratified_folds(classes: _Ints, seed: int) -> _Ints:
    """A fold for each review, 0 to ``FOLDS - 1``, so that each class is spread evenly; (reviews,).

    Otherwise the number of a class's reviews in the other folds would reveal a label too.

    Args:
        classes: (reviews,) class of each.
        seed: of the random order.
    """
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    folds = np.empty(len(classes), np.int64)
    folds[by_class] = np.arange(len(classes)) % FOLDS
    return folds


def ngram_statistics(
    token_ids: _Ints,
    lengths: _Ints,
    classes: _Ints,
    folds: _Ints,
    *,
    num_classes: int,
    vocabulary_size: int,
    longest: int,
) -> NgramStatistics:
    """Count the n-grams of the training reviews by class, fold by fold.

    Args:
        token_ids: (tokens,) all training reviews one after the other.
        lengths: (reviews,) tokens of each.
        classes: (reviews,) class of each.
        folds: (reviews,) fold of each; see ``stratified_folds``.
        num_classes: how many classes there are.
        vocabulary_size: token ids are below this.
        longest: words in the longest n-grams.
    """
    counter = NgramCounts(longest=longest, words=vocabulary_size)
    present = counter.fit(token_ids, lengths)
    present.data[:] = 1
    reviews = len(lengths)
    groups = folds * num_classes + classes
    members = sparse.csr_matrix(
        (np.ones(reviews, np.float32), (groups, np.arange(reviews))),
        shape=(FOLDS * num_classes, reviews),
    )
    counts = (members @ present).toarray().reshape(FOLDS, num_classes, -1)
    totals = np.bincount(groups, minlength=len(members.indptr) - 1)
    totals = totals.reshape(FOLDS, num_classes).astype(np.float32)
    held_out = [
        class_statistics(counts.sum(0) - counts[fold], totals.sum(0) - totals[fold])
        for fold in range(FOLDS)
    ]
    features = class_statistics(counts.sum(0), totals.sum(0))
    return NgramStatistics(
        keys=counter.keys,
        features=features,
        held_out=np.stack([*held_out, features]),
    )


def class_statistics(counts: _Floats, totals: _Floats) -> npt.NDArray[np.float16]:
    """Two numbers for each n-gram and class: how typical it is of the class, and how surely.

    The first is a log-count ratio as in naive Bayes (Wang & Manning 2012, "Baselines and Bigrams",
    equation 1), from fractions of reviews instead of n-grams: log((c + 1) / (n + 1)), if c of the
    n reviews of a class have it, minus the same for the other classes. The second is the deviation
    of c from what chance would give, in units of three standard deviations. Both are zero, as for
    an unknown n-gram, if no review has it or no review is of the class or of the others.

    Args:
        counts: (classes, n-grams) reviews of each class that have it.
        totals: (classes,) reviews of each class.

    Returns:
        (n-grams, features): both numbers for each class; of two classes, for the second alone.
    """
    seen, reviews = counts.sum(0), totals.sum()
    features = []
    for own, total in list(zip(counts, totals, strict=True))[len(counts) == 2 :]:
        odds = np.log((own + 1) / (total + 1)) - np.log((seen - own + 1) / (reviews - total + 1))
        fraction = total / max(1, reviews)
        deviation = (own - seen * fraction) / np.sqrt(seen * fraction * (1 - fraction) + 1)
        features += [np.where((seen > 0) & (0 < total < reviews), odds, 0), deviation / 3]
    return np.stack(features, axis=-1).astype(np.float16)
