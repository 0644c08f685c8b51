"""Pictures of a search by Optuna: its history, what mattered, each trial's settings, trade-offs.

They are drawn as ``sentiment.report.figures`` draws, trials in blue and the best in vermilion.
"""

import itertools
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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
from optuna.trial import FrozenTrial, TrialState

from sentiment.report.figures import (
    _FRAME,
    _INK,
    _QUIET,
    DPI,
    _new_figure,
    _scale_epochs,
    _style_panel,
    save_figure,
)
from sentiment.report.ranking import is_lower_better

log = logging.getLogger(__name__)

_BLUE, _VERMILION = "#0072B2", "#D55E00"
_WORST_TO_BEST = LinearSegmentedColormap.from_list("", ["#D5DEE6", "#7FB2D6", "#0B4F82"])
_TITLE: dict[str, Any] = {"loc": "left", "color": _INK, "fontweight": "bold", "fontsize": 11}
_SMALL = 9  # points
_MOST_SETTINGS = 12
_MOST_NAMED_CHOICES = 12
_LONGEST_LINE, _LONGEST_CHOICE, _LONGEST_NAME = 14, 22, 36
_FEW_TRIALS_A_SETTING = 5
_STRIP = 0.12  # inches

_SPLITS = {"train": "training ", "val": "validation ", "test": "test "}
_SAID = {  # name, unit, and how many of the unit are one
    "accuracy": ("accuracy", "%", 100.0),
    "f1": ("macro F1", "%", 100.0),
    "auroc": ("AUROC", "", 1.0),
    "latency_ms": ("latency", "ms", 1.0),
    "fit_seconds": ("training time", "s", 1.0),
    "parameters": ("parameters", "M", 1e-6),
}


def draw_search(study: optuna.Study, objectives: Sequence[str], folder: Path) -> list[Path]:
    """Draw the history, the importance of each setting, and parallel coordinates.

    With several objectives these are of the first. Of two, their Pareto front is drawn too.

    Args:
        study: The search.
        objectives: The name of each of the study's objectives, such as ``val/accuracy``.
        folder: Where ``history.png``, ``importance.png``, ``parallel_coordinates.png`` and
            ``pareto.png`` go.

    Returns:
        The pictures written; none where there is too little to draw from, which is fewer than two
        completed trials with different values.
    """
    if len({tuple(trial.values) for trial in _completed(study)}) < 2:
        return []
    figures = {
        "history": history_figure(study, objectives[0]),
        "importance": importance_figure(study, objectives[0]),
        "parallel_coordinates": parallel_coordinates_figure(study, objectives[0]),
        "pareto": pareto_figure(study, objectives),
    }
    drawn = {folder / f"{name}.png": figure for name, figure in figures.items() if figure}
    for path, figure in drawn.items():
        save_figure(figure, path)
    return list(drawn)


def history_figure(study: optuna.Study, objective: str) -> Figure:
    """Draw each trial's first objective, and the best so far, over the trials' numbers.

    A pruned trial stands where its last report was. One that failed, or was pruned without a
    report, is at the bottom.

    Args:
        study: With at least one completed trial.
        objective: Its first objective.
    """
    aim = _Aim(objective)
    figure = _new_figure(9.0, 4.2)
    axes = figure.add_subplot()
    _style_panel(axes, aim.title)
    axes.set_xlabel("Trial", color=_INK)
    completed, trials = _completed(study), study.get_trials(deepcopy=False)
    pruned = [(t.number, aim.last_report(t)) for t in trials if t.state == TrialState.PRUNED]
    failed = [(t.number, None) for t in trials if t.state == TrialState.FAIL]
    last = max(number for number, _ in [(completed[-1].number, None), *pruned, *failed])

    size = 7.0 if last <= 60 else 4.0
    done = [(t.number, aim.of(t)) for t in completed]
    _mark(axes, done, "Completed", size, marker="o", color=_BLUE, markeredgecolor="white")
    _mark(axes, pruned, "Pruned", size - 1, marker="o", color="#8A8A8A", markerfacecolor="white")
    _mark(axes, failed, "Failed", size - 1, marker="x", color=_QUIET)
    best = list(itertools.accumulate((value for _, value in done), aim.better))
    points = [*(number for number, _ in done), last], [*best, best[-1]]
    step: dict[str, Any] = {"drawstyle": "steps-post", "linewidth": 1.8, "zorder": 2}
    axes.plot(*points, color=_VERMILION, label="Best so far", **step)

    _scale_epochs(axes, 0, last)
    axes.set_ylim(top=min(axes.get_ylim()[1], aim.most))
    axes.set_title(aim.best_said(completed), loc="right", fontsize=_SMALL, color=_VERMILION, pad=9)
    _add_legend(figure, axes)
    return figure


def importance_figure(study: optuna.Study, objective: str) -> Figure | None:
    """Draw how much of the first objective's variance each setting explains, the most on top.

    Returns:
        The figure, or None where there is but one setting or nothing can be told of them.
    """
    shares = _importances(study)
    if len(shares) < 2:
        return None
    figure = _new_figure(7.5, 1.2 + 0.36 * len(shares))
    axes = figure.add_subplot()
    percents = [100 * share for share in shares.values()]
    bars = axes.barh(range(len(shares)), percents, height=0.66, color=_BLUE)
    texts = ["<1 %" if 0 < percent < 0.5 else f"{percent:.0f} %" for percent in percents]
    axes.bar_label(bars, texts, padding=4, color=_INK, fontsize=_SMALL)
    names = [_cut(name, _LONGEST_NAME) for name in _short_names(list(shares)).values()]
    axes.set_yticks(range(len(shares)), names, color=_INK, parse_math=False)
    axes.set(xticks=[], xlim=(0, 1.1 * max(percents)), ylim=(len(shares) - 0.4, -0.6))
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_FRAME)
    axes.set_title(f"Importance for {_Aim(objective).name}", pad=9, **_TITLE)
    trials = len(_completed(study))
    rough = ": a rough guess" if trials < _FEW_TRIALS_A_SETTING * len(shares) else ""
    explained = f"Share of the variance explained (fANOVA of {trials} trials{rough})"
    axes.set_xlabel(explained, color=_QUIET, fontsize=_SMALL, loc="left", labelpad=6)
    return figure


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
    aim = _Aim(objective)
    trials = sorted(_completed(study), key=aim.of)
    keys = [key for key in trials[0].params if all(key in trial.params for trial in trials)]
    if len(keys) > _MOST_SETTINGS:
        shares = _importances(study)
        chosen = sorted(keys, key=lambda key: -shares.get(key, 0.0))[:_MOST_SETTINGS]
        keys = [key for key in keys if key in chosen]
    if not keys:
        return None
    rulers = [_setting_ruler(key, name, trials) for key, name in _short_names(keys).items()]
    rulers.append(_number_ruler(aim.title, [aim.of(trial) for trial in trials]))
    places = _places(rulers)
    left, right = -rulers[0].width - 0.15, places[-1] + rulers[-1].width + 0.3
    figure = _new_figure(right - left + 0.3, 4.8)
    axes = figure.add_subplot()
    _draw_lines(axes, aim, trials, rulers, places)
    _draw_rulers(axes, rulers, places)
    axes.set(xlim=(left, right), ylim=(-0.04, 1.04))
    axes.set_title("Settings of the completed trials", pad=9, **_TITLE)
    axes.set_title(aim.best_said(trials), loc="right", fontsize=_SMALL, color=_VERMILION, pad=9)
    return figure


def pareto_figure(study: optuna.Study, objectives: Sequence[str]) -> Figure | None:
    """Draw the trials of two objectives, the second to the right and the first upwards.

    The front is joined by steps: what can be had of one objective for the other. Its trials have
    their numbers where there is room.

    Returns:
        The figure, or None where there are not two objectives.
    """
    if len(objectives) != 2:
        return None
    y, x = _Aim(objectives[0]), _Aim(objectives[1], 1)
    best = {trial.number for trial in study.best_trials}
    trials = sorted(_completed(study), key=lambda trial: (x.of(trial), y.of(trial)))
    front = [trial for trial in trials if trial.number in best]
    others = [trial for trial in trials if trial.number not in best]
    figure = _new_figure(7.5, 5.0)
    axes = figure.add_subplot()
    _style_panel(axes, y.title)
    axes.set_xlabel(x.title, color=_INK)
    steps = "steps-post" if x.lower else "steps-pre"
    style: dict[str, Any] = {"marker": "o", "markersize": 7, "zorder": 3, "clip_on": False}
    style |= {"markeredgecolor": "white", "drawstyle": steps}
    for shown, label, color, line in (
        (others, "Other trials", "#8FBAD8", "none"),
        (front, "Best trade-offs", _VERMILION, "-"),
    ):
        if shown:
            points = [x.of(trial) for trial in shown], [y.of(trial) for trial in shown]
            axes.plot(*points, label=label, color=color, linestyle=line, **style)
    axes.set_xlim(right=min(axes.get_xlim()[1], x.most))
    axes.set_ylim(top=min(axes.get_ylim()[1], y.most))
    _add_legend(figure, axes)
    _number_front(figure, axes, front, x, y)
    return figure


class _Aim:
    """An objective as a reader knows it: its name, its unit, and its values in that unit."""

    def __init__(self, objective: str, index: int = 0) -> None:
        split, _, figure = objective.rpartition("/")
        said, self._unit, self._factor = _SAID.get(figure, (figure, "", 1.0))
        self.name = _SPLITS.get(split, "") + said
        unit = f" ({self._unit})" if self._unit else ""
        self.title = self.name[:1].upper() + self.name[1:] + unit
        self.lower = is_lower_better(objective)
        self.better = min if self.lower else max
        self.most = 100.0 if self._unit == "%" else math.inf
        self._index = index

    def of(self, trial: FrozenTrial) -> float:
        value: float = trial.values[self._index]
        return self._factor * value

    def last_report(self, trial: FrozenTrial) -> float | None:
        reports = sorted(trial.intermediate_values.items())
        return self._factor * reports[-1][1] if reports and math.isfinite(reports[-1][1]) else None

    def best(self, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        return min(trials, key=lambda t: (self.of(t) if self.lower else -self.of(t), t.number))

    def best_said(self, trials: Sequence[FrozenTrial]) -> str:
        best = self.best(trials)
        number = f"{self.of(best):.2f}" if self._unit == "%" else f"{self.of(best):.4g}"
        return f"best {f'{number} {self._unit}'.rstrip()} in trial {best.number}"


@dataclass(frozen=True)
class _Ruler:
    """One upright axis: where each trial stands on it, and its ticks, all from 0 to 1."""

    name: str
    heights: list[float]
    ticks: list[tuple[float, str]]

    @property
    def width(self) -> float:
        return max(_inches(text) for _, text in self.ticks)


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if all(map(math.isfinite, trial.values))]


def _importances(study: optuna.Study) -> dict[str, float]:
    """Each setting's share of the first objective's variance, largest first; nothing if unknown."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    if len({trial.values[0] for trial in _completed(study)}) < 2:
        return {}  # of which rounding errors would be explained
    evaluator = FanovaImportanceEvaluator(seed=0)
    try:
        return get_param_importances(study, evaluator=evaluator, target=lambda t: t.values[0])
    except (ValueError, RuntimeError) as error:
        log.debug("No importance of the settings: %s", error)
        return {}


def _mark(
    axes: Axes, points: Sequence[tuple[int, float | None]], label: str, size: float, **style: Any
) -> None:
    """Mark trials at their heights, and those that have none at the bottom."""
    style |= {"markersize": size, "linestyle": "none", "clip_on": False, "zorder": 3}
    known = [point for point in points if point[1] is not None]
    bottom = [(number, 0.03) for number, height in points if height is None]
    if known:
        axes.plot(*zip(*known, strict=True), label=label, **style)
    if bottom:
        style |= {"transform": axes.get_xaxis_transform(), "label": None if known else label}
        axes.plot(*zip(*bottom, strict=True), **style)


def _add_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    style: dict[str, Any] = {"loc": "outside upper center", "frameon": False, "labelcolor": _INK}
    figure.legend(handles, labels, ncols=len(labels), **style)


def _number_front(
    figure: Figure, axes: Axes, front: Sequence[FrozenTrial], x: _Aim, y: _Aim
) -> None:
    """Write the trials' numbers on the better side of their points, where they do not meet."""
    figure.draw_without_rendering()  # which lays it out
    style: dict[str, Any] = {"fontsize": _SMALL, "color": _INK, "textcoords": "offset points"}
    style |= {"ha": "right" if x.lower else "left", "va": "top" if y.lower else "bottom"}
    style["xytext"] = (-4 if x.lower else 4, -4 if y.lower else 4)
    taken: list[np.ndarray] = []
    for trial in front:
        point = x.of(trial), y.of(trial)
        place = axes.transData.transform(point) * 72 / DPI
        if all(abs(place - other).max() > 2 * _SMALL for other in taken):
            axes.annotate(str(trial.number), point, **style)
            taken.append(place)


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
    ticks = [(middles[each], _cut(each, _LONGEST_CHOICE)) for each in choices[::step]]
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
    aim: _Aim,
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
            color, style = _VERMILION, {"linewidth": 2.6, "zorder": 4}
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
    style: dict[str, Any] = {"color": _INK, "fontsize": _SMALL, "parse_math": False}
    for ruler, x in zip(rulers, places, strict=True):
        is_objective = ruler is rulers[-1]  # which has a strip of colours for a line
        start, end = (x + _STRIP, x + _STRIP + 0.04) if is_objective else (x, x - 0.04)
        where: dict[str, Any] = {"ha": "left" if is_objective else "right", "zorder": 6}
        for y, text in ruler.ticks:
            axes.plot([start, end], [y, y], color=_QUIET, linewidth=1.0, zorder=5)
            beside = 2 * end - start
            axes.text(beside, y, text, va="center_baseline", path_effects=halo, **where, **style)
        if not is_objective:
            axes.vlines(x, 0, 1, color=_QUIET, linewidth=1.0, zorder=5)
    names = ["\n".join(_lines(ruler.name)) for ruler in rulers]
    axes.set_xticks(places, names, linespacing=1.1, **style)
    axes.set_yticks([])
    axes.tick_params(length=0, pad=4)
    axes.spines[:].set_visible(False)


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Map dotted keys to their last part, or to as many as tell them from the others."""
    names = {}
    for key in keys:
        parts = key.lstrip("+").split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = ["." + other.lstrip("+") for other in keys if other != key]
        alone = (end for end in ends if not any(other.endswith(f".{end}") for other in others))
        names[key] = next(alone, ends[-1])
    return names


def _lines(name: str) -> list[str]:
    """Break a name into short lines, after dots, underscores and spaces."""
    lines = [""]
    for part in re.findall(r"_*[^._ ]+[._ ]?", name):
        if len(f"{lines[-1]}{part}".rstrip()) > _LONGEST_LINE:
            lines.append("")
        lines[-1] += _cut(part, _LONGEST_LINE)
    return [line.strip() for line in lines if line]


def _cut(text: str, length: int) -> str:
    """Cut the middle out of a long text: its beginning and its end tell names apart."""
    tail = length // 3
    return text if len(text) <= length else f"{text[: length - tail - 1]}…{text[-tail:]}"


def _inches(text: str) -> float:
    font = FontProperties(size=_SMALL)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72
