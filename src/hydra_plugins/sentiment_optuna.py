"""A Hydra sweeper that searches with Optuna; ``-m sweep=optuna`` chooses it.

To be deleted when a released sweeper works with today's Optuna, prunes, and resumes after it was
killed. Hydra imports this file whenever it starts, so slow libraries are imported only when they
are needed.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

    from sentiment.report.ranking import Job
    from sentiment.train.search.space import Space
    from sentiment.train.search.study import Search

log = logging.getLogger(__name__)


@dataclass
class OptunaSweeperConfig:
    """See ``OptunaSweeper``."""

    _target_: str = "hydra_plugins.sentiment_optuna.OptunaSweeper"
    _recursive_: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    n_trials: int = 30
    n_jobs: int = 1
    objectives: list[str] = field(default_factory=lambda: ["val/accuracy"])
    storage: str | None = None
    study_name: str = "sentiment"
    seed: int = MISSING
    sampler: Any = field(default_factory=lambda: {"_target_": "optuna.samplers.TPESampler"})
    pruner: Any = field(default_factory=lambda: {"_target_": "optuna.pruners.MedianPruner"})
    trial: int | None = None


ConfigStore.instance().store(
    group="hydra/sweeper", name="sentiment_optuna", node=OptunaSweeperConfig, provider="sentiment"
)


class OptunaSweeper(Sweeper):
    """Asks an Optuna study for settings, launches trainings with them, and reports their metrics.

    Args:
        params: the sweep of each searched key; see ``sentiment.train.search.space``.
        n_trials: number of trials in the study at the end, of all machines together.
        n_jobs: number of trials that are launched together.
        objectives: metrics among ``sentiment.train.search.study.OBJECTIVES``; the first ranks the
            table.
        storage: the storage of the study; None is ``study.db`` in the sweep folder. See
            ``sentiment.train.search.study.open_storage``.
        study_name: machines that share a storage and this name share the study.
        seed: seed of the samplers.
        sampler: the node of an Optuna sampler.
        pruner: the node of an Optuna pruner, or None.
        trial: the number of the trial, which is set for each training.
    """

    def __init__(
        self,
        *,
        params: Mapping[str, Any],
        n_trials: int,
        n_jobs: int,
        objectives: Sequence[str],
        storage: str | None,
        study_name: str,
        seed: int,
        sampler: DictConfig,
        pruner: DictConfig | None,
        trial: int | None,
    ) -> None:
        self._params = params
        self._n_trials, self._n_jobs = n_trials, n_jobs
        self._objectives = objectives
        self._storage, self._study_name = storage, study_name
        self._seed, self._sampler, self._pruner = seed, sampler, pruner

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra gives every sweeper."""
        self._config = config
        self._loader = hydra_context.config_loader
        self._callbacks = hydra_context.callbacks
        self._launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._folder = Path(config.hydra.sweep.dir)  # which may be made here

    def sweep(self, arguments: list[str]) -> Any:
        """Run the trials that the study still lacks."""
        from sentiment.config.overrides import UserOptions
        from sentiment.train.search.report import report_end
        from sentiment.train.search.space import read_space
        from sentiment.train.sweep import ranked

        with ranked(self._callbacks, self._config) as add_jobs:
            self._check_counts()
            loader: Any = UserOptions(self._loader)
            parser = OverridesParser.create(config_loader=loader)
            space = read_space(self._params, arguments, parser)
            self._check_space(space)
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                search = self._open(space)
                OmegaConf.save(self._config, self._folder / "multirun.yaml")
                for batch, resumed in self._batches(search):
                    outcomes = self._launch(space, batch, add_jobs, resumed=resumed)
                    for trial, outcome in zip(batch, outcomes, strict=True):
                        self._log(search, search.tell(trial, outcome))
                report_end(search, self._folder)

    def _batches(self, search: "Search") -> Iterator[tuple[list["Trial"], bool]]:
        """Yield trials to launch together, and whether an earlier process began them."""
        left_over = search.left_over()
        if left_over:
            numbers = ", ".join(str(trial.number) for trial in left_over)
            log.info("Going on with trial %s, which had begun", numbers)
        for first in range(0, len(left_over), self._n_jobs):
            yield left_over[first : first + self._n_jobs], True
        while (missing := self._n_trials - len(search.trials)) > 0:
            batch = []
            for _ in range(min(missing, self._n_jobs)):
                trial = search.ask()
                if twin := search.twin(trial):
                    self._log(search, search.tell_same(trial, twin))
                else:
                    batch.append(trial)
            if batch:
                yield batch, False

    def _launch(
        self,
        space: "Space",
        batch: Sequence["Trial"],
        add_jobs: "Callable[[Sequence[Job]], None]",
        *,
        resumed: bool,
    ) -> list[dict[str, Any]]:
        """Train, and return the outcome of each training or why it failed."""
        from sentiment.report.ranking import Job
        from sentiment.runtime.overrides import override

        jobs = []
        for trial in batch:
            own = [f"hydra.sweeper.trial={trial.number}", f"hydra.sweep.subdir={trial.number}"]
            if self._storage is None:
                own.append(override("hydra.sweeper.storage", self._url()))
            if resumed:
                own.append("ckpt_path=auto")
            jobs.append([*space.overrides(trial.params), *own])
        returns = self._launcher.launch(jobs, initial_job_idx=batch[0].number)
        outcomes = [_outcome(returned) for returned in returns]
        add_jobs(
            [
                Job(self._folder / str(trial.number), job, failed=outcome["status"] == "failed")
                for trial, job, outcome in zip(batch, jobs, outcomes, strict=True)
            ]
        )
        return outcomes

    def _log(self, search: "Search", trial: "FrozenTrial") -> None:
        from sentiment.train.search.report import log_trial

        log_trial(search, trial, of=self._n_trials)

    def _open(self, space: "Space") -> "Search":
        from sentiment.train.resume import deciding_settings
        from sentiment.train.search.study import Search

        task = OmegaConf.to_container(self._task(space.shared), resolve=True)
        settings = deciding_settings(task)  # type: ignore[arg-type]
        kept = {key: value for key, value in settings.items() if key not in space.distributions}
        return Search(
            url=self._url(),
            name=self._study_name,
            objectives=self._objectives,
            distributions=space.distributions,
            facts={"space": space.described(), "settings": kept, "seed": self._seed},
            folder=self._folder,
            alone=self._storage is None,
            make_sampler=self._make_sampler,
            pruner=instantiate(self._pruner or {"_target_": "optuna.pruners.NopPruner"}),
            seed=self._seed,
        )

    def _make_sampler(self, seed: int) -> "BaseSampler":
        from optuna.samplers import BaseSampler

        from sentiment.runtime.errors import InputError

        sampler = instantiate(self._sampler, seed=seed)
        if not isinstance(sampler, BaseSampler):
            raise InputError(
                f"hydra.sweeper.sampler={self._sampler}: is not a sampler; give"
                " hydra.sweeper.sampler._target_=optuna.samplers.TPESampler"
            )
        return sampler

    def _url(self) -> str:
        """The URL of the study's storage; by default a file in the sweep folder."""
        return self._storage or f"sqlite:///{(self._folder / 'study.db').resolve()}"

    def _task(self, overrides: Sequence[str]) -> DictConfig:
        """Compose the config of a training."""
        composed = copy.deepcopy(self._loader.load_sweep_config(self._config, list(overrides)))
        with open_dict(composed):
            del composed["hydra"]
            composed.logger = composed.data.splits_dir = None  # may lie in a run's own folder
        return composed

    def _check_space(self, space: "Space") -> None:
        """Compose each choice and each end of an interval once, before any training."""
        from sentiment.config.checks import check_config
        from sentiment.train.build import check_parts
        from sentiment.train.search.space import edges

        for overrides in edges(space):
            task = self._task(overrides)
            check_config(task)
            check_parts(task)

    def _check_counts(self) -> None:
        from sentiment.runtime.errors import InputError

        for name, value in {"n_trials": self._n_trials, "n_jobs": self._n_jobs}.items():
            if value < 1:
                raise InputError(f"hydra.sweeper.{name}={value}: give 1 or more")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock the sweep folder while the block runs."""
        from filelock import FileLock, Timeout

        from sentiment.runtime.errors import InputError

        lock = FileLock(self._folder / ".sweeping.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            shared = (
                f"hydra.sweeper.storage={self._url()}"
                if self._storage is None
                else "the same hydra.sweeper.storage"  # which may hold a password
            )
            raise InputError(
                f"hydra.sweep.dir={self._folder}: another process searches in this folder; to help"
                f" it, give another folder and {shared}"
            ) from error
        try:
            yield
        finally:
            lock.release()


def _outcome(returned: JobReturn) -> dict[str, Any]:
    try:
        outcome: dict[str, Any] = returned.return_value
    except Exception as error:  # the search continues, whatever error ended the training
        log.error("A trial failed", exc_info=error)
        return {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    return outcome
