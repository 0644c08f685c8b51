"""The base of both launchers: numbered runs, their fraction of the cores, and stopping all."""

import copy
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

log = logging.getLogger(__name__)

SUBDIR = "hydra.sweep.subdir"


class RunsInProcesses(Launcher):
    """Base of the launchers: numbered runs, and stopping them all when asked to."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra gives every launcher."""
        self._context = hydra_context
        self._task = task_function
        self._config = config
        self._asked = 0  # the signal that ends the sweep

    def _begin(self, runs: Sequence[Any], how: str) -> None:
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        log.info("Launching %d runs %s", len(runs), how)

    def _arrived(self, result: JobReturn) -> JobReturn:
        """Log how a run ended; returns its result."""
        from sentiment.train.sweep import RankRuns

        assert result.hydra_cfg is not None  # after Hydra's run_job
        for callback in self._context.callbacks.callbacks:
            if isinstance(callback, RankRuns):
                callback.on_job_end(result.hydra_cfg, result)
        return result

    def _lost(self, number: int, overrides: Sequence[str], why: str) -> JobReturn:
        """The result of a run that ended without one."""
        if not self._asked:
            log.error("error: run %d %s", number, why)
        lost = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
        lost.return_value = {"status": "failed", "error": why}
        return lost

    @contextmanager
    def _stoppable(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop`` on Ctrl-C and SIGTERM; leave with the signal's exit code at the end."""

        def ask(number: int, frame: Any) -> None:
            if not self._asked:
                sys.stderr.write("\nStopping all runs (again to stop them at once) ...\n")
            self._asked = number
            stop()

        before = {name: signal.signal(name, ask) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
        if self._asked:
            sys.exit(128 + self._asked)


def numbered(
    loader: ConfigLoader, config: DictConfig, number: int, overrides: Sequence[str]
) -> DictConfig:
    """The config of one run."""
    composed = loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    return composed


@contextmanager
def as_run(config: DictConfig) -> Iterator[tuple[DictConfig, Path]]:
    """Yield the run's config without Hydra's, which ``HydraConfig`` has within, and its folder."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        folder = Path(str(config.hydra.sweep.dir), str(OmegaConf.select(config, SUBDIR)))
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(folder.absolute())
        HydraConfig.instance().set_config(config)
        task = copy.deepcopy(config)
        with open_dict(task):
            del task["hydra"]
        yield task, folder
    finally:
        HydraConfig.instance().cfg = before


def threads_of_each(count: int) -> str:
    """OpenMP threads for each of ``count`` processes: as the user has set, or cores / processes."""
    from sentiment.runtime.environment import available_cores

    return os.environ.get("OMP_NUM_THREADS") or str(max(1, available_cores() // count))
