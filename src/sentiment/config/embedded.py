"""Run a task with a config from Python code, whose own Hydra and logging stay as they are."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sentiment.config.app import check_sweep, remove_unused_folder
from sentiment.config.arguments import hydra_arguments
from sentiment.config.explain import translate_config_errors
from sentiment.config.resolvers import register
from sentiment.config.schemas import config_schema
from sentiment.runtime.overrides import config_directory


def run_embedded(
    name: str, overrides: Sequence[str], task: Callable[[DictConfig, Path], None]
) -> Path:
    """Call a task with the config that the command line would have composed, and a run folder.

    Args:
        name: the name of the config, ``conf/<name>.yaml``.
        overrides: what the command line would have.
        task: the function to call.

    Returns:
        The run folder.

    Raises:
        InputError: the config cannot be composed; and what the task raises.
    """
    home, problem = Path(), list[BaseException]()

    def run(cfg: DictConfig) -> None:
        nonlocal home
        home = Path(HydraConfig.get().runtime.output_dir)
        try:
            with translate_config_errors():
                check_sweep(overrides, f"call {name}() for each run, in a loop")
                task(cfg, home)
        except BaseException as error:  # Hydra would print a line of its own
            remove_unused_folder()
            problem.append(error)

    with translate_config_errors(), _same_logging(), _own_hydra():
        version.setbase("1.3")
        register()
        search_path = create_config_search_path(str(config_directory()))
        hydra = Hydra.create_main_hydra2(name, search_path)
        hydra.run(name, run, hydra_arguments(overrides, config_schema(name)))
    if problem:
        raise problem[0]
    return home


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Let a run have Hydra's global state to itself, and restore what the caller had."""
    state = GlobalHydra.instance()
    before = state.hydra
    state.clear()
    try:
        yield
    finally:
        state.hydra = before


@contextmanager
def _same_logging() -> Iterator[None]:
    """Restore the loggers that Hydra configures for each run, and keep their handlers open.

    Configuring closes all handlers in a list of ``logging``, which is empty meanwhile.
    """
    loggers = [logging.getLogger(name) for name in ("", "sentiment", "matplotlib")]
    before = [(each.handlers[:], each.level) for each in loggers]
    listed: list[Any] = logging._handlerList  # type: ignore[attr-defined]
    existing = listed[:]
    listed.clear()
    try:
        yield
    finally:
        for logger, (handlers, level) in zip(loggers, before, strict=True):
            for handler in logger.handlers:
                if handler not in handlers:
                    handler.close()
            logger.handlers[:] = handlers
            logger.setLevel(level)
        listed[:0] = existing
