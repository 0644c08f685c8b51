"""A picture of a search: each trial as a line through its settings to what it reached."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path
from matplotlib.ticker import Locator, LogLocator, MaxNLocator
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial

from sentiment.report.plots import INK, QUIET, SMALL, TITLE, VERMILION, new_figure
from sentiment.report.trials import Aim, completed, importances, short_names

_WORST_TO_BEST = LinearSegmentedColormap.from_list("", ["#D5DEE6", "#7FB2D6", "#0B4F82"])
_MOST_SETTINGS = 12
_MOST_NAMED_CHOICES = 12
_LONGEST_LINE, _LONGEST_CHOICE = 14, 22
_STRIP = 0.12  # inches


def parallel_coordinates_figure(study: optuna.Study, objective: str) -> Figure | None:
    """Draw each completed trial as a line through its settings to its first objective.

    Trials that share a choice are fanned out a little, those of higher objective above. Of more
    than twelve settings the most important are drawn.

    Args:
        study: With at least one completed trial.
        objective: Its first objective.

    Returns:
        The figure, or None where the trials have no setting in common.
    """
    aim = Aim(objective)
    trials = sorted(completed(study), key=aim.of)
    keys = [key for key in trials[0].params if all(key in trial.params for trial in trials)]
    if len(keys) > _MOST_SETTINGS:
        shares = importances(study)
        chosen = sorted(keys, key=lambda key: -shares.get(key, 0.0))[:_MOST_SETTINGS]
        keys = [key for key in keys if key in chosen]
    if not keys:
        return None
    rulers = [_setting_ruler(key, name, trials) for key, name in short_names(keys).items()]
    rulers.append(_number_ruler(aim.title, [aim.of(trial) for trial in trials]))
    places = _places(rulers)
    left, right = -rulers[0].width - 0.15, places[-1] + rulers[-1].width + 0.3
    figure = new_figure(right - left + 0.3, 4.8)
    axes = figure.add_subplot()
    _draw_lines(axes, aim, trials, rulers, places)
    _draw_rulers(axes, rulers, places)
    axes.set(xlim=(left, right), ylim=(-0.04, 1.04))
    axes.set_title("Settings of the completed trials", pad=9, **TITLE)
    axes.set_title(aim.best_said(trials), loc="right", fontsize=SMALL, color=VERMILION, pad=9)
    return figure


@dataclass(frozen=True)
class _Ruler:
    """One upright axis: where each trial stands on it, and its ticks, all from 0 to 1."""

    name: str
    heights: list[float]
    ticks: list[tuple[float, str]]

    @property
    def width(self) -> float:
        return max(_inches(text) for _, text in self.ticks)


def _setting_ruler(key: str, name: str, trials: Sequence[FrozenTrial]) -> _Ruler:
    """The ruler of a setting, as long as the interval or the choices that it was drawn from."""
    values = [trial.params[key] for trial in trials]
    sources: list[Any] = [trial.distributions[key] for trial in trials]
    choices = [str(one) for source in sources for one in _choices(source)]
    if choices:
        return _choice_ruler(name, [*map(str, values)], [*choices, *map(str, values)])
    ends = [end for source in sources for end in (source.low, source.high)]
    return _number_ruler(name, values, ends, log=all(source.log for source in sources))


def _choices(source: Any) -> Sequence[Any]:
    """What a distribution chooses from, as far as it has names or is a few whole numbers."""
    if isinstance(source, IntDistribution) and not source.log:
        numbers = range(source.low, source.high + 1, source.step)
        return numbers if len(numbers) <= _MOST_NAMED_CHOICES else ()
    return getattr(source, "choices", ())


def _number_ruler(
    name: str, values: Sequence[float], ends: Sequence[float] = (), *, log: bool = False
) -> _Ruler:
    low, high = min([*values, *ends]), max([*values, *ends])
    if low == high:
        return _choice_ruler(name, [f"{low:g}"] * len(values), [f"{low:g}"])

    def place(number: float) -> float:
        return math.log(number / low, high / low) if log else (number - low) / (high - low)

    ticks = [(place(tick), f"{tick:g}") for tick in _ticks(low, high, log=log)]
    return _Ruler(name, [place(value) for value in values], ticks)


def _ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Round numbers from ``low`` to ``high``."""
    is_whole = isinstance(low, int) and isinstance(high, int)
    locators: list[Locator] = [MaxNLocator(6, steps=[1, 2, 5, 10], integer=is_whole)]
    if log:
        locators.insert(0, LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=9))
    slack = 1e-9 * (high - low)
    for locator in locators:
        numbers = [float(number) for number in locator.tick_values(low, high)]
        inside = [number for number in numbers if low - slack <= number <= high + slack]
        if len(inside) > 1:
            return inside
    return [low, high]


def _choice_ruler(name: str, values: Sequence[str], choices: Sequence[str]) -> _Ruler:
    """A ruler of choices: numbers upwards, and names downwards in their order."""
    choices = list(dict.fromkeys(choices))
    try:
        choices = sorted(choices, key=float)
    except ValueError:
        choices.reverse()
    band = 1 / len(choices)
    middles = {choice: (i + 0.5) * band for i, choice in enumerate(choices)}
    places = []
    for i, value in enumerate(values):
        below, gap = values[:i].count(value), min(0.5 * band / values.count(value), 0.02)
        places.append(middles[value] + gap * (below - (values.count(value) - 1) / 2))
    step = math.ceil(len(choices) / _MOST_NAMED_CHOICES)
    ticks = [(middles[each], cut(each, _LONGEST_CHOICE)) for each in choices[::step]]
    return _Ruler(name, places, ticks)


def _places(rulers: Sequence[_Ruler]) -> np.ndarray:
    """Inches from the first ruler to each, so far apart that neither names nor ticks meet."""
    names = [max(_inches(line) for line in _lines(ruler.name)) for ruler in rulers]
    gaps = np.array([(one + other) / 2 + 0.2 for one, other in itertools.pairwise(names)])
    ticks = np.array([ruler.width + 0.4 for ruler in rulers[1:-1]] + [0.0])
    gaps = np.maximum(np.maximum(gaps, ticks), 0.8)
    gaps *= max(1.0, min(8.0, 2.2 + 2.2 * len(gaps)) / gaps.sum())
    return np.concatenate([[0.0], gaps.cumsum()])


def _draw_lines(
    axes: Axes,
    aim: Aim,
    trials: Sequence[FrozenTrial],
    rulers: Sequence[_Ruler],
    places: np.ndarray,
) -> None:
    """Draw the trials, the better the darker, the best on top, and a strip of what shades mean."""
    sign = -1 if aim.lower else 1
    goods = np.array([sign * aim.of(trial) for trial in trials])
    lower, upper = np.quantile(goods, [0.25, 0.75])
    # A few very bad trials (beyond Tukey's fence) must not take most of the shades.
    norm = Normalize(max(goods.min(), lower - 1.5 * (upper - lower)), goods.max(), clip=True)
    strip = _WORST_TO_BEST(norm(np.linspace(goods.min(), goods.max(), 256)))[::sign, None]
    extent = (places[-1], places[-1] + _STRIP, 0, 1)
    axes.imshow(strip, extent=extent, origin="lower", aspect="auto")
    best, width = aim.best(trials), 1.4 if len(trials) <= 100 else 0.6
    for i in np.argsort(goods):
        color, style = _WORST_TO_BEST(norm(goods[i])), {"linewidth": width, "zorder": 3}
        if trials[i] is best:
            color, style = VERMILION, {"linewidth": 2.6, "zorder": 4}
        path = _line([(x, ruler.heights[i]) for x, ruler in zip(places, rulers, strict=True)])
        axes.add_patch(PathPatch(path, fill=False, edgecolor=color, capstyle="round", **style))


def _line(points: Sequence[tuple[float, float]]) -> Curve:
    """A smooth line, level where it meets a ruler."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        bend = 0.4 * (next_x - x)
        vertices += [(x + bend, y), (next_x - bend, next_y), (next_x, next_y)]
        codes += [Curve.CURVE4] * 3
    return Curve(vertices, codes)


def _draw_rulers(axes: Axes, rulers: Sequence[_Ruler], places: np.ndarray) -> None:
    halo = [withStroke(linewidth=3, foreground="white")]
    style: dict[str, Any] = {"color": INK, "fontsize": SMALL, "parse_math": False}
    for ruler, x in zip(rulers, places, strict=True):
        is_objective = ruler is rulers[-1]  # which has a strip of colours for a line
        start, end = (x + _STRIP, x + _STRIP + 0.04) if is_objective else (x, x - 0.04)
        where: dict[str, Any] = {"ha": "left" if is_objective else "right", "zorder": 6}
        for y, text in ruler.ticks:
            axes.plot([start, end], [y, y], color=QUIET, linewidth=1.0, zorder=5)
            beside = 2 * end - start
            axes.text(beside, y, text, va="center_baseline", path_effects=halo, **where, **style)
        if not is_objective:
            axes.vlines(x, 0, 1, color=QUIET, linewidth=1.0, zorder=5)
    names = ["\n".join(_lines(ruler.name)) for ruler in rulers]
    axes.set_xticks(places, names, linespacing=1.1, **style)
    axes.set_yticks([])
    axes.tick_params(length=0, pad=4)
    axes.spines[:].set_visible(False)


def _lines(name: str) -> list[str]:
    """Break a name into short lines, after dots, underscores and spaces."""
    lines = [""]
    for part in re.findall(r"_*[^._ ]+[._ ]?", name):
        if len(f"{lines[-1]}{part}".rstrip()) > _LONGEST_LINE:
            lines.append("")
        lines[-1] += cut(part, _LONGEST_LINE)
    return [line.strip() for line in lines if line]


def cut(text: str, length: int) -> str:
    """Cut the middle out of a long text: its beginning and its end tell names apart."""
    tail = length // 3
    return text if len(text) <= length else f"{text[: length - tail - 1]}…{text[-tail:]}"


def _inches(text: str) -> float:
    font = FontProperties(size=SMALL)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72
