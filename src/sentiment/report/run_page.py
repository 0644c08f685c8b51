"""``report.html``: what a training has made of its data, in one page."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup

from sentiment.model.calibration import reliability_of_scores
from sentiment.predict.predictor import Predictor
from sentiment.report.card import model_card, summary
from sentiment.report.confidence import confidence_intervals
from sentiment.report.curves import (
    Group,
    coverage,
    covered,
    groups_of_column,
    groups_of_unknown,
    precision_recall,
    roc,
)
from sentiment.report.drawings import MOST_LINES, Drawing, as_svg, lines_drawing
from sentiment.report.metric_table import Cell, metric_rows
from sentiment.report.page import REPORT, write_html
from sentiment.report.plots import learning_curves, reliability_diagram
from sentiment.report.predictions import Predictions, read_predictions, without_failing
from sentiment.report.result_table import cost_facts, data_facts
from sentiment.report.results import answered_scores, metric_warnings
from sentiment.report.reviews_file import Content, ReviewsFile
from sentiment.report.runs import Run, read_run
from sentiment.report.tables import format_percent, is_number, json_text, read_metrics
from sentiment.runtime.environment import program_command
from sentiment.runtime.errors import InputError, first_words, listed
from sentiment.runtime.overrides import overrides_of_run, repeated_overrides
from sentiment.runtime.run_folder import best_checkpoint, config_folder
from sentiment.runtime.yaml_files import below, read_yaml

if TYPE_CHECKING:
    from sentiment.predict.saved_classifier import SavedClassifier

log = logging.getLogger(__name__)

_TEMPLATES = Path(__file__).parent / "page"
MISTAKES = 20
_COVERED = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
_MOST_IN_MATRIX = 25  # classes
_WITHOUT_RESULTS = {
    "unreadable": "its results.json cannot be read; train again",
    "stopped": "the run was stopped; ckpt_path=auto resumes a training",
    "failed": "the run has failed, or has not ended yet",
    "vectors": "sentiment.vectors has no metrics",
    "check": "sentiment.check has no metrics: its page is check.html",
}
RELIABILITY = (
    "Reliability diagram: of the reviews with a score of 80 %, 80 % should be classified correctly."
)
COVERAGE = "Accuracy over coverage: only the reviews with the highest scores are answered"
_SECONDS = 1.0  # for explanations at the end of a training


class Mistake(NamedTuple):
    """A review that was misclassified.

    Attributes:
        row: its row in the file, from 1.
        label: its label.
        predicted: the predicted label.
        score: the score of that.
        text: the review, in colours if it was explained; None if the file is not there.
        words: the heaviest words and their weights; "" without an explanation.
    """

    row: int
    label: str
    predicted: str
    score: float
    text: Markup | str | None
    words: str


class Slice(NamedTuple):
    """Accuracy by something that reviews have."""

    name: str
    groups: Sequence[Group]
    lowest: float  # where bars begin, and end
    highest: float


@dataclass
class Opened:
    """What a run folder holds, with notes of what is missing.

    Attributes:
        run: the run.
        home: the folder with its config.
        predictions: None if it has no predictions.
        content: of its test file; None if that is not there.
        predictor: with its best checkpoint; None if it has none.
        epochs: the rows of ``metrics.csv``.
        mistakes: most misclassified reviews to show.
        notes: what is missing, and why.
    """

    run: Run
    home: Path
    predictions: Predictions | None = None
    content: Content | None = None
    predictor: Predictor | None = None
    epochs: list[dict[str, float]] = field(default_factory=list)
    mistakes: int = MISTAKES
    notes: list[str] = field(default_factory=list)


def report_training(folder: Path) -> None:
    """Write the report of a run that has just ended; a warning if that fails."""
    with without_failing(folder):
        path = write_report(folder, seconds=_SECONDS)
        log.info("A report of it is in %s", path)


def write_report(
    folder: Path,
    out: Path | None = None,
    *,
    slices: Sequence[str] | None = None,
    mistakes: int | None = None,
    seconds: float | None = None,
) -> Path:
    """Write the report of one run.

    Args:
        folder: the run folder.
        out: the file to write; None is ``report.html`` in the run folder.
        slices: columns of the test file to divide the reviews by; None is as in the config.
        mistakes: most misclassified reviews to show; None is as in the config.
        seconds: the time that explaining them may take; None is any.

    Returns:
        The path of the file.

    Raises:
        InputError: the run has no results, a file of it is damaged, or ``out`` cannot be written.
    """
    out = folder / REPORT if out is None else out
    opened = open_run(folder, slices=slices, mistakes=mistakes)
    results, predictions = opened.run.results, opened.predictions
    saved = _saved(opened.predictor)
    shown, hurried = _mistakes(opened, seconds)
    values = {
        "title": f"{opened.run.name}: report",
        "run": opened.run,
        "folder": folder.resolve().name,
        "summary": None if saved is None else summary(saved),
        "results": results,
        "metrics": metric_rows(results),
        "tiles": _tiles(results),
        "notes": opened.notes,
        "warnings": _warnings(results),
        "learning": _learning(opened.epochs, results),
        "classes": [*_class_rows(results)],
        "confusion": _confusion(results),
        "curves": [] if predictions is None else [*_curves(predictions)],
        "trust": [] if predictions is None else [*_trust(predictions, results)],
        "covered": [] if predictions is None else [*_covered(predictions)],
        "slices": [*_slices(opened)],
        "mistakes": shown,
        "hurried": hurried,
        "again": program_command("sentiment.report", str(opened.run.folder)),
        "errors": None if predictions is None else int((~predictions.right).sum()),
        "data_facts": data_facts(results),
        "cost": cost_facts(results),
        "fingerprints": results.get("fingerprints") or {},
        "versions": results.get("versions") or {},
        "overrides": (overrides := repeated_overrides(*overrides_of_run(opened.home))),
        "config": _config(opened.home),
        "card": None
        if saved is None
        else model_card(
            opened.run.name, saved, results, overrides, checkpoint=_shown_checkpoint(folder)
        ),
        "raw": json_text(results),
        "percent": format_percent,
    }
    write_page(out, "report.html.j2", values)
    return out


def write_page(out: Path, template: str, values: Mapping[str, Any]) -> None:
    """Write a page to a file.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        write_html(out, _TEMPLATES / template, values)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error


def open_run(
    folder: Path,
    *,
    slices: Sequence[str] | None = None,
    mistakes: int | None = None,
    explained: bool = True,
) -> Opened:
    """Read what a report needs of a run folder; arguments and errors as of ``write_report``.

    ``explained`` is whether to load its checkpoint.
    """
    run = read_run(folder)
    if reason := _WITHOUT_RESULTS.get(run.status):
        raise InputError(f"{folder}: no report without results: {reason}")
    home = config_folder(folder)
    opened = Opened(run, home, epochs=read_metrics(folder / "metrics.csv"))
    settings = _report_settings(home)
    columns = settings.get("slices") or [] if slices is None else slices
    number = settings.get("mistakes", MISTAKES) if mistakes is None else mistakes
    opened.mistakes = number
    labels = [str(label) for label in run.results.get("labels") or []]
    if labels and "test/accuracy" in run.results:
        opened.predictions = read_predictions(folder, labels)
        if opened.predictions is None:
            opened.notes.append(
                "This run has no predictions.csv, so curves, mistakes and slices are left out;"
                " trainings of this version write it."
            )
    best = best_checkpoint(folder)
    if explained and best != folder:
        try:
            opened.predictor = Predictor.load(best)
        except InputError as error:
            opened.notes.append(f"No explanations and no model card: {error}.")
    if opened.predictions is not None and (number or columns):
        opened.content = _content(opened, columns, number, strict=slices is not None)
    return opened


def _content(
    opened: Opened, columns: Sequence[str], number: int, *, strict: bool
) -> Content | None:
    """Read the test file; a note if that cannot be done, or an error for a column if strict."""
    predictions = opened.predictions
    assert predictions is not None
    file = ReviewsFile.of_run(opened.home)
    if file is None:
        opened.notes.append("Texts are left out: the run has no config that names its test file.")
        return None
    wanted = worst(predictions, number)
    try:
        return file.read(predictions, columns, predictions.rows[wanted].tolist())
    except InputError as error:
        if strict and columns:
            raise
        opened.notes.append(f"Texts and columns of the test file are left out: {error}.")
        return None


def worst(predictions: Predictions, number: int) -> np.ndarray:
    """The indices of the misclassified reviews with the highest scores."""
    wrong = np.flatnonzero(~predictions.right)
    return wrong[np.argsort(-predictions.score[wrong], kind="stable")][:number]


def _report_settings(home: Path) -> Mapping[str, Any]:
    """The node ``report`` of a run's config; empty if it has none."""
    try:
        return below(read_yaml(home / ".hydra" / "config.yaml"), "report")
    except TypeError:
        return {}


def _config(home: Path) -> str | None:
    try:
        return (home / ".hydra" / "config.yaml").read_text(encoding="utf-8")
    except OSError:
        return None


def _saved(predictor: Predictor | None) -> "SavedClassifier | None":
    """The loaded classifier, as a model card describes it."""
    if predictor is None:
        return None
    from sentiment.predict.saved_classifier import SavedClassifier

    (member,) = predictor.members
    classifier: Any = getattr(member.classifier, "module", member.classifier)
    return SavedClassifier(classifier, member.data, dict(member.run))


def _shown_checkpoint(folder: Path) -> str:
    """The best checkpoint of a run, from the working folder if it lies below that."""
    best, here = best_checkpoint(folder.resolve()), Path.cwd()
    return (best.relative_to(here) if best.is_relative_to(here) else best).as_posix()


def _warnings(results: Mapping[str, Any]) -> list[str]:
    needed = ("test/by_class", "test/accuracy", "test/largest_class", "train_reviews")
    found = []
    if all(key in results for key in needed):
        found = metric_warnings(results, training=False)
    if limited := results.get("limited"):
        settings = ", ".join(dict.fromkeys(map(str, limited.values())))
        found.append(f"Reviews were left out ({settings}): the metrics do not compare with others.")
    return found


class Tile(NamedTuple):
    """A metric of the headline."""

    name: str
    cell: Cell
    remark: str


def _tiles(results: Mapping[str, Any]) -> list[Tile]:
    """The metrics to see first."""
    rows = {row.name: row for row in metric_rows(results)}

    def test(name: str) -> Cell | None:
        return rows[name].cells[-1] if name in rows else None

    interval = test("95 % interval")
    remarks = {
        "accuracy": f"95 % interval {interval.text}" if interval else "",
        "macro F1": "unweighted mean over the labels",
        "most frequent label": "accuracy of always predicting it",
        "TF-IDF baseline": "on the same reviews",
        "ECE": "ECE: mean gap between score and accuracy",
    }
    names = {
        "accuracy": "test accuracy",
        "TF-IDF baseline": "TF-IDF with logistic regression",
        "ECE": "calibration error",
    }
    return [
        Tile(names.get(name, name), cell, remark)
        for name, remark in remarks.items()
        if (cell := test(name)) is not None
    ]


def _learning(epochs: Sequence[Mapping[str, float]], results: Mapping[str, Any]) -> list[Drawing]:
    """Loss and accuracy over the epochs, if there are several."""
    if len(epochs) < 2:
        return []
    best = results.get("best_epoch")
    best = int(best) if is_number(best) else None
    captions = {
        "loss": "Loss by epoch; that of training is measured with dropout and other noise.",
        "accuracy": "Accuracy by epoch.",
    }
    return [
        Drawing(
            as_svg(
                learning_curves(epochs, metrics=(metric,), best_epoch=best),
                f"learning-{metric}",
                f"{metric} over the epochs",
            ),
            caption,
        )
        for metric, caption in captions.items()
    ]


def _class_rows(results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(results.get("test/by_class") or []):
        names = ("precision", "recall", "f1")
        key = f"test/by_class[{number}]"
        yield {
            "label": row["label"],
            "cells": [Cell(f"{key}.{name}", row[name], format_percent(row[name])) for name in names]
            + [
                Cell(f"{key}.{name}", row[name], f"{row[name]:,}")
                for name in ("reviews", "predicted")
            ],
        }


def _confusion(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The confusion matrix, or of many classes the most frequent confusions."""
    matrix, labels = results.get("test/confusion"), results.get("labels") or []
    if not matrix or len(matrix) != len(labels):
        return None
    counts = np.array(matrix)
    if len(labels) > _MOST_IN_MATRIX:
        wrong = counts * ~np.eye(len(labels), dtype=bool)
        order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_IN_MATRIX]
        pairs = [np.unravel_index(each, wrong.shape) for each in order]
        return {
            "pairs": [
                (labels[true], labels[given], int(wrong[true, given]))
                for true, given in pairs
                if wrong[true, given]
            ]
        }
    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    fractions = (counts / totals).tolist()
    return {
        "labels": labels,
        "rows": [
            (label, [*zip(row, own, strict=True)])
            for label, row, own in zip(labels, matrix, fractions, strict=True)
        ],
    }


def _curves(predictions: Predictions) -> Iterator[Drawing]:
    """ROC and precision-recall curves, one against the rest for the most frequent labels."""
    if predictions.scores is None:
        return
    counts = np.bincount(predictions.true, minlength=len(predictions.labels))
    chosen = [*np.argsort(-counts, kind="stable")[:MOST_LINES]]
    if len(predictions.labels) == 2:
        chosen = [1]
    chosen = sorted(each for each in chosen if 0 < counts[each] < len(predictions))
    if not chosen:
        return
    left_out = len(predictions.labels) - len(chosen) if len(predictions.labels) > 2 else 0
    which = f" Without the {left_out} rarest labels." if left_out else ""
    for name, function, kind, title, horizontal, area, meaning in (
        (
            "roc", roc, "ROC", "True positive rate (%)", "False positive rate (%)",
            "AUC", "the area under it",
        ),
        (
            "pr", precision_recall, "Precision-recall", "Precision (%)", "Recall (%)",
            "AP", "its average precision",
        ),
    ):  # fmt: skip
        curves = {
            index: function(predictions.scores[:, index], predictions.true == index)
            for index in chosen
        }
        lines = {
            f"{predictions.labels[index]} ({area} {curve.area:.4f})": (100 * curve.x, 100 * curve.y)
            for index, curve in curves.items()
        }
        (first, *others) = chosen
        caption = (
            f"{kind} curves of each label against the others, with {meaning} ({area}).{which}"
            if others
            else f"{kind} curve of the label {predictions.labels[first]}; {meaning} ({area}) is"
            f" {curves[first].area:.4f}."
        )
        yield lines_drawing(
            name,
            lines,
            title=title,
            below=horizontal,
            caption=caption,
            diagonal=([0, 100], [0, 100]) if name == "roc" else None,
        )


def _trust(predictions: Predictions, results: Mapping[str, Any]) -> Iterator[Drawing]:
    """How reliable scores are, and the accuracy if only the surest reviews are answered."""
    bins = reliability_of_scores(predictions.score, predictions.right)
    figure = reliability_diagram(
        bins.reviews.numpy(),
        bins.scores.numpy(),
        bins.accuracies.numpy(),
        temperature=results.get("temperature"),
        classes=len(predictions.labels),
    )
    yield Drawing(
        as_svg(figure, "reliability", "Reliability: accuracy by score"),
        RELIABILITY,
    )
    curve = coverage(predictions.score, predictions.right)
    low, high = confidence_intervals(curve.y, np.maximum(1, np.round(curve.x * len(predictions))))
    point = abstention_point(results)
    yield lines_drawing(
        "coverage",
        {"accuracy": (100 * curve.x, 100 * curve.y)},
        title="Accuracy (%)",
        below="Coverage (% of the reviews, the highest scores first)",
        caption=f"{COVERAGE}; with the 95 % interval."
        + ("" if point is None else f" {_abstention_words(results)}"),
        points={} if point is None else {"accuracy": point},
        band=(100 * curve.x, 100 * low, 100 * high),
    )


def abstention_point(results: Mapping[str, Any]) -> tuple[float, float] | None:
    """Coverage and accuracy, in per cent, of a classifier that abstains on the test reviews."""
    found = [results.get(f"abstain/test_{name}") for name in ("coverage", "accuracy")]
    coverage, accuracy = found
    if not (is_number(coverage) and is_number(accuracy)):
        return None
    return 100 * coverage, 100 * accuracy


def _abstention_words(results: Mapping[str, Any]) -> str:
    """Say what the thresholds of a classifier that abstains do to the test reviews."""
    thresholds = results.get("abstain/thresholds") or {}
    never = [label for label, threshold in thresholds.items() if threshold is None]
    return (
        f"{answered_scores(thresholds, format_percent)}: the coverage is"
        f" {format_percent(results['abstain/test_coverage'])} and the accuracy of answered reviews"
        f" {format_percent(results['abstain/test_accuracy'])}, the marked point."
        + (f" It never answers {listed(never)}." if never else "")
    )


def _covered(predictions: Predictions) -> Iterator[tuple[float, Group]]:
    for fraction in _COVERED:
        yield covered(predictions.score, predictions.right, fraction)


def _slices(opened: Opened) -> Iterator[Slice]:
    """Accuracy by length, by unknown words, and by columns of the test file."""
    by_length = opened.run.results.get("test/by_length") or []
    if by_length:
        groups = [
            Group(
                " to ".join(f"{each:,}" for each in dict.fromkeys(row["tokens"])),
                row["reviews"],
                row["accuracy"],
            )
            for row in by_length
        ]
        yield _sliced("Length in tokens", groups)
    if opened.predictions is None:
        return
    tokens, known = opened.predictions.tokens, opened.predictions.known_tokens
    yield _sliced("Unknown tokens", groups_of_unknown(tokens, known, opened.predictions.right))
    if opened.content is not None:
        for name, cells in opened.content.columns.items():
            yield _sliced(name, groups_of_column(cells, opened.predictions.right))


def _sliced(name: str, groups: Sequence[Group]) -> Slice:
    ends = [end for group in groups for end in group.interval]
    lowest, highest = np.floor(10 * min(ends)) / 10, np.ceil(10 * max(ends)) / 10
    return Slice(name, groups, lowest, highest)


def _mistakes(opened: Opened, seconds: float | None) -> tuple[list[Mistake], bool]:
    """The misclassified reviews with the highest scores, explained where the texts are there.

    Returns:
        The reviews, and whether there was no time to explain all. An explanation that fails is
        left out, with a note.
    """
    predictions, content = opened.predictions, opened.content
    if predictions is None:
        return [], False
    texts = {} if content is None else content.texts
    end = None if seconds is None else time.perf_counter() + seconds
    found, hurried = [], False
    failed: dict[int, str] = {}
    for index in worst(predictions, opened.mistakes).tolist():
        row, predicted = (
            int(predictions.rows[index]),
            predictions.labels[predictions.predicted[index]],
        )
        text, words = texts.get(row), ""
        shown: Markup | str | None = None if content is None else content.shown(row)
        if text is None or opened.predictor is None:
            pass
        elif end is not None and time.perf_counter() >= end:
            hurried = True
        else:
            try:
                explanation = opened.predictor.explain(text, predicted)
                shown, words = Markup(explanation.coloured()), explanation.summary()
            except Exception as error:  # of one text, which must not take the page with it
                failed[row] = first_words(error)
        label = predictions.labels[predictions.true[index]]
        found.append(Mistake(row, label, predicted, float(predictions.score[index]), shown, words))
    if failed:
        reasons = listed([*dict.fromkeys(failed.values())], most=1)
        rows = listed([f"{each:,}" for each in failed])
        opened.notes.append(f"No explanation for row{'s'[: len(failed) - 1]} {rows}: {reasons}.")
    return found, hurried
