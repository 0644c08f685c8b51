"""Plots as SVG within an HTML page, whose colours and font they take."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sentiment.report.plots import BLUE, INK, QUIET, VERMILION, new_figure, style_axes

# The variables of page.css, by the colour that plots draw with. The series follow Okabe and Ito.
_VARIABLES = {
    INK: "ink", QUIET: "quiet", "#E3E3E3": "grid", "#000000": "quiet", "#FFFFFF": "card",
    BLUE: "blue", VERMILION: "vermilion", "#009E73": "green", "#CC79A7": "purple",
    "#E69F00": "orange", "#56B4E9": "sky", "#999999": "grey", "#8A5A2B": "brown",
}  # fmt: skip
_SERIES = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#8A5A2B")
_DASHES = ("", "6 2", "2 2", "8 2 2 2")
MOST_LINES = len(_SERIES)


@dataclass(frozen=True)
class Drawing:
    """A plot for a page.

    Attributes:
        svg: the plot.
        keys: for a legend, the name of each line with its colour and its dashes in CSS.
        caption: what it shows.
    """

    svg: Markup
    caption: str
    keys: Sequence[tuple[str, str, str]] = ()


Line = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]


def lines_drawing(
    name: str,
    lines: Mapping[str, Line],
    *,
    title: str,
    below: str,
    caption: str,
    diagonal: tuple[Sequence[float], Sequence[float]] | None = None,
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    marked: bool = False,
    among: Sequence[str] = (),
    remarks: Mapping[str, str] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
) -> Drawing:
    """Draw curves in one plot, up to ``MOST_LINES``.

    Args:
        name: of the plot, unique in the page.
        lines: x and y of each, by name.
        title: what y is.
        below: what x is.
        caption: what the plot shows.
        diagonal: x and y of a quiet line to compare with.
        band: x, and the lowest and highest y there.
        marked: whether x are whole numbers, such as epochs, with a marker at each point.
        among: the names whose first ones have colours, the same in all plots; empty is those of
            ``lines``.
        remarks: by name, what the legend says beside it.
        points: by name, x and y of a point to mark.
    """
    figure = new_figure(4.6, 3.5, constrained=False)  # which takes twice as long
    axes = figure.add_axes((0.11, 0.14, 0.86, 0.75))
    style_axes(axes, title)
    axes.set_xlabel(below, color=INK)
    if diagonal is not None:
        axes.plot(*diagonal, color=QUIET, linestyle="--", linewidth=1)
    if band is not None:
        axes.fill_between(*band, color=BLUE, alpha=0.18, linewidth=0)
    keys = []
    coloured = (list(among) or list(lines))[:MOST_LINES]
    for key in filter(lines.__contains__, coloured):
        (x, y), index = lines[key], coloured.index(key)
        color, dash = _SERIES[index], _DASHES[index % len(_DASHES)] if len(coloured) > 2 else ""
        numbers = [float(each) for each in dash.split()]
        style: dict[str, Any] = {"dashes": numbers} if numbers else {}
        axes.plot(
            x, y, color=color, linewidth=1.7, marker="o" if marked else "", markersize=4, **style
        )
        if points and key in points:
            axes.plot(*points[key], color=color, marker="D", markersize=7, clip_on=False)
        keys.append(
            (f"{key} {(remarks or {}).get(key, '')}".rstrip(), f"var(--{_VARIABLES[color]})", dash)
        )
    if marked:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    return Drawing(as_svg(figure, name, title), caption, keys if len(keys) > 1 else ())


def as_svg(figure: Figure, name: str, title: str) -> Markup:
    """A figure as SVG in the colours and the font of a page; equal figures give equal text.

    Args:
        figure: the figure.
        name: begins its ids, which must be unique in a page.
        title: what a screen reader says.
    """
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", facecolor="none", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for color, variable in _VARIABLES.items():
        text = re.sub(rf"{color}\b", f"var(--{variable})", text, flags=re.I)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    label = Markup('<svg class="plot" role="img" aria-label="{}"').format(title)
    head, rest = text[: text.index(">")], text[text.index(">") :]
    (box,) = re.findall(r'viewBox="[^"]*"', head)
    spaces = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"'
    return label + Markup(f" {box} {spaces}{rest}")
