"""Trials of a search as its pictures need them: completed ones, their figures, what mattered."""

import logging
import math
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from sentiment.report.ranking import is_lower_better

log = logging.getLogger(__name__)

_SPLITS = {"train": "training ", "val": "validation ", "test": "test "}
_SAID = {  # name, unit, and how many of the unit are one
    "accuracy": ("accuracy", "%", 100.0),
    "f1": ("macro F1", "%", 100.0),
    "auroc": ("AUROC", "", 1.0),
    "latency_ms": ("latency", "ms", 1.0),
    "fit_seconds": ("training time", "s", 1.0),
    "parameters": ("parameters", "M", 1e-6),
}


class Aim:
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
        """What a completed trial reached."""
        value: float = trial.values[self._index]
        return self._factor * value

    def last_report(self, trial: FrozenTrial) -> float | None:
        """What a trial reached by its last epoch, if it told."""
        reports = sorted(trial.intermediate_values.items())
        return self._factor * reports[-1][1] if reports and math.isfinite(reports[-1][1]) else None

    def best(self, trials: Sequence[FrozenTrial]) -> FrozenTrial:
        """The best of completed trials, the first of equals."""
        return min(trials, key=lambda t: (self.of(t) if self.lower else -self.of(t), t.number))

    def best_said(self, trials: Sequence[FrozenTrial]) -> str:
        """How good the best is, in words."""
        best = self.best(trials)
        number = f"{self.of(best):.2f}" if self._unit == "%" else f"{self.of(best):.4g}"
        return f"best {f'{number} {self._unit}'.rstrip()} in trial {best.number}"


def completed(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that reached finite figures."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if all(map(math.isfinite, trial.values))]


def importances(study: optuna.Study) -> dict[str, float]:
    """Each setting's share of the first objective's variance, largest first; nothing if unknown."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    if len({trial.values[0] for trial in completed(study)}) < 2:
        return {}  # of which rounding errors would be explained
    evaluator = FanovaImportanceEvaluator(seed=0)
    try:
        return get_param_importances(study, evaluator=evaluator, target=lambda t: t.values[0])
    except (ValueError, RuntimeError) as error:
        log.debug("No importance of the settings: %s", error)
        return {}


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Map dotted keys to their last part, or to as many as tell them from the others."""
    names = {}
    for key in keys:
        parts = key.lstrip("+").split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = ["." + other.lstrip("+") for other in keys if other != key]
        alone = (end for end in ends if not any(other.endswith(f".{end}") for other in others))
        names[key] = next(alone, ends[-1])
    return names
