"""A teacher's probabilities of the labels, matched to the labels and the texts of the splits."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sentiment.batch import NO_CLASS
from sentiment.data.corpus import Corpus
from sentiment.data.csv_format import ScoresFormat
from sentiment.data.reviews import column_names
from sentiment.data.splits import Split, Splits, seen_twice, without
from sentiment.runtime.errors import InputError, listed

log = logging.getLogger(__name__)

_GIVE = "give the column of each label as 'data.score_columns={LABEL: COLUMN, LABEL: COLUMN}'"
PREFIX = "score_"  # of the columns that ``sentiment.predict --scores`` writes


def scores_format(
    path: Path, text_column: str, score_columns: Mapping[str, str] | None
) -> ScoresFormat:
    """The format of a file of texts with a teacher's probabilities.

    Args:
        path: the file.
        text_column: the column with the texts.
        score_columns: the column of each label; None takes every one that begins with ``PREFIX``.

    Raises:
        InputError: the file cannot be read, or has no such columns.
    """
    if score_columns is not None:
        if not isinstance(score_columns, Mapping) or not score_columns:
            raise InputError(f"data.score_columns={score_columns}: {_GIVE}")
        pairs = tuple((str(label), str(column)) for label, column in score_columns.items())
        return ScoresFormat(text_column=text_column, score_columns=pairs)
    names = column_names(path, ScoresFormat(text_column=text_column))
    pairs = tuple((name.removeprefix(PREFIX), name) for name in names if name.startswith(PREFIX))
    if not pairs:
        raise InputError(
            f"{path}: no columns of probabilities, such as score_positive, as sentiment.predict"
            f" --scores writes; it has {listed(names, repr)}; {_GIVE}"
        )
    return ScoresFormat(text_column=text_column, score_columns=pairs)


def soft_splits(
    corpora: Sequence[Corpus], splits: Splits, labels: Sequence[str], names: Sequence[str]
) -> tuple[Split, list[Split]]:
    """Give texts their teacher's probabilities.

    The probabilities of a repeated text are averaged, between files too. Texts of the validation
    and the test split are left out.

    Args:
        corpora: the texts with probabilities.
        splits: the splits of the labelled reviews.
        labels: the labels by class, as written in the files.
        names: their names in results.

    Returns:
        The training split with ``targets`` where a review is among these texts, and for each corpus
        its other texts, with the classes ``NO_CLASS``.

    Raises:
        InputError: the labels differ, or every text is left out.
    """
    kept, dropped = [], []
    for corpus in corpora:
        assert corpus.scores is not None
        scores = corpus.scores[:, _order(corpus, labels, names)]
        new = Split(corpus, np.arange(len(corpus)), np.full(len(corpus), NO_CLASS), scores)
        new, tested = without(new, splits.test)
        new, validated = without(new, splits.val)
        kept.append(_averaged([new])[0])  # so that each file counts once for a text
        dropped.append((tested, validated, len(new)))
    train = splits.train
    known = np.zeros((len(train), len(labels)), np.float32)
    others = []
    for split, (tested, validated, left) in zip(_averaged(kept), dropped, strict=True):
        mine, position = _positions(split, train)
        known[position] = split.take(mine).targets
        others.append(split.take(~mine))
        corpus = split.corpus
        log.info(
            "%s: %s rows read, with probabilities of %s training reviews and %s other texts;"
            " dropped: %s in the test split, %s in the validation split, %s repeated, %s for a"
            " missing text or missing probabilities",
            corpus.path,
            *(
                f"{count:,}"
                for count in (
                    len(corpus) + corpus.missing, int(mine.sum()), len(others[-1]), tested,
                    validated, left - len(split), corpus.missing,
                )
            ),
        )  # fmt: skip
        if left == 0:
            raise InputError(
                f"{corpus.path}: every text of this file is also in the validation or test split,"
                " so none is left; leave it out of data.soft_csv"
            )
    return replace(train, targets=known), others


def _order(corpus: Corpus, labels: Sequence[str], names: Sequence[str]) -> list[int]:
    """The column of each class."""
    for own in (labels, names):
        if sorted(own) == sorted(corpus.label_names):
            return [corpus.label_names.index(label) for label in own]
    raise InputError(
        f"{corpus.path}: has probabilities of {listed(corpus.label_names, repr)}, but the labels"
        f" are {listed(labels, repr)}; {_GIVE}"
    )


def _averaged(splits: Sequence[Split]) -> list[Split]:
    """The splits with only the first of equal texts, and the mean of their probabilities."""
    digests, halves, targets = (
        np.concatenate([getattr(split, name) for split in splits])
        for name in ("digests", "half_digests", "targets")
    )
    suspects = np.flatnonzero(seen_twice(halves))
    _, first, group = np.unique(digests[suspects], return_index=True, return_inverse=True)
    sums = np.zeros((len(first), targets.shape[1]))
    np.add.at(sums, group, targets[suspects])
    targets[suspects[first]] = sums / np.maximum(np.bincount(group), 1)[:, None]
    kept = np.ones(len(digests), bool)
    kept[suspects] = False
    kept[suspects[first]] = True
    ends = np.cumsum([len(split) for split in splits])
    parts = zip(splits, np.split(targets, ends[:-1]), np.split(kept, ends[:-1]), strict=True)
    return [replace(split, targets=own).take(mask) for split, own, mask in parts]


def _positions(split: Split, other: Split) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which texts of a split are also in another, and their positions there."""
    order = np.argsort(other.digests)
    there = other.digests[order]
    found = np.minimum(np.searchsorted(there, split.digests), max(0, len(there) - 1))
    same = there[found] == split.digests
    return same, order[found[same]]
