"""A comparison of runs for the terminal, for Markdown and for a CSV file."""

import os
from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich.table import Table
from rich.text import Text

from sentiment.report.comparison import FIGURES, Comparison, told_notes
from sentiment.report.ranking import short_names
from sentiment.report.tables import (
    MISSING,
    PLAIN_WIDTH,
    format_duration,
    format_size,
    is_number,
    listed,
    new_table,
    print_table,
)

_HEADINGS = {
    "test/accuracy": "test\nacc. %",
    "test/f1": "test\nF1 %",
    "test/ece": "test\nECE %",
    "val/accuracy": "val\nacc. %",
}
_MOST_SEEDS = 5
_GAP = 2  # columns between two of the table's
_NAME_WIDTH = 24  # that of a run folder's name with its parent's: runs/2026-01-31_23-59-59


def comparison_table(comparison: Comparison) -> Table:
    """Lay out a comparison for the terminal, in 100 columns or more.

    A run's folder stands below its name; settings of several rows, devices and notes are the
    caption.
    """
    heads, rows = _cells(comparison, plain=True)
    facts = [f"{what}: {'; '.join(each)}" for what, each in _common(comparison).items()]
    facts += [f"{device}: {listed(ranks)}" for device, ranks in _devices(comparison).items()]
    facts += [f"Note: {note}" for note in told_notes(comparison)]
    table = new_table(caption=Text("\n".join(facts), style="dim"), caption_justify="left")
    for head, *cells in zip(heads, *rows, strict=True):
        words = head in {"run", "seeds"}
        texts = [part for cell in (head, *cells) for part in _parts(cell, words=words)]
        table.add_column(
            head,
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
            min_width=_NAME_WIDTH if head == "run" else max(map(len, texts)),
        )
    for rank, row in enumerate(rows, start=1):
        table.add_row(*map(Text, row), style="bold" if rank == 1 else "")
    return table


def print_comparison(comparison: Comparison, file: IO[str] | None = None) -> None:
    """Print a comparison: where no terminal says how wide, in ``COLUMNS``, or else in 120."""
    table = comparison_table(comparison)
    least = sum((column.min_width or 0) + _GAP for column in table.columns) - _GAP
    columns = os.environ.get("COLUMNS", "")
    print_table(table, file, width=max(least, int(columns) if columns.isdecimal() else PLAIN_WIDTH))


def comparison_markdown(comparison: Comparison) -> str:
    """A comparison as a Markdown table, for a README, with its notes below."""
    heads, rows = _cells(comparison, plain=False)
    left = {"run", "seeds", "device"}
    lines = [
        [" ".join(head.split()) for head in heads],
        ["---" if head in left else "---:" for head in heads],
        *([cell.replace("|", r"\|") for cell in row] for row in rows),
    ]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    common = _common(comparison).items()
    below = [f"{what.capitalize()}: `{' '.join(settings)}`" for what, settings in common]
    below += [f"Note: {note}" for note in told_notes(comparison)]
    return text + "".join(f"\n{line}\n" for line in below)


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


def _common(comparison: Comparison) -> dict[str, list[str]]:
    """The settings that stand beside no row, by what they hold for."""
    kinds = {"shared": comparison.shared, "where it applies and is not named": comparison.usual}
    return {
        what: [f"{key}={value}" for key, value in settings.items()]
        for what, settings in kinds.items()
        if settings
    }


def _parts(cell: str, *, words: bool) -> list[str]:
    """What of a cell cannot be wrapped."""
    return cell.split() if words else cell.splitlines()


def _devices(comparison: Comparison) -> dict[str, list[str]]:
    """The rows of each device."""
    ranks: dict[str, list[str]] = {}
    for row in comparison.rows:
        ranks.setdefault(row["device"] or "unknown device", []).append(f"#{row['rank']}")
    return ranks


def _cells(comparison: Comparison, *, plain: bool) -> tuple[list[str], list[list[str]]]:
    """Headings and cells: narrow ASCII with folders if plain, else for Markdown."""
    rows = comparison.rows
    figures = [key for key in FIGURES if any(is_number(row[f"{key} mean"]) for row in rows)]
    columns = {"#": [str(row["rank"]) for row in rows], "run": _descriptions(rows, plain=plain)}
    columns["n"] = [str(row["n"]) for row in rows]
    columns["seeds"] = [_seeds(row["seeds"]) for row in rows]
    for key in figures:
        columns[_HEADINGS[key]] = [_percent(row, key, plain=plain) for row in rows]
    columns["fit"] = [format_duration(row["fit_seconds mean"]) for row in rows]
    columns["param."] = [format_size(row["parameters"]) for row in rows]
    if not plain:
        columns["device"] = [row["device"] or MISSING for row in rows]
    cells = [list(row) for row in zip(*columns.values(), strict=True)]
    if not plain:
        cells = [["–" if cell == MISSING else cell for cell in row] for row in cells]  # noqa: RUF001
    return list(columns), cells


def _descriptions(rows: Sequence[Mapping[str, Any]], *, plain: bool) -> list[str]:
    keys = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    short = dict(zip(keys, short_names(keys), strict=True))
    described = []
    for row in rows:
        told = [f"{short[key]}={value}" for key, value in row["settings"].items()]
        text = " ".join([row["name"], *told])
        place = os.path.commonpath(row["folders"])
        described.append(f"{text}\n{place}" if plain else f"`{text}`")
    return described


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > _MOST_SEEDS:
        return f"{len(seeds)} of {seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or MISSING


def _percent(row: Mapping[str, Any], key: str, *, plain: bool) -> str:
    mean, spread = row[f"{key} mean"], row[f"{key} spread"]
    if not is_number(mean):
        return MISSING
    if not is_number(spread) or (plain and not key.endswith("/accuracy")):  # to save room
        return f"{100 * mean:.2f}"
    return f"{100 * mean:.2f} {'+/-' if plain else '±'} {100 * spread:.2f}"
