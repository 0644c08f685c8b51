"""What the n-grams of training reviews tell of the classes, as features of each token.

A review's own label is among the counts of its n-grams, and a network would learn to read it there.
So training reviews fall into folds, and each sees the counts of the other folds alone. Each class
is spread evenly over the folds, lest how many reviews of it the others hold tell a label as well.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sentiment.data.ngrams import NgramCounts

_Floats = npt.NDArray[np.floating]
_Ints = npt.NDArray[np.int64]

_FOLDS = 5


@dataclass(frozen=True)
class NgramEvidence:
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


def ngram_evidence(
    token_ids: _Ints,
    lengths: _Ints,
    classes: _Ints,
    *,
    num_classes: int,
    vocabulary_size: int,
    longest: int,
    seed: int = 0,
) -> NgramEvidence:
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
        class_evidence(counts.sum(0) - counts[fold], totals.sum(0) - totals[fold])
        for fold in range(_FOLDS)
    ]
    features = class_evidence(counts.sum(0), totals.sum(0))
    return NgramEvidence(
        keys=counter.keys,
        features=features,
        held_out=np.stack([*held_out, features]),
        folds=folds,
    )


def class_evidence(counts: _Floats, totals: _Floats) -> npt.NDArray[np.float16]:
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
