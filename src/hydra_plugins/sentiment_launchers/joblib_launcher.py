"""Several runs at a time on this machine, in joblib's processes."""

import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.sentiment_launchers._launcher import (
    SUBDIR,
    RunsInProcesses,
    numbered,
    threads_of_each,
)
from sentiment.runtime.errors import InputError


@dataclass
class JoblibLauncherConfig:
    """See ``JoblibLauncher``."""

    _target_: str = "hydra_plugins.sentiment_launchers.joblib_launcher.JoblibLauncher"
    n_jobs: int = -1


class JoblibLauncher(RunsInProcesses):
    """Runs ``n_jobs`` trainings at a time in joblib's processes, which divide the cores.

    Each process is a pool of its own, so that killing one does not affect the others. They remain
    for the next batch of a sweeper.

    Args:
        n_jobs: number of processes as joblib counts: -1 is one for each core, -2 leaves one free.
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
        if self._pools < count:  # each gets fewer of the cores
            while not self._idle.empty():
                self._idle.get()[1].shutdown()
            for index in range(count):
                self._idle.put((index, _pool_of_one(index, count)))
            self._pools = count
        self._begin(runs, f"in {count} processes with OMP_NUM_THREADS={threads_of_each(count)}")
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
            if self._asked:
                return None
            self._working[number] = pool.submit(os.getpid).result()
            if self._asked:
                return None
            arguments = (number, overrides, self._context, self._config, self._task, state)
            return self._arrived(pool.submit(_run_in_child, *arguments).result())
        except (BrokenProcessPool, SystemExit, KeyboardInterrupt) as error:
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
        config=numbered(context.config_loader, config, number, overrides),
        job_dir_key="hydra.sweep.dir",
        job_subdir_key=SUBDIR,
    )


class _NumberedLines(io.TextIOBase):
    """Output of one of several processes: whole lines, with the number of the run before each."""

    encoding = "utf-8"

    def __init__(self, file_descriptor: int, number: int) -> None:
        self._file_descriptor = file_descriptor
        self._number = number
        self._rest = ""

    def write(self, text: str) -> int:
        """Write the lines that are whole, and keep the rest."""
        *lines, self._rest = (self._rest + text).split("\n")
        marked = "".join(f"[{self._number}] {line}".rstrip() + "\n" for line in lines)
        with suppress(BrokenPipeError):
            os.write(self._file_descriptor, marked.encode(errors="replace"))
        return len(text)

    def fileno(self) -> int:
        """The file descriptor."""
        return self._file_descriptor

    def isatty(self) -> bool:
        """False, so that there are no progress bars: they would overwrite one another."""
        return False


def _pool_of_one(index: int, count: int) -> Any:
    """A pool of one process, one of ``count`` that divide cores and GPUs."""
    import torch
    from joblib.externals.loky import ProcessPoolExecutor

    environment = {"OMP_NUM_THREADS": threads_of_each(count)}
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = chosen.split(",") if chosen else [str(i) for i in range(torch.cuda.device_count())]
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return ProcessPoolExecutor(max_workers=1, env=environment)


def _leave_ctrl_c_to_the_main_thread() -> None:
    """Block SIGINT in this thread and the processes it starts: they get SIGTERM from `_stop`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
