"""Read texts and labels from CSV files, in chunks and with checks.

A file of any size is read in constant memory. Knows nothing of tokens.
"""

import difflib
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from sentiment.data.cleaning import clean
from sentiment.data.csv_format import (
    CsvFormat,
    FormatOfOptions,
    has_header,
    record_kind,
    separator_of,
    separator_of_suffix,
)
from sentiment.data.records import LABEL_MARK, record_rows
from sentiment.data.survey import likely_separator, survey
from sentiment.data.table_rows import BadRowError, rows_of
from sentiment.data.table_text import explained, open_table
from sentiment.runtime.errors import InputError, listed

_MAX_MISSING = 0.1  # fraction of rows
_WORDS = 2  # most words of a column's name; a cell with more may be a review
_MAX_WEIGHT = 1e30  # the sum of many fits single precision
_ROUNDING = 0.02  # by which probabilities may miss a sum of 1
CHARACTERS_AT_A_TIME = 1 << 23  # a chunk with more ends early, which bounds the memory
# Common names of columns, in lower case.
_COMMON = {
    "text_column": {"text", "review", "sentence", "comment", "content", "body", "tweet"},
    "label_column": {"label", "sentiment", "class", "target", "category", "rating", "stars"},
    "weight_column": {"weight", "weights", "sample_weight"},
}
_INVISIBLE_ASCII = "".join(map(chr, (*range(33), 127)))


class ReviewChunk(NamedTuple):
    """Some rows of a file, without those that lack a text or a label."""

    texts: list[str]
    labels: list[str]  # as written in the file, stripped; empty without a label column
    rows: list[int]  # 0-based number of each row in the file, the header not counted
    missing: int  # rows of this chunk that were left out
    progress: float  # fraction of the file that has been read so far, 0 to 1
    weights: Sequence[float] = ()  # empty without a weight column
    scores: Sequence[Sequence[float]] = ()  # (rows, labels) probabilities; empty without columns


class TableChunk(NamedTuple):
    """Some rows of a file with all columns."""

    cells: list[list[str]]  # by row, one for each column; "" if one is missing
    first: int  # 0-based number of the first of the rows
    progress: float  # fraction of the file that has been read so far, 0 to 1


def is_blank(text: str) -> bool:
    """Whether a text counts as missing, because cleaning leaves nothing of it.

    Whitespace and invisible characters, such as zero-width spaces, are missing texts.
    """
    if text.isascii():  # much faster
        return not text.strip(_INVISIBLE_ASCII)
    beginning = text[:8]  # nearly always enough
    return not any(clean(part, strip_markup=False) for part in (beginning, text))


def read_reviews(path: Path, csv_format: CsvFormat, chunk_rows: int = 500) -> Iterator[ReviewChunk]:
    """Read texts, labels and weights from a CSV file, chunk by chunk.

    Raises:
        InputError: the file or a column is missing, the file is empty, not CSV or in another
            encoding, more than a tenth of its rows lack a text, a label or its probabilities, one
            has no weight, or has numbers that are no probabilities.
    """
    path = Path(path)
    given = {role: getattr(csv_format, f"{role}_column") for role in ("text", "label", "weight")}
    columns: dict[str, str] = {role: name for role, name in given.items() if name is not None}
    for one, other in combinations(columns, 2):
        if columns[one] == columns[other]:
            raise InputError(
                f"{path}: column {columns[one]!r} cannot be both {one} and {other}; set the {one}"
                f" column and the {other} column"
            )
    score_columns = [column for _, column in getattr(csv_format, "score_columns", ())]
    check_columns(path, csv_format, [*columns.values(), *score_columns])
    names = column_names(path, csv_format)
    scores_at = [*map(names.index, score_columns)]
    weight_at = [names.index(columns.pop("weight"))] if "weight" in columns else []
    text_at, *label_at = map(names.index, columns.values())
    kept = missing = 0
    first_missing = -1
    for chunk in read_table(path, csv_format, chunk_rows):
        texts, labels, rows, weights, scores = [], [], [], [], []
        for row, cells in enumerate(chunk.cells, chunk.first):
            label = [cells[at].strip() for at in label_at]
            of_labels = [cells[at] for at in scores_at]
            unscored = scores_at and all(map(is_blank, of_labels))
            if is_blank(cells[text_at]) or any(map(is_blank, label)) or unscored:
                first_missing = row if first_missing < 0 else first_missing
                continue
            texts.append(cells[text_at])
            labels += label
            rows.append(row)
            weights += [_weight(cells[at], f"{path}, row {row + 1}") for at in weight_at]
            if scores_at:
                scores.append(_probabilities(of_labels, f"{path}, row {row + 1}"))
        kept += len(rows)
        missing += len(chunk.cells) - len(rows)
        left_out = len(chunk.cells) - len(rows)
        yield ReviewChunk(texts, labels, rows, left_out, chunk.progress, weights, scores)
    if kept + missing == 0:
        raise InputError(f"{path}: no rows below the header; give a file with reviews in it")
    if missing > _MAX_MISSING * (kept + missing):
        raise InputError(
            f"{path}: {missing} of {kept + missing} rows lack a value in"
            f" {' or '.join(map(repr, [*columns.values(), *score_columns][:20]))} (the first is row"
            f" {first_missing + 1}), which is more than a tenth: fill them, remove them, or name"
            " other columns"
        )


def _weight(cell: str, where: str) -> float:
    """The weight that a cell holds; raises InputError if it holds none."""
    try:
        weight = float(cell)
    except ValueError:
        weight = -1.0
    if 0 <= weight <= _MAX_WEIGHT:
        return weight
    found = "the weight is missing" if is_blank(cell) else f"{cell.strip()!r} is no weight"
    raise InputError(f"{where}: {found}; give a number from 0 (does not count) to {_MAX_WEIGHT:g}")


def _probabilities(cells: Sequence[str], where: str) -> list[float]:
    """The probabilities that cells hold, which sum to 1; raises InputError if they are none."""
    given = ", ".join(cell.strip() or "nothing" for cell in cells[:20])
    try:
        scores = [float(cell) for cell in cells]
    except ValueError:
        scores = [-1.0]
    total = sum(scores)
    if not all(score >= 0 for score in scores) or not isfinite(total):
        raise InputError(f"{where}: {given}: give a probability from 0 to 1 for each label")
    if abs(total - 1) > max(_ROUNDING, _ROUNDING / 4 * len(scores)):  # of two decimals each
        raise InputError(
            f"{where}: {given}: the probabilities of the labels sum to {total:.4g}; they must sum"
            f" to 1 ({'divide percentages by 100' if 90 < total < 110 else 'a softmax makes them'})"
        )
    return [score / total for score in scores]


def read_table(
    path: Path, csv_format: CsvFormat, chunk_rows: int, *, blank_lines: bool = False
) -> Iterator[TableChunk]:
    """Read all columns of a CSV file, chunk by chunk.

    Args:
        path: the file.
        csv_format: how it is read.
        chunk_rows: most rows of a chunk; one of long rows has fewer.
        blank_lines: whether each blank line below the header is a row, too, if there is a single
            column.

    Raises:
        InputError: the file is missing, empty, damaged or not CSV, or changes while it is read.
    """
    path = Path(path)
    width = len(column_names(path, csv_format))
    blank_lines &= width == 1
    expected = row_count(path, csv_format, blank_lines=blank_lines)
    read = characters = 0
    progress = 0.0
    cells: list[list[str]] = []
    changed = f"{path}: the file changed while it was being read; start again"
    try:
        for row, progress in _rows(path, csv_format, blank_lines=blank_lines):
            if len(row) > width:
                raise InputError(changed)
            cells.append(row + [""] * (width - len(row)))
            characters += sum(map(len, row))
            if len(cells) == chunk_rows or characters > CHARACTERS_AT_A_TIME:
                yield TableChunk(cells, read, progress)
                read += len(cells)
                cells, characters = [], 0
    except BadRowError as error:
        raise InputError(changed) from error
    if cells:
        yield TableChunk(cells, read, progress)
    if read + len(cells) != expected:
        raise InputError(changed)


def _rows(
    path: Path, csv_format: CsvFormat, *, blank_lines: bool
) -> Iterator[tuple[list[str], float]]:
    """The cells of each row, and the fraction of the file that has been read so far."""
    found = survey(path, csv_format)
    if (kind := record_kind(path, csv_format)) is not None:
        for number, cells in enumerate(record_rows(path, csv_format, kind, found.names), 1):
            yield cells, min(1.0, number / found.rows)
        return
    header = csv_format.header
    with open_table(path, csv_format) as text:
        lines = text.lines(any_return=found.dialect.any_return)
        for row in rows_of(lines, separator_of(path, csv_format), found.dialect):
            if row.blank and (header or not blank_lines):
                continue
            if header:
                header = False
            else:
                yield row.cells, text.progress


def output_separator(source: Path, target: Path, csv_format: CsvFormat) -> str:
    """The separator of the target: its suffix's if the source's suffix implies another.

    Otherwise it is the separator of the source.
    """
    kind = separator_of_suffix(target)
    if kind is None or kind == separator_of_suffix(source):
        return separator_of(source, csv_format)
    return kind


def column_names(path: Path, csv_format: CsvFormat) -> list[str]:
    """The names of a file's columns; ``0``, ``1`` … without a header.

    Raises:
        InputError: the file is missing, empty, or cannot be read.
    """
    return list(survey(Path(path), csv_format).names)


def row_count(path: Path, csv_format: CsvFormat, *, blank_lines: bool = False) -> int:
    """The number of rows that ``read_table`` yields; errors as above."""
    found = survey(Path(path), csv_format)
    return found.rows + found.blank_lines * (blank_lines and len(found.names) == 1)


def check_columns(path: Path, csv_format: CsvFormat, columns: Sequence[str]) -> None:
    """Raise InputError, with the names of the columns, if a file lacks one of these."""
    names = column_names(path, csv_format)
    for column in columns:
        if column not in names:
            close = difflib.get_close_matches(column, names, n=1)
            likely = likely_separator(path, csv_format) if len(names) == 1 else ""
            hint = f"did you mean {close[0]!r}? " if close else ""
            what = (
                "it has" if has_header(path, csv_format) else "without a header they are numbered:"
            )
            error = InputError(
                f"{path}: no column {column!r}; {hint}{what} {listed(names, repr)}"
                f"{f'; {likely}' if likely else f' ({_settings(path, csv_format, names)})'}"
            )
            raise explained(path, csv_format, error)
        if names.count(column) > 1:
            raise InputError(
                f"{path}: {names.count(column)} columns are called {column!r}; rename all but one"
            )


def _settings(path: Path, csv_format: CsvFormat, names: Sequence[str]) -> str:
    """The settings to change if a column is not found; names are those that the file has."""
    lacking = [key for key in _COMMON if getattr(csv_format, key) not in (None, *names)]
    likely = {
        key: name for key in lacking for name in reversed(names) if name.lower() in _COMMON[key]
    }
    if likely and len(likely) == len(lacking):
        return f"give {' '.join(csv_format.override(*each) for each in likely.items())}"
    if lacking in ([], ["weight_column"]):
        return f"set {csv_format.named('weight_column' if lacking else 'score_columns')}"
    options = isinstance(csv_format, FormatOfOptions)
    roles = ["text_column"] + ["label_column"] * (csv_format.label_column is not None)
    given = f"{'give' if options else 'set'} {', '.join(map(csv_format.named, roles))}"
    if record_kind(path, csv_format) is not None:
        return given
    if csv_format.header and (hint := _of_first_row(names, csv_format, roles)):
        return hint
    if not options:
        return f"{given}, {csv_format.named('header')} or {csv_format.named('separator')}"
    row = "--header if its first row has their names"
    if csv_format.header:
        row = "--no-header if its first row is a review"
    return f"{given} or --separator; {row}"


def _of_first_row(names: Sequence[str], csv_format: CsvFormat, roles: Sequence[str]) -> str:
    """The settings for a file whose first row is a review, or ""."""
    if names[0].startswith(LABEL_MARK):
        changes = {"file_format": "fasttext"} | {role: role.partition("_")[0] for role in roles}
        what = "for lines of fastText"
    elif any(len(name.split()) > _WORDS for name in names):
        by_length = sorted(range(len(names)), key=lambda column: len(names[column]))
        changes = {"header": "false", "text_column": str(by_length[-1])}
        if len(roles) > 1 and len(names) > 1:
            changes["label_column"] = str(by_length[0])
        what = "if its first row is a review"
    else:
        return ""
    return f"{what}, give {' '.join(csv_format.override(*each) for each in changes.items())}"
