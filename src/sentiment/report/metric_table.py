"""The metrics of ``results.json`` as rows of a table, whose cells know their keys."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sentiment.report.confidence import confidence_interval
from sentiment.report.tables import MISSING, format_count, format_percent, is_number

IMBALANCED = 0.8  # fraction of the largest class, above which accuracy says little
SPLITS = {"train": "training", "val": "validation", "test": "test"}
METRIC_ROWS = (
    ("accuracy", "accuracy"), ("macro F1", "f1"), ("AUROC", "auroc"), ("loss", "loss"),
    ("ECE", "ece"),
)  # fmt: skip


class Cell(NamedTuple):
    """A number of ``results.json``, as it is shown.

    Attributes:
        key: its key there; "" if it is computed from others.
        value: the number.
        text: as it is shown.
    """

    key: str
    value: Any
    text: str


class MetricRow(NamedTuple):
    """A metric of the training, the validation and the test reviews."""

    name: str
    cells: Sequence[Cell | None]
    below: bool = False  # whether it belongs to the row above


def metric_rows(results: Mapping[str, Any]) -> list[MetricRow]:
    """All metrics of ``results.json`` that are one number for each split, and what they compare to.

    Args:
        results: its content; any key may be missing.
    """
    rows = []
    for name, metric in METRIC_ROWS:
        if metric == "loss" and "val/calibrated_loss" in results:  # two scales, so two rows
            keys = ["train/loss", "val/loss", "", "", "val/calibrated_loss", "test/loss"]
            cells = [_cell(results, key) for key in keys]
            rows += [MetricRow("loss", cells[:3]), MetricRow("calibrated loss", cells[3:])]
            continue
        rows.append(MetricRow(name, [_cell(results, f"{split}/{metric}") for split in SPLITS]))
        if metric == "accuracy":
            rows += _beside_accuracy(results)
        if metric == "f1" and (results.get("test/largest_class") or 0) > IMBALANCED:
            rows.append(MetricRow("F1 of TF-IDF", _of_baseline(results, metric), below=True))
    shown = {cell.key for row in rows for cell in row.cells if cell is not None}
    others = {
        key.partition("/")[2]: None
        for key, value in results.items()
        if key.startswith(("train/", "val/", "test/")) and is_number(value) and key not in shown
    }
    for metric in others:
        keys = [f"{split}/{metric}" for split in SPLITS]
        cells = [_cell(results, "" if key in shown else key) for key in keys]
        rows.append(MetricRow({"mae": "mean absolute error"}.get(metric, metric), cells))
    for name, metric in (
        ("coverage", "coverage"),
        ("accuracy of answered reviews", "accuracy"),
    ):
        keys = [f"abstain/{split}_{metric}" for split in SPLITS]
        cells = [
            Cell(key, results[key], format_percent(results[key])) if key in results else None
            for key in keys
        ]
        rows.append(MetricRow(name, cells, below=metric == "accuracy"))
    counts = [
        Cell(key, results[key], format_count(results[key])) if is_number(results.get(key)) else None
        for key in (f"{split}_reviews" for split in SPLITS)
    ]
    rows.append(MetricRow("reviews", counts))
    return [row for row in rows if any(cell is not None for cell in row.cells)]


def _cell(results: Mapping[str, Any], key: str) -> Cell | None:
    value = results.get(key)
    if not is_number(value):
        return None
    return Cell(key, value, format_metric(key.partition("/")[2], value))


def _beside_accuracy(results: Mapping[str, Any]) -> list[MetricRow]:
    """The rows by which an accuracy can be judged."""
    intervals: list[Cell | None] = [None]
    for split in ("val", "test"):
        accuracy, reviews = results.get(f"{split}/accuracy"), results.get(f"{split}_reviews")
        if not (is_number(accuracy) and is_number(reviews) and reviews):
            intervals.append(None)
            continue
        low, high = confidence_interval(accuracy, int(reviews))
        key = "test/accuracy_interval" if split == "test" else ""
        intervals.append(Cell(key, [low, high], f"{100 * low:.1f} to {100 * high:.1f} %"))
    largest = results.get("test/largest_class")
    shown = format_percent(largest)
    always = None if shown == MISSING else Cell("test/largest_class", largest, shown)
    return [
        MetricRow("95 % interval", intervals, below=True),
        MetricRow("most frequent label", [None, None, always], below=True),
        MetricRow("TF-IDF baseline", _of_baseline(results, "accuracy"), below=True),
    ]


def _of_baseline(results: Mapping[str, Any], metric: str) -> list[Cell | None]:
    """A metric of the baseline beside a network, for each split."""
    baseline = results.get("baseline") or {}
    return [
        Cell(f"baseline {key}", baseline[key], format_metric(metric, baseline[key]))
        if is_number(baseline.get(key))
        else None
        for key in (f"{split}/{metric}" for split in SPLITS)
    ]


def format_metric(metric: str, value: Any) -> str:
    """A metric as tables show it: a percentage, or a number with four digits."""
    if metric in {"accuracy", "f1", "ece"}:
        return format_percent(value)
    return f"{value:.4f}" if is_number(value) else MISSING
