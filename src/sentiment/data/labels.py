"""Order the labels of a training, and find labels that are likely the same."""

import logging
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from sentiment.data.cleaning import clean
from sentiment.data.csv_format import CsvFormat
from sentiment.data.reviews import ReviewChunk
from sentiment.runtime.errors import InputError, listed

log = logging.getLogger(__name__)

_MOST_LABELS = 1000
_ENOUGH_ROWS, _ENOUGH_SWAPPED = 50, 10  # to judge by whether labels are classes
# What files write, in any case, where a label is missing.
_MISSING = {"na", "n/a", "#n/a", "nan", "null", "none", "\\n"}
# Words of YAML and Hydra for the same value, by that value as a string.
_WORDS = {
    "true": ("true", "yes", "on"),
    "false": ("false", "no", "off"),
    "null": ("null", "~"),
}


def order_labels(
    by_file: Mapping[str, Sequence[str]],
    chosen: Sequence[str | None] | None = None,
    first_row: Callable[[str], str] | None = None,
    *,
    warn_of_alike: bool = True,
) -> list[str]:
    """The labels in the order of the classes: as chosen, else by number, else by name.

    Labels that are likely the same, such as ``1`` and ``1.0``, are logged, and so are labels such
    as ``NA`` unless ``chosen`` has them.

    Args:
        by_file: the labels in each file.
        chosen: labels as a user types them.
        first_row: gives the file and row where a label occurs first; None names the files alone.
        warn_of_alike: whether labels that are likely the same are logged.

    Raises:
        InputError: there are fewer than two labels or far too many, or ``chosen`` lacks one.
    """
    files = ", ".join(by_file)
    where = first_row or (lambda label: files)
    found = dict.fromkeys(label for labels in by_file.values() for label in labels)
    if chosen is None:
        labels = sorted(found, key=_by_number_then_name)
    else:
        typed = [None if label is None else str(label) for label in chosen]
        labels = [as_in_file(label, found) for label in typed]
        if len(set(labels)) < len(labels):
            raise InputError(
                f"data.labels={labels}: a label occurs twice; {quoted_labels(list(found)[:20])}"
            )
        unknown = [label for label in found if label not in labels]
        if unknown:
            raise InputError(
                f"{where(unknown[0])}: label {quoted(unknown[0])} is not among"
                f" data.labels=[{listed(labels)}]; add it, or remove its rows from the file"
            )
        absent = [label for label in labels if label not in found]
        if absent:
            raise InputError(
                f"{files}: no row has the label {listed(absent, repr)} of"
                f" data.labels=[{listed(labels)}]; it has {listed(list(found), quoted)}"
            )
    if len(labels) < 2:
        raise InputError(
            f"{files}: every row has the label {quoted(labels[0])}; a classifier needs two or more"
            " (is data.label_column the right column?)"
        )
    if len(labels) > _MOST_LABELS:
        raise InputError(
            f"{files}: {len(labels):,} different labels, such as {quoted(labels[0])}; is"
            " data.label_column the right column?"
        )
    for label in labels if chosen is None else ():
        if label.casefold() in _MISSING:
            log.warning(
                "%s: label %r makes a class of its own; if it stands for a missing label, empty"
                " these cells: rows without a label are left out",
                where(label), label,
            )  # fmt: skip
    known: dict[object, str] = {}
    for label in labels if warn_of_alike else ():
        if (other := known.setdefault(likeness(label), label)) != label:
            one, two = (f"{where(each)}: label {quoted(each)}" for each in (other, label))
            log.warning("%s, and %s make two classes; spell them alike if they are one", one, two)
    return labels


def labels_of_classes(
    chunks: Iterable[ReviewChunk], path: Path, csv_format: CsvFormat
) -> Iterator[ReviewChunk]:
    """Yield the chunks of a file that is to be trained on, as long as their labels may be classes.

    Raises:
        InputError: see ``check_classes``.
    """
    found: dict[str, None] = {}
    rows = letters_of_texts = letters_of_labels = 0
    for chunk in chunks:
        found.update(dict.fromkeys(chunk.labels))
        rows += len(chunk.labels)
        letters_of_texts += sum(map(len, chunk.texts))
        letters_of_labels += sum(map(len, chunk.labels))
        swapped = letters_of_labels > 2 * letters_of_texts
        check_classes(found, rows, path, csv_format, swapped=swapped)
        yield chunk


def check_classes(
    found: Collection[str], rows: int, path: Path, csv_format: CsvFormat, *, swapped: bool = False
) -> None:
    """Check that the different labels found in some rows of a file may be classes.

    Args:
        found: the labels.
        rows: the number of rows.
        path: the file, for the message.
        csv_format: how it is read.
        swapped: whether the labels look like texts, and the texts like labels.

    Raises:
        InputError: there are far too many labels, most rows have one of their own, or they are
            measured numbers.
    """
    own = rows >= (_ENOUGH_SWAPPED if swapped else _ENOUGH_ROWS) and len(found) > 0.9 * rows
    measured = rows >= _ENOUGH_ROWS and 2 * sum(map(_is_fraction, found)) > _ENOUGH_ROWS
    if not (len(found) > _MOST_LABELS or own or measured):
        return
    likely = "give data.label_column another name"
    if swapped:
        likely = "data.text_column and data.label_column seem to be swapped"
    elif measured:
        likely = "numbers that are measured must be made classes first, or all be in data.labels"
    raise InputError(
        f"{path}: {len(found):,} different labels in {rows:,} rows, such as"
        f" {listed(list(found)[:3], quoted)}; is {csv_format.label_column!r} the label column?"
        f" {likely}"
    )


def quoted(label: str) -> str:
    """A label in quotation marks, and of a long one only the beginning."""
    return repr(label if len(label) <= 40 else f"{label[:37]}...")


def _is_fraction(label: str) -> bool:
    value = as_number(label)
    return value is not None and value.is_finite() and value != value.to_integral_value()


def _by_number_then_name(label: str) -> tuple[int, float, str]:
    value = as_number(label)
    return (1, 0.0, label) if value is None else (0, float(value), label)


def as_number(label: str) -> Decimal | None:
    """The number that a label is, or None if it is not a number."""
    try:
        value = Decimal(label.strip())
    except InvalidOperation:
        return None
    return None if value.is_nan() else value


def likeness(label: str) -> object:
    """A value that is equal for labels that are likely the same.

    These are the same number (``1``, ``1.0``, ``01``), or differ in case, whitespace, Unicode form
    or characters that cleaning removes.
    """
    seen = clean(label, strip_markup=False)
    value = as_number(seen)
    if value is not None:
        return value
    folded = unicodedata.normalize("NFKC", seen).casefold()
    return "".join(unicodedata.normalize("NFKC", folded).split())


def equal_labels(label: str, others: Iterable[str]) -> list[str]:
    """The other labels that are the same number, or the same one of true, false and null."""
    value, word = as_number(label), label.casefold()
    return [
        other
        for other in others
        if (value is not None and as_number(other) == value)
        or (word in _WORDS and other.casefold() == word)
    ]


def as_in_file(label: str | None, found: Iterable[str]) -> str:
    """The label of a file that a user means, given what YAML makes of the label as typed.

    ``false`` may be ``False`` or ``no`` in the file, and ``1`` may be ``1.0``.

    Args:
        label: the label as YAML reads it, as a string; None for ``null``.
        found: the labels of the file.

    Returns:
        One of ``found``, or the label itself if none is equal.

    Raises:
        InputError: several labels of the file are equal.
    """
    name = "null" if label is None else label
    found = list(found)
    if name in found:
        return name
    words = _WORDS.get(name.casefold(), ())
    equal = equal_labels(name, found) or [each for each in found if each.casefold() in words]
    if len(equal) > 1:
        raise InputError(
            f"data.labels: {name} may be {' or '.join(map(repr, equal))}; {quoted_labels(equal)}"
        )
    return equal[0] if equal else name


def quoted_labels(labels: Sequence[str]) -> str:
    """Quote labels as a user must type them to be taken literally."""
    listed = ",".join(f'"{label}"' for label in labels)
    return f"quote labels that are to be taken literally: 'data.labels=[{listed}]'"
