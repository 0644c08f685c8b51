"""Count word n-grams and measure how typical each is of a class, by array operations on ids."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sentiment.batch import UNK_INDEX

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.floating]
FOLDS = 5


class NgramCounts:
    """Counts the n-grams of 1 to ``longest`` known words in each review.

    Args:
        longest: number of words in the longest n-grams.
        min_freq: n-grams that occur less often in the training reviews are left out.
        words: upper bound (exclusive) of the ids of known words; None takes it from the training
            reviews.

    Attributes:
        keys: for each length, the sorted keys of its n-grams, as in ``NgramFeatures.load``. With
            ``words``, they are all that ``fit`` learns.
        words: upper bound (exclusive) of the ids of known words.
    """

    def __init__(self, *, longest: int, min_freq: int = 2, words: int | None = None) -> None:
        self._longest = longest
        self._min_freq = min_freq
        self.keys: list[_Ints] = []
        self.words = words or 0
        self._words_given = words is not None

    @property
    def features(self) -> int:
        """The number of known n-grams."""
        return sum(map(len, self.keys))

    @classmethod
    def of_keys(cls, keys: Sequence[_Ints], *, words: int) -> "NgramCounts":
        """Rebuild a fitted counter from its ``keys`` and ``words``."""
        fitted = cls(longest=len(keys), words=words)
        fitted.keys = list(keys)
        return fitted

    def fit(self, token_ids: _Ints, lengths: _Ints) -> sparse.csr_matrix:
        """Learn the n-grams of training reviews, and return their counts; see ``count``."""
        return self._count(self._learn(token_ids, lengths), lengths)

    def count(self, token_ids: _Ints, lengths: _Ints) -> sparse.csr_matrix:
        """Count the known n-grams of each review.

        Args:
            token_ids: (tokens,) all reviews one after the other.
            lengths: (reviews,) number of tokens of each.

        Returns:
            (reviews, features) float32.
        """
        return self._count(self._find(token_ids, lengths, learn=False), lengths)

    def occurrences(self, token_ids: _Ints) -> Iterator[tuple[_Ints, _Ints]]:
        """Find the known n-grams of one review, of each length in turn.

        Args:
            token_ids: (tokens,) of the review.

        Yields:
            The feature and the first token of each occurrence, (occurrences,).
        """
        first = 0
        found = self._find(token_ids, np.array([len(token_ids)]), learn=False)
        for keys, (ranks, starts) in zip(self.keys, found, strict=True):
            yield first + ranks, starts
            first += len(keys)

    def learn(self, token_ids: _Ints, lengths: _Ints) -> Iterator[tuple[_Ints, _Ints]]:
        """Learn the n-grams of training reviews, and yield where those of each length occur.

        Yields:
            The index into ``keys[length - 1]`` and the review of each occurrence, in this order.
        """
        reviews = np.repeat(np.arange(len(lengths)), lengths)
        for ranks, starts in self._learn(token_ids, lengths):
            yield ranks, reviews[starts]

    def _learn(self, token_ids: _Ints, lengths: _Ints) -> Iterator[tuple[_Ints, _Ints]]:
        self.keys = []
        if not self._words_given:
            self.words = int(token_ids.max(initial=0)) + 1
        return self._find(token_ids, lengths, learn=True)

    def _find(
        self, token_ids: _Ints, lengths: _Ints, *, learn: bool
    ) -> Iterator[tuple[_Ints, _Ints]]:
        """Yield the index into ``keys`` and the first token of each occurrence, length by length.

        They are sorted by index, then token.
        """
        known = (token_ids != UNK_INDEX) & (token_ids < self.words)
        starts = np.flatnonzero(known)
        keys = token_ids[starts]
        # The word with which a longer n-gram may go on at each position: a known one of its review.
        following = np.append(np.where(known, token_ids, UNK_INDEX), UNK_INDEX)
        following[np.cumsum(lengths) - lengths] = UNK_INDEX
        for length in range(1, self._longest + 1):
            keys, starts = _sorted(keys, starts)
            if learn:
                firsts = np.flatnonzero(_changes(keys))
                counts = np.diff(firsts, append=len(keys))
                frequent = counts >= self._min_freq
                self.keys.append(keys[firsts[frequent]])
                hit = np.repeat(frequent, counts)
                ranks = np.repeat(np.arange(len(self.keys[-1])), counts[frequent])
            else:
                ranks, hit = _ranks(keys, self.keys[length - 1])
                ranks = ranks[hit]
            starts = starts[hit]
            del keys, hit  # the arrays here are most of the memory that counting takes
            yield ranks, starts
            words = following[starts + length]
            longer = words != UNK_INDEX
            starts = starts[longer]
            keys = ranks[longer]
            del ranks
            keys *= self.words
            keys += words[longer]
            del words

    def _count(self, found: Iterator[tuple[_Ints, _Ints]], lengths: _Ints) -> sparse.csr_matrix:
        reviews = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        blocks = []
        for length, (ranks, starts) in enumerate(found):
            shape = (len(lengths), len(self.keys[length]))
            ones = np.ones(len(ranks), np.float32)
            blocks.append(sparse.coo_matrix((ones, (reviews[starts], ranks)), shape).tocsr())
            del ranks, starts, ones
        return sparse.hstack(blocks, format="csr")


def _sorted(keys: _Ints, starts: _Ints) -> tuple[_Ints, _Ints]:
    """Both in the order of keys, then starts; packed into one number each pair sorts fastest.

    The given arrays may be overwritten, which takes no further memory.
    """
    size = int(starts.max(initial=0)) + 1
    if int(keys.max(initial=0)) < np.iinfo(np.int64).max // size:
        keys *= size
        keys += starts
        keys.sort()
        return np.divmod(keys, size, out=(keys, starts))
    order = np.lexsort((starts, keys))
    return keys[order], starts[order]


def _changes(values: _Ints) -> npt.NDArray[np.bool_]:
    """Whether each value differs from the one before it; the first does."""
    changes = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes


def _ranks(keys: _Ints, sorted_keys: _Ints) -> tuple[_Ints, npt.NDArray[np.bool_]]:
    """The index of each key in ``sorted_keys``, and whether it is there (else any index)."""
    if not len(sorted_keys):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
    ranks = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return ranks, sorted_keys[ranks] == keys


@dataclass(frozen=True)
class NgramStatistics:
    """The known n-grams and their features from ``class_statistics``.

    A review's own label is among the counts of its n-grams, and a network would learn to read it
    there: so each training review gets the counts of the other folds alone.

    Attributes:
        keys: for each length, the sorted keys of its n-grams; see ``NgramCounts``.
        features: (n-grams of all lengths, features) float16, from all training reviews.
        held_out: (FOLDS + 1, n-grams of all lengths, features) float16. Entry i is computed from
            the reviews outside fold i; the last, from all reviews, is for unlabeled ones.
    """

    keys: list[_Ints]
    features: npt.NDArray[np.float16]
    held_out: npt.NDArray[np.float16]


def stratified_folds(classes: _Ints, seed: int) -> _Ints:
    """Assign each review a fold, 0 to ``FOLDS - 1``, so that each class is spread evenly.

    Otherwise the number of a class's reviews in the other folds would reveal a label too.

    Args:
        classes: (reviews,) class of each.
        seed: seed of the random order.

    Returns:
        (reviews,) int64.
    """
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    folds = np.empty(len(classes), np.int64)
    folds[by_class] = np.arange(len(classes)) % FOLDS
    return folds


def ngram_statistics(
    token_ids: _Ints,
    lengths: _Ints,
    classes: _Ints | npt.NDArray[np.float32],
    folds: _Ints,
    *,
    num_classes: int,
    vocabulary_size: int,
    longest: int,
) -> NgramStatistics:
    """Compute the features of n-grams from all training reviews and from those outside each fold.

    Args:
        token_ids: (tokens,) all training reviews one after the other.
        lengths: (reviews,) number of tokens of each.
        classes: (reviews,) class of each, or (reviews, classes) the fraction of it that counts for
            each class.
        folds: (reviews,) fold of each; see ``stratified_folds``.
        num_classes: the number of classes.
        vocabulary_size: upper bound (exclusive) of the token ids.
        longest: number of words in the longest n-grams.
    """
    counter = NgramCounts(longest=longest, words=vocabulary_size)

    def counted(columns: _Ints, reviews: _Ints, width: int) -> npt.NDArray[np.float32]:
        """How many of the reviews of each fold and class are in each column."""
        if classes.ndim == 1:
            cells = (folds * num_classes + classes)[reviews] * width + columns
            counts = np.bincount(cells, minlength=FOLDS * num_classes * width)
        else:
            cells = folds[reviews] * width + columns
            counts = np.empty((FOLDS, num_classes, width), np.float32)
            for each in range(num_classes):  # one at a time bounds the memory
                weights = classes[reviews, each]
                own = np.bincount(cells, weights, minlength=FOLDS * width)
                counts[:, each] = own.reshape(FOLDS, width)
        return counts.astype(np.float32).reshape(FOLDS, num_classes, width)

    blocks = []
    for ranks, reviews in counter.learn(token_ids, lengths):
        first = _changes(ranks) | _changes(reviews)  # of an n-gram in a review
        blocks.append(counted(ranks[first], reviews[first], len(counter.keys[-1])))
    counts = np.concatenate(blocks, axis=-1)
    every = np.arange(len(lengths))
    totals = counted(np.zeros_like(every), every, 1)[..., 0]
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
    """Two features of each n-gram and class: how typical it is of the class, and how surely.

    The first is a log-count ratio as in naive Bayes (Wang & Manning 2012, "Baselines and Bigrams",
    equation 1), but of fractions of reviews: log((c + 1) / (n + 1)), where c of the n reviews of a
    class have the n-gram, minus the same for all other classes together. The second is the
    deviation of c from its expected value, in units of three standard deviations (of variance
    plus 1). Both are 0, as for an unknown n-gram, if no review has the n-gram, or if the class or
    all others have no review.

    Args:
        counts: (classes, n-grams) number of reviews of each class that have the n-gram.
        totals: (classes,) number of reviews of each class.

    Returns:
        (n-grams, features) float16: both features for each class; with two classes, only those for
        the second.
    """
    seen, reviews = counts.sum(0), totals.sum()
    features = []
    for own, total in list(zip(counts, totals, strict=True))[len(counts) == 2 :]:
        odds = np.log((own + 1) / (total + 1)) - np.log((seen - own + 1) / (reviews - total + 1))
        fraction = total / max(1, reviews)
        deviation = (own - seen * fraction) / np.sqrt(seen * fraction * (1 - fraction) + 1)
        features += [np.where((seen > 0) & (0 < total < reviews), odds, 0), deviation / 3]
    return np.stack(features, axis=-1).astype(np.float16)
