"""Rows of cells from tables that are not CSV: JSON lines, JSON, Parquet, and fastText's lines.

The columns of a file are all keys that occur in it, in the order in which they appear.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sentiment.data.csv_format import CsvFormat
from sentiment.data.table_text import missing_files_extra, open_table
from sentiment.runtime.errors import InputError, first_words

_MARK = "__label__"
_Record = dict[str, Any]


def record_columns(path: Path, csv_format: CsvFormat, kind: str) -> tuple[list[str], int]:
    """Read a file to its end: the names of its columns, and the number of its rows.

    Raises:
        InputError: the file cannot be read, or is not of this kind; the message names the line.
    """
    names: dict[str, None] = {}
    rows = 0
    for record in _READERS[kind](path, csv_format):
        names.update(dict.fromkeys(record))
        rows += 1
    if not rows:
        raise InputError(f"{path}: the file has no rows; give a file with reviews in it")
    return list(names), rows


def record_rows(
    path: Path, csv_format: CsvFormat, kind: str, names: list[str]
) -> Iterator[list[str]]:
    """The cells of each row, one for each name; "" where a row has no value.

    Texts are as they are; numbers, true, false and nested values are as JSON writes them.

    Raises:
        InputError: see ``record_columns``.
    """
    for record in _READERS[kind](path, csv_format):
        yield [_cell(record.get(name)) for name in names]


def _cell(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124 (NaN, which tables have for no value)
        return ""
    if not isinstance(value, int | float | list | dict):  # a text, a date, a decimal number
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _json_lines(path: Path, csv_format: CsvFormat) -> Iterator[_Record]:
    with open_table(path, csv_format) as text:
        for number, line in enumerate(text.lines(any_return=False), 1):
            if line.strip():
                yield _object(f"{path}, line {number}", _parsed(f"{path}, line {number}", line))


def _json(path: Path, csv_format: CsvFormat) -> Iterator[_Record]:
    with open_table(path, csv_format) as text:
        content = "".join(text.lines(any_return=False))
    values = _parsed(str(path), content)
    if not isinstance(values, list):
        raise InputError(
            f"{path}: holds {_named(values)}, and a list of objects is needed, one for each row:"
            ' [{"text": ..., "label": ...}, ...]; files with an object on each line end in .jsonl'
        )
    for number, value in enumerate(values, 1):
        yield _object(f"{path}, row {number}", value)


def _parsed(where: str, text: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # half a character cannot be written
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON ({first_words(error)})") from error
    return value


def _object(where: str, value: object) -> _Record:
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: holds {_named(value)}, and an object is needed, such as"
            ' {"text": ..., "label": ...}'
        )
    return value


def _named(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", type(None): "null"}
    return names.get(type(value), "a number or a truth value")


def _parquet(path: Path, csv_format: CsvFormat) -> Iterator[_Record]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise missing_files_extra(path) from error
    if not path.is_file():
        with open_table(path, csv_format):  # says what is wrong
            pass
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1_000):
                yield from batch.to_pylist()
    except (OSError, ArrowException) as error:
        raise InputError(
            f"{path}: cannot be read as Parquet ({first_words(error)}); is it complete?"
        ) from error


def _fasttext(path: Path, csv_format: CsvFormat) -> Iterator[_Record]:
    with open_table(path, csv_format) as text:
        for number, line in enumerate(text.lines(any_return=False), 1):
            label, _, content = line.strip().partition(" ")
            if not label:
                continue
            if csv_format.label_column is None and not label.startswith(_MARK):
                yield {"text": line.strip()}
                continue
            if not label.startswith(_MARK) or label == _MARK:
                raise InputError(
                    f"{path}, line {number}: does not begin with {_MARK} and a label, as in"
                    f" {_MARK}positive I liked it"
                )
            if content.lstrip().startswith(_MARK):
                raise InputError(
                    f"{path}, line {number}: has several labels, and a review has one: keep one"
                )
            yield {"label": label.removeprefix(_MARK), "text": content}


_READERS: dict[str, Callable[[Path, CsvFormat], Iterator[_Record]]] = {
    "jsonl": _json_lines,
    "json": _json,
    "parquet": _parquet,
    "fasttext": _fasttext,
}
