"""Hydra launchers that run the trainings of a multirun in processes of their own.

``hydra/launcher=joblib`` on this machine; ``submitit_slurm`` on a SLURM cluster, and
``submitit_local``, which tries that out on one machine. A run that fails or is killed takes no
other with it. Hydra finds this module because it lies in ``hydra_plugins``.
"""

import logging
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import repeat
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import (
    JobReturn,
    JobStatus,
    env_override,
    filter_overrides,
    run_job,
    setup_globals,
)
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from sentiment.errors import InputError

log = logging.getLogger(__name__)


class _Launcher(Launcher):
    """What the launchers share: numbered runs, and stopping them all when asked to."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra knows of the multirun."""
        self._context = hydra_context
        self._task = task_function
        self._config = config
        self._asked = 0  # the signal that ends the sweep

    def _tell(self, runs: Sequence[tuple[int, Sequence[str]]], how: str) -> None:
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        log.info("Launching %d runs %s", len(runs), how)
        for number, overrides in runs:
            log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))

    def _lost(self, number: int, overrides: Sequence[str], why: str) -> JobReturn:
        """Stand in for the result of a run that ended without one; its folder tells of it."""
        log.error("error: run %d %s", number, why)
        config = _numbered(self._context, self._config, number, overrides)
        folder = Path(str(config.hydra.sweep.dir), str(OmegaConf.select(config, _SUBDIR)))
        folder.mkdir(parents=True, exist_ok=True)
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


class JoblibLauncher(_Launcher):
    """Runs ``n_jobs`` trainings at a time in joblib's processes, sharing the cores among them.

    Each process is a pool of one: where it is killed, the others do not notice. The processes stay
    for the next batch of a sweeper.

    Args:
        n_jobs: as joblib counts: -1 is one for each core, -2 leaves one free.
    """

    def __init__(self, *, n_jobs: int) -> None:
        if n_jobs == 0:
            raise InputError("hydra.launcher.n_jobs=0: give 1 or more, or -1 for all cores")
        self._n_jobs = n_jobs
        self._idle: SimpleQueue[tuple[int, Any]] = SimpleQueue()  # pools of one process
        self._pools = 0
        self._working: dict[int, int] = {}  # run: process

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run a batch; a run that was killed counts as one that failed."""
        from joblib import effective_n_jobs

        runs = list(enumerate(job_overrides, initial_job_idx))
        count = min(effective_n_jobs(self._n_jobs), len(runs))
        while self._pools < count:
            self._idle.put((self._pools, _pool_of_one(self._pools, count)))
            self._pools += 1
        self._tell(runs, f"in {count} processes of {_threads(count)} threads")
        state = Singleton.get_state()
        with (
            self._stoppable(self._stop),
            ThreadPoolExecutor(count, initializer=_leave_ctrl_c_to_the_main_thread) as threads,
        ):
            results = threads.map(lambda run: self._run(run[0], run[1], state), runs)
            return [result for result in results if result is not None]

    def _stop(self) -> None:
        for process in list(self._working.values()):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    def _run(self, number: int, overrides: Sequence[str], state: Any) -> JobReturn | None:
        """Run one training in a process that is free; None if the sweep has been stopped."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        index, pool = self._idle.get()
        try:
            self._working[number] = pool.submit(os.getpid).result()
            if self._asked:
                return None
            arguments = (number, overrides, self._context, self._config, self._task, state)
            result: JobReturn = pool.submit(_run_in_child, *arguments).result()
            return result
        except (BrokenProcessPool, SystemExit) as error:
            if isinstance(error, BrokenProcessPool):
                pool.shutdown(kill_workers=True)
                pool = _pool_of_one(index, self._pools)
            if self._asked:
                return None
            found = re.search(r"\{(\w+)", str(error))
            why = f"was ended by {found[1]}" if found else "was stopped"
            hint = "; if memory ran out, lower hydra.launcher.n_jobs" if found else ""
            return self._lost(number, overrides, why + hint)
        finally:
            self._working.pop(number, None)
            self._idle.put((index, pool))


_SUBDIR = "hydra.sweep.subdir"


def _numbered(
    context: HydraContext, config: DictConfig, number: int, overrides: Sequence[str]
) -> DictConfig:
    """The config of one run."""
    composed = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = number
    return composed


def _run_in_child(
    number: int,
    overrides: Sequence[str],
    context: HydraContext,
    config: DictConfig,
    task: TaskFunction,
    state: Any,
) -> JobReturn:
    setup_globals()
    Singleton.set_state(state)  # schemas and resolvers, too
    sys.stdout = _NumberedLines(1, number)
    sys.stderr = _NumberedLines(2, number)
    return run_job(
        hydra_context=context,
        task_function=task,
        config=_numbered(context, config, number, overrides),
        job_dir_key="hydra.sweep.dir",
        job_subdir_key=_SUBDIR,
    )


class _NumberedLines:
    """Output of one of several processes: whole lines, with the number of the run before each."""

    encoding = "utf-8"

    def __init__(self, file_descriptor: int, number: int) -> None:
        self._file_descriptor = file_descriptor
        self._number = number
        self._rest = ""

    def write(self, text: str) -> int:
        """Write the lines that are whole, and keep the rest."""
        *lines, self._rest = (self._rest + text).split("\n")
        told = "".join(f"[{self._number}] {line}".rstrip() + "\n" for line in lines)
        with suppress(BrokenPipeError):
            os.write(self._file_descriptor, told.encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: whole lines are written at once."""

    def isatty(self) -> bool:
        """Tell that no progress bars are wanted: they would overwrite one another."""
        return False


def _threads(count: int) -> int:
    """Threads for each of several processes: their share of the cores, or as the user says."""
    from sentiment.data.workers import available_cores

    return int(os.environ.get("OMP_NUM_THREADS") or max(1, available_cores() // count))


def _pool_of_one(index: int, count: int) -> Any:
    """A pool of one process, which takes the share of one in ``count`` of cores and GPUs."""
    import torch
    from joblib.externals.loky import ProcessPoolExecutor

    environment = {"OMP_NUM_THREADS": str(_threads(count))}
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = chosen.split(",") if chosen else [str(i) for i in range(torch.cuda.device_count())]
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return ProcessPoolExecutor(max_workers=1, env=environment)


def _leave_ctrl_c_to_the_main_thread() -> None:
    """Block SIGINT in this thread and the processes it starts: they get SIGTERM from `_stop`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


class _SubmititLauncher(_Launcher):
    """Runs trainings through submitit with the parameters of ``hydra-submitit-launcher``."""

    cluster: str

    def __init__(self, **parameters: Any) -> None:
        from hydra_plugins.hydra_submitit_launcher import submitit_launcher

        kinds = {
            "local": submitit_launcher.LocalLauncher,
            "slurm": submitit_launcher.SlurmLauncher,
        }
        self._job = kinds[self.cluster](**parameters)  # what is pickled and run

    def setup(self, **given: Any) -> None:
        """Take what Hydra knows of the multirun."""
        super().setup(**given)
        self._job.setup(**given)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit a batch and wait for it; a run that was killed counts as one that failed."""
        runs = list(enumerate(job_overrides, initial_job_idx))
        threads = self._threads_of_a_run(len(runs))
        told = f" with OMP_NUM_THREADS={threads}" if threads else ""
        self._tell(runs, f"through submitit ({self.cluster}){told}")
        executor = self._executor()
        numbers, overrides = zip(*runs, strict=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # jobs inherit it
        with env_override({"OMP_NUM_THREADS": str(threads)} if threads else {}):
            jobs = executor.map_array(
                self._job,
                [list(given) for given in overrides],
                repeat("hydra.sweep.dir"),
                numbers,
                repeat(""),  # submitit's own id takes its place
                repeat(Singleton.get_state()),
            )
        with self._stoppable(lambda: self._stop(jobs)):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            while not all(job.done() for job in jobs):
                time.sleep(0.5)
        return [self._result(job, *run) for job, run in zip(jobs, runs, strict=True)]

    def _executor(self) -> Any:
        import submitit
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

        parameters = dict(self._job.params)
        folder = parameters.pop("submitit_folder")
        retries = parameters.pop("max_num_timeout", None)
        first = {} if retries is None else {f"{self.cluster}_max_num_timeout": retries}
        executor = submitit.AutoExecutor(cluster=self.cluster, folder=folder, **first)
        shared = OmegaConf.structured(BaseQueueConf).keys()
        executor.update_parameters(
            **{
                name if name in shared else f"{self.cluster}_{name}": value
                for name, value in parameters.items()
            }
        )
        return executor

    def _threads_of_a_run(self, count: int) -> int | None:
        """What each run is told; None leaves it to what the cluster gives a job."""
        given = self._job.params.get("cpus_per_task")
        if "OMP_NUM_THREADS" in os.environ or given is not None:
            return int(os.environ.get("OMP_NUM_THREADS") or given)
        return _threads(count) if self.cluster == "local" else None

    def _stop(self, jobs: Sequence[Any]) -> None:
        raise NotImplementedError

    def _result(self, job: Any, number: int, overrides: Sequence[str]) -> JobReturn:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            result: JobReturn = job.results()[0]
        except (FailedJobError, UncompletedJobError):
            return self._lost(number, overrides, f"ended without a result: see {job.paths.stderr}")
        return result


class SubmititLocalLauncher(_SubmititLauncher):
    """Starts all trainings at once on this machine, as a cluster would."""

    cluster = "local"

    def _stop(self, jobs: Sequence[Any]) -> None:
        for job in jobs:
            if not job.done():
                os.kill(int(job.job_id), signal.SIGTERM)


class SubmititSlurmLauncher(_SubmititLauncher):
    """Submits the trainings to SLURM as one job array and waits for them."""

    cluster = "slurm"

    def __init__(self, **parameters: Any) -> None:
        if shutil.which("srun") is None:
            raise InputError(
                "hydra/launcher=submitit_slurm: there is no srun here; start it on a machine of the"
                " SLURM cluster, or use hydra/launcher=joblib"
            )
        super().__init__(**parameters)

    def _stop(self, jobs: Sequence[Any]) -> None:
        for job in jobs:
            job.cancel(check=False)
        sys.exit(128 + self._asked)  # SLURM ends them, in its own time
