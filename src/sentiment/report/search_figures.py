"""Pictures of a search by Optuna: its history, what mattered, each trial's settings, trade-offs.

They are drawn as ``sentiment.report.figures`` draws, trials in blue and the best in vermilion.
"""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from sentiment.report.parallel_coordinates import cut, parallel_coordinates_figure
from sentiment.report.plots import (
    BLUE,
    DPI,
    FRAME,
    INK,
    QUIET,
    SMALL,
    TITLE,
    VERMILION,
    new_figure,
    save_figure,
    scale_epochs,
    style_panel,
)
from sentiment.report.trials import Aim, completed, importances, short_names

log = logging.getLogger(__name__)


_LONGEST_NAME = 36
_FEW_TRIALS_A_SETTING = 5


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
    if len({tuple(trial.values) for trial in completed(study)}) < 2:
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
    aim = Aim(objective)
    figure = new_figure(9.0, 4.2)
    axes = figure.add_subplot()
    style_panel(axes, aim.title)
    axes.set_xlabel("Trial", color=INK)
    done, trials = completed(study), study.get_trials(deepcopy=False)
    pruned = [(t.number, aim.last_report(t)) for t in trials if t.state == TrialState.PRUNED]
    failed = [(t.number, None) for t in trials if t.state == TrialState.FAIL]
    last = max(number for number, _ in [(done[-1].number, None), *pruned, *failed])

    size = 7.0 if last <= 60 else 4.0
    reached = [(trial.number, aim.of(trial)) for trial in done]
    _mark(axes, reached, "Completed", size, marker="o", color=BLUE, markeredgecolor="white")
    _mark(axes, pruned, "Pruned", size - 1, marker="o", color="#8A8A8A", markerfacecolor="white")
    _mark(axes, failed, "Failed", size - 1, marker="x", color=QUIET)
    best = list(itertools.accumulate((value for _, value in reached), aim.better))
    points = [*(number for number, _ in reached), last], [*best, best[-1]]
    step: dict[str, Any] = {"drawstyle": "steps-post", "linewidth": 1.8, "zorder": 2}
    axes.plot(*points, color=VERMILION, label="Best so far", **step)

    scale_epochs(axes, 0, last)
    axes.set_ylim(top=min(axes.get_ylim()[1], aim.most))
    axes.set_title(aim.best_said(done), loc="right", fontsize=SMALL, color=VERMILION, pad=9)
    _add_legend(figure, axes)
    return figure


def importance_figure(study: optuna.Study, objective: str) -> Figure | None:
    """Draw how much of the first objective's variance each setting explains, the most on top.

    Returns:
        The figure, or None where there is but one setting or nothing can be told of them.
    """
    shares = importances(study)
    if len(shares) < 2:
        return None
    figure = new_figure(7.5, 1.2 + 0.36 * len(shares))
    axes = figure.add_subplot()
    percents = [100 * share for share in shares.values()]
    bars = axes.barh(range(len(shares)), percents, height=0.66, color=BLUE)
    texts = ["<1 %" if 0 < percent < 0.5 else f"{percent:.0f} %" for percent in percents]
    axes.bar_label(bars, texts, padding=4, color=INK, fontsize=SMALL)
    names = [cut(name, _LONGEST_NAME) for name in short_names(list(shares)).values()]
    axes.set_yticks(range(len(shares)), names, color=INK, parse_math=False)
    axes.set(xticks=[], xlim=(0, 1.1 * max(percents)), ylim=(len(shares) - 0.4, -0.6))
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(FRAME)
    axes.set_title(f"Importance for {Aim(objective).name}", pad=9, **TITLE)
    trials = len(completed(study))
    rough = ": a rough guess" if trials < _FEW_TRIALS_A_SETTING * len(shares) else ""
    explained = f"Share of the variance explained (fANOVA of {trials} trials{rough})"
    axes.set_xlabel(explained, color=QUIET, fontsize=SMALL, loc="left", labelpad=6)
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
    y, x = Aim(objectives[0]), Aim(objectives[1], 1)
    best = {trial.number for trial in study.best_trials}
    trials = sorted(completed(study), key=lambda trial: (x.of(trial), y.of(trial)))
    front = [trial for trial in trials if trial.number in best]
    others = [trial for trial in trials if trial.number not in best]
    figure = new_figure(7.5, 5.0)
    axes = figure.add_subplot()
    style_panel(axes, y.title)
    axes.set_xlabel(x.title, color=INK)
    steps = "steps-post" if x.lower else "steps-pre"
    style: dict[str, Any] = {"marker": "o", "markersize": 7, "zorder": 3, "clip_on": False}
    style |= {"markeredgecolor": "white", "drawstyle": steps}
    for shown, label, color, line in (
        (others, "Other trials", "#8FBAD8", "none"),
        (front, "Best trade-offs", VERMILION, "-"),
    ):
        if shown:
            points = [x.of(trial) for trial in shown], [y.of(trial) for trial in shown]
            axes.plot(*points, label=label, color=color, linestyle=line, **style)
    axes.set_xlim(right=min(axes.get_xlim()[1], x.most))
    axes.set_ylim(top=min(axes.get_ylim()[1], y.most))
    _add_legend(figure, axes)
    _number_front(figure, axes, front, x, y)
    return figure


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
    style: dict[str, Any] = {"loc": "outside upper center", "frameon": False, "labelcolor": INK}
    figure.legend(handles, labels, ncols=len(labels), **style)


def _number_front(figure: Figure, axes: Axes, front: Sequence[FrozenTrial], x: Aim, y: Aim) -> None:
    """Write the trials' numbers on the better side of their points, where they do not meet."""
    figure.draw_without_rendering()  # which lays it out
    style: dict[str, Any] = {"fontsize": SMALL, "color": INK, "textcoords": "offset points"}
    style |= {"ha": "right" if x.lower else "left", "va": "top" if y.lower else "bottom"}
    style["xytext"] = (-4 if x.lower else 4, -4 if y.lower else 4)
    taken: list[Any] = []  # places in points
    for trial in front:
        point = x.of(trial), y.of(trial)
        place = axes.transData.transform(point) * 72 / DPI
        if all(abs(place - other).max() > 2 * SMALL for other in taken):
            axes.annotate(str(trial.number), point, **style)
            taken.append(place)
