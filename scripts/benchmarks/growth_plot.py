"""A picture of how the cost of a training grows with its work."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.rows import Row
from sentiment.report.plots import save_figure

_STYLES = {
    "more reviews": {"color": "#0072B2", "marker": "o"},
    "longer reviews": {"color": "#D55E00", "marker": "s"},
}


def draw_growth(rows: Sequence[Row], path: Path) -> None:
    """Draw seconds and peak memory of an epoch over its tokens, both axes logarithmic.

    Args:
        rows: those with ``work`` are drawn.
        path: where the picture goes.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, quantity, title in zip(
        panels, ("seconds", "memory"), ("Seconds of an epoch", "Peak memory (MB)"), strict=True
    ):
        for series, style in _STYLES.items():
            points = [row.work for row in rows if row.work and row.work["series"] == series]
            axes.plot(
                [point["tokens"] / 1e6 for point in points],
                [point[quantity] for point in points],
                label=series, linewidth=1.8, markersize=5, **style,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("Million tokens")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.grid(color="#E3E3E3")
        axes.spines[["top", "right"]].set_visible(False)
    first = [row.work for row in rows if row.work and row.work["series"] == "more reviews"]
    if first:
        start, end = first[0], first[-1]
        slope = start["seconds"] / start["tokens"]
        panels[0].plot(
            [start["tokens"] / 1e6, end["tokens"] / 1e6],
            [start["seconds"], slope * end["tokens"]],
            color="#666666", linestyle=":", label="in proportion",
        )  # fmt: skip
    panels[0].legend(frameon=False)
    save_figure(figure, path)
