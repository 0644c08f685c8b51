"""A multirun: a line for each run and, at the end, one ranked table of all and the best of them."""

import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from sentiment.config.overrides import CommandLine, sweep_command, train_command
from sentiment.report.comparison_table import print_comparison
from sentiment.report.ranking import Job, compare_runs, sweep_rows, sweep_runs
from sentiment.report.runs import run_folders
from sentiment.report.tables import (
    format_duration,
    format_percent,
    is_number,
    write_csv,
    write_json,
)
from sentiment.runtime.errors import InputError, listed
from sentiment.runtime.overrides import override
from sentiment.runtime.progress_bar import LinesAboveBars
from sentiment.runtime.run_folder import last_checkpoint
from sentiment.runtime.yaml_files import parse_overrides

if TYPE_CHECKING:
    from hydra._internal.callbacks import Callbacks

log = logging.getLogger(__name__)


def report_sweep(folder: Path, metric: str, jobs: Sequence[Job] = ()) -> list[dict[str, object]]:
    """Print the runs of a multirun, best first, and write ``sweep.csv`` and ``best.json``.

    Args:
        folder: the folder of the multirun; runs may lie at any depth.
        metric: the metric to rank by.
        jobs: runs that are known to have ended, and how.

    Returns:
        The rows of ``sweep.csv``.

    Raises:
        InputError: runs have ended, and none has the metric.

    ``best.json`` has the ``folder`` of the best run, its ``checkpoint`` (null where it kept none),
    the ``command`` that repeats it, and its metrics.
    """
    runs = sweep_runs(folder, jobs)
    if not runs:
        log.info("No run was trained in %s", folder)
        return []
    found = {key for run in runs for key in run.results}
    if found and metric not in found:
        names = sorted(key for key in found if key.startswith(("train/", "val/", "test/")))
        raise InputError(
            f"no run in {folder} has the metric {metric!r}: choose one of {', '.join(names)}"
        )
    rows = sweep_rows(runs, metric)
    write_csv(folder / "sweep.csv", rows)
    print_comparison(compare_runs(runs, metric=metric))
    log.info("The table is in %s", folder / "sweep.csv")
    best = best_run(folder, rows)
    if best is None:
        (folder / "best.json").unlink(missing_ok=True)
        log.info("No run has a rank, so none is the best.")
        return rows
    write_json(folder / "best.json", best)
    log.info("Best run by %s: %s. Repeat it with:", metric, best["checkpoint"] or best["folder"])
    log.info("  %s", best["command"])
    if best["checkpoint"] and not is_number(best.get("test/accuracy")):
        run = Path(str(best["folder"]))
        last = override("ckpt_path", str(last_checkpoint(run)))
        log.info("A search sees no test reviews. Test its best with:")
        log.info("  %s", train_command(*CommandLine.of_folder(run).repeated(), last))
    return rows


def best_run(folder: Path, rows: Sequence[Mapping[str, object]]) -> dict[str, object] | None:
    """The content of ``best.json`` for the first of the ranked runs, or None if none is ranked."""
    if not rows or rows[0]["rank"] is None:
        return None
    run = folder / str(rows[0]["folder"])
    checkpoint = run / "checkpoints" / "best.ckpt"
    metrics = {key: value for key, value in rows[0].items() if key.startswith(("val/", "test/"))}
    return {
        "folder": str(run),
        "checkpoint": str(checkpoint) if checkpoint.is_file() else None,
        "command": train_command(*CommandLine.of_folder(run).repeated()),
        **metrics,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Leave what a run prints to its log file, but for warnings, errors and progress bars."""
    consoles = [each for each in logging.root.handlers if isinstance(each, LinesAboveBars)]
    levels = [each.level for each in consoles]
    for console in consoles:
        console.setLevel(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for console, level in zip(consoles, levels, strict=True):
            console.setLevel(level)


class RankRuns(Callback):
    """Logs a line for each run of a multirun, ranks them, prints them and writes ``sweep.csv``.

    The process ends with exit code 2 if any of the runs failed.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._jobs: list[Job] = []
        self._varied: set[str] = set()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Find the settings that differ between the runs."""
        given = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        varied = dict.fromkeys(config.hydra.sweeper.get("params") or {}, True)
        varied |= {each.get_key_element(): each.is_sweep_override() for each in given}
        self._varied = {key.lstrip("+") for key, is_varied in varied.items() if is_varied}

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Log how a run ended, unless it is a trial, which the search logs itself.

        A process of its own that a launcher starts for the run logs nothing: the launcher calls
        this where the result arrives.
        """
        is_trial = config.hydra.sweeper.get("trial") is not None
        if (
            os.getpid() != self._process
            or is_trial
            or config.hydra.mode != RunMode.MULTIRUN
            or job_return.status != JobStatus.COMPLETED
        ):
            return
        outcome = job_return.return_value
        overrides = parse_overrides(map(str, config.hydra.overrides.task))
        own = ", ".join(f"{key}={text}" for key, text in overrides.items() if key in self._varied)
        ended = outcome["status"]
        if ended == "ok":
            names = [name for name in ("val/accuracy", "test/accuracy") if name in outcome]
            metrics = [f"{name} {format_percent(outcome[name])}" for name in names]
            ended = f"{', '.join(metrics)} in {format_duration(outcome.get('fit_seconds'))}"
        log.info("Run %s%s: %s", config.hydra.job.num, f" ({own})" if own else "", ended)

    def add(self, jobs: Sequence[Job]) -> None:
        """Add runs that are known to have ended, and how; their folders are not trusted."""
        self._jobs += jobs

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Rank the runs by each one's ``results.json``."""
        try:
            rows = self.rank(config)
        except InputError as error:  # Hydra would turn it into a warning
            log.error("error: %s", error)
            sys.exit(2)
        failed = [str(row["folder"]) for row in rows if row["status"] == "failed"]
        _end_if_any(failed, len(rows))

    def rank(self, config: DictConfig) -> list[dict[str, object]]:
        """Rank the existing runs by a search's first objective, or by validation accuracy.

        Raises:
            InputError: runs have ended, and none has that metric.
        """
        objectives = config.hydra.sweeper.get("objectives") or ["val/accuracy"]
        return report_sweep(Path(config.hydra.sweep.dir), str(objectives[0]), self._jobs)


def _end_if_any(failed: Sequence[str], runs: int) -> None:
    """End with exit code 2 if any of the runs failed."""
    if failed:
        log.error("error: %d of %d runs failed (%s)", len(failed), runs, listed(failed))
        sys.exit(2)


def _check_jobs(jobs: Sequence[Job]) -> None:
    """End with exit code 2 if any of the runs failed, which no table shows."""
    _end_if_any([str(job.folder) for job in jobs if job.failed], len(jobs))


@contextmanager
def ranked(callbacks: "Callbacks", config: DictConfig) -> Iterator[Callable[[Sequence[Job]], None]]:
    """Rank the runs of a multirun even if the sweeper is stopped early.

    Args:
        callbacks: the callbacks of Hydra's context; one may be a ``RankRuns``.
        config: the config of the multirun.

    Yields:
        A function that takes the runs that have ended. Where no ``RankRuns`` is, it ends with exit
        code 2 if any failed.
    """
    given = CommandLine.of_hydra(config.hydra)
    ranking = next((each for each in callbacks.callbacks if isinstance(each, RankRuns)), None)
    try:
        yield _check_jobs if ranking is None else ranking.add
    except InputError:  # nothing was begun
        if not given.names_folder:
            with suppress(OSError):  # if it is empty
                Path(config.hydra.sweep.dir).rmdir()
        raise
    except BaseException:
        folder = Path(config.hydra.sweep.dir)
        if ranking is not None and any(run_folders(folder)):
            log.info("The sweep ends here; its other runs were not begun.")
            ranking.rank(config)
            log.info("Resume the sweep with:\n  %s", sweep_command(given, folder))
        raise
