"""What Hydra does at the end of a multirun: one ranked table of all runs."""

import logging
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sentiment.report.ranking import (
    has_seeds,
    rank_runs,
    ranking_table,
    seeds_table,
    summarise_seeds,
)
from sentiment.report.tables import print_table, write_csv

log = logging.getLogger(__name__)


def ranked_by(sweeper: Any) -> str:
    """The figure that ranks the runs of a sweep: what a search is after, or else accuracy."""
    return str(sweeper.get("objectives", ["val/accuracy"])[0])


def tell_ranking(folder: Path, metric: str) -> list[dict[str, object]]:
    """Print the runs of a multirun folder, best first, and write them to its ``sweep.csv``."""
    rows = rank_runs(folder, metric=metric)
    write_csv(folder / "sweep.csv", rows)
    print_table(ranking_table(rows))
    if has_seeds(rows):
        print_table(seeds_table(summarise_seeds(rows, metric=metric)))
    log.info("The table is in %s", folder / "sweep.csv")
    return rows


class RankRuns(Callback):
    """Ranks the runs of a multirun, prints them and writes ``sweep.csv``.

    The process ends with exit code 2 if any of the runs failed.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Read each run's ``results.json``."""
        rows = tell_ranking(Path(config.hydra.sweep.dir), ranked_by(config.hydra.sweeper))
        failed = [str(row["folder"]) for row in rows if row["status"] == "failed"]
        if failed:
            told = ", ".join(failed[:9])
            log.error("error: %d of %d runs failed (%s)", len(failed), len(rows), told)
            sys.exit(2)
