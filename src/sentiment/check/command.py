"""Check data by the command line; ``run.py`` does the work.

``python -m sentiment.check data=csv data.csv=FILE`` takes the data settings of ``sentiment.train``
and leaves the files as they are.
"""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sentiment.config.app import remove_unused_folder, run_program
from sentiment.config.overrides import CommandLine
from sentiment.runtime.program import end_at_once, ending_at_once


def _run(cfg: DictConfig) -> None:
    with ending_at_once(remove_unused_folder):
        from sentiment.check.run import run_check
        from sentiment.data.workers import end_workers
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        run_check(cfg, folder, command_line=CommandLine.of_hydra())
    except KeyboardInterrupt:
        end_workers()
        remove_unused_folder()
        end_at_once()  # threads may still fit classifiers


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    run_program("check", _run)
