"""An Optuna study on disk: started or resumed, asked for trials and informed how they ended.

Knows nothing of Hydra or of trainings.
"""

import json
import logging
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from sentiment.model.metric_names import is_lower_better
from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.files import replaced_when_whole
from sentiment.train.resume import with_class_names

log = logging.getLogger(__name__)

# What a search may be after; nothing that is measured on test reviews.
OBJECTIVES = (
    "val/accuracy", "val/f1", "val/auroc", "val/loss", "latency_ms", "fit_seconds", "parameters",
)  # fmt: skip

_LIMITS = {"trainer.limit_val_batches", "trainer.fast_dev_run"}

_OWNER, _SAME_AS, _ERROR = "owner", "same_as", "error"


def open_storage(url: str) -> BaseStorage:
    """Open a storage that several processes and machines may use together.

    Args:
        url: the URL of a database, as SQLAlchemy writes it (``sqlite:///study.db``,
            ``postgresql://…``), ``redis://…``, or ``journal:FILE`` for a file on a network drive,
            where SQLite's locks fail.

    Raises:
        InputError: there is no such storage, or it cannot be used.
    """
    warnings.filterwarnings("ignore", ".*Journal.* is experimental.*")
    try:
        if url.startswith("journal:"):
            return JournalStorage(JournalFileBackend(url.removeprefix("journal:")))
        if url.startswith("redis"):
            return JournalStorage(JournalRedisBackend(url))
        if url.startswith("sqlite:///"):
            path = Path(url.removeprefix("sqlite:///"))
            if not path.parent.is_dir():
                raise FileNotFoundError(f"there is no folder {path.parent}")
            with FileLock(path.with_name(f".{path.name}.lock")):  # its tables are made once
                return RDBStorage(url)
        return RDBStorage(url)
    except (SQLAlchemyError, ImportError, OSError, ValueError, RuntimeError) as error:
        # Not the URL itself, which may hold a password.
        kind = url.partition(":")[0]
        raise InputError(
            f"hydra.sweeper.storage: the {kind!r} storage cannot be opened"
            f" ({first_words(error)}); give sqlite:///FILE, postgresql://…, mysql://…, redis://…"
            " or journal:FILE"
        ) from error


class Search:
    """A study with the bookkeeping that lets it be stopped at any moment and shared by machines.

    Each trial is drawn by a sampler of its own, seeded by the trial's number, so a search that was
    killed and started again draws what it would have drawn.

    Args:
        url: see ``open_storage``.
        name: the name of the study.
        objectives: the metrics to optimise, among ``OBJECTIVES``.
        distributions: the distribution of each searched key.
        facts: by name, what else must be the same when the study is resumed.
        folder: the sweep folder; a file in it marks its trials as its own.
        alone: whether nobody else uses the storage.
        make_sampler: makes a sampler from a seed.
        pruner: ends hopeless trials.
        seed: seed of the samplers.

    Raises:
        InputError: no such storage or objective, a key that cannot be searched, or the study was
            begun with something else.
    """

    def __init__(
        self,
        *,
        url: str,
        name: str,
        objectives: Sequence[str],
        distributions: Mapping[str, BaseDistribution],
        facts: Mapping[str, Any],
        folder: Path,
        alone: bool,
        make_sampler: Callable[[int], BaseSampler],
        pruner: BasePruner,
        seed: int,
    ) -> None:
        _check_objectives(objectives)
        for key in _LIMITS & distributions.keys():
            raise InputError(
                f"{key}: cannot be searched, because trials that validate on other reviews do not"
                " compare; give one value for all"
            )
        self.objectives = list(objectives)
        self._distributions = dict(distributions)
        self._owner = _owner(folder)
        self._alone = alone
        self._make_sampler = make_sampler
        self._seed = seed
        self.begun = datetime.now()  # as Optuna writes times down
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            study_name=name,
            storage=open_storage(url),
            directions=["minimize" if is_lower_better(each) else "maximize" for each in objectives],
            pruner=pruner,
            load_if_exists=True,
        )
        self._begin_or_compare({"objectives": self.objectives, **facts})

    def _begin_or_compare(self, facts: Mapping[str, Any]) -> None:
        begun = self.study.user_attrs.get("facts")
        plain = _comparable(json.loads(json.dumps(facts)))
        if begun is None:
            self.study.set_user_attr(_OWNER, self._owner)
            self.study.set_user_attr("facts", plain)
            return
        begun = _comparable(begun)
        for key in sorted(begun.keys() | plain.keys()):
            if begun.get(key) != plain.get(key):
                raise InputError(
                    f"the study {self.study.study_name!r} was begun with"
                    f" {_difference(key, begun.get(key), plain.get(key))}; give the same, or begin"
                    " another with another hydra.sweep.dir or hydra.sweeper.study_name"
                )

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials of the study, of every machine."""
        return self.study.get_trials(deepcopy=False)

    def left_over(self) -> list[Trial]:
        """Trials of this folder that are still running, because the search was killed."""
        running = [trial for trial in self.trials if trial.state == TrialState.RUNNING]
        if self._alone:
            for trial in running:
                if _OWNER not in trial.user_attrs:  # killed while it was drawn
                    self.study.tell(trial.number, state=TrialState.FAIL)
        mine = [trial for trial in running if trial.user_attrs.get(_OWNER) == self._owner]
        return [Trial(self.study, trial._trial_id) for trial in mine]

    def ask(self) -> Trial:
        """Draw the settings of a new trial.

        Raises:
            InputError: the sampler cannot draw from this space.
        """
        seeds = [self._seed, len(self.trials)]
        if self.study.user_attrs[_OWNER] != self._owner:  # another one began this study
            seeds += list(self._owner.encode())
        self.study.sampler = self._make_sampler(
            int(np.random.SeedSequence(seeds).generate_state(1)[0])
        )
        try:
            trial = self.study.ask(self._distributions)
        except ValueError as error:
            raise InputError(f"hydra.sweeper.sampler: {first_words(error)}") from error
        trial.set_user_attr(_OWNER, self._owner)
        return trial

    def twin(self, trial: Trial) -> FrozenTrial | None:
        """A completed trial with the same settings, whose result this one would repeat, or None."""
        for other in self.trials:
            if other.state == TrialState.COMPLETE and other.params == trial.params:
                return other
        return None

    def tell_same(self, trial: Trial, twin: FrozenTrial) -> FrozenTrial:
        """End a trial with the values of its twin."""
        trial.set_user_attr(_SAME_AS, twin.number)
        return self.study.tell(trial, twin.values)

    def tell(self, trial: Trial, outcome: Mapping[str, Any]) -> FrozenTrial:
        """End a trial with the outcome of its training.

        Args:
            trial: the trial that ``ask`` returned.
            outcome: ``status`` (``ok``, ``pruned`` or ``failed``), and the objectives' values or
                the ``error``.
        """
        if outcome["status"] == "pruned":
            return self.study.tell(trial, state=TrialState.PRUNED)
        values = [float(outcome.get(each, float("nan"))) for each in self.objectives]
        if outcome["status"] == "failed" or not np.isfinite(values).all():
            reason = outcome.get("error", f"{', '.join(self.objectives)} is {values}")
            trial.set_user_attr(_ERROR, str(reason)[:500])
            return self.study.tell(trial, state=TrialState.FAIL)
        return self.study.tell(trial, values)

    def best(self) -> list[FrozenTrial]:
        """The best trial, or with several objectives those that no other beats in all of them."""
        if not any(trial.state == TrialState.COMPLETE for trial in self.trials):
            return []
        return [self.study.best_trial] if len(self.objectives) == 1 else self.study.best_trials


def open_trial(url: str, name: str, number: int, pruner: BasePruner) -> Trial:
    """Open a trial that another process has drawn, to report metrics to it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(
        study_name=name, storage=open_storage(url), sampler=RandomSampler(), pruner=pruner
    )
    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def _owner(folder: Path) -> str:
    """A random name of a sweep folder, which it keeps when it is moved."""
    path = folder / ".search"
    if not path.exists():
        with replaced_when_whole(path) as part:
            part.write_text(uuid.uuid4().hex)
    return path.read_text()


def _check_objectives(objectives: Sequence[str]) -> None:
    wrong = [each for each in objectives if each not in OBJECTIVES]
    if wrong or not objectives or len(set(objectives)) < len(objectives):
        raise InputError(
            f"hydra.sweeper.objectives={list(objectives)}: give one or more of"
            f" {', '.join(OBJECTIVES)}"
        )


def _comparable(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**facts, "settings": with_class_names(facts.get("settings", {}))}


def _difference(key: str, begun: Any, now: Any) -> str:
    if isinstance(begun, Mapping) and isinstance(now, Mapping):
        inner = next(
            name for name in sorted(begun.keys() | now.keys()) if begun.get(name) != now.get(name)
        )
        if inner not in begun:
            return f"{inner} not in its {key}, where it is {now[inner]} now"
        if inner not in now:
            return f"{inner}={begun[inner]} in its {key}, where it is missing now"
        return f"{inner}={begun[inner]}, not {now[inner]}"
    return f"{key}={begun}, not {now}"
