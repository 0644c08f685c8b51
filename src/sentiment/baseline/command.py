"""Linear classifiers of n-grams by the command line; ``run.py`` does the work.

``python -m sentiment.baseline data=csv data.csv=FILE`` takes the data settings of
``sentiment.train`` and makes the same splits.
"""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sentiment.config.app import remove_unused_folder, run_program
from sentiment.runtime.program import ending_at_once


def _run(cfg: DictConfig) -> None:
    with ending_at_once(remove_unused_folder):
        from sentiment.baseline.run import run_baselines
    run_baselines(cfg, Path(HydraConfig.get().runtime.output_dir))


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    run_program("baseline", _run)
