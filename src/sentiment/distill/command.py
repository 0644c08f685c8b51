"""Train a student by the command line; ``run.py`` does it.

``python -m sentiment.distill teachers=[a.ckpt,b.ckpt] data=csv data.csv=F data.unlabeled_csv=U``
takes the settings of ``sentiment.train`` for the student.
"""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sentiment.config.app import remove_unused_folder, run_program
from sentiment.config.overrides import CommandLine
from sentiment.runtime.environment import end_in_order, prepare_process
from sentiment.runtime.program import ending_at_once


def _run(cfg: DictConfig) -> None:
    with ending_at_once(remove_unused_folder):
        from sentiment.distill.run import distill
        from sentiment.predict.checkpoint import CLASSIFIER
        from sentiment.train.fit import exit_if_stopped
    prepare_process()
    folder = Path(HydraConfig.get().runtime.output_dir)
    command_line = CommandLine.of_hydra().resumed_by("sentiment.distill", folder)
    with exit_if_stopped(folder, CLASSIFIER, command_line):
        distill(cfg, folder, command_line=command_line)


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    end_in_order()
    run_program("distill", _run)
