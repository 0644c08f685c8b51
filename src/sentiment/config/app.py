"""What the programs with a config share: one clear line for what is wrong, and exit code 2."""

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sentiment.config.explain import translate_config_errors
from sentiment.config.overrides import spell_null_choices
from sentiment.config.resolvers import config_directory, register
from sentiment.runtime.distributed import rank
from sentiment.runtime.errors import InputError


def run_program(name: str, task: Callable[[DictConfig], None]) -> None:
    """Compose a config by the command line and hand it to a task.

    Args:
        name: of the config, ``conf/<name>.yaml``.
        task: does the work; its module gives the log file its name.

    Raises:
        SystemExit: with code 2, what the user gave cannot be used, as a line on standard error.
    """
    register()
    sys.argv[1:] = spell_null_choices(sys.argv[1:])

    @functools.wraps(task)
    def run(cfg: DictConfig) -> None:
        with _refusing():  # within Hydra, which would add a line of its own
            try:
                task(cfg)
            except InputError:
                remove_refused_folder()
                raise

    compose = hydra.main(version_base="1.3", config_path=str(config_directory()), config_name=name)
    with _refusing():
        compose(run)()


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        with translate_config_errors():
            yield
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def remove_refused_folder() -> None:
    """Remove the folder that Hydra has made for a run that is refused: it holds no more than that.

    One that the command line names stays, one of a multirun, whose table tells of it, and one with
    anything in it but config and log. Of several processes, the first does this.
    """
    hydra_config = HydraConfig.get()
    if rank() or hydra_config.mode != RunMode.RUN:
        return
    if any(item.startswith("hydra.run.dir=") for item in hydra_config.overrides.hydra):
        return
    folder = Path(hydra_config.runtime.output_dir)
    own = {".hydra", f"{hydra_config.job.name}.log"}
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= own:
        shutil.rmtree(folder, ignore_errors=True)
