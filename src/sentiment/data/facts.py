"""What the data tells the model and the results, as one small record."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PAD_INDEX, UNK_INDEX = 0, 1  # of padding and of unknown words, in every vocabulary


@dataclass(frozen=True)
class DataFacts:
    """What was found in the data, for the model and the results.

    Attributes:
        vocabulary: the words by index, ``<pad>`` and ``<unk>`` first.
        word_counts: (vocabulary,) how often the training split has each, and the unlabeled reviews
            where there are any; 0 for the special two.
        labels: names of the classes, by index.
        class_counts: training reviews of each class.
        train_reviews: reviews that train.
        val_reviews: reviews that validate.
        test_reviews: reviews that test.
        dropped_duplicates: reviews left out because their text stands elsewhere.
        dropped_missing: rows left out because the text or the label is missing.
        fingerprints: of ``train``, ``val`` and ``test``: equal where the split has the same reviews
            with the same labels, in any order.
        unknown_words: running words of the same texts that are no word of the vocabulary.
        unlabeled_reviews: reviews without labels, what was left out not counted.
    """

    vocabulary: list[str]
    word_counts: npt.NDArray[np.int64]
    labels: list[str]
    class_counts: list[int]
    train_reviews: int
    val_reviews: int
    test_reviews: int
    dropped_duplicates: int
    dropped_missing: int
    fingerprints: dict[str, str]
    unknown_words: int = 0
    unlabeled_reviews: int = 0


def reviews_fingerprint(
    parts: Iterable[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]], labels: Sequence[str]
) -> str:
    """The same for the same texts with the same labels, in any order of either.

    Args:
        parts: digests of cleaned texts, (n, 2), and their classes, (n,), some at a time.
        labels: names of the classes, as they stand in the file.
    """
    sums = np.zeros((len(labels), 2), np.uint64)  # of random numbers: equal by no accident
    counts = np.zeros(len(labels), np.int64)
    for digests, classes in parts:
        np.add.at(sums, classes, digests)
        counts += np.bincount(classes, minlength=len(labels))
    rows = sorted(zip(labels, counts.tolist(), sums.tolist(), strict=True))
    there = repr([row for row in rows if row[1]])
    return hashlib.sha256(there.encode()).hexdigest()[:24]
