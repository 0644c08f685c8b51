"""Pretrain an encoder as a language model by the command line; ``sentiment.pretraining`` does it.

``python -m sentiment.pretrain data=imdb data.unlabeled_csv=FILE`` learns from all texts that may
train, and ``python -m sentiment.train pretrained.path=…/best.ckpt`` starts from what it writes.
"""

import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sentiment import config
from sentiment.environment import prepare_process
from sentiment.errors import InputError
from sentiment.fitting import Stopped
from sentiment.pretraining import pretrain


def _run(cfg: DictConfig) -> None:
    prepare_process()
    try:
        with config.refused_in_one_line():
            pretrain(cfg, Path(HydraConfig.get().runtime.output_dir))
    except InputError as error:
        _refuse(error)
    except Stopped as stop:
        sys.exit(stop.exit_code)


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    config.register()
    prepare_process()
    run = hydra.main(
        version_base="1.3", config_path=str(config.config_directory()), config_name="pretrain"
    )(_run)
    try:
        with config.refused_in_one_line():
            run()
    except InputError as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped before the training had begun, or at once.\n")
        sys.exit(130)


def _refuse(error: InputError) -> NoReturn:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
