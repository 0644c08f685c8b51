"""What a search tells of itself: a line for each trial, and its pictures at the end."""

import logging
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from rich.text import Text

from sentiment.report.ranking import is_lower_better
from sentiment.report.search_figures import draw_search
from sentiment.report.tables import format_duration, format_percent, new_table, print_table
from sentiment.train.search.space import as_text
from sentiment.train.search.study import Search

log = logging.getLogger(__name__)


def tell_trial(search: Search, trial: FrozenTrial, *, of: int) -> None:
    """Say how a trial ended, and how far the search is: ``of`` so many."""
    counts = dict.fromkeys(TrialState, 0)
    for each in search.trials:
        counts[each.state] += 1
    ended = counts[TrialState.COMPLETE] + counts[TrialState.PRUNED] + counts[TrialState.FAIL]
    best = search.best()[0] if len(search.objectives) == 1 and search.best() else None
    told = "" if best is None else f"; best so far: {_told(search, best)} in trial {best.number}"
    log.info(
        "Trial %d: %s. %d of %d trials (%d pruned, %d failed)%s%s",
        trial.number,
        _ending(search, trial),
        ended,
        of,
        counts[TrialState.PRUNED],
        counts[TrialState.FAIL],
        told,
        _time_left(search, of - ended),
    )


def _ending(search: Search, trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return f"failed ({trial.user_attrs.get('error', 'no reason given')})"
    if trial.state == TrialState.PRUNED:
        return f"pruned after epoch {(trial.last_step or 0) + 1}"
    same = trial.user_attrs.get("same_as")
    told = "" if same is None else f", as trial {same} of the same settings, not trained again"
    return _told(search, trial) + told


def _told(search: Search, trial: FrozenTrial) -> str:
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


def tell_end(search: Search, folder: Path) -> None:
    """Draw what the search found into its folder, and with several objectives list the best."""
    drawn = draw_search(search.study, search.objectives, folder)
    if drawn:
        log.info("Pictures of the search: %s", ", ".join(str(path) for path in drawn))
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
        settings = ", ".join(f"{key}={as_text(value)}" for key, value in trial.params.items())
        table.add_row(str(trial.number), *cells, Text(settings))
    return table
