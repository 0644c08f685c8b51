"""Run a program with a config: Hydra composes it, and wrong input is reported in one line."""

import functools
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import sentiment
from sentiment.config.arguments import hydra_arguments
from sentiment.config.checks import check_config
from sentiment.config.explain import translate_config_errors
from sentiment.config.help import help_text
from sentiment.config.resolvers import register, remove_empty_folders
from sentiment.config.schemas import config_schema
from sentiment.runtime.distributed import (
    exit_together,
    external_world_size,
    is_reporting_rank,
    rank,
)
from sentiment.runtime.errors import InputError
from sentiment.runtime.overrides import ONE_RUN, config_directory
from sentiment.runtime.program import ending_at_once, write_error
from sentiment.runtime.run_folder import STOPPED_MARK


def run_program(name: str, task: Callable[[DictConfig], Any]) -> None:
    """Compose a config from the command line and call a task with it, or with each of a multirun.

    Args:
        name: the name of the config, ``conf/<name>.yaml``.
        task: the function to call.

    Raises:
        SystemExit: with code 2 after an InputError, which is printed as a line on standard error.
    """
    try:
        with translate_config_errors():
            if answer := _answer(name, sys.argv[1:]):
                sys.stdout.write(f"{answer}\n")
                return
            register()
            folder = str(config_directory())
            compose = hydra.main(version_base="1.3", config_path=folder, config_name=name)
            sys.argv[1:] = hydra_arguments(sys.argv[1:], config_schema(name))
            compose(_refusing(_checked(task, name)))()
    except InputError as error:
        _refuse(error)


def _answer(name: str, arguments: Sequence[str]) -> str | None:
    """What ``--version`` or ``--help`` prints, if it was asked for."""
    if "--version" in arguments:
        return f"sentiment {sentiment.__version__}"
    return help_text(name, arguments) if {"--help", "-h"} & {*arguments} else None


def _checked(task: Callable[[DictConfig], Any], name: str) -> Callable[[DictConfig], Any]:
    """Check a config, as a sweeper has for its runs, before the task imports slow libraries."""

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Any:
        if HydraConfig.get().mode == RunMode.RUN:
            check_sweep(sys.argv[1:], "add -m")
            with ending_at_once(remove_unused_folder):
                alone = external_world_size() in (None, 1)  # else processes refuse together
                check_config(cfg, config_schema(name), files=alone)
        return task(cfg)

    return run


def check_sweep(given: Sequence[str], instead: str) -> None:
    """Raise InputError if a search is chosen for a single run, unless ``ONE_RUN`` is given.

    Hydra adds its mode to the overrides, so only what was typed shows whether one run is meant.
    """
    chosen = HydraConfig.get().runtime.choices.get("sweep")
    if chosen is not None and ONE_RUN not in given:
        raise InputError(f"sweep={chosen}: searches over many runs; {instead}")


def _refusing(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Print the task's InputError within Hydra, which would add a line of its own outside."""

    @functools.wraps(task)
    def run(cfg: DictConfig) -> Any:
        try:
            with translate_config_errors():
                return task(cfg)
        except InputError as error:
            remove_unused_folder()
            _refuse(error)

    return run


def _refuse(error: InputError) -> NoReturn:
    remove_empty_folders()
    if is_reporting_rank():
        write_error(error)
    exit_together(2)


def remove_unused_folder() -> None:
    """Remove the folder that Hydra has made for a run that cannot begin, if nothing else is in it.

    A folder that the command line names stays, and so does one of a multirun, which its table
    lists. Of several processes, the first removes it.
    """
    hydra_config = HydraConfig.get()
    if rank() or hydra_config.mode != RunMode.RUN:
        return
    if any(item.startswith("hydra.run.dir=") for item in hydra_config.overrides.hydra):
        return
    folder = Path(hydra_config.runtime.output_dir)
    own = {".hydra", STOPPED_MARK, f"{hydra_config.job.name}.log"}
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= own:
        shutil.rmtree(folder, ignore_errors=True)
