"""Pictures of a training: its learning curves and its confusion matrix.

Figures are made and saved with matplotlib's objects alone, without pyplot: there is no global
state, so drawing works in threads and without a display, and a figure is freed like any object.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from sentiment.runtime.files import replaced_when_whole

DPI = 160

# Blue and vermilion of Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, VERMILION = "#0072B2", "#D55E00"

_CURVES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("train", "Training", {"color": BLUE, "marker": "o", "linewidth": 1.8}),
    ("val", "Validation", {"color": VERMILION, "marker": "s", "linewidth": 1.8}),
)

INK, QUIET, FRAME, _GRID = "#1A1A1A", "#666666", "#B0B0B0", "#E3E3E3"
SMALL = 9  # points

_MOST_COUNTED_CLASSES = 12

_MOST_NUMBERED_CLASSES = 20

_MOST_NAMED_CLASSES = 25

_LONGEST_LABEL = 24


def learning_curves(
    rows: Sequence[Mapping[str, float]],
    path: Path,
    *,
    metrics: Sequence[str] = ("loss", "accuracy"),
    best_epoch: int | None = None,
) -> None:
    """Draw loss and accuracy, or other figures, over the epochs and write the picture to ``path``.

    Args:
        rows: One mapping an epoch: ``epoch`` (from 0), ``train/loss``, ``val/loss``,
            ``train/accuracy`` and ``val/accuracy`` (both from 0 to 1). Values may be missing or
            NaN; should an epoch appear twice, the later row counts.
        path: Where the picture goes. The suffix chooses the format.
        metrics: A panel for each.
        best_epoch: The epoch to mark, counted as in ``rows``.
    """
    save_figure(learning_curves_figure(rows, metrics=metrics, best_epoch=best_epoch), path)


def confusion_matrix(matrix: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix and write the picture to ``path``.

    Args:
        matrix: Counts of reviews, ``(classes, classes)``; rows are true labels.
        labels: The name of each class.
        path: Where the picture goes. The suffix chooses the format.

    Raises:
        ValueError: The matrix is not square, or not as large as there are labels.
    """
    save_figure(confusion_matrix_figure(matrix, labels), path, crop=True)


def save_figure(figure: Figure, path: Path, *, crop: bool = False) -> None:
    """Write ``figure`` to ``path`` at 160 dots an inch; a failure leaves ``path`` untouched.

    ``crop`` cuts the empty margins off, so that the picture's size depends on what is drawn.
    """
    box: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.12} if crop else {}
    with replaced_when_whole(path) as part:
        figure.savefig(part, dpi=DPI, format=path.suffix.removeprefix(".") or "png", **box)


def learning_curves_figure(
    rows: Sequence[Mapping[str, float]],
    *,
    metrics: Sequence[str] = ("loss", "accuracy"),
    best_epoch: int | None = None,
) -> Figure:
    """Build the figure that :func:`learning_curves` saves."""
    figure = new_figure(9.0, 3.8)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        _draw_curves(axes, rows, metric, best_epoch)
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside upper center",
            ncols=len(handles),
            frameon=False,
            labelcolor=INK,
        )
    return figure


def confusion_matrix_figure(matrix: np.ndarray, labels: Sequence[str]) -> Figure:
    """Build the figure that :func:`confusion_matrix` saves."""
    counts = np.asarray(matrix)
    classes = len(labels)
    if counts.shape != (classes, classes) or not classes:
        raise ValueError(
            f"a confusion matrix of {classes} labels is {classes} x {classes}, "
            f"but this one has shape {counts.shape}"
        )
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    names = [_shortened(str(label)) for label in labels]

    side = min(1.5 * classes, 6.0) if classes <= _MOST_COUNTED_CLASSES else 7.5
    margin = 0.08 * max(map(len, names)) + 0.8
    has_bar = classes > _MOST_COUNTED_CLASSES
    figure = new_figure(max(side + margin + has_bar, 4.2), side + 0.6 * margin + 0.8)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_title(_matrix_title(counts), color=INK, fontsize=12, pad=10)
    _label_classes(axes, names, cell=side / classes)
    _draw_numbers(axes, counts, shares, cell=side / classes)
    if has_bar:
        bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1.0, symbol=" %"), shrink=0.8)
        bar.set_label("Share of the reviews with this true label", color=INK)
        bar.ax.tick_params(length=0, labelsize=9, labelcolor=INK)
        bar.outline.set_visible(False)
    return figure


def new_figure(width: float, height: float) -> Figure:
    """Make an empty white figure of so many inches, with an Agg canvas."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0.03)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _curve(rows: Sequence[Mapping[str, float]], key: str) -> dict[int, float]:
    """Map epochs, counted from 1, to the finite values of ``key``."""
    values = {int(row["epoch"]) + 1: row.get(key) for row in rows}
    return {
        epoch: float(value)
        for epoch, value in sorted(values.items())
        if value is not None and math.isfinite(value)
    }


def _draw_curves(
    axes: Axes, rows: Sequence[Mapping[str, float]], metric: str, best_epoch: int | None
) -> None:
    """Draw one panel: the metric in training and validation, the best epoch marked."""
    in_percent = metric == "accuracy"
    style_panel(axes, "Accuracy (%)" if in_percent else metric.capitalize())
    size = 5.0 if len(rows) <= 30 else 2.5
    for split, name, style in _CURVES:
        curve = {
            epoch: 100 * value if in_percent else value
            for epoch, value in _curve(rows, f"{split}/{metric}").items()
        }
        if curve:
            points = list(curve), list(curve.values())
            axes.plot(*points, label=name, markersize=size, clip_on=False, zorder=3, **style)
        if split == "val" and best_epoch is not None and best_epoch + 1 in curve:
            _mark_best(axes, best_epoch + 1, curve[best_epoch + 1], " %" if in_percent else "")
    if not axes.lines:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=QUIET)
        axes.set(xticks=[], yticks=[])
        return
    epochs = [int(row["epoch"]) + 1 for row in rows]
    scale_epochs(axes, min(epochs), max(epochs))
    if in_percent and axes.get_ylim()[1] > 100:
        axes.set_ylim(top=100)


def _mark_best(axes: Axes, epoch: int, value: float, unit: str) -> None:
    """Point out the epoch whose weights were kept, and say its validation value."""
    axes.axvline(epoch, color=QUIET, linestyle="--", linewidth=1.2, zorder=2, label="Best epoch")
    style = _CURVES[1][2] | {"markersize": 8, "markerfacecolor": "white", "markeredgewidth": 2}
    axes.plot([epoch], [value], clip_on=False, zorder=4, **style)
    number = f"{value:.2f}" if unit else f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
    if value >= 10 and not unit:
        number = f"{value:.1f}"
    text = f"validation {number}{unit} at epoch {epoch}"
    axes.set_title(text, loc="right", fontsize=9, color=QUIET, pad=9)


def scale_epochs(axes: Axes, first: int, last: int) -> None:
    """Tick whole epochs, each one or round numbers of them, and none outside the training."""
    room = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - room, last + room)
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if (last - first) / step < 12)
    start = -(-first // step) * step
    axes.set_xticks(range(start, last + 1, step))


def style_panel(axes: Axes, title: str) -> None:
    """Give a panel its titles, a light grid and quiet axes."""
    formatter = ScalarFormatter(useOffset=False)
    formatter.set_scientific(False)
    axes.yaxis.set_major_formatter(formatter)
    axes.margins(y=0.08)
    axes.set_xlabel("Epoch", color=INK)
    axes.set_title(title, loc="left", color=INK, fontweight="bold", fontsize=11, pad=9)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    axes.tick_params(color=FRAME, labelcolor=INK)


def _shortened(label: str) -> str:
    """Cut the middle out of a long label: its beginning and its end tell classes apart."""
    label = " ".join(label.split())
    if len(label) <= _LONGEST_LABEL:
        return label
    tail = _LONGEST_LABEL // 3
    return f"{label[: _LONGEST_LABEL - tail - 1]}…{label[-tail:]}"


def _label_classes(axes: Axes, names: Sequence[str], cell: float) -> None:
    """Name rows and columns (every second, third … one if there are many), and part the cells."""
    step = math.ceil(len(names) / _MOST_NAMED_CLASSES)
    shown = range(0, len(names), step)
    size = 10 if len(names) <= 8 else 8
    longest_inches = max(map(len, names)) * size * 0.6 / 72
    fits = longest_inches < 0.95 * cell
    text: dict[str, Any] = {"fontsize": size, "color": INK, "parse_math": False}
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(shown, [names[i] for i in shown], **text, **({} if fits else turned))
    axes.set_yticks(shown, [names[i] for i in shown], **text)
    axes.set_xlabel("Predicted label", color=INK, fontsize=11, labelpad=6)
    axes.set_ylabel("True label", color=INK, fontsize=11, labelpad=6)
    axes.set_xticks(np.arange(0.5, len(names) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(names) - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=2 if cell > 0.4 else 0.4)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color(FRAME)


def _draw_numbers(axes: Axes, counts: np.ndarray, shares: np.ndarray, cell: float) -> None:
    """Write share and count into each cell; of many classes the shares alone, or nothing."""
    classes = len(counts)
    if classes > _MOST_NUMBERED_CLASSES:
        return
    size = min(max(cell * 13, 7.0), 15.0)
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center"}
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if share > 0.65 else INK if counts[row, column] else "#8A8A8A"
        percent = _cell_percent(share, counts[row].sum(), decimals=1 if classes <= 4 else 0)
        if classes > _MOST_COUNTED_CLASSES:
            text = percent.removesuffix(" %")
            axes.text(column, row, text, size=size, color=color, ha="center", va="center")
            continue
        upper: dict[str, Any] = {"xytext": (0, 0.1 * size), "va": "bottom", "weight": "bold"}
        lower: dict[str, Any] = {"xytext": (0, -0.3 * size), "va": "top"}
        axes.annotate(percent, (column, row), size=size, color=color, **upper, **place)
        count, small = f"{counts[row, column]:,.0f}", max(0.7 * size, 6.0)
        axes.annotate(count, (column, row), size=small, color=color, **lower, **place)


def _cell_percent(share: float, row_total: float, decimals: int) -> str:
    """Write a share of a row; a row without reviews has none, a small share is never nought."""
    if not row_total:
        return "–"  # noqa: RUF001  (a dash, in a picture)
    least = 0.5 * 10.0**-decimals
    if 0 < 100 * share < least:
        return f"<{10.0**-decimals:.{decimals}f} %"
    return f"{100 * share:.{decimals}f} %"


def _matrix_title(counts: np.ndarray) -> str:
    """Say how many reviews there are and how many of them are on the diagonal."""
    total = counts.sum()
    if not total:
        return "No reviews"
    return f"Accuracy {100 * np.trace(counts) / total:.2f} % on {total:,.0f} reviews"


_DIAGONAL: dict[str, Any] = {"color": QUIET, "linestyle": "--", "linewidth": 1.2, "zorder": 2}

_GAPS: dict[str, Any] = {"color": VERMILION, "linewidth": 2.5, "zorder": 3}

_POINTS: dict[str, Any] = {
    "color": BLUE, "marker": "o", "linewidth": 1.8, "clip_on": False, "zorder": 4,
}  # fmt: skip


def reliability_diagram(
    reviews: np.ndarray,
    scores: np.ndarray,
    accuracies: np.ndarray,
    path: Path,
    *,
    temperature: float,
) -> None:
    """Draw the reliability of scores and write the picture to ``path``.

    Args:
        reviews: How many have a score in each of the bins of equal width from 0 to 1, ``(bins,)``.
        scores: Their mean score, ``(bins,)``; of no reviews it is not looked at.
        accuracies: The share of them that is right, ``(bins,)``; likewise.
        path: Where the picture goes. The suffix chooses the format.
        temperature: What the logits were divided by.
    """
    figure = reliability_figure(reviews, scores, accuracies, temperature=temperature)
    save_figure(figure, path)


def reliability_figure(
    reviews: np.ndarray, scores: np.ndarray, accuracies: np.ndarray, *, temperature: float
) -> Figure:
    """Build the figure that :func:`reliability_diagram` saves."""
    figure = new_figure(5.2, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    style_panel(upper, "Accuracy (%)")
    style_panel(lower, "Reviews (%)")
    upper.set_xlabel("")
    lower.set_xlabel("Score of the predicted label (%)", color=INK)
    seen = reviews > 0
    if not seen.any():
        upper.text(0.5, 0.5, "no reviews", transform=upper.transAxes, ha="center", color=QUIET)
        return figure
    _draw_gaps(upper, 100 * scores[seen], 100 * accuracies[seen])
    figure.legend(loc="outside upper center", ncols=3, frameon=False, labelcolor=INK)
    error = np.average(np.abs(accuracies - scores)[seen], weights=reviews[seen])
    _tell(upper, f"ECE {100 * error:.2f} %, temperature {temperature:.3g}")
    _tell(lower, f"{reviews.sum():,} reviews")
    edges = 100 * np.arange(len(reviews) + 1) / len(reviews)
    shares = 100 * reviews / reviews.sum()
    lower.bar(edges[:-1], shares, np.diff(edges), align="edge", color=BLUE, edgecolor="white")
    first = edges[min(int(seen.argmax()), len(reviews) // 2)]
    lower.set_xlim(first, 100)
    upper.set_ylim(min(first, 100 * accuracies[seen].min()), 100)
    return figure


def _draw_gaps(axes: Axes, scores: np.ndarray, accuracies: np.ndarray) -> None:
    """Draw the accuracy of each bin, and how far it is from what its score promises."""
    axes.plot([0, 100], [0, 100], label="Calibrated", **_DIAGONAL)
    axes.plot(scores, accuracies, label="Accuracy", **_POINTS)
    axes.vlines(scores, scores, accuracies, label="Gap", **_GAPS)


def _tell(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="right", fontsize=SMALL, color=QUIET, pad=9)
