"""Trainings and baselines in one ranked table: at the end of a sweep, and by sentiment.compare."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sentiment.model.metric_names import is_lower_better
from sentiment.report.runs import OF_ENCODER, Run, find_runs, read_run, run_folders, set_apart
from sentiment.report.tables import format_count, is_number
from sentiment.runtime.errors import InputError, listed
from sentiment.runtime.yaml_files import parse_overrides

METRICS = ("test/accuracy", "test/f1", "test/ece", "val/accuracy")
_SWEEP_COLUMNS = ("val/accuracy", "test/accuracy", "test/f1", "fit_seconds", "parameters")
_OF_DATA = ("labels", "train_reviews", "val_reviews", "test_reviews", "fingerprints")
_TIES = "val/loss"  # decides where the metric does not
_ORDER = {"ok": 0, "limited": 1, "pruned": 2, "stopped": 4, "unreadable": 5, "failed": 6}
_OTHER = 3


@dataclass(frozen=True)
class Job:
    """How a run of a sweep ended, as the process that started it knows.

    Attributes:
        folder: the folder of the run, which may not exist, or belong to another run.
        overrides: the overrides of its command line.
        failed: whether it failed.
    """

    folder: Path
    overrides: Sequence[str]
    failed: bool


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        metric: what the rows are ranked by.
        rows: those of one data set after the other, each best first; see ``compare_runs``.
        left_out: folders of runs without a row, by the reason.
        notes: what keeps metrics from being comparable, and which runs have no row.
    """

    metric: str
    rows: list[dict[str, Any]]
    left_out: dict[str, list[str]]
    notes: list[str]

    def tables(self) -> Iterator[tuple[str, list[dict[str, Any]], list[str]]]:
        """For each data set its name ("" if there is only one), its rows and the lines below.

        The lines are the devices and, below the last table, the notes.
        """
        names = list(dict.fromkeys(row["data_set"] for row in self.rows))
        for name in names:
            rows = [row for row in self.rows if row["data_set"] == name]
            notes = [f"Note: {note}" for note in self.notes] if name == names[-1] else []
            yield name if len(names) > 1 else "", rows, _devices(rows) + notes


def sweep_runs(folder: Path, jobs: Sequence[Job]) -> list[Run]:
    """Read the runs of a sweep, in the order of their folders, which are relative to the sweep's.

    Args:
        folder: The sweep's; runs may lie at any depth.
        jobs: Runs that are known to have ended, wherever they lie; the folders of those that
            failed are not read.
    """
    home, failed = folder.resolve(), {job.folder.resolve(): job for job in jobs if job.failed}
    paths = [path.resolve() for path in (*run_folders(folder), *(job.folder for job in jobs))]
    runs = []
    for path in dict.fromkeys(paths):
        if path in failed:
            task = [item for item in failed[path].overrides if not item.startswith("hydra")]
            run = Run(path, "failed", {}, parse_overrides(task), {}, {})
        else:
            run = read_run(path)
        shown = path.relative_to(home) if path.is_relative_to(home) else path
        given = {key: text for key, text in run.overrides.items() if key != "ckpt_path"}
        runs.append(replace(run, folder=shown, overrides=given))
    keys = {key for run in runs for key in run.overrides} - {"seed"}
    varied = {key for key in keys if len({run.overrides.get(key) for run in runs}) > 1}
    for i, run in enumerate(runs):  # varied settings distinguish runs, even if only a path
        given = {key: run.overrides[key] for key in varied & run.overrides.keys() - run.choices}
        runs[i] = replace(run, settings={**given, **run.settings} if run.settings else {})
    return runs


def sweep_rows(runs: Sequence[Run], metric: str) -> list[dict[str, object]]:
    """The rows of ``sweep.csv``: one a run, best first, those without a rank last.

    Of equal runs the one with the lowest validation loss comes first.

    Returns:
        ``rank`` (from 1, or None), ``status``, a column for each override, the metric,
        ``val/accuracy``, ``test/accuracy``, ``test/f1``, ``fit_seconds``, ``parameters`` and
        ``folder``. The status is ``ok``, ``limited`` (see ``set_apart``), ``pruned``,
        ``no <metric>``, ``unreadable`` or, without ``results.json``, ``stopped`` or ``failed``.
    """
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    runs = sorted(runs, key=lambda run: _or_infinite(run.results.get(_TIES)))
    rows: list[dict[str, object]] = [
        {"rank": None, "status": status}
        | {key: run.overrides.get(key) for key in keys}
        | {key: run.results.get(key) for key in dict.fromkeys((metric, *_SWEEP_COLUMNS))}
        | {"folder": str(run.folder)}
        for run, status in zip(runs, _statuses(runs, metric), strict=True)
    ]
    sign = 1 if is_lower_better(metric) else -1
    rows.sort(key=lambda row: sign * _or_infinite(row[metric], sign))
    rows.sort(key=lambda row: _ORDER.get(str(row["status"]), _OTHER))
    ok = [row | {"rank": rank} for rank, row in enumerate(rows, 1) if row["status"] == "ok"]
    return ok + rows[len(ok) :]


def _or_infinite(value: object, sign: int = 1) -> float:
    return value if is_number(value) else sign * math.inf


def compare_folders(folders: Iterable[Path], *, by_run: bool = False) -> Comparison:
    """Set the runs at or below some folders side by side; see ``compare_runs``.

    Raises:
        InputError: a folder has no run, or there is none to compare.
    """
    comparison = compare_runs(find_runs(folders), by_run=by_run)
    if not comparison.rows:
        why = "; ".join(comparison.notes) or "give run folders, or folders above some"
        raise InputError(f"nothing to compare: {why}")
    return comparison


def compare_runs(
    runs: Sequence[Run], *, metric: str | None = None, by_run: bool = False
) -> Comparison:
    """Set runs side by side: those of each data set, the best mean of a metric first.

    Args:
        runs: What ``find_runs`` or ``sweep_runs`` returned.
        metric: The key of ``results.json`` to rank by. None is test accuracy, or validation
            accuracy where no run was tested, as in a search.
        by_run: False makes one row of runs that differ in nothing but the seed.

    Returns:
        A row has ``data_set`` (a name of the test reviews), ``rank`` (among those of its data set),
        ``name``, ``settings`` (those that differ there, by full key), ``n`` (runs), ``seeds``,
        ``<metric> mean`` and ``<metric> spread`` (sample standard deviation), which are None unless
        all n runs have the metric, ``parameters``, ``device``, what ``results.json`` holds of the
        data, and ``folders``.
    """
    tested = any(run.status == "ok" and is_number(run.results.get(METRICS[0])) for run in runs)
    is_search = metric is None and not tested
    metric = metric or ("test/accuracy" if tested else "val/accuracy")
    statuses = _statuses(runs, metric)
    shown = "ok" if "ok" in statuses else "limited"
    kept, left_out = [], dict[str, list[str]]()
    for run, status in zip(runs, statuses, strict=True):
        if status == shown:
            kept.append(run)
        else:
            left_out.setdefault(_reason(run, status), []).append(str(run.folder))
    rows, notes = list[dict[str, Any]](), list[str]()
    data_sets = _by_data_set(kept)
    for name, own in data_sets.items():
        ranked = _grouped(own, metric, by_run=by_run)
        rows += [{"data_set": name, **row} for row in ranked]
        about = f"{name}: " if len(data_sets) > 1 else ""
        notes += [about + note for note in _not_comparable(ranked)]
    if rows and is_search:
        notes.append("no run has test metrics, as in a search: ranked by validation accuracy")
    if kept and all(run.results.get("limited") for run in kept):
        notes.append(_limits(kept))
    if left_out:
        reasons = [f"{len(who)} {reason} ({listed(who)})" for reason, who in left_out.items()]
        notes.append(f"left out: {'; '.join(reasons)}")
    return Comparison(metric, rows, left_out, notes)


def _statuses(runs: Sequence[Run], metric: str) -> list[str]:
    known = {"ok": f"no {metric}"}
    has = [run for run in runs if run.status == "ok" and is_number(run.results.get(metric))]
    apart = set_apart([run.results for run in has])
    ended = {id(run): "limited" if left else "ok" for run, left in zip(has, apart, strict=True)}
    return [ended.get(id(run), known.get(run.status, run.status)) for run in runs]


def _reason(run: Run, status: str) -> str:
    """Why a run has no row."""
    if status == "limited":
        return _limits([run])
    if status.startswith("no ") and is_number(run.results.get("val/perplexity")):
        return "with a language model, which has a perplexity and no accuracy"
    return "failed or still under way" if status == "failed" else status.replace("no ", "without ")


def _limits(runs: Sequence[Run]) -> str:
    limits = [run.results.get("limited") or {} for run in runs]
    settings = dict.fromkeys(setting for each in limits for setting in each.values())
    return f"limited by {listed(list(settings))}, which left reviews out"


def _by_data_set(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by a name of the reviews that they are tested on, most runs first."""
    reviews: dict[tuple[object, object], list[Run]] = {}
    for run in runs:
        fingerprint = (run.results.get("fingerprints") or {}).get("test")
        reviews.setdefault((fingerprint, run.results.get("test_reviews")), []).append(run)
    sets = sorted(reviews.items(), key=lambda item: -len(item[1]))
    names = []
    for (known, count), own in sets:
        name = f"{own[0].data}, " if own[0].data else ""
        name += f"{format_count(count)} test reviews" if is_number(count) else "test reviews"
        names.append(name if known else f"{name} (no record of which)")
    named: dict[str, list[Run]] = {}
    for name, (_, own) in zip(names, sets, strict=True):
        alike = [runs for other, (_, runs) in zip(names, sets, strict=True) if other == name]
        parts = [name]
        for key in filter(lambda key: key.startswith("data."), own[0].settings):
            mine = {run.settings.get(key) for run in own if run.settings} - {None}
            others = ({run.settings.get(key) for run in runs} - {None} for runs in alike)
            if len(mine) == 1 and any(other and other.isdisjoint(mine) for other in others):
                parts.append(f"{key}={own[0].settings[key]}")
        title = ", ".join(parts)
        again = sum(other.startswith(title) for other in named)
        named[f"{title} ({again + 1})" if again else title] = own
    return named


def _grouped(runs: Sequence[Run], metric: str, *, by_run: bool) -> list[dict[str, Any]]:
    """A row for the runs of each configuration, ranked by the mean of the metric."""
    import pandas as pd

    groups: dict[str, list[Run]] = {}
    for run in runs:
        data = [run.results.get(key) for key in ("labels", "fingerprints", "test_reviews")]
        configuration = repr((run.name, sorted(run.settings.items()), data))
        known = run.settings and not by_run
        groups.setdefault(configuration if known else str(run.folder), []).append(run)
    settings = dict(zip(groups, _differing([group[0] for group in groups.values()]), strict=True))
    names = list(dict.fromkeys((metric, *METRICS, _TIES, "fit_seconds")))
    values = pd.DataFrame(
        [[run.results.get(name) for name in names] for group in groups.values() for run in group],
        index=[key for key, group in groups.items() for _ in group],
        columns=names,
    )
    numbers = values.where(values.map(is_number)).astype(float).groupby(level=0, sort=False)
    complete = numbers.count().eq(numbers.size(), axis=0)
    means, spreads = numbers.mean().where(complete), numbers.std().where(complete)
    table = means.add_suffix(" mean").join(spreads.add_suffix(" spread")).astype(object)
    table = table.where(table.notna(), None)
    ascending = [is_lower_better(metric), True]
    order = means.sort_values([metric, _TIES], ascending=ascending, kind="stable").index
    rows = []
    for rank, key in enumerate(order, start=1):
        group, results = groups[key], groups[key][0].results
        seeds = {run.results["seed"] for run in group if isinstance(run.results.get("seed"), int)}
        devices = dict.fromkeys(str(run.results.get("device") or "") for run in group)
        row = {"rank": rank, "name": group[0].name, "settings": settings[key], "n": len(group)}
        row |= {"seeds": sorted(seeds), **table.loc[key], "parameters": results.get("parameters")}
        row |= {"device": "; ".join(filter(None, devices)) or None}
        row |= {name: results.get(name) for name in _OF_DATA}
        rows.append(row | {"folders": [str(run.folder) for run in group]})
    return rows


def _differing(runs: Sequence[Run]) -> list[dict[str, str]]:
    """The options and settings that distinguish each run, beside its name.

    These are the ones that differ among runs of its name and, of those that its command line gave,
    the ones that differ at all. What an option such as ``data=imdb`` settles is not repeated, nor
    a default: the one value that all runs of a name have whose command lines do not give another.
    """
    import pandas as pd

    heads = [pd.Series([run.name for run in runs])]
    rows: list[dict[str, str]] = [{} for _ in runs]
    for kind in ("choices", "settings"):
        frame = pd.DataFrame([dict(getattr(run, kind)) for run in runs])
        frame = frame.drop(columns=["model", "experiment"], errors="ignore")
        given = pd.DataFrame([[key in run.overrides for key in frame] for run in runs])
        given.columns = frame.columns
        named = frame.groupby(heads, dropna=False)
        varied = named.transform("nunique", dropna=False) > 1
        for key in frame.columns.intersection(list(OF_ENCODER)):  # not known of every row
            varied[key] = named[key].transform("nunique") > 1
        shown = frame.where(varied | (given & frame.nunique().gt(1)))
        left = frame.where(~given).groupby(heads, dropna=False)  # to the defaults
        known = frame.notna().groupby(heads, dropna=False).transform("all")
        default = known & left.transform("nunique").eq(1) & frame.eq(left.transform("first"))
        heads += [frame[key] for key in shown.dropna(axis="columns", how="all")]
        shown = shown.mask(default)
        rows = [
            row | dict(own.dropna()) for row, (_, own) in zip(rows, shown.iterrows(), strict=True)
        ]
    whole = {key for row in rows for key in row}  # early_stopping=null hides all settings below it
    return [
        {k: v for k, v in row.items() if not any(k.startswith(f"{other}.") for other in whole)}
        for row in rows
    ]


def _devices(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each device, with the ranks of its rows if there are several."""
    devices: dict[str, list[str]] = {}
    for row in rows:
        devices.setdefault(row["device"] or "unknown device", []).append(f"#{row['rank']}")
    several = len(devices) > 1
    return [f"{name}: {listed(ranks)}" if several else name for name, ranks in devices.items()]


def _not_comparable(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Notes on rows of one data set: other validation reviews, and several runs of one seed."""
    ranks: dict[tuple[object, object], list[str]] = {}
    for row in rows:
        if is_number(row["val/accuracy mean"]):
            reviews = (row["fingerprints"] or {}).get("val"), row["val_reviews"]
            ranks.setdefault(reviews, []).append(f"#{row['rank']}")
    parts = [
        f"{listed(who)} on {format_count(count)}{'' if known else ' (no record of which)'}"
        for (known, count), who in ranks.items()
    ]
    differ = "validation metrics do not compare, as the validation reviews differ"
    notes = [f"{differ}: {'; '.join(parts)}"] if len(parts) > 1 else []
    if again := [f"#{row['rank']}" for row in rows if row["n"] > max(1, len(row["seeds"]))]:
        notes.append(f"several runs of one seed in {listed(again)}: --by-run has a row for each")
    return notes
