"""Pretrain an encoder as a language model by the command line; ``run.py`` does it.

``python -m sentiment.pretrain data=imdb data.unlabeled_csv=FILE`` learns from all texts that may
train, and ``python -m sentiment.train pretrained.path=…/best.ckpt`` starts from what it writes.
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
        from sentiment.predict.checkpoint import LANGUAGE_MODEL
        from sentiment.pretrain.run import pretrain
        from sentiment.train.fit import exit_if_stopped
    prepare_process()
    folder, command_line = Path(HydraConfig.get().runtime.output_dir), CommandLine.of_hydra()
    with exit_if_stopped(folder, LANGUAGE_MODEL, command_line):
        pretrain(cfg, folder, command_line=command_line)


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    end_in_order()
    run_program("pretrain", _run)
