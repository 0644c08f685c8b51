"""Trainings and baselines side by side: what each is, and what it reached over its seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentiment.report.ranking import mean_and_spread, ranked
from sentiment.report.runs import Run, set_apart
from sentiment.report.tables import format_count, is_number, listed
from sentiment.runtime.errors import InputError

FIGURES = ("test/accuracy", "test/f1", "test/ece", "val/accuracy")
_DATA = ("labels", "train_reviews", "val_reviews", "test_reviews", "fingerprints")
_SETTLED_BY_DATA = (  # by an option such as data=sample, where no command line says otherwise
    "data.csv", "data.train_csv", "data.val_csv", "data.test_csv", "data.text_column",
    "data.label_column", "data.labels", "data.label_names",
)  # fmt: skip
_NOTHING = "null"
_MOST_UNASKED = 4  # settings that no command line named


@dataclass(frozen=True)
class Comparison:
    """What there is to tell of some runs.

    Attributes:
        rows: by rank; see ``compare_runs``.
        shared: overrides that every row has.
        usual: overrides whose value a row that does not name them has, if it has them at all.
        left_out: folders of runs without a row, by the reason.
        notes: what keeps figures from being comparable, each in one line.
    """

    rows: list[dict[str, Any]]
    shared: dict[str, str]
    usual: dict[str, str]
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
    found = []
    for run in runs:
        if reason := _why_left_out(run, metric):
            left_out.setdefault(reason, []).append(str(run.folder))
        else:
            found.append(run)
    apart = set_apart([run.results for run in found])
    for run, alone in zip(found, apart, strict=True):
        if alone and not all(apart):
            left_out.setdefault(_told_limits([run]), []).append(str(run.folder))
    kept = [run for run, alone in zip(found, apart, strict=True) if not alone] or found
    if not kept:
        raise InputError(f"nothing to compare: {'; '.join(told_left_out(left_out))}")
    groups = [[run] for run in kept] if by_run else _but_for_the_seed(kept)
    firsts = [group[0] for group in groups]
    given = dict.fromkeys(key for run in kept for key in run.overrides)
    keys = [key for key in given if key not in {"experiment", "model"}]
    keys.sort(key=lambda key: not key.startswith("data"))  # what a figure is of comes first
    values = {key: {_value(run, key) for run in firsts} for key in keys}
    shared = {
        key: value
        for key, (value, *others) in values.items()
        if not others and value not in {None, _NOTHING}
    }
    settings, usual = _apart(firsts, [key for key in keys if key not in shared])
    rows = [_row(group, told) for group, told in zip(groups, settings, strict=True)]
    rows = ranked(rows, f"{metric} mean", lower=False)
    return Comparison(
        rows=rows,
        shared=shared,
        usual=usual,
        left_out=left_out,
        notes=_notes(rows, metric) + [_told_limits(kept)] * all(map(_limits, kept)),
    )


def told_notes(comparison: Comparison) -> list[str]:
    """What there is to tell below a table, each in one line: the notes, and what has no row."""
    if not comparison.left_out:
        return comparison.notes
    return [*comparison.notes, f"left out: {'; '.join(told_left_out(comparison.left_out))}"]


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
    if is_number(run.results.get("val/perplexity")):
        return "with a language model, which has a perplexity and no accuracy"
    return "without a test figure" if metric.startswith("test/") else "without figures"


def _told_limits(runs: Sequence[Run]) -> str:
    settings = dict.fromkeys(setting for run in runs for setting in _limits(run))
    return f"limited by {listed(list(settings))}, which left reviews out"


def _limits(run: Run) -> list[str]:
    return list((run.results.get("limited") or {}).values())


def _value(run: Run, key: str) -> str | None:
    return run.choices.get(key, run.settings.get(key))


def _but_for_the_seed(runs: Iterable[Run]) -> list[list[Run]]:
    """Group the runs that differ in nothing but the seed, in order of appearance."""
    groups: dict[object, list[Run]] = {}
    for run in runs:
        data = [run.results.get(key) for key in ("labels", "fingerprints", "test_reviews")]
        same = (run.name, repr(sorted(run.settings.items())), repr(data))
        groups.setdefault(same if run.settings else run.folder, []).append(run)
    return list(groups.values())


def _apart(runs: Sequence[Run], keys: Sequence[str]) -> tuple[list[dict[str, str]], dict[str, str]]:
    """What sets runs apart beside their name, and what holds where nothing else stands.

    Of each of ``keys`` at most one value is left out wherever a run has it, and every run of
    another names its own. Where runs still look the same, whatever differs between them is named.
    """
    told: list[dict[str, str]] = [{} for _ in runs]
    usual: dict[str, str] = {}
    for key in keys:
        for alike in _settled_alike(runs, key):
            value = _usual([runs[index] for index in alike], key)
            if value not in {None, _NOTHING} and key not in _SETTLED_BY_DATA:
                usual[key] = str(value)
            for index in alike:
                own = str(_value(runs[index], key))
                silent = own == _NOTHING and key not in runs[index].overrides
                if own != value and not silent:
                    told[index][key] = own
    _tell_twins(runs, told)
    return told, usual


def _settled_alike(runs: Sequence[Run], key: str) -> list[list[int]]:
    """The runs that have a setting, those together in which the same settles it."""
    by_choice: dict[str | None, list[int]] = {}
    for index, run in enumerate(runs):
        if _value(run, key) is not None:
            choice = run.choices.get("data") if key in _SETTLED_BY_DATA else None
            by_choice.setdefault(choice, []).append(index)
    return list(by_choice.values())


def _usual(runs: Sequence[Run], key: str) -> str | None:
    """The value of a setting that its runs need not name; None if each has to name its own.

    It is that of all runs that were not told one, or else of all those without an experiment.
    """
    if key == "data":  # what a figure is of stands beside each
        return None
    untold = [run for run in runs if key not in run.overrides]
    plain = [run for run in untold if "experiment" not in run.choices]
    found = [value for some in (untold, plain) if (value := _only_value(some, key))]
    rows = [run for run in runs if found and _value(run, key) == found[0]]
    settled = found[:1] == [_NOTHING] or key in _SETTLED_BY_DATA
    return found[0] if len(rows) > 1 or (rows and settled) else None  # one row names its own


def _only_value(runs: Sequence[Run], key: str) -> str | None:
    found = {_value(run, key) for run in runs}
    return found.pop() if len(found) == 1 else None


def _tell_twins(runs: Sequence[Run], told: Sequence[dict[str, str]]) -> None:
    """Name what differs between runs of the same name that were told the same."""
    twins: dict[str, list[int]] = {}
    for index, (run, own) in enumerate(zip(runs, told, strict=True)):
        twins.setdefault(repr((run.name, own)), []).append(index)
    for indices in twins.values():
        settings = [runs[index].settings for index in indices]
        differing = [
            key
            for key in dict.fromkeys(key for has in settings for key in has)
            if len({has.get(key, _NOTHING) for has in settings}) > 1
        ]
        for index, has in zip(indices, settings, strict=True):
            named = {key: has.get(key, _NOTHING) for key in differing[:_MOST_UNASKED]}
            told[index].update({key: each for key, each in named.items() if each != _NOTHING})


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
