"""What a search reports: a line for each trial, and Optuna's plots at the end."""

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from rich.text import Text

from sentiment.model.metric_names import is_lower_better
from sentiment.report.tables import format_duration, format_percent, new_table, print_table
from sentiment.runtime.errors import first_words
from sentiment.train.search.space import as_text
from sentiment.train.search.study import Search

log = logging.getLogger(__name__)


def log_trial(search: Search, trial: FrozenTrial, *, of: int) -> None:
    """Log how a trial ended, and how far the search of ``of`` trials is."""
    counts = dict.fromkeys(TrialState, 0)
    for each in search.trials:
        counts[each.state] += 1
    ended = counts[TrialState.COMPLETE] + counts[TrialState.PRUNED] + counts[TrialState.FAIL]
    best = search.best()[0] if len(search.objectives) == 1 and search.best() else None
    best_so_far = (
        "" if best is None else f"; best so far: {_values(search, best)} in trial {best.number}"
    )
    log.info(
        "Trial %d (%s): %s. %d of %d trials (%d pruned, %d failed)%s%s",
        trial.number,
        _settings(trial),
        _ending(search, trial),
        ended,
        of,
        counts[TrialState.PRUNED],
        counts[TrialState.FAIL],
        best_so_far,
        _time_left(search, of - ended),
    )


def _settings(trial: FrozenTrial) -> str:
    return ", ".join(f"{key}={as_text(value)}" for key, value in trial.params.items())


def _ending(search: Search, trial: FrozenTrial) -> str:
    same = trial.user_attrs.get("same_as")
    if same is not None:
        return f"{_values(search, trial)}, as trial {same} of the same settings, not trained again"
    if trial.state == TrialState.FAIL:
        ended = f"failed ({trial.user_attrs.get('error', 'no reason given')})"
    elif trial.state == TrialState.PRUNED:
        ended = f"pruned after epoch {(trial.last_step or 0) + 1}"
    else:
        ended = _values(search, trial)
    seconds = trial.duration.total_seconds() if trial.duration else None
    return f"{ended} in {format_duration(seconds)}"


def _values(search: Search, trial: FrozenTrial) -> str:
    return ", ".join(
        f"{name} {_format(name, value)}"
        for name, value in zip(search.objectives, trial.values or (), strict=True)
    )


def _format(name: str, value: float) -> str:
    if name.endswith(("/accuracy", "/f1")):
        return format_percent(value)
    if name == "fit_seconds":
        return format_duration(value)
    return f"{value:,.0f}" if name == "parameters" else f"{value:.4g}"


def _time_left(search: Search, missing: int) -> str:
    """A guess from the pace, that of all machines, since this process began."""
    ended = [
        each.datetime_complete
        for each in search.trials
        if each.datetime_complete and each.datetime_complete > search.begun
    ]
    if missing <= 0 or not ended:
        return ""
    seconds = (max(ended) - search.begun).total_seconds() / len(ended)
    return f"; about {format_duration(seconds * missing)} to go"


def report_end(search: Search, folder: Path) -> None:
    """Plot the search into its folder, and with several objectives print the best trials."""
    drawn = draw_search(search.study, search.objectives, folder)
    if drawn:
        log.info("Plots of the search: %s", ", ".join(str(path) for path in drawn))
    if len(search.objectives) > 1:
        print_table(trade_offs(search))


def trade_offs(search: Search) -> Table:
    """The trials that no other beats in all objectives, by the first."""
    table = new_table(title="Best trade-offs")
    table.add_column("trial", justify="right")
    for name in search.objectives:
        table.add_column(name, justify="right")
    table.add_column("settings")
    down = not is_lower_better(search.objectives[0])
    for trial in sorted(search.best(), key=lambda trial: trial.values[0], reverse=down):
        cells = [_format(*pair) for pair in zip(search.objectives, trial.values, strict=True)]
        table.add_row(str(trial.number), *cells, Text(_settings(trial)))
    return table


def draw_search(study: optuna.Study, objectives: Sequence[str], folder: Path) -> list[Path]:
    """Draw a study with Optuna's own plots.

    With several objectives, parallel coordinates and the Pareto front show all of them, the other
    plots the first. A plot that Optuna cannot draw is left out, and the log says why.

    Args:
        study: The search.
        objectives: The name of each of the study's objectives, such as ``val/accuracy``.
        folder: Where ``history.png``, ``importance.png``, ``parallel_coordinates.png``,
            ``slice.png`` and, of two or three objectives, ``pareto.png`` go.

    Returns:
        The plots written; none where fewer than two trials were completed.
    """
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(completed) < 2:
        log.info("No plots of the search: %d completed trials, two are needed", len(completed))
        return []
    import optuna.visualization.matplotlib as plots

    first: dict[str, Any] = {"target_name": objectives[0]}
    if len(objectives) > 1:
        first["target"] = lambda trial: trial.values[0]
    fanova = optuna.importance.FanovaImportanceEvaluator
    drawings: dict[str, Callable[[], Any]] = {
        "history": lambda: plots.plot_optimization_history(study, **first),
        "importance": lambda: plots.plot_param_importances(study, fanova(seed=0), **first),
        "parallel_coordinates": lambda: plots.plot_parallel_coordinate(
            study, target_name=objectives[0]
        ),
        "slice": lambda: plots.plot_slice(study, **first),
    }
    if 2 <= len(objectives) <= 3:
        drawings["pareto"] = lambda: plots.plot_pareto_front(study, target_names=[*objectives])
    return [
        path
        for name, draw in drawings.items()
        if _save_plot(draw, path := folder / f"{name}.png", objectives)
    ]


def _save_plot(draw: Callable[[], Any], path: Path, objectives: Sequence[str]) -> bool:
    """Draw and write one plot, and return whether that succeeded."""
    import matplotlib as mpl
    import numpy as np
    from matplotlib import pyplot as plt

    from sentiment.report.plots import save_figure

    mpl.use("Agg")
    with warnings.catch_warnings(), mpl.rc_context():  # as Optuna sets a style for all plots
        warnings.simplefilter("ignore")  # these plots are experimental, letters may lack a glyph
        try:
            axes = np.ravel(draw())
            figure = axes[0].figure
            if path.stem == "history":
                figure.set_size_inches(9.0, 4.5)
            elif path.stem == "parallel_coordinates":
                names = [label.get_text() for label in axes[0].get_xticklabels()]
                names[: len(objectives)] = objectives
                axes[0].set_xticklabels(names, ha="left")
                figure.set_size_inches(max(8.0, 1.6 * len(names)), 5.0)
            elif path.stem == "slice":
                for each in axes:
                    each.tick_params(axis="x", which="both", labelrotation=45)
            save_figure(figure, path, crop=True)
        except Exception as error:  # whatever a plot fails of, the search has ended well
            log.info("No %s: %s", path.name, first_words(error))
            return False
        finally:
            plt.close("all")
    return True
