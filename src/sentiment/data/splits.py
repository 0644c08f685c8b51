"""Split reviews into training, validation and test; repeated texts are dropped.

Works on labels and digests of texts, not on the texts.
"""

import csv
import hashlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sentiment.batch import NO_CLASS
from sentiment.data.corpus import Corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.labels import quoted
from sentiment.data.reviews import column_names, read_table
from sentiment.runtime.errors import InputError, listed
from sentiment.runtime.files import text_when_whole

log = logging.getLogger(__name__)

_FEW = 10  # reviews of a split


@dataclass(frozen=True)
class Split:
    """Some reviews of a corpus and their classes.

    Attributes:
        corpus: the corpus of the reviews.
        reviews: (n,) int64, indices into the corpus.
        classes: (n,) int64, index of each review's label among all labels.
        targets: (n, labels) float32, a teacher's probabilities of the labels, or zeros where there
            are none; None if no review has any.
    """

    corpus: Corpus
    reviews: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    targets: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.reviews)

    def take(self, chosen: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Split":
        """Only the chosen reviews, by indices into the split or by a mask."""
        targets = None if self.targets is None else self.targets[chosen]
        return Split(self.corpus, self.reviews[chosen], self.classes[chosen], targets)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n,) tokens of each review."""
        return self.corpus.offsets[self.reviews + 1] - self.corpus.offsets[self.reviews]

    @property
    def weights(self) -> npt.NDArray[np.float32] | None:
        """(n,) weight of each review in the training loss; None without a weight column."""
        return None if self.corpus.weights is None else self.corpus.weights[self.reviews]

    @property
    def digests(self) -> npt.NDArray[np.void]:
        """(n,) values that are equal if one text repeats another."""
        rows = np.ascontiguousarray(self.corpus.folded[self.reviews])
        return rows.view([("high", np.uint64), ("low", np.uint64)]).reshape(-1)

    @property
    def half_digests(self) -> npt.NDArray[np.uint64]:
        """(n,) values that are equal if one text repeats another, and very seldom otherwise."""
        return self.corpus.folded[:, 0][self.reviews]

    @property
    def ordered_fingerprint(self) -> str:
        """A fingerprint that, unlike ``reviews_fingerprint``, depends on the order of the texts."""
        content = hashlib.sha256()
        for first in range(0, len(self), 65536):  # one slice at a time bounds the memory
            content.update(self.corpus.digests[self.reviews[first : first + 65536]].tobytes())
        content.update(self.classes.astype(np.int64, copy=False).data)
        for numbers in (self.weights, self.targets):
            if numbers is not None:
                content.update(np.ascontiguousarray(numbers).data)
        return content.hexdigest()[:24]


@dataclass(frozen=True)
class Splits:
    """The three splits, the labels in the order of the classes, and the number of dropped texts."""

    train: Split
    val: Split
    test: Split
    labels: list[str]
    dropped_duplicates: int


def whole_file(corpus: Corpus, labels: Sequence[str]) -> Split:
    """All reviews of a corpus as one split."""
    to_class = np.array([labels.index(name) for name in corpus.label_names], np.int64)
    return Split(corpus, np.arange(len(corpus)), to_class[corpus.labels])


def split_reviews(
    train: Corpus,
    labels: Sequence[str],
    *,
    val: Corpus | None = None,
    test: Corpus | None = None,
    test_size: float,
    val_size: float,
    seed: int,
    labels_chosen: bool = False,
) -> Splits:
    """Drop repeated texts; a split without a file is taken from the training file.

    A file for testing is used in full, so that its metrics are comparable with others. Its texts
    are dropped from the other splits, and texts of the validation file from training. Otherwise the
    test split is that of ``train_test_split(..., test_size, random_state=seed, stratify=labels)``
    of scikit-learn, and the validation split is made of the rest in the same way.

    Raises:
        InputError: there are too few rows, all training reviews have the weight 0, or the files
            have different labels and ``labels_chosen`` is False.
    """
    everything = whole_file(train, labels)
    splits = {"training": _unique(everything)}
    dropped = len(everything) - len(splits["training"])
    for name, corpus in (("validation", val), ("test", test)):
        if corpus is not None:
            splits[name] = whole_file(corpus, labels)
            if not labels_chosen:
                _check_same_labels(splits["training"], splits[name], labels)
    for name, other in (("training", "test"), ("validation", "test"), ("training", "validation")):
        if name in splits and other in splits:
            splits[name], repeated = without(splits[name], splits[other])
            dropped += repeated
            if repeated:
                log.info(
                    "%s texts of the %s split are also in the %s split: dropped",
                    repeated, name, other,
                )  # fmt: skip
    for name, key, size in (("test", "test_size", test_size), ("validation", "val_size", val_size)):
        if name not in splits:
            splits["training"], splits[name] = _stratified(
                splits["training"], size, seed, labels, f"data.{key}"
            )
    for name in ("training", "validation"):
        if len(splits[name]) == 0:
            raise InputError(
                f"{splits[name].corpus.path}: every text of this {name} file is also in another"
                " split, so none is left; give different files"
            )
    weights = splits["training"].weights
    if weights is not None and not weights.any():
        raise InputError(
            f"{train.path}: all training reviews have the weight 0, so there is nothing to learn;"
            " give some a weight above 0, or set data.weight_column=null"
        )
    _warn_of_small(splits, labels)
    return Splits(splits["training"], splits["validation"], splits["test"], list(labels), dropped)


def _warn_of_small(splits: Mapping[str, Split], labels: Sequence[str]) -> None:
    """Log which of the splits for validation and test have few reviews, or none of a class."""
    small = []
    for name in ("validation", "test"):
        counts = np.bincount(splits[name].classes, minlength=len(labels))
        absent = [label for label, count in zip(labels, counts, strict=True) if not count]
        if absent or len(splits[name]) < _FEW:
            none = f", none of them {listed(absent, quoted)}" if absent else ""
            small.append(f"{len(splits[name]):,} reviews for {name}{none}")
    if small:
        log.warning(
            "%s: only %s; metrics of so few say little: add rows, or raise data.val_size and"
            " data.test_size",
            splits["training"].corpus.path, "; ".join(small),
        )  # fmt: skip


def _unique(split: Split) -> Split:
    unique, conflicting = without_repeats(split)
    if len(unique) < len(split):
        log.info(
            "%s: repeated texts dropped, all but the first of each: %s%s",
            split.corpus.path,
            f"{len(split) - len(unique):,}",
            f"; texts with different labels: {conflicting:,}" if conflicting else "",
        )
    return unique


def without_repeats(split: Split) -> tuple[Split, int]:
    """The split with only the first of equal texts, and how many of these have several labels."""
    suspects = np.flatnonzero(seen_twice(split.half_digests))
    among = split.take(suspects)
    _, first, group = np.unique(among.digests, return_index=True, return_inverse=True)
    if len(first) == len(among):
        return split, 0
    conflicting = len(np.unique(group[among.classes != among.classes[first][group]]))
    kept = np.ones(len(split), bool)
    kept[suspects] = False
    kept[suspects[first]] = True
    return split.take(kept), conflicting


def seen_twice(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """A mask of values that occur more than once, (n,), in less memory than ``np.unique``."""
    order = np.argsort(values)
    ordered = values[order]
    equals_next = np.zeros(len(values), bool)
    equals_next[:-1] = ordered[1:] == ordered[:-1]
    twice = np.empty(len(values), bool)
    twice[order] = equals_next | np.roll(equals_next, 1)
    return twice


def without(split: Split, other: Split) -> tuple[Split, int]:
    """The split without the texts of another, and how many were dropped."""
    suspects = np.flatnonzero(np.isin(split.half_digests, other.half_digests))
    repeated = suspects[np.isin(split.take(suspects).digests, other.digests)]
    kept = np.ones(len(split), bool)
    kept[repeated] = False
    return split.take(kept), len(repeated)


def _stratified(
    split: Split, size: float, seed: int, labels: Sequence[str], key: str
) -> tuple[Split, Split]:
    counts = np.bincount(split.classes, minlength=len(labels))
    rarest = int(counts.argmin())
    classes = len(labels)
    second = math.ceil(size * len(split))
    if counts[rarest] < 2 or second < classes or len(split) - second < classes:
        raise InputError(
            f"{split.corpus.path}: too few rows to split with {key}={size}: {len(split):,}"
            f" different texts in {classes:,} classes, {counts[rarest] or 'none'} with the label"
            f" {quoted(labels[rarest])}; every split needs each class: add rows, merge rare"
            " classes, or change the fraction"
            f"{' (is data.label_column the right one?)' if 2 * classes > len(split) else ''}"
        )
    from sklearn.model_selection import train_test_split  # slow to import, and not for all data

    kept, taken = train_test_split(
        np.arange(len(split)), test_size=size, random_state=seed, stratify=split.classes
    )
    return split.take(kept), split.take(taken)


def _check_same_labels(train: Split, other: Split, labels: Sequence[str]) -> None:
    for lacking, having in ((train, other), (other, train)):
        only = np.setdiff1d(having.classes, lacking.classes)
        if len(only):
            raise InputError(
                f"{lacking.corpus.path}: no row has the label {quoted(labels[only[0]])}, which is"
                f" in {having.corpus.path}; the splits must have the same labels (to allow a label"
                " without test rows, list all labels in data.labels)"
            )


def write_splits(
    splits: Splits, csv_format: CsvFormat, folder: Path, unlabeled: Sequence[Path] = ()
) -> None:
    """Write ``train.csv``, ``val.csv`` and ``test.csv`` with all columns of the source files.

    The rows keep the order of their file. Whatever the source's format, the files are UTF-8 with
    commas and a header (``0``, ``1`` ... if the source has none). Files of these names are
    replaced.

    Args:
        splits: the splits.
        csv_format: the format of the source files.
        folder: where the files are written.
        unlabeled: other files that must not be replaced.

    Raises:
        InputError: a source file or one of ``unlabeled`` would be replaced.
    """
    labeled = (split.corpus.path for split in (splits.train, splits.val, splits.test))
    sources = {path.resolve() for path in (*labeled, *unlabeled)}
    for name in ("train", "val", "test"):
        if (folder / f"{name}.csv").resolve() in sources:
            raise InputError(
                f"data.splits_dir={folder}: its {name}.csv would be replaced, which is a file of"
                " this data; give another folder"
            )
    for name in ("train", "val", "test"):
        split: Split = getattr(splits, name)
        chosen = split.corpus.rows[split.reviews]
        with text_when_whole(folder / f"{name}.csv") as file:
            # All cells are quoted, or a lone carriage return would split a row in two.
            writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(column_names(split.corpus.path, csv_format))
            for chunk in read_table(split.corpus.path, csv_format, 10_000):
                numbers = np.arange(chunk.first, chunk.first + len(chunk.cells))
                writer.writerows(compress(chunk.cells, np.isin(numbers, chosen)))
        log.info("wrote %s reviews to %s", f"{len(split):,}", folder / f"{name}.csv")


def unlabeled_splits(
    corpora: Sequence[Corpus], splits: Splits, others: Sequence[Split] = ()
) -> list[Split]:
    """The reviews of each corpus without labels whose text is neither repeated nor in a split.

    Args:
        corpora: the corpora.
        splits: the splits of the labelled reviews.
        others: further splits.

    Returns:
        A split for each corpus, with the classes ``NO_CLASS``.

    Raises:
        InputError: a corpus has no new text.
    """
    kept: list[Split] = []
    for corpus in corpora:
        everything = Split(corpus, np.arange(len(corpus)), np.full(len(corpus), NO_CLASS))
        new, tested = without(everything, splits.test)
        new, validated = without(new, splits.val)
        new, _ = without_repeats(new)
        for other in (splits.train, *others, *kept):
            new, _ = without(new, other)
        repeated = len(everything) - len(new) - tested - validated
        log.info(
            "%s: %s rows read, %s unlabeled reviews; dropped: %s in the test split, %s in the"
            " validation split, %s repeated, %s for a missing text",
            corpus.path,
            f"{len(corpus) + corpus.missing:,}",
            *(f"{count:,}" for count in (len(new), tested, validated, repeated, corpus.missing)),
        )
        if len(new) == 0:
            raise InputError(
                f"{corpus.path}: every text of this unlabeled file is also in a split or in another"
                " unlabeled file, so none is left; leave it out of data.unlabeled_csv"
            )
        kept.append(new)
    return kept


def reviews_fingerprint(
    parts: Iterable[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]], labels: Sequence[str]
) -> str:
    """A fingerprint that is equal for the same texts and labels, in any order of either.

    Args:
        parts: digests of cleaned texts, (n, 2), and their classes, (n,), in any number of parts.
        labels: names of the classes, as written in the file.
    """
    # Sums of random numbers are not equal by accident.
    sums = np.zeros((len(labels), 2), np.uint64)
    counts = np.zeros(len(labels), np.int64)
    for digests, classes in parts:
        np.add.at(sums, classes, digests)
        counts += np.bincount(classes, minlength=len(labels))
    rows = sorted(zip(labels, counts.tolist(), sums.tolist(), strict=True))
    present = repr([row for row in rows if row[1]])
    return hashlib.sha256(present.encode()).hexdigest()[:24]
