"""Rows of cells from tables that are not CSV: JSON lines, JSON, Parquet, and fastText's lines.

The columns of a file are all keys that occur in it, in the order in which they appear.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment.data.csv_format import CsvFormat, record_kind
from sentiment.data.table_text import open_table
from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.files import require_pyarrow

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

LABEL_MARK = "__label__"
_Record = dict[str, Any]


def check_table(path: Path, csv_format: CsvFormat) -> None:
    """Read the beginning of a file, CSV or not.

    Raises:
        InputError: the file is missing, empty, or its beginning is not of its format.
    """
    if record_kind(path, csv_format) == "parquet":
        record_columns(path, csv_format, "parquet")
    else:
        with open_table(path, csv_format) as text:
            next(text.blocks())


def record_columns(path: Path, csv_format: CsvFormat, kind: str) -> tuple[list[str], int]:
    """The names of a file's columns, and the number of its rows.

    Parquet names them at its end; any other file is read as a whole.

    Raises:
        InputError: the file cannot be read, or is not of this kind; the message names the line.
    """
    names: dict[str, None] = {}
    rows = 0
    if kind == "parquet":
        with _open_parquet(path, csv_format) as file:
            columns, rows = list(file.schema_arrow.names), file.metadata.num_rows
    else:
        for record in _READERS[kind](path, csv_format):
            names.update(dict.fromkeys(record))
            rows += 1
        columns = [_cell(name, f"{path}: column {name!r}") for name in names]
    if not rows:
        raise InputError(f"{path}: the file has no rows; give a file with reviews in it")
    return columns, rows


def record_rows(
    path: Path, csv_format: CsvFormat, kind: str, names: list[str]
) -> Iterator[list[str]]:
    """The cells of each row, one for each name; "" where a row has no value.

    Texts are as they are; numbers, true, false and nested values are as JSON writes them.

    Raises:
        InputError: see ``record_columns``; or a cell is not text of UTF-8.
    """
    for row, record in enumerate(_READERS[kind](path, csv_format), 1):
        yield [_cell(record.get(name), f"{path}, row {row}: column {name!r}") for name in names]


def _cell(value: object, where: str) -> str:
    if value is None or value != value:  # noqa: PLR0124 (NaN, which tables have for no value)
        return ""
    nested = isinstance(value, int | float | list | dict)
    try:
        text = json.dumps(value, ensure_ascii=False, default=_text) if nested else _text(value)
        text.encode()  # half a character cannot be written
    except UnicodeError as error:
        why = first_words(error)
        raise InputError(f"{where} is not text of UTF-8 ({why}); mend or remove it") from error
    return text


def _text(value: object) -> str:
    """A text, bytes of UTF-8, a date or a decimal number as a text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _json_lines(path: Path, csv_format: CsvFormat) -> Iterator[_Record]:
    with open_table(path, csv_format) as text:
        for number, line in enumerate(text.lines(any_return=False), 1):
            if line.strip():
                hint = _instead(line, "[", csv_format.override("file_format", "json"))
                where = f"{path}, line {number}"
                yield _object(where, _parsed(where, line, hint), hint)


def _json(path: Path, csv_format: CsvFormat) -> Iterator[_Record]:
    with open_table(path, csv_format) as text:
        content = "".join(text.blocks())
    hint = _instead(content, "{", csv_format.override("file_format", "jsonl"))
    values = _parsed(str(path), content, hint)
    if not isinstance(values, list):
        raise InputError(
            f"{path}: holds {_named(values)}, and a list of objects is needed, one for each row:"
            f' [{{"text": ..., "label": ...}}, ...]{hint}'
        )
    for number, value in enumerate(values, 1):
        yield _object(f"{path}, row {number}", value)


def _instead(text: str, mark: str, setting: str) -> str:
    """The end of a message if a text begins as the other kind of JSON does, which is read so."""
    what = "the whole file is a list" if mark == "[" else "each line is an object"
    return f"; if {what}, set {setting}" if text.lstrip().startswith(mark) else ""


def _parsed(where: str, text: str, hint: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON ({first_words(error)}){hint}") from error


def _object(where: str, value: object, hint: str = "") -> _Record:
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: holds {_named(value)}, and an object is needed, such as"
            f' {{"text": ..., "label": ...}}{hint}'
        )
    return value


def _named(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", type(None): "null"}
    return names.get(type(value), "a number or a truth value")


def _parquet(path: Path, csv_format: CsvFormat) -> Iterator[_Record]:
    with _open_parquet(path, csv_format) as file:
        for batch in file.iter_batches(batch_size=1_000):
            yield from batch.to_pylist()


@contextmanager
def _open_parquet(path: Path, csv_format: CsvFormat) -> Iterator["ParquetFile"]:
    require_pyarrow(path)
    from pyarrow import ArrowException, parquet

    if not path.is_file():
        with open_table(path, csv_format):  # says what is wrong
            pass
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, UnicodeError, ArrowException) as error:
        raise InputError(
            f"{path}: cannot be read as Parquet ({first_words(error)}); is it complete?"
        ) from error


def _fasttext(path: Path, csv_format: CsvFormat) -> Iterator[_Record]:
    with open_table(path, csv_format) as text:
        for number, line in enumerate(text.lines(any_return=False), 1):
            content, labels = line.strip(), []
            if not content:
                continue
            while content.startswith(LABEL_MARK):
                mark, *rest = content.split(None, 1)
                labels.append(mark.removeprefix(LABEL_MARK))
                content = "".join(rest)
            needed = csv_format.label_column is not None
            if needed and not (labels and all(labels)):
                raise InputError(
                    f"{path}, line {number}: does not begin with {LABEL_MARK} and a label, as in"
                    f" {LABEL_MARK}positive I liked it"
                )
            if needed and len(labels) > 1:
                raise InputError(
                    f"{path}, line {number}: has several labels, and a review has one: keep one"
                )
            label = {"label": " ".join(labels)} if labels else {}
            yield {**label, "text": content}


_READERS: dict[str, Callable[[Path, CsvFormat], Iterator[_Record]]] = {
    "jsonl": _json_lines,
    "json": _json,
    "parquet": _parquet,
    "fasttext": _fasttext,
}
