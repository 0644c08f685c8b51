"""Pretrain an encoder as a language model by the command line; ``run.py`` does it.

``python -m sentiment.pretrain data=imdb data.unlabeled_csv=FILE`` learns from all texts that may
train, and ``python -m sentiment.train pretrained.path=…/best.ckpt`` starts from what it writes.
"""

import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sentiment.config.app import run_program
from sentiment.config.overrides import CommandLine
from sentiment.pretrain.run import pretrain
from sentiment.runtime.environment import prepare_process
from sentiment.train.fit import Stopped


def _run(cfg: DictConfig) -> None:
    prepare_process()
    try:
        pretrain(
            cfg,
            Path(HydraConfig.get().runtime.output_dir),
            command_line=CommandLine.of_hydra(),
        )
    except Stopped as stop:
        sys.exit(stop.exit_code)


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    prepare_process()
    try:
        run_program("pretrain", _run)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped before the training had begun, or at once.\n")
        sys.exit(130)
