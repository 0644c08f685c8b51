"""Results as files (JSON, CSV) and as tables for the terminal.

Everything a table prints of its own is ASCII, so that a log file in any encoding can hold it.
Text from the user goes into cells as ``rich.text.Text``, never as markup: ``[lstm,gru]`` is a value
here, not a style.
"""

import csv
import io
import json
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
from rich.text import Text

from sentiment.runtime.files import replaced_when_whole

PLAIN_WIDTH = 120
"""Columns a table may take where no terminal says how many there are."""

MISSING = "-"
_MOST_LISTED = 9

_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_METRIC_ROWS = (
    ("accuracy", "accuracy"), ("macro F1", "f1"), ("AUROC", "auroc"), ("loss", "loss"),
    ("ECE", "ece"),
)  # fmt: skip


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


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write ``rows`` under one header: every key that appears, in order of first appearance.

    A cell that a row does not have stays empty. No rows make an empty file.
    """
    with replaced_when_whole(path) as part, part.open("x", encoding="utf-8", newline="") as file:
        file.write(csv_text(rows))


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """What ``write_csv`` writes."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    if columns:
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def result_table(results: Mapping[str, Any]) -> Table:
    """Lay out what a training reached, on what data, and what it cost.

    Args:
        results: The content of ``results.json``; see the README for its keys. Any of them may be
            missing, None or NaN: a line or split without a single value is left out.
            ``best_epoch`` counts from 0, as Lightning does, and is shown counting from 1.

    Returns:
        A table no wider than 80 columns, as long as labels and device names are of common length.
    """
    outer = Table.grid()
    splits = _split_table(results)
    if splits.row_count:
        outer.add_row(splits)
        outer.add_row("")
    facts = {"data": _data_facts(results), "cost": _cost_facts(results)}
    beside = Table.grid(padding=(0, 4, 0, 0))
    beside.add_row(*(_fact_table(heading, known) for heading, known in facts.items() if known))
    if any(facts.values()):
        outer.add_row(beside)
    return outer


def members_table(members: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out the test metrics that each ``checkpoint`` of an ensemble has by itself.

    What each ``weight`` is stands beside them where they are not all the same.
    """
    table = new_table()
    table.add_column("alone", overflow="fold")
    weighted = len({each.get("weight") for each in members}) > 1
    rows = [row for row in _METRIC_ROWS if any(f"test/{row[1]}" in each for each in members)]
    for name in [*["weight"] * weighted, *(name for name, _ in rows)]:
        table.add_column(name, justify="right", no_wrap=True)
    for each in members:
        weight = [f"{each['weight']:g}"] if weighted else []
        metrics = (_format_metric(metric, each.get(f"test/{metric}")) for _, metric in rows)
        table.add_row(Text(str(each["checkpoint"])), *weight, *metrics)
    return table


def length_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out ``test/by_length`` of ``results.json``: a row for each fifth of the reviews."""
    table = new_table()
    for heading in ("tokens", "reviews", "accuracy"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        shortest, longest = map(format_count, row["tokens"])
        tokens = shortest if shortest == longest else f"{shortest} - {longest}"
        table.add_row(tokens, format_count(row["reviews"]), format_percent(row["accuracy"]))
    return table


def print_table(table: Table, file: IO[str] | None = None, *, width: int | None = None) -> None:
    """Print ``table`` to ``file`` (default: standard output).

    In a terminal the table has the terminal's width and colours. Anywhere else it is plain text,
    in characters the file can hold.

    Args:
        table: what to print.
        file: where to.
        width: number of columns if the output is not a terminal; None is as many as needed to
            wrap or cut no cell.
    """
    console = Console(file=file)
    if console.is_terminal:
        console.print(table)
        return
    if width is None:
        unlimited = console.options.update(width=10_000)
        width = max(PLAIN_WIDTH, Measurement.get(console, unlimited, table).maximum)
    console = Console(file=file, width=width)
    with console.capture() as capture:
        console.print(table)
    lines = "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
    console.file.write(lines.encode(console.encoding, "replace").decode(console.encoding))


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


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


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


def _split_table(results: Mapping[str, Any]) -> Table:
    """Build the upper part: metrics and review counts, a column for each split."""
    rows = {
        name: [_format_metric(metric, results.get(f"{split}/{metric}")) for split in _SPLITS]
        for name, metric in _METRIC_ROWS
    }
    rows["reviews"] = [format_count(results.get(f"{split}_reviews")) for split in _SPLITS]
    shown = [i for i in range(len(_SPLITS)) if any(row[i] != MISSING for row in rows.values())]
    table = new_table()
    table.add_column("")
    for i in shown:
        heading = list(_SPLITS.values())[i]
        style = "bold" if heading == "test" else ""
        table.add_column(heading, justify="right", min_width=12, no_wrap=True, style=style)
    for name, row in rows.items():
        if any(cell != MISSING for cell in row):
            table.add_row(name, *(row[i] for i in shown))
    return table


def _fact_table(heading: str, facts: Mapping[str, str]) -> Table:
    """Build a part of the lower half: names on the left, values on the right."""
    table = new_table()
    table.add_column(heading, no_wrap=True)
    table.add_column("", overflow="fold")
    for name, value in facts.items():
        table.add_row(name.strip(), Text(value))
    return table


def _data_facts(results: Mapping[str, Any]) -> dict[str, str]:
    """The facts about the data that ``results`` holds."""
    labels, coverage = results.get("labels"), results.get("vector_coverage")
    names = ", ".join(map(str, labels)) if isinstance(labels, list | tuple) else MISSING
    return _known(
        labels=names if len(names) <= 24 else f"{len(labels or ())} classes",
        vocabulary=_with_unit(results.get("vocabulary_size"), "words"),
        **{"with vectors": format_percent(coverage or None)},
        duplicates=_with_unit(results.get("dropped_duplicates"), "dropped"),
        seed=_as_text(results.get("seed")),
    )


def _cost_facts(results: Mapping[str, Any]) -> dict[str, str]:
    """The facts about the cost that ``results`` holds."""
    best, device = results.get("best_epoch"), (results.get("device"), results.get("precision"))
    epochs = _as_text(results.get("epochs"))
    if is_number(best) and epochs != MISSING:
        epochs += f" (best: {best + 1:.0f})"
    return _known(
        time=format_duration(results.get("fit_seconds")),
        epochs=epochs,
        speed=_with_unit(results.get("train_reviews_per_second"), "reviews/s"),
        **{" ": _with_unit(results.get("train_tokens_per_second"), "tokens/s")},
        parameters=format_count(results.get("parameters")),
        device=", ".join(str(text) for text in device if text is not None) or MISSING,
    )


def _known(**facts: str) -> dict[str, str]:
    """Leave out the facts whose value is missing."""
    return {name: value for name, value in facts.items() if value != MISSING}


def _format_metric(metric: str, value: Any) -> str:
    if metric in {"accuracy", "f1", "ece"}:
        return format_percent(value)
    return f"{value:.4f}" if is_number(value) else MISSING


def _with_unit(count: Any, unit: str) -> str:
    return f"{format_count(count)} {unit}" if is_number(count) else MISSING


def _as_text(value: object) -> str:
    return MISSING if value is None else str(value)
