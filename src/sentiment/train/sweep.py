"""The end of a multirun: one ranked table of all runs, and the best of them."""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sentiment.config.overrides import CommandLine, override, sweep_again, train_command
from sentiment.report.ranking import Job, compare_runs, print_comparison, sweep_rows, sweep_runs
from sentiment.report.runs import run_folders
from sentiment.report.tables import is_number, listed, write_csv, write_json
from sentiment.runtime.errors import InputError

log = logging.getLogger(__name__)


@dataclass
class _Multirun:
    """That of this process: its folder, the metric that ranks, and how its runs ended."""

    folder: Path
    metric: str
    jobs: Sequence[Job] = ()


_under_way: _Multirun | None = None


def ranked_by(sweeper: Any) -> str:
    """The metric that ranks the runs of a sweep: a search's objective, or else accuracy."""
    return str(next(iter(sweeper.get("objectives") or ()), "val/accuracy"))


def note_jobs(jobs: Sequence[Job]) -> None:
    """Let the end of this process's multirun know how runs ended, whatever their folders say."""
    if _under_way is not None:
        _under_way.jobs = [*_under_way.jobs, *jobs]


def report_sweep(folder: Path, metric: str, jobs: Sequence[Job] = ()) -> list[dict[str, object]]:
    """Print the runs of a multirun, best first, and write ``sweep.csv`` and ``best.json``.

    Args:
        folder: that of the multirun; runs may lie at any depth.
        metric: what to rank by.
        jobs: how runs ended.

    Returns:
        The rows of ``sweep.csv``.

    ``best.json`` has the ``folder`` of the best run, its ``checkpoint`` (null where it kept none),
    the ``command`` that repeats it, and its metrics.
    """
    runs = sweep_runs(folder, jobs)
    if not runs:
        log.info("No run was trained in %s", folder)
        return []
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
    log.info("Best: %s. Repeat it with:", best["checkpoint"] or best["folder"])
    log.info("  %s", best["command"])
    if best["checkpoint"] and not is_number(best.get("test/accuracy")):
        run = Path(str(best["folder"]))
        last = override("ckpt_path", str(run / "checkpoints" / "last.ckpt"))
        log.info("A search sees no test reviews. Test its best with:")
        log.info("  %s", train_command(*CommandLine.of_folder(run).repeated(), last))
    return rows


def best_run(folder: Path, rows: Sequence[Mapping[str, object]]) -> dict[str, object] | None:
    """The first of the ranked runs: where it is, and the command line that repeats it."""
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
def ranked_when_cut_short() -> Iterator[None]:
    """Rank the runs that there are when a multirun ends before its end."""
    try:
        yield
    except InputError:  # nothing was begun
        named = any(item.startswith("hydra.sweep.dir=") for item in sys.argv[1:])
        if _under_way is not None and not named:
            with suppress(OSError):  # if it is empty
                _under_way.folder.rmdir()
        raise
    except BaseException:
        if _under_way is not None and any(run_folders(_under_way.folder)):
            log.info("The sweep ends here; its other runs were not begun.")
            report_sweep(_under_way.folder, _under_way.metric, _under_way.jobs)
            log.info("Go on with the sweep:\n  %s", sweep_again(_under_way.folder))
        raise


class RankRuns(Callback):
    """Ranks the runs of a multirun, prints them and writes ``sweep.csv``.

    The process ends with exit code 2 if any of the runs failed.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remember the folder, for a sweep that is cut short."""
        global _under_way  # noqa: PLW0603
        _under_way = _Multirun(Path(config.hydra.sweep.dir), ranked_by(config.hydra.sweeper))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Read each run's ``results.json``."""
        global _under_way
        ended, _under_way = _under_way, None
        if ended is None:
            return
        try:
            rows = report_sweep(ended.folder, ended.metric, ended.jobs)
        except InputError as error:  # of which Hydra would make a warning
            log.error("error: %s", error)
            sys.exit(2)
        failed = [str(row["folder"]) for row in rows if row["status"] == "failed"]
        if failed:
            log.error("error: %d of %d runs failed (%s)", len(failed), len(rows), listed(failed))
            sys.exit(2)
