"""A comparison of runs for the terminal, for Markdown and for a CSV file."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from sentiment.report.comparison import FIGURES, Comparison
from sentiment.report.ranking import short_names
from sentiment.report.tables import MISSING, format_duration, is_number, listed, new_table

_HEADINGS = {
    "test/accuracy": "test\nacc. %",
    "test/f1": "test\nF1 %",
    "test/ece": "calib.\nerror %",
    "val/accuracy": "val\nacc. %",
}
_MOST_SEEDS = 5


def comparison_table(comparison: Comparison) -> Table:
    """Lay out a comparison for the terminal, in 100 columns where settings are few.

    A run's folder stands below its name; shared settings and the devices are the caption.
    """
    heads, rows = _cells(comparison, plain=True)
    facts = [f"shared: {'; '.join(_shared(comparison))}"] if comparison.shared else []
    facts += [f"{device}: {listed(ranks)}" for device, ranks in _devices(comparison).items()]
    caption = Text("\n".join(facts), style="dim") if facts else None
    table = new_table(caption=caption, caption_justify="left")
    words = {"run", "seeds"}
    for head in heads:
        table.add_column(
            head,
            justify="left" if head in words else "right",
            no_wrap=head not in words,
            overflow="fold",
            min_width=24 if head == "run" else None,
        )
    for rank, row in enumerate(rows, start=1):
        table.add_row(*map(Text, row), style="bold" if rank == 1 else "")
    return table


def comparison_markdown(comparison: Comparison) -> str:
    """A comparison as a Markdown table, for a README."""
    heads, rows = _cells(comparison, plain=False)
    left = {"run", "seeds", "device"}
    lines = [
        [" ".join(head.split()) for head in heads],
        ["---" if head in left else "---:" for head in heads],
        *([cell.replace("|", r"\|") for cell in row] for row in rows),
    ]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{text}\nShared: `{' '.join(_shared(comparison))}`\n" if comparison.shared else text


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


def _shared(comparison: Comparison) -> list[str]:
    return [f"{key}={value}" for key, value in comparison.shared.items()]


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
    sizes = [row["parameters"] for row in rows]
    columns["param.\n(M)"] = [f"{size / 1e6:.2f}" if is_number(size) else MISSING for size in sizes]
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
    if not is_number(spread) or (plain and key == "test/f1"):  # to save room
        return f"{100 * mean:.2f}"
    return f"{100 * mean:.2f} {'+/-' if plain else '±'} {100 * spread:.2f}"
