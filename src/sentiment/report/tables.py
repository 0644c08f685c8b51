"""Values as files (JSON, CSV) and as tables for the terminal.

Everything a table prints of its own is ASCII, so that a log file in any encoding can hold it.
Text from the user goes into cells as ``rich.text.Text``, never as markup: ``[lstm,gru]`` is a value
here, not a style.
"""

import csv
import io
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.files import replaced_when_whole

log = logging.getLogger(__name__)

PLAIN_WIDTH = 120
"""Columns a table may take where no terminal says how many there are."""

MISSING = "-"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write ``values`` as indented JSON, in the order given; NaN and infinity become null.

    Floats keep their full precision. NumPy numbers and arrays, tuples and paths are written as
    the plain JSON they stand for.

    Raises:
        TypeError: A value has no JSON form. Nothing is written.
    """
    with replaced_when_whole(path) as part:
        part.write_text(json_text(values) + "\n", encoding="utf-8")


def json_text(values: Mapping[str, Any]) -> str:
    """What ``write_json`` writes."""
    return json.dumps(_json_value(values), indent=2, ensure_ascii=False, allow_nan=False)


def write_csv(
    path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()
) -> None:
    """Write ``rows`` under one header: ``columns``, then other keys in order of first appearance.

    A cell that a row does not have stays empty. Neither rows nor columns make an empty file.
    """
    with replaced_when_whole(path) as part, part.open("x", encoding="utf-8", newline="") as file:
        file.write(csv_text(rows, columns))


def csv_text(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> str:
    """What ``write_csv`` writes."""
    columns = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    text = io.StringIO()
    if columns:
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.csv``, without empty cells; none if there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                {key: float(cell) for key, cell in row.items() if cell}
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: is damaged ({first_words(error)}); remove it") from error


def print_table(table: Table, file: IO[str] | None = None, *, width: int | None = None) -> None:
    """Print ``table`` to ``file`` (default: standard output), and log it for a log file.

    In a terminal the table has the terminal's width and colours. Anywhere else it is plain text,
    in characters the file can hold. The log record is below the level of a console.

    Args:
        table: what to print.
        file: where to.
        width: number of columns if the output is not a terminal; None is as many as needed to
            wrap or cut no cell.
    """
    if log.isEnabledFor(logging.DEBUG):
        log.debug("\n%s", _plain_text(table, io.StringIO(), width).rstrip())
    console = Console(file=file)
    if console.is_terminal:
        console.print(table)
        return
    text = _plain_text(table, file, width)
    console.file.write(text.encode(console.encoding, "replace").decode(console.encoding))


def _plain_text(table: Table, file: IO[str] | None, width: int | None) -> str:
    """The lines of a table that goes to ``file``."""
    if width is None:
        console = Console(file=file, width=10_000)
        width = max(PLAIN_WIDTH, Measurement.get(console, console.options, table).maximum)
    console = Console(file=file, width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a finite number; None, NaN, infinity, text and bool are not."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def format_percent(fraction: object) -> str:
    """Write 0.91837 as ``91.84 %``, and anything but a number as ``-``."""
    return f"{100 * fraction:.2f} %" if is_number(fraction) else MISSING


def format_count(count: object) -> str:
    """Write 30002 as ``30,002``, and anything but a number as ``-``."""
    return f"{count:,.0f}" if is_number(count) else MISSING


def format_size(count: object) -> str:
    """Write 8617 as ``8.62k``, 2430000 as ``2.43M``, and anything but a number as ``-``."""
    if not is_number(count):
        return MISSING
    unit, factor = ("", 1) if count < 1000 else ("k", 1e3) if count < 999_500 else ("M", 1e6)
    size = count / factor
    digits = 0 if size >= 99.95 or factor == 1 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f}{unit}"


def format_duration(seconds: object) -> str:
    """Write 7.34 as ``7.3s``, 164 as ``2m 44s``, 3780 as ``1h 03m``, and no number as ``-``."""
    if not is_number(seconds):
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h {minutes % 60:02d}m"


def new_table(**options: Any) -> Table:
    """Make an empty table in the one style of this package: a rule under the header, no edges."""
    style: dict[str, Any] = {"box": box.SIMPLE_HEAD, "border_style": "dim", "header_style": "bold"}
    tight: dict[str, Any] = {"show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0)}
    return Table(**(style | tight | options))


def _json_value(value: Any) -> Any:
    """Turn ``value`` into what ``json`` writes without loss, and non-finite floats into None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
