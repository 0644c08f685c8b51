"""Trainings and baselines side by side: what each is, and what it reached over its seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentiment.errors import InputError
from sentiment.report.ranking import mean_and_spread, ranked
from sentiment.report.runs import Run
from sentiment.report.tables import format_count, is_number, listed

FIGURES = ("test/accuracy", "test/f1", "test/ece", "val/accuracy")
_DATA = ("labels", "train_reviews", "val_reviews", "test_reviews", "fingerprints")
_MOST_UNASKED = 4  # settings that no command line named


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
    return [f"{len(folders)} {reason} ({listed(folders)})" for reason, folders in left_out.items()]


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
    for key in (*FIGURES, "fit_seconds"):
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
            notes.append(f"no record of which reviews tested {listed(silent)}, only of how many")
    again = [f"#{row['rank']}" for row in rows if row["n"] > max(1, len(row["seeds"]))]
    if again:
        notes.append(
            f"more runs than seeds in {listed(again)}: made twice, or apart in what no setting"
            " tells, such as the content of a file; --by-run has a row for each"
        )
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
    parts = [f"{listed(who)} on {format_count(counts[same])}" for same, who in ranks.items()]
    return [f"{name} figures do not compare, as the {name} reviews differ: {'; '.join(parts)}"]


def _fingerprint(row: Mapping[str, Any], split: str) -> str | None:
    prints = row["fingerprints"]
    return prints.get(split) if isinstance(prints, Mapping) else None
