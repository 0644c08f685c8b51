"""Launch runs through submitit as jobs of a SLURM cluster, or on this machine to try that."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, env_override
from omegaconf import OmegaConf

from hydra_plugins.sentiment_launchers._launcher import RunsInProcesses, threads_of_each
from sentiment.runtime.errors import InputError


class _SubmititLauncher(RunsInProcesses):
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
        """Keep what Hydra gives every launcher."""
        super().setup(**given)
        self._job.setup(**given)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit a batch and wait for it; a run that was killed counts as one that failed."""
        runs = list(enumerate(job_overrides, initial_job_idx))
        threads = self._threads_of_a_run(len(runs))
        setting = f" with OMP_NUM_THREADS={threads}" if threads else ""
        self._begin(runs, f"through submitit ({self.cluster}){setting}")
        executor = self._executor()
        numbers, overrides = zip(*runs, strict=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # jobs inherit it
        with env_override({"OMP_NUM_THREADS": threads} if threads else {}):
            jobs = executor.map_array(
                self._job,
                [list(given) for given in overrides],
                repeat("hydra.sweep.dir"),
                numbers,
                repeat(""),  # submitit's own id takes its place
                repeat(Singleton.get_state()),
            )
        results: dict[int, JobReturn] = {}
        with self._stoppable(lambda: self._stop(jobs)):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            while len(results) < len(jobs):
                time.sleep(0.5)
                for job, (number, given) in zip(jobs, runs, strict=True):
                    if number not in results and job.done():
                        results[number] = self._result(job, number, given)
        return [results[number] for number in numbers]

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

    def _threads_of_a_run(self, count: int) -> str | None:
        """``OMP_NUM_THREADS`` of each run; None leaves it to the cluster."""
        given = self._job.params.get("cpus_per_task")
        if given is not None:
            return os.environ.get("OMP_NUM_THREADS") or str(given)
        return threads_of_each(count) if self.cluster == "local" else None

    def _stop(self, jobs: Sequence[Any]) -> None:
        raise NotImplementedError

    def _result(self, job: Any, number: int, overrides: Sequence[str]) -> JobReturn:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            return self._arrived(job.results()[0])
        except (FailedJobError, UncompletedJobError):
            return self._lost(number, overrides, f"ended without a result: see {job.paths.stderr}")


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
