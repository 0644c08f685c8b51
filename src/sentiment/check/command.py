"""Check data by the command line; ``run.py`` does the work.

``python -m sentiment.check data=csv data.csv=FILE`` takes the data settings of ``sentiment.train``
and leaves the files as they are.
"""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sentiment.config.app import remove_unused_folder, run_program
from sentiment.config.overrides import CommandLine
from sentiment.runtime.errors import listed
from sentiment.runtime.program import FOUND, end_at_once, ending_at_once

if TYPE_CHECKING:
    from sentiment.check.run import Checked


log = logging.getLogger(__name__)


def main() -> None:
    """The command line: exit code 3 if what ``check.fail_on`` names was found.

    Wrong input is one clear line, and exit code 2.
    """
    run_program("check", _run)


def _run(cfg: DictConfig) -> dict[str, Any]:
    """Check once; of a multirun, returns the exit code for the sweeper."""
    if not (failed := _check(cfg).failed):
        return {"exit_code": 0}
    log.info("check.fail_on: found %s; exit code %s", listed(failed), FOUND)
    if HydraConfig.get().mode == RunMode.RUN:
        sys.exit(FOUND)
    return {"exit_code": FOUND}


def _check(cfg: DictConfig) -> "Checked":
    with ending_at_once(remove_unused_folder):
        from sentiment.check.run import run_check
        from sentiment.data.workers import end_workers
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return run_check(cfg, folder, command_line=CommandLine.of_hydra())
    except KeyboardInterrupt:
        end_workers()
        remove_unused_folder()
        end_at_once()
