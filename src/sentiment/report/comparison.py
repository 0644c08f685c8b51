"""Trainings and baselines side by side: what each is, and what it reached over its seeds."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from sentiment.errors import InputError
from sentiment.report.ranking import mean_and_spread, ranked, short_names
from sentiment.report.runs import Run
from sentiment.report.tables import (
    MISSING,
    format_count,
    format_duration,
    is_number,
    new_table,
)

_FIGURES = {
    "test/accuracy": "test\nacc. %",
    "test/f1": "test\nF1 %",
    "test/ece": "calib.\nerror %",
    "val/accuracy": "val\nacc. %",
}
_DATA = ("labels", "train_reviews", "val_reviews", "test_reviews", "fingerprints")
_MOST_UNASKED = 4  # settings that no command line named
_MOST_SEEDS = 5
_MOST_TOLD = 9


@dataclass(frozen=True)
class Comparison:
    """What there is to tell of some runs.

    Attributes:
        rows: by rank; see ``compare_runs``.
        shared: overrides that hold for all rows they concern.
        left_out: folders of runs without a row, by the reason.
        notes: what keeps figures from being comparable, each in one line.
    """

    rows: list[dict[str, Any]]
    shared: dict[str, str]
    left_out: dict[str, list[str]]
    notes: list[str]


def compare_runs(runs: Sequence[Run], *, by_run: bool = False) -> Comparison:
    """Set runs side by side, the best mean test accuracy first.

    Args:
        runs: what ``find_runs`` gave.
        by_run: False makes one row of runs that differ in nothing but the seed.

    Returns:
        Rows have ``rank``, ``name``, ``settings`` (what sets a row apart, by full key), ``n``
        (runs), ``seeds``, ``<figure> mean`` and ``<figure> spread`` (sample standard deviation),
        ``parameters``, ``device``, ``folders``, and what ``results.json`` says of the data. Where
        no run has test figures, as in a search, the order is that of validation accuracy.

    Raises:
        InputError: no run has a figure.
    """
    metric = "test/accuracy"
    if not any(_has(run, metric) for run in runs):
        metric = "val/accuracy"
    left_out: dict[str, list[str]] = {}
    kept = []
    for run in runs:
        if reason := _why_left_out(run, metric):
            left_out.setdefault(reason, []).append(str(run.folder))
        else:
            kept.append(run)
    if not kept:
        raise InputError(f"nothing to compare: {'; '.join(told_left_out(left_out))}")
    keys = dict.fromkeys(key for run in kept for key in run.overrides)
    values = {key: _values(kept, key) for key in keys if key not in {"experiment", "model"}}
    groups = [[run] for run in kept] if by_run else _but_for_the_seed(kept)
    settings = _apart(groups, [key for key, found in values.items() if len(found) > 1])
    rows = [_row(group, told) for group, told in zip(groups, settings, strict=True)]
    rows = ranked(rows, f"{metric} mean", lower=False)
    return Comparison(
        rows=rows,
        shared={key: found[0] for key, found in values.items() if len(found) == 1},
        left_out=left_out,
        notes=_notes(rows, metric),
    )


def told_left_out(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """How many runs are left out for which reason, and where they are."""
    return [f"{len(folders)} {reason} ({_listed(folders)})" for reason, folders in left_out.items()]


def comparison_table(comparison: Comparison) -> Table:
    """Lay out a comparison for the terminal, in 100 columns where settings are few.

    A run's folder stands below its name; shared settings and the devices are the caption.
    """
    heads, rows = _cells(comparison, plain=True)
    facts = [f"shared: {'; '.join(_shared(comparison))}"] if comparison.shared else []
    facts += [f"{device}: {_listed(ranks)}" for device, ranks in _devices(comparison).items()]
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


def _has(run: Run, metric: str) -> bool:
    return run.status == "ok" and is_number(run.results.get(metric))


def _why_left_out(run: Run, metric: str) -> str | None:
    if run.status == "failed":
        return "failed or still under way"
    if run.status != "ok":
        return run.status
    if _has(run, metric):
        return None
    return "without a test figure" if metric.startswith("test/") else "without figures"


def _value(run: Run, key: str) -> str | None:
    return run.choices.get(key, run.settings.get(key))


def _values(runs: Iterable[Run], key: str) -> list[str]:
    """The values that a setting has among the runs that have it."""
    found = dict.fromkeys(_value(run, key) for run in runs)
    return [value for value in found if value is not None]


def _but_for_the_seed(runs: Iterable[Run]) -> list[list[Run]]:
    """Group the runs that differ in nothing but the seed, in order of appearance."""
    groups: dict[object, list[Run]] = {}
    for run in runs:
        data = [run.results.get(key) for key in ("labels", "fingerprints", "test_reviews")]
        same = (run.name, repr(sorted(run.settings.items())), repr(data))
        groups.setdefault(same if run.settings else run.folder, []).append(run)
    return list(groups.values())


def _apart(groups: Sequence[Sequence[Run]], keys: Sequence[str]) -> list[dict[str, str]]:
    """What sets groups apart, beside their name.

    Of overrides that vary, ``keys``, those that a group was told or in which it differs from
    others of its name; if groups still look the same, whatever differs between them.
    """
    firsts = [group[0] for group in groups]
    told: list[dict[str, str]] = []
    for run in firsts:
        like = [other for other in firsts if other.name == run.name]
        chosen = [key for key in keys if key in run.overrides or len(_values(like, key)) > 1]
        told.append({key: value for key in chosen if (value := _value(run, key)) is not None})
    alike: dict[str, list[int]] = {}
    for index, (run, own) in enumerate(zip(firsts, told, strict=True)):
        alike.setdefault(repr((run.name, own)), []).append(index)
    for indices in alike.values():
        runs = [firsts[index] for index in indices]
        differing = [
            key
            for key in dict.fromkeys(key for run in runs for key in run.settings)
            if len({run.settings.get(key) for run in runs}) > 1
        ]
        for index in indices:
            has = firsts[index].settings
            told[index] |= {key: has[key] for key in differing[:_MOST_UNASKED] if key in has}
    return told


def _row(runs: Sequence[Run], settings: dict[str, str]) -> dict[str, Any]:
    results = [run.results for run in runs]
    row: dict[str, Any] = {"rank": None, "name": runs[0].name, "settings": settings}
    seeds = {values["seed"] for values in results if isinstance(values.get("seed"), int)}
    row |= {"n": len(runs), "seeds": sorted(seeds)}
    for key in (*_FIGURES, "fit_seconds"):
        row |= mean_and_spread(key, [values.get(key) for values in results])
    devices = dict.fromkeys(str(values["device"]) for values in results if values.get("device"))
    row |= {"parameters": results[0].get("parameters"), "device": "; ".join(devices) or None}
    row |= {key: results[0].get(key) for key in _DATA}
    return row | {"folders": [str(run.folder) for run in runs]}


def _notes(rows: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    """Say what keeps the figures of the rows from being comparable."""
    notes = []
    if metric.startswith("val/"):
        notes.append("no run has test figures, as in a search: ranked by validation accuracy")
    else:
        notes += _other_reviews(rows, "test", "test")
        silent = [f"#{row['rank']}" for row in rows if not _fingerprint(row, "test")]
        if silent and len(rows) > 1:
            notes.append(f"no record of which reviews tested {_listed(silent)}, only of how many")
    return notes + _other_reviews(rows, "val", "validation")


def _other_reviews(rows: Sequence[Mapping[str, Any]], split: str, name: str) -> list[str]:
    """A note if rows with figures of a split do not have the same reviews in it.

    Two that record different things are compared by what both record.
    """
    rows = [row for row in rows if is_number(row[f"{split}/accuracy mean"])]
    alike = [(row[f"{split}_reviews"], tuple(row["labels"] or ())) for row in rows]
    prints = [_fingerprint(row, split) for row in rows]
    known = {key: each for key, each in zip(alike, prints, strict=True) if each}
    ranks: dict[object, list[str]] = {}
    counts: dict[object, object] = {}
    for row, key, each in zip(rows, alike, prints, strict=True):
        same = each or known.get(key) or key
        ranks.setdefault(same, []).append(f"#{row['rank']}")
        counts[same] = key[0]
    if len(ranks) < 2:
        return []
    parts = [f"{_listed(who)} on {format_count(counts[same])}" for same, who in ranks.items()]
    return [f"{name} figures do not compare, as the {name} reviews differ: {'; '.join(parts)}"]


def _fingerprint(row: Mapping[str, Any], split: str) -> str | None:
    prints = row["fingerprints"]
    return prints.get(split) if isinstance(prints, Mapping) else None


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
    figures = [key for key in _FIGURES if any(is_number(row[f"{key} mean"]) for row in rows)]
    columns = {"#": [str(row["rank"]) for row in rows], "run": _descriptions(rows, plain=plain)}
    columns["n"] = [str(row["n"]) for row in rows]
    columns["seeds"] = [_seeds(row["seeds"]) for row in rows]
    for key in figures:
        columns[_FIGURES[key]] = [_percent(row, key, plain=plain) for row in rows]
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


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return ", ".join(names[:_MOST_TOLD]) + more
