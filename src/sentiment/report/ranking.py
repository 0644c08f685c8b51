"""The runs of a Hydra sweep, best first, and what is left of the differences over several seeds.

A row of these lists is a plain dictionary. Keys that are no fixed column and no metric
(``val/…``, ``test/…``) are Hydra overrides: ``model``, ``optimizer.lr``, ``seed``.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from sentiment.report.runs import (
    by_number_then_name,
    parse_overrides,
    read_overrides,
    read_results,
    run_folders,
    set_apart,
)
from sentiment.report.tables import (
    MISSING,
    format_duration,
    format_percent,
    format_size,
    is_number,
    new_table,
)
from sentiment.runtime.errors import InputError

_RESULT_COLUMNS = ("val/accuracy", "test/accuracy", "test/f1", "fit_seconds", "parameters")
_FIXED_COLUMNS = {"rank", "status", "n", "failed", "folder"} | {
    f"{key}{what}" for key in ("fit_seconds", "parameters") for what in ("", " mean", " spread")
}
_METRIC_PREFIXES = ("train/", "val/", "test/")
_LOWER_IS_BETTER = {"loss", "ece", "fit_seconds", "parameters", "latency_ms"}


@dataclass(frozen=True)
class Job:
    """How a run of a sweep ended for the process that began it.

    Attributes:
        folder: the run's, which it may never have made, or found to be another's.
        overrides: what it was told.
        failed: whether it did.
    """

    folder: Path
    overrides: Sequence[str]
    failed: bool


def rank_runs(
    sweep_dir: Path, *, metric: str = "val/accuracy", jobs: Sequence[Job] = ()
) -> list[dict[str, object]]:
    """Read the runs of a Hydra multirun folder, best first.

    Args:
        sweep_dir: The folder that the runs lie in, at any depth. Each may have a ``results.json``
            and a ``.hydra/overrides.yaml``.
        metric: The key of ``results.json`` to rank by. Of a loss, of seconds and of parameters
            less is better; of all else more.
        jobs: Runs that are known to have ended; where one failed, its folder is not asked.

    Returns:
        A row a run: ``rank`` (from 1), ``status``, a column for each override key that any run
        has (the value as it was written, None where a run lacks it), the metric, ``val/accuracy``,
        ``test/accuracy``, ``test/f1``, ``fit_seconds``, ``parameters``, ``folder``. Runs of equal
        metric stay in the order of their folders. What cannot be ranked comes last, its rank None,
        its status not ``ok`` but ``limited`` (see ``set_apart``), ``pruned``, ``no <metric>``
        (missing, or not finite), ``unreadable`` or, where there is no ``results.json``, ``failed``.

    Raises:
        InputError: The folder is none, has no runs, or no run has ever heard of the metric.
    """
    failed = {job.folder.resolve(): job for job in jobs if job.failed}
    results = {
        folder: ({}, "failed") if folder.resolve() in failed else read_results(folder)
        for folder in _all_folders(sweep_dir, jobs)
    }
    found = {key for values, _ in results.values() for key in values}
    if found and metric not in found:
        raise InputError(
            f"no run in {sweep_dir} has the metric {metric!r}: choose one of "
            + ", ".join(sorted(key for key in found if key.startswith(_METRIC_PREFIXES)))
        )
    overrides = {
        folder: _task_overrides(failed[folder.resolve()])
        if folder.resolve() in failed
        else read_overrides(folder)
        for folder in results
    }
    keys = list(dict.fromkeys(key for values in overrides.values() for key in values))
    ended = [folder for folder, (_, status) in results.items() if status == "ok"]
    apart = dict(zip(ended, set_apart([results[folder][0] for folder in ended]), strict=True))
    rows = []
    for folder, (values, status) in results.items():
        if status == "ok" and not is_number(values.get(metric)):
            status = f"no {metric}"  # noqa: PLW2901
        elif apart.get(folder):
            status = "limited"  # noqa: PLW2901
        row: dict[str, object] = {"rank": None, "status": status}
        row |= {key: overrides[folder].get(key) for key in keys}
        row |= {key: values.get(key) for key in dict.fromkeys((metric, *_RESULT_COLUMNS))}
        rows.append(row | {"folder": _name(folder, sweep_dir)})
    return ranked(rows, metric, lower=is_lower_better(metric))


def has_seeds(rows: Sequence[Mapping[str, object]]) -> bool:
    """Tell whether any configuration was run with more than one seed."""
    return any(len({row.get("seed") for row in group}) > 1 for group in _by_configuration(rows))


def summarise_seeds(
    rows: Sequence[Mapping[str, object]], *, metric: str = "val/accuracy"
) -> list[dict[str, object]]:
    """Gather runs that differ in nothing but their seed, best mean first.

    Args:
        rows: What :func:`rank_runs` gave, called with the same metric.
        metric: What to rank by.

    Returns:
        A row a configuration: ``rank``, the overrides without ``seed``, ``n`` (runs that finished),
        ``failed`` (runs that did not), and for the metric, test accuracy, test F1 and seconds
        ``<key> mean`` and ``<key> spread``. The spread is the sample standard deviation
        (n - 1 in the denominator), None of a single run. A mean is None unless all n runs have the
        value. Configurations of which no run finished come last, with rank None; limited runs are
        left out.
    """
    rows = [row for row in rows if row["status"] != "limited"]
    summaries = []
    for group in _by_configuration(rows):
        finished = [row for row in group if row["status"] == "ok"]
        summary: dict[str, object] = {"rank": None}
        summary |= {key: group[0][key] for key in _override_keys(rows) if key != "seed"}
        summary |= {"n": len(finished), "failed": len(group) - len(finished)}
        for key in dict.fromkeys((metric, "test/accuracy", "test/f1", "fit_seconds")):
            summary |= mean_and_spread(key, [row.get(key) for row in finished])
        summaries.append(summary)
    return ranked(summaries, f"{metric} mean", lower=is_lower_better(metric))


def ranking_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Lay out what :func:`rank_runs` gave.

    Overrides that all runs share are in the caption. A failed run says so in place of its metric.
    """
    table, varying = _started_table(rows)
    metrics = [key for key in _keys(rows) if key.startswith(_METRIC_PREFIXES)]
    known = [key for key in metrics if any(is_number(row.get(key)) for row in rows)]
    metrics = known or metrics[:1]  # a search has no test figures
    for heading in (*map(_heading, metrics), "fit\ntime", "param."):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("run", overflow="fold")
    for row in rows:
        cells = [_format_metric(key, row.get(key)) for key in metrics]
        if row["status"] in {"failed", "unreadable"}:
            cells[0] = str(row["status"])
        table.add_row(
            *_first_cells(row, varying),
            *cells,
            format_duration(row.get("fit_seconds")),
            format_size(row.get("parameters")),
            Text(
                f"{row['folder']} ({row['status']})"
                if row["status"] in {"limited", "pruned"}
                else str(row["folder"])
            ),
            style=_row_style(row),
        )
    return table


def seeds_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Lay out what :func:`summarise_seeds` gave: means, and their spread beside them.

    Where runs have failed, ``n`` is written as finished/all.
    """
    table, varying = _started_table(rows)
    measured = [key.removesuffix(" mean") for key in _keys(rows) if key.endswith(" mean")]
    metrics = [key for key in measured if key.startswith(_METRIC_PREFIXES)]
    table.add_column("n", justify="right", no_wrap=True)
    for metric in metrics:
        table.add_column(_heading(metric), justify="right", no_wrap=True)
        table.add_column("\n+/-", justify="right", no_wrap=True, style="dim")
    table.add_column("fit\ntime", justify="right", no_wrap=True)
    for row in rows:
        finished, failed = int(str(row["n"])), int(str(row["failed"]))
        table.add_row(
            *_first_cells(row, varying),
            f"{finished}/{finished + failed}" if failed else str(finished),
            *(
                _format_metric(metric, row[f"{metric} {what}"])
                for metric in metrics
                for what in ("mean", "spread")
            ),
            format_duration(row["fit_seconds mean"]),
            style=_row_style(row),
        )
    return table


def _all_folders(sweep_dir: Path, jobs: Sequence[Job]) -> list[Path]:
    """List the runs of a sweep, 2 before 10, and then jobs that are not among them.

    Where no jobs are known, a folder without any run in it is one that was killed before it wrote
    its config.
    """
    if not sweep_dir.is_dir():
        raise InputError(f"{sweep_dir} is no folder: give the folder of a --multirun")
    top = [path for path in sweep_dir.iterdir() if path.is_dir() and not path.name.startswith(".")]
    top.sort(key=lambda path: by_number_then_name(path.name))
    alone = (sweep_dir / ".hydra").is_dir()  # whose folders hold something else
    inside = [
        run for path in top for run in [*run_folders(path)] or [path] * (not alone and not jobs)
    ]
    folders = {run.resolve(): run for run in [sweep_dir] * alone + inside}
    folders = {job.folder.resolve(): job.folder for job in jobs} | folders
    if not folders:
        raise InputError(f"{sweep_dir} has no runs in it: give the folder of a --multirun")
    return list(folders.values())


def _name(folder: Path, sweep_dir: Path) -> str:
    """A run's path below the sweep's folder, or its whole path where it lies elsewhere."""
    for path, home in ((folder, sweep_dir), (folder.resolve(), sweep_dir.resolve())):
        if path.is_relative_to(home):
            return str(path.relative_to(home))
    return str(folder)


def _task_overrides(job: Job) -> dict[str, str]:
    return parse_overrides(item for item in job.overrides if not item.startswith("hydra"))


def ranked(rows: Iterable[dict[str, object]], key: str, *, lower: bool) -> list[dict[str, object]]:
    """Sort by ``key`` and number the rows; then limited and pruned ones, others, failed ones.

    Rows of equal value stay in the order given.
    """
    valued: list[tuple[float, dict[str, object]]] = []
    rest: list[dict[str, object]] = []
    for row in rows:
        value = row[key]
        if is_number(value):
            valued.append((value if lower else -value, row))
        else:
            rest.append(row)
    valued.sort(key=lambda pair: pair[0])
    rest.sort(key=lambda row: row.get("status") == "failed")
    kept = [row for _, row in valued if row.get("status", "ok") == "ok"]
    below = [row for _, row in valued if row.get("status", "ok") != "ok"]
    below.sort(key=lambda row: str(row["status"]))  # limited, then pruned
    return [row | {"rank": rank} for rank, row in enumerate(kept, start=1)] + below + rest


def is_lower_better(metric: str) -> bool:
    """Whether less of a figure of ``results.json`` is better: of errors, of time, of size."""
    return metric.rpartition("/")[2] in _LOWER_IS_BETTER


def _keys(rows: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _override_keys(rows: Sequence[Mapping[str, object]]) -> list[str]:
    return [
        key
        for key in _keys(rows)
        if key not in _FIXED_COLUMNS and not key.startswith(_METRIC_PREFIXES)
    ]


def _by_configuration(
    rows: Sequence[Mapping[str, object]],
) -> list[list[Mapping[str, object]]]:
    """Group the rows whose overrides differ in nothing but the seed, in order of appearance."""
    keys = [key for key in _override_keys(rows) if key != "seed"]
    groups: dict[tuple[object, ...], list[Mapping[str, object]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(groups.values())


def mean_and_spread(key: str, values: Sequence[object]) -> dict[str, object]:
    """``<key> mean`` and ``<key> spread``: the sample standard deviation, None of one value.

    Both are None unless all values are numbers.
    """
    numbers = [value for value in values if is_number(value)]
    complete = bool(numbers) and len(numbers) == len(values)
    return {
        f"{key} mean": statistics.fmean(numbers) if complete else None,
        f"{key} spread": statistics.stdev(numbers) if complete and len(numbers) > 1 else None,
    }


def _started_table(rows: Sequence[Mapping[str, object]]) -> tuple[Table, list[str]]:
    """Begin a table with the rank and the overrides that vary; the others become its caption."""
    keys = _override_keys(rows)
    varying = [key for key in keys if len({row[key] for row in rows}) > 1]
    shared = ", ".join(f"{key}={rows[0][key]}" for key in keys if key not in varying)
    caption = Text(f"all runs: {shared}", style="dim") if shared else None
    table = new_table(caption=caption, caption_justify="left")
    table.add_column("#", justify="right", no_wrap=True)
    for key, name in zip(varying, short_names(varying), strict=True):
        longest = max(len(name), *(len(str(row[key])) for row in rows))
        table.add_column(Text(name), overflow="fold", min_width=min(longest, 12))
    return table, varying


def short_names(keys: Sequence[str]) -> list[str]:
    """Shorten dotted keys to their last part where that tells enough: a path needs its group."""
    last = [key.rpartition(".")[2] for key in keys]
    return [
        name if last.count(name) == 1 and name != "path" else key
        for key, name in zip(keys, last, strict=True)
    ]


def _first_cells(row: Mapping[str, object], varying: Sequence[str]) -> list[Text]:
    values = (row["rank"], *(row[key] for key in varying))
    return [Text(MISSING if value is None else str(value)) for value in values]


def _row_style(row: Mapping[str, object]) -> str:
    if row["rank"] is None:
        return "dim"
    return "bold" if row["rank"] == 1 else ""


def _heading(metric: str) -> str:
    """Write ``val/accuracy`` as ``val acc. %``, on two lines."""
    split, _, name = metric.partition("/")
    return f"{split}\n{ {'accuracy': 'acc. %', 'f1': 'F1 %', 'auroc': 'AUROC'}.get(name, name) }"


def _format_metric(metric: str, value: object) -> str:
    """Write accuracy and F1 in per cent, whose sign is in the heading."""
    if metric.endswith(("/accuracy", "/f1")):
        return format_percent(value).removesuffix(" %")
    return f"{value:.4f}" if is_number(value) else MISSING
