"""Labels that do not match: one that is spelled in several ways, and other labels in each file."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment.batch import NO_CLASS
from sentiment.check.findings import LOOK, SERIOUS, WILL_NOT_START, Finding, Row, counted
from sentiment.check.reviews import Ints, Reviews
from sentiment.data.labels import quoted
from sentiment.runtime.errors import listed


def mismatches(reviews: Reviews, refusal: str, most: int) -> Iterator[Finding]:
    """Labels that are likely one, and those that not all files have.

    Args:
        reviews: the reviews.
        refusal: why a training of these files does not start; "" if it does, or if another finding
            says it.
        most: rows of the finding.
    """
    if not reviews.merge:
        return
    parts, advice = [], []
    if spelled := _spellings(reviews):
        parts.append(f"likely one label: {listed(spelled, most=5)}")
        advice.append("Spell each label in one way.")
    first = reviews.files[0].corpus.path.name
    counts = reviews.counts(reviews.classes)
    own = _names(reviews, counts[0])
    for at in reviews.foreign:
        name = reviews.files[at].corpus.path.name
        parts.append(f"no label of {name} ({_names(reviews, counts[at])}) is in {first} ({own})")
    if reviews.foreign:
        advice.append(
            "Rename the labels of one file, or leave it out: sentiment.evaluate --labels takes"
            " other names."
        )
    files = [
        at for at, file in enumerate(reviews.files) if file.labeled and at not in reviews.foreign
    ]
    some = (counts[files] > 0).any(0)
    lacking = {at: some & (counts[at] == 0) for at in files}
    for at, labels in lacking.items():
        if labels.any():
            parts.append(f"{reviews.files[at].corpus.path.name} has no {_names(reviews, labels)}")
    if any(labels.any() for labels in lacking.values()):
        advice.append("Add such rows, or list all labels in data.labels.")
    if not parts:
        return
    rows = _unmatched(reviews, np.any(list(lacking.values()), axis=0))
    labels = [reviews.labels[each] for each in np.unique(reviews.written[rows]).tolist()]
    refused = any(quoted(label) in refusal for label in labels)  # else, for another reason
    yield Finding(
        "mismatch",
        SERIOUS if refused else LOOK,
        "Labels that do not match",
        len(rows),
        f"{WILL_NOT_START * refused}{'; '.join(parts)}",
        " ".join(advice),
        _rows(reviews, rows[:most]),
    )


def _names(reviews: Reviews, labels: npt.NDArray[Any]) -> str:
    """The names of the labels that have a number other than 0."""
    names = [reviews.names[label] for label in np.flatnonzero(labels).tolist()]
    return listed(names, quoted, most=5)


def _spellings(reviews: Reviews) -> list[str]:
    """The spellings of each label that has several, with the rows of each."""
    known = reviews.written != NO_CLASS
    pairs, rows = np.unique(
        np.column_stack([reviews.classes[known], reviews.written[known]]),
        axis=0,
        return_counts=True,
    )
    found = []
    for label in np.unique(pairs[:, 0]):
        own = np.flatnonzero(pairs[:, 0] == label)
        if len(own) > 1:
            own = own[np.argsort(-rows[own], kind="stable")]
            each = [
                f"{quoted(reviews.names[pairs[at, 1]])} ({counted(int(rows[at]), 'row')})"
                for at in own
            ]
            found.append(" and ".join(each))
    return found


def _unmatched(reviews: Reviews, lacking: npt.NDArray[np.bool_]) -> Ints:
    """The reviews whose labels do not match, those of the rarest label first.

    Args:
        reviews: all reviews.
        lacking: (labels,) which labels not all files have.
    """
    known = np.flatnonzero(reviews.written != NO_CLASS)
    other = reviews.written[known] != reviews.classes[known]
    foreign = np.isin(reviews.file_of(known), reviews.foreign)
    chosen = known[other | foreign | lacking[reviews.classes[known]]]
    rows_of = np.bincount(reviews.written[known])
    order = np.argsort(rows_of[reviews.written[chosen]], kind="stable")
    return np.asarray(chosen[order], np.int64)


def _rows(reviews: Reviews, chosen: Ints) -> list[Row]:
    first = reviews.files[0].corpus.path.name
    rows = []
    for review in chosen.tolist():
        label = reviews.names[reviews.classes[review]]
        if reviews.written[review] != reviews.classes[review]:
            rows.append(Row(review, f"likely {quoted(label)}", likely=label))
        elif reviews.compared[review] == NO_CLASS:
            rows.append(Row(review, f"no label of {first}"))
        else:
            rows.append(Row(review, "not all files have this label"))
    return rows
