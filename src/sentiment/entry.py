"""What the programs with a config share: one clear line for what is wrong, and exit code 2."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hydra
from omegaconf import DictConfig

from sentiment import config
from sentiment.errors import InputError


def run_program(name: str, task: Callable[[DictConfig], None]) -> None:
    """Compose a config by the command line and hand it to a task.

    Args:
        name: of the config, ``conf/<name>.yaml``.
        task: does the work; its module gives the log file its name.

    Raises:
        SystemExit: with code 2, what the user gave cannot be used, as a line on standard error.
    """
    config.register()
    sys.argv[1:] = config.spell_choices(sys.argv[1:])

    @functools.wraps(task)
    def run(cfg: DictConfig) -> None:
        with _refusing():  # within Hydra, which would add a line of its own
            try:
                task(cfg)
            except InputError:
                config.forget_refused()
                raise

    compose = hydra.main(
        version_base="1.3", config_path=str(config.config_directory()), config_name=name
    )
    with _refusing():
        compose(run)()


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        with config.refused_in_one_line():
            yield
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
