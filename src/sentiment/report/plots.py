"""Plots of a training: learning curves, confusion matrix, and how reliable its scores are.

Made by matplotlib's objects alone, without pyplot: there is no global state, so drawing works in
threads and without a display, and a figure is freed like any object.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sentiment.report.confidence import confidence_interval
from sentiment.runtime.files import replaced_when_whole

# Blue and vermilion of Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, VERMILION = "#0072B2", "#D55E00"
_CURVES: dict[str, dict[str, Any]] = {
    "train": {"label": "Training", "color": BLUE, "marker": "o", "linewidth": 1.8},
    "val": {"label": "Validation", "color": VERMILION, "marker": "s", "linewidth": 1.8},
}
INK, QUIET = "#1A1A1A", "#666666"
SMALL = 9  # points
_DPI = 160
_MOST_COUNTED_CLASSES = 12
_MOST_NAMED_CLASSES = 25


def learning_curves(
    rows: Sequence[Mapping[str, float]],
    path: Path | None = None,
    *,
    metrics: Sequence[str] = ("loss", "accuracy"),
    best_epoch: int | None = None,
) -> Figure:
    """Draw loss and accuracy, or other metrics, over the epochs and write the plot to ``path``.

    Args:
        rows: One mapping an epoch: ``epoch`` (from 0), ``train/loss``, ``val/loss``,
            ``train/accuracy`` and ``val/accuracy`` (both from 0 to 1). Values may be missing or
            NaN; should an epoch appear twice, the later row counts.
        path: Where the plot goes, if it is to be written. The suffix chooses the format.
        metrics: A panel for each.
        best_epoch: The epoch to mark, counted as in ``rows``.
    """
    figure = new_figure(4.5 * len(metrics), 3.8)
    handles: dict[str, Any] = {}
    for axes, metric in zip(
        figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True
    ):
        _draw_curves(axes, rows, metric, best_epoch)
        found, names = axes.get_legend_handles_labels()
        handles |= dict(zip(names, found, strict=True))
    if handles:
        style: dict[str, Any] = {"loc": "outside upper center", "frameon": False}
        figure.legend(list(handles.values()), list(handles), ncols=len(handles), **style)
    if path is not None:
        save_figure(figure, path)
    return figure


def _draw_curves(
    axes: Axes, rows: Sequence[Mapping[str, float]], metric: str, best_epoch: int | None
) -> None:
    """Draw one panel: the metric in training and validation, the best epoch marked."""
    factor, unit = (100, " %") if metric == "accuracy" else (1, "")
    remark = ""
    axes.set_xlabel("Epoch", color=INK)
    for split, style in _CURVES.items():
        curve = {int(row["epoch"]) + 1: row.get(f"{split}/{metric}") for row in rows}
        points = {
            epoch: factor * value
            for epoch, value in sorted(curve.items())
            if value is not None and math.isfinite(value)
        }
        if points:
            axes.plot(list(points), list(points.values()), markersize=4, clip_on=False, **style)
        if split == "val" and best_epoch is not None and best_epoch + 1 in points:
            best = best_epoch + 1
            axes.axvline(best, color=QUIET, linestyle="--", linewidth=1.2, label="Best epoch")
            value = f"{points[best]:.2f}" if unit else f"{points[best]:#.3g}"
            remark = f"validation {value}{unit} at epoch {best}"
    style_axes(axes, "Accuracy (%)" if unit else metric.capitalize(), remark)
    if not axes.lines:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=QUIET)
        axes.set(xticks=[], yticks=[])
        return
    epochs = [int(row["epoch"]) + 1 for row in rows]
    axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
    if unit:
        axes.set_ylim(top=min(axes.get_ylim()[1], 100))


def confusion_matrix(matrix: np.ndarray, labels: Sequence[str], path: Path) -> Figure:
    """Draw a confusion matrix and write the plot to ``path``.

    Args:
        matrix: Counts of reviews, ``(classes, classes)``; rows are true labels.
        labels: The name of each class.
        path: Where the plot goes. The suffix chooses the format.

    Raises:
        ValueError: The matrix is not square, or not as large as there are labels.
    """
    counts, classes = np.asarray(matrix), len(labels)
    if counts.shape != (classes, classes) or not classes:
        raise ValueError(
            f"a confusion matrix of {classes} labels is {classes} x {classes}, "
            f"but this one has shape {counts.shape}"
        )
    totals = counts.sum(axis=1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = min(max(0.8 * classes, 2.4), 7.5)
    figure = new_figure(side + 2.5, side + 2)
    axes = figure.add_subplot()
    image = axes.imshow(fractions, cmap="Blues", vmin=0.0, vmax=1.0)
    total = counts.sum()
    accuracy = f"Accuracy {100 * np.trace(counts) / max(total, 1):.2f} % on {total:,.0f} reviews"
    axes.set_title(accuracy if total else "No reviews", color=INK, fontsize=12)
    shown = range(0, classes, math.ceil(classes / _MOST_NAMED_CLASSES))
    names = [_in_font(" ".join(str(labels[index]).split()), index + 1) for index in shown]
    names = [name if len(name) <= 24 else f"{name[:15]}…{name[-8:]}" for name in names]
    style: dict[str, Any] = {"fontsize": SMALL, "parse_math": False}
    axes.set_xticks(shown, names, rotation=45, ha="right", rotation_mode="anchor", **style)
    axes.set_yticks(shown, names, **style)
    axes.set_xlabel("Predicted label", color=INK)
    axes.set_ylabel("True label", color=INK)
    if classes > _MOST_COUNTED_CLASSES:
        bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1.0, symbol=" %"), shrink=0.8)
        bar.set_label("Fraction of the reviews with this true label", color=INK)
    for (row, column), fraction in np.ndenumerate(
        fractions if classes <= _MOST_COUNTED_CLASSES else []
    ):
        text = f"{100 * fraction:.1f} %\n{counts[row, column]:,.0f}"
        color = "white" if fraction > 0.65 else INK
        axes.text(column, row, text, color=color, ha="center", va="center", fontsize=SMALL)
    save_figure(figure, path, crop=True)
    return figure


def _in_font(label: str, number: int) -> str:
    """A label as it is drawn: by its number if the font lacks a character, as of Chinese."""
    font = get_font(findfont("DejaVu Sans"))
    return label if all(map(font.get_char_index, map(ord, label))) else f"label {number}"


def reliability_diagram(
    reviews: np.ndarray,
    scores: np.ndarray,
    accuracies: np.ndarray,
    path: Path | None = None,
    *,
    temperature: float | None = None,
    classes: int | None = None,
) -> Figure:
    """Draw accuracy against score, how far scores can be trusted, and write the plot to ``path``.

    Args:
        reviews: How many have a score in each of the bins of equal width from 0 to 1, ``(bins,)``.
        scores: Their mean score, ``(bins,)``; ignored where there are no reviews.
        accuracies: The fraction of them that is right, ``(bins,)``; likewise.
        path: Where the plot goes, if it is to be written. The suffix chooses the format.
        temperature: What the logits were divided by, if it is known.
        classes: How many there are, if it is known; no score is below one divided by it.
    """
    figure = new_figure(5.2, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    seen = reviews > 0
    x, y = 100 * scores[seen], 100 * accuracies[seen]
    error = np.average(np.abs(x - y), weights=reviews[seen]) if seen.any() else math.nan
    divided = "" if temperature is None else f", temperature {temperature:.3g}"
    style_axes(upper, "Accuracy (%)", f"ECE {error:.2f} %{divided}")
    style_axes(lower, "Reviews (%)", f"{reviews.sum():,} reviews")
    lower.set_xlabel("Score of the predicted label (%)", color=INK)
    upper.plot([0, 100], [0, 100], color=QUIET, linestyle="--", label="Calibrated")
    upper.plot(x, y, color=BLUE, marker="o", clip_on=False, zorder=4, label="Accuracy")
    upper.vlines(x, x, y, color=VERMILION, linewidth=2.5, label="Gap")
    intervals = [
        confidence_interval(accuracy, int(count))
        for accuracy, count in zip(accuracies[seen], reviews[seen], strict=True)
    ]
    low, high = 100 * np.array(intervals).reshape(-1, 2).T
    upper.errorbar(
        x, y, (np.maximum(0, y - low), np.maximum(0, high - y)), color=BLUE, fmt="none",
        elinewidth=1, capsize=2.5, alpha=0.7, label="95 % interval",
    )  # fmt: skip
    figure.legend(loc="outside upper center", ncols=4, frameon=False, columnspacing=1.2)
    edges = 100 * np.arange(len(reviews) + 1) / len(reviews)
    fractions = 100 * reviews / max(reviews.sum(), 1)
    lower.bar(edges[:-1], fractions, np.diff(edges), align="edge", color=BLUE, edgecolor="white")
    first = max(edges[int(seen.argmax())], 100 / classes if classes else 0)
    lower.set_xlim(first, 100)
    upper.set_ylim(min([first, *low]), 100)
    if path is not None:
        save_figure(figure, path)
    return figure


def save_figure(figure: Figure, path: Path, *, crop: bool = False) -> None:
    """Write ``figure`` to ``path`` at 160 dots an inch; a failure leaves ``path`` untouched.

    ``crop`` cuts the empty margins off, so that the plot's size depends on what is drawn.
    """
    box: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.12} if crop else {}
    with replaced_when_whole(path) as part:
        figure.savefig(part, dpi=_DPI, format=path.suffix.removeprefix(".") or "png", **box)


def new_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """Make an empty white figure of this size in inches, with an Agg canvas."""
    layout: Any = "constrained" if constrained else None
    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, title: str, remark: str = "") -> None:
    """Give a panel its titles, a light grid and quiet axes."""
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.margins(y=0.08)
    axes.set_title(title, loc="left", color=INK, fontweight="bold", fontsize=11, pad=9)
    axes.set_title(remark, loc="right", fontsize=SMALL, color=QUIET, pad=9)
    axes.grid(color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelcolor=INK)
