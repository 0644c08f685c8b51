"""Several runs side by side, in one page: metrics, curves, and where they disagree."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sentiment.model.calibration import reliability_of_scores
from sentiment.report.curves import coverage, roc
from sentiment.report.drawings import MOST_LINES, Drawing, lines_drawing
from sentiment.report.metric_table import Cell, format_metric
from sentiment.report.predictions import Predictions
from sentiment.report.reviews_file import ReviewsFile
from sentiment.report.run_page import (
    COVERAGE,
    MISTAKES,
    RELIABILITY,
    abstention_point,
    open_run,
    write_page,
)
from sentiment.report.runs import Run
from sentiment.report.tables import (
    format_duration,
    format_percent,
    format_size,
    is_number,
)
from sentiment.runtime.errors import InputError, listed

_COLUMNS = {
    "test accuracy": "test/accuracy", "macro F1": "test/f1", "AUROC": "test/auroc",
    "ECE": "test/ece", "val. accuracy": "val/accuracy",
    "parameters": "parameters", "time": "fit_seconds",
}  # fmt: skip
_MOST_PAIRS = 15


class Row(NamedTuple):
    """A run in the table of metrics."""

    name: str
    model: str
    cells: Sequence[Cell | None]
    interval: str


class Pair(NamedTuple):
    """Two runs on the same test reviews: in how many each is right, and whether that is chance.

    ``p`` is that of McNemar's exact test.
    """

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    p: float


class Disagreement(NamedTuple):
    """A review that some runs classify correctly and others do not."""

    row: int
    label: str
    text: str | None
    answers: Sequence[tuple[str, str, float, bool]]  # run, label, score, whether it is right


def write_comparison(runs: Sequence[Run], out: Path, *, mistakes: int | None = None) -> Path:
    """Write a page with several runs.

    Args:
        runs: as ``find_runs`` has read them.
        out: the file to write.
        mistakes: most reviews to show on which they disagree; None is 20.

    Returns:
        ``out``.

    Raises:
        InputError: fewer than two runs have results, a file of one is damaged, or ``out`` cannot
            be written.
    """
    ended = [run for run in runs if run.status in ("ok", "pruned")]
    if len(ended) < 2:
        states = listed([f"{run.folder} ({run.status})" for run in runs if run not in ended])
        raise InputError(f"fewer than two of these runs have results; without: {states}")
    ended.sort(key=_order)
    names = _names(ended)
    models = {name: _model(run, name) for name, run in zip(names, ended, strict=True)}
    opened = {
        name: open_run(run.folder, slices=(), mistakes=0, explained=False)
        for name, run in zip(names, ended, strict=True)
    }
    tested = _same_reviews(
        {
            name: (each.run, each.predictions)
            for name, each in opened.items()
            if each.predictions is not None
        }
    )
    number = MISTAKES if mistakes is None else mistakes
    differing: list[Disagreement] = []
    texts_note = None
    if len(tested) > 1 and number:
        differing, texts_note = _disagreements(
            tested, ReviewsFile.of_run(opened[next(iter(tested))].home), number
        )
    values = {
        "title": f"Comparison of {len(ended)} runs",
        "columns": list(_COLUMNS),
        "rows": [_row(name, models[name], run) for name, run in zip(names, ended, strict=True)],
        "left_out": [str(run.folder) for run in runs if run not in ended],
        "data_sets": _data_sets(ended, names),
        "settings": _settings(ended, names),
        "names": names,
        "learning": [*_learning({name: each.epochs for name, each in opened.items()}, models)],
        "curves": [*_curves(tested, models, {name: each.run for name, each in opened.items()})],
        "most": MOST_LINES,
        "pairs": [*_pairs(tested)][:_MOST_PAIRS],
        "tested": list(tested),
        "reviews": len(next(iter(tested.values()))) if tested else 0,
        "agreed": _agreed(tested),
        "disagreements": differing,
        "texts_note": texts_note,
        "percent": format_percent,
    }
    write_page(out, "comparison.html.j2", values)
    return out


def _order(run: Run) -> float:
    accuracy = run.results.get("test/accuracy", run.results.get("val/accuracy"))
    return -accuracy if is_number(accuracy) else math.inf


def _names(runs: Sequence[Run]) -> list[str]:
    """The folder of each run, with as many folders above it as tell the runs apart."""
    parts = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts))):
        names = ["/".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(Path(*each)) for each in parts]


def _model(run: Run, name: str) -> str:
    """The model of a run, in parentheses beside its name; "" if that says it."""
    return "" if run.name == Path(name).name else f"({run.name})"


def _row(name: str, model: str, run: Run) -> Row:
    forms = {
        "parameters": format_size, "fit_seconds": format_duration,
    }  # fmt: skip
    cells: list[Cell | None] = []
    for key in _COLUMNS.values():
        value = run.results.get(key)
        form = forms.get(key)
        text = form(value) if form else format_metric(key.partition("/")[2], value)
        cells.append(Cell(key, value, text) if is_number(value) else None)
    interval = run.results.get("test/accuracy_interval")
    low_high = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %" if interval else ""
    return Row(name, model, cells, low_high)


def _data_sets(runs: Sequence[Run], names: Sequence[str]) -> dict[str, list[str]]:
    """The runs by the fingerprint of their test reviews."""
    found: dict[str, list[str]] = {}
    for name, run in zip(names, runs, strict=True):
        fingerprint = str((run.results.get("fingerprints") or {}).get("test"))
        found.setdefault(fingerprint, []).append(name)
    return found


def _settings(runs: Sequence[Run], names: Sequence[str]) -> dict[str, list[str]]:
    """The settings that differ, by key: the value of each run."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    found = {"seed": [str(run.results.get("seed", "")) for run in runs]}
    found |= {key: [str(run.settings.get(key, "")) for run in runs] for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def _same_reviews(
    runs: Mapping[str, tuple[Run, Predictions]],
) -> dict[str, Predictions]:
    """The largest set of runs that were tested on the same reviews, in the order of their rows."""
    groups: dict[object, dict[str, Predictions]] = {}
    for name, (run, predictions) in runs.items():
        fingerprint = (run.results.get("fingerprints") or {}).get("test")
        order = np.argsort(predictions.rows, kind="stable")
        key = (fingerprint, predictions.rows[order].tobytes(), tuple(sorted(predictions.labels)))
        groups.setdefault(key, {})[name] = predictions.take(order)
    return max(groups.values(), key=len, default={})


def _learning(
    epochs: Mapping[str, Sequence[Mapping[str, float]]], models: Mapping[str, str]
) -> Iterator[Drawing]:
    """Validation loss and accuracy of the runs that have epochs."""
    for metric, title in (("loss", "Validation loss"), ("accuracy", "Validation accuracy (%)")):
        factor = 100 if metric == "accuracy" else 1
        lines = {}
        for name, rows in epochs.items():
            points = [
                (int(row["epoch"]) + 1, factor * row[f"val/{metric}"])
                for row in rows
                if f"val/{metric}" in row
            ]
            if points:
                x, y = zip(*points, strict=True)
                lines[name] = (x, y)
        if len(lines) > 1:
            yield lines_drawing(
                f"learning-{metric}", lines, title=title, below="Epoch",
                caption=f"{title.removesuffix(' (%)')} by epoch.", marked=True, among=[*epochs],
                remarks=models,
            )  # fmt: skip


def _curves(
    tested: Mapping[str, Predictions], models: Mapping[str, str], runs: Mapping[str, Run]
) -> Iterator[Drawing]:
    """ROC of two labels, accuracy over coverage, and reliability, of runs on the same reviews."""
    among = [*models]
    some = {name: tested[name] for name in among[:MOST_LINES] if name in tested}
    if len(some) < 2:
        return
    first = next(iter(some.values()))
    if len(first.labels) == 2 and all(each.scores is not None for each in some.values()):
        label = first.labels[1]
        lines, areas = {}, {}
        for name, each in some.items():
            index = list(each.labels).index(label)
            assert each.scores is not None
            curve = roc(each.scores[:, index], each.true == index)
            lines[name], areas[name] = (
                (100 * curve.x, 100 * curve.y),
                f"{models[name]} {curve.area:.4f}",
            )
        yield lines_drawing(
            "roc", lines, title="True positive rate (%)", below="False positive rate (%)",
            caption=f"ROC curves of the label {label}, with the area under each (AUC).",
            diagonal=([0, 100], [0, 100]), among=among, remarks=areas,
        )  # fmt: skip
    answered = {name: coverage(each.score, each.right) for name, each in some.items()}
    points = {name: point for name in some if (point := abstention_point(runs[name].results))}
    marked = " The marks are runs that abstain, at their thresholds." if points else ""
    yield lines_drawing(
        "coverage",
        {name: (100 * curve.x, 100 * curve.y) for name, curve in answered.items()},
        title="Accuracy (%)",
        below="Coverage (% of the reviews, the highest scores first)",
        caption=f"{COVERAGE}.{marked}",
        among=among,
        remarks=models,
        points=points,
    )
    lines = {}
    for name, each in some.items():
        bins = reliability_of_scores(each.score, each.right)
        seen = bins.reviews > 0
        lines[name] = (100 * bins.scores[seen].numpy(), 100 * bins.accuracies[seen].numpy())
    lowest = min(x.min() for x, _ in lines.values())
    yield lines_drawing(
        "reliability",
        lines,
        title="Accuracy (%)",
        below="Score of the predicted label (%)",
        caption=RELIABILITY,
        diagonal=([lowest, 100], [lowest, 100]),
        among=among,
        remarks=models,
    )


def _pairs(tested: Mapping[str, Predictions]) -> Iterator[Pair]:
    for (first, one), (second, other) in combinations(tested.items(), 2):
        only_first = int((one.right & ~other.right).sum())
        only_second = int((~one.right & other.right).sum())
        yield Pair(
            first,
            second,
            int((one.right & other.right).sum()),
            only_first,
            only_second,
            int((~one.right & ~other.right).sum()),
            mcnemar(only_first, only_second),
        )


def mcnemar(one: int, other: int) -> float:
    """The p-value of McNemar's exact test (1947): both runs are equally often right alone.

    Args:
        one: reviews that only the first run classifies correctly.
        other: reviews that only the second does.
    """
    total, fewer = one + other, min(one, other)
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        for k in range(fewer + 1)
    ]
    tail = math.fsum(math.exp(each - total * math.log(2)) for each in logs)
    return min(1.0, 2 * tail)


def _agreed(tested: Mapping[str, Predictions]) -> tuple[int, int] | None:
    """In how many reviews all runs are right, and in how many none is."""
    if len(tested) < 2:
        return None
    right = np.array([each.right for each in tested.values()])
    return int(right.all(0).sum()), int((~right.any(0)).sum())


def _disagreements(
    tested: Mapping[str, Predictions], file: ReviewsFile | None, number: int
) -> tuple[list[Disagreement], str | None]:
    """Reviews on which runs disagree, those with the surest answers on both sides first."""
    right = np.array([each.right for each in tested.values()])
    scores = np.array([each.score for each in tested.values()])
    surest_right = np.where(right, scores, 0).max(0)
    surest_wrong = np.where(right, 0, scores).max(0)
    both = np.minimum(surest_right, surest_wrong)
    chosen = np.argsort(-both, kind="stable")[:number]
    chosen = chosen[both[chosen] > 0]
    first = next(iter(tested.values()))
    content = note = None
    if file is not None:
        try:
            content = file.read(first, (), first.rows[chosen].tolist())
        except InputError as error:
            note = f"Texts are left out: {error}."
    found = []
    for index in chosen.tolist():
        row = int(first.rows[index])
        text = None if content is None else content.shown(row)
        answers = [
            (
                name,
                each.labels[each.predicted[index]],
                float(each.score[index]),
                bool(each.right[index]),
            )
            for name, each in tested.items()
        ]
        found.append(Disagreement(row, first.labels[first.true[index]], text, answers))
    return found, note
