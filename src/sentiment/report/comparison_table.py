"""The table of a comparison, for a terminal or as Markdown, and its rows as plain values."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from sentiment.report.ranking import METRICS, Comparison
from sentiment.report.tables import (
    MISSING,
    PLAIN_WIDTH,
    format_duration,
    format_size,
    is_number,
    new_table,
    print_table,
)
from sentiment.runtime.errors import listed

_HEADINGS = {"accuracy": "acc. %", "f1": "F1 %", "ece": "ECE %", "auroc": "AUROC"}
_ROOM_FOR_NAMES, _LEAST_ROOM = 40, 16  # columns of a terminal
_DISPENSABLE = ("seeds", "test\nF1 %", "param.")  # are left out to make that room
_BREAKS = ("/=,", "._-")  # a long word is broken after one of the first, or else of the second


def print_comparison(comparison: Comparison, file: IO[str] | None = None) -> None:
    """Print the tables: where no terminal has a width, in ``COLUMNS`` columns, or else in 120."""
    console, given = Console(file=file), os.environ.get("COLUMNS", "")
    width = int(given) if given.isdecimal() else PLAIN_WIDTH
    width = console.width if console.is_terminal else width
    for index, (name, rows, lines) in enumerate(comparison.tables()):
        table = new_table(
            title=Text("\n" * (index > 0) + name, style="bold") if name else None,
            title_justify="left",
            caption=Text("\n".join(lines), style="dim"),
            caption_justify="left",
        )
        columns = _fitted(_columns(rows, comparison.metric, plain=True), width)
        for head in columns:
            words = head in {"run", "seeds"}
            justify: Any = "left" if words else "right"
            table.add_column(head, justify=justify, no_wrap=not words, overflow="fold")
        for rank, row in enumerate(zip(*columns.values(), strict=True), start=1):
            table.add_row(*map(Text, row), style="bold" if rank == 1 else "")
        print_table(table, file, width=width)


def _fitted(columns: dict[str, list[str]], width: int) -> dict[str, list[str]]:
    """Leave out columns until the names of the runs have room, and break names that are too long.

    Args:
        columns: cells by heading.
        width: of the terminal.
    """
    names = columns["run"]
    wanted = min(_ROOM_FOR_NAMES, _width(names))
    for dropped in ("", *_DISPENSABLE):
        columns = {head: cells for head, cells in columns.items() if head != dropped}
        others = (_width([head, *cells]) + 2 for head, cells in columns.items() if head != "run")
        if (room := width - sum(others)) >= wanted:
            break
    room = max(room, _LEAST_ROOM)
    return columns | {"run": ["\n".join(_broken(name, room)) for name in names]}


def _width(cells: Sequence[str]) -> int:
    return max(cell_len(line) for cell in cells for line in cell.splitlines() or [""])


def _broken(text: str, room: int) -> Iterator[str]:
    """The lines of a text, broken after punctuation where a word is longer than ``room``."""
    for line in text.splitlines():
        words = []
        for word in line.split(" "):
            rest = word
            while len(rest) > room:
                ends = (max(rest.rfind(mark, 0, room) for mark in marks) for marks in _BREAKS)
                at = next((end + 1 for end in ends if end > room // 3), room)
                words.append(rest[:at] + "\n")
                rest = rest[at:]
            words.append(rest + " ")
        yield "".join(words).rstrip()


def comparison_markdown(comparison: Comparison) -> str:
    """A comparison as Markdown tables, for a README, with its notes below."""
    parts = []
    for name, rows, notes in comparison.tables():
        columns = _columns(rows, comparison.metric, plain=False)
        table = [[head.replace("\n", " ") for head in columns], ["---"] * len(columns)]
        table += [
            [c.replace("|", r"\|") for c in row] for row in zip(*columns.values(), strict=True)
        ]
        lines = [f"**{name}**\n\n"] if name else []
        lines += [f"| {' | '.join(row)} |\n" for row in table]
        parts.append("".join(lines + [f"\n{line}\n" for line in notes]))
    return "\n".join(parts)


def flat_rows(comparison: Comparison) -> list[dict[str, object]]:
    """The rows with plain values alone, for a CSV file."""
    return [
        {key: value for key, value in row.items() if key != "fingerprints"}
        | {
            "settings": " ".join(f"{key}={value}" for key, value in row["settings"].items()),
            "seeds": " ".join(map(str, row["seeds"])),
            "labels": " ".join(map(str, row["labels"] or ())),
            "folders": os.pathsep.join(row["folders"]),
        }
        for row in comparison.rows
    ]


def _columns(
    rows: Sequence[Mapping[str, Any]], metric: str, *, plain: bool
) -> dict[str, list[str]]:
    """Cells by heading: narrow ASCII with folders if plain, else for Markdown with all metrics."""
    metrics = dict.fromkeys((metric, *METRICS))
    if plain:  # to save room
        del metrics["test/ece"]
    columns = {
        "#": [str(row["rank"]) for row in rows],
        "run": _descriptions(rows, plain=plain),
        "n": [str(row["n"]) for row in rows],
        "seeds": [listed([*map(str, row["seeds"])]) or MISSING for row in rows],
    }
    for key in metrics:
        split, _, name = key.rpartition("/")
        known = any(is_number(row[f"{key} mean"]) for row in rows)
        if known and name not in {"fit_seconds", "parameters"}:
            heading = f"{split}\n{_HEADINGS.get(name, name)}".strip()
            columns[heading] = [_value(row, key, plain=plain) for row in rows]
    columns["fit"] = [format_duration(row["fit_seconds mean"]) for row in rows]
    return columns | {"param.": [format_size(row["parameters"]) for row in rows]}


def _descriptions(rows: Sequence[Mapping[str, Any]], *, plain: bool) -> list[str]:
    """Name, settings and, if plain, folder of each row."""
    keys = {key: key.rpartition(".")[2] for row in rows for key in row["settings"]}
    last = list(keys.values())
    cells = []
    for row in rows:
        parts = [row["name"]]
        for key, value in row["settings"].items():
            alone = last.count(keys[key]) == 1 and keys[key] not in {"path", "size"}  # of what?
            parts.append(f"{keys[key] if alone else key}={value}")
        text, folders = " ".join(parts), row["folders"]
        if len(folders) > 1:
            above = [Path(folder).parent for folder in folders]
            folders = [
                str(p) if p.name else folder for p, folder in zip(above, folders, strict=True)
            ]
        where = listed([*map(_shown, dict.fromkeys(folders))])
        cells.append(f"{text}\nin {where}" if plain else f"`{text}`")
    return cells


def _shown(folder: str) -> str:
    """A folder as it is named from the working folder, if it lies there."""
    here = Path.cwd()
    return str(Path(folder).relative_to(here)) if Path(folder).is_relative_to(here) else folder


def _value(row: Mapping[str, Any], key: str, *, plain: bool) -> str:
    """A mean and its standard deviation, if plain on two lines."""
    percent = key.rpartition("/")[2] in {"accuracy", "f1", "ece"}
    mean, spread = (
        "" if not is_number(value) else f"{100 * value:.2f}" if percent else f"{value:.4g}"
        for value in (row[f"{key} mean"], row[f"{key} spread"])
    )
    if not spread or (plain and key == "test/f1"):  # to save room
        return mean or MISSING
    return f"{mean}\n+/- {spread}" if plain else f"{mean} ± {spread}"
