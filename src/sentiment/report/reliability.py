"""A picture of how far scores can be trusted: accuracy against score."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sentiment.report.figures import (
    BLUE,
    INK,
    QUIET,
    SMALL,
    VERMILION,
    new_figure,
    save_figure,
    style_panel,
)

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
