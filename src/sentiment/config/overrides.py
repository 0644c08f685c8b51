"""The overrides that a run was started with, and the commands that messages suggest."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sentiment.runtime.environment import program_command
from sentiment.runtime.overrides import (
    config_directory,
    override,
    overrides_of_run,
    repeated_overrides,
)


def train_command(*overrides: str) -> str:
    """The command line that trains with these overrides, quoted for a shell."""
    return program_command("sentiment.train", *overrides)


@dataclass(frozen=True)
class CommandLine:
    """The overrides that a run was started with, on the command line or from Python.

    Attributes:
        hydra: overrides of Hydra's own settings, such as ``hydra.run.dir=X``.
        task: overrides of the run's config, such as ``model=gru``.
        multirun: whether it is a run of a sweep.
        names_folder: whether the user has chosen the run folder.
        flags: Hydra's own arguments that another command needs too, such as ``--config-dir``.
        again: the program and arguments that go on with what was stopped; empty if these are
            ``sentiment.train`` or ``sentiment.pretrain`` and the last checkpoint.
    """

    hydra: Sequence[str] = ()
    task: Sequence[str] = ()
    multirun: bool = False
    names_folder: bool = True
    flags: Sequence[str] = ()
    again: Sequence[str] = ()

    @classmethod
    def of_hydra(cls, config: HydraConf | DictConfig | None = None) -> "CommandLine":
        """The command line with which Hydra was started.

        Args:
            config: Hydra's own; None takes that of the run of this process.
        """
        config = HydraConfig.get() if config is None else config
        hydra, task = (
            list(map(str, OmegaConf.to_container(given)))  # type: ignore[arg-type]  # a list
            for given in (config.overrides.hydra, config.overrides.task)
        )
        return cls(
            hydra,
            task,
            multirun=config.mode == RunMode.MULTIRUN,
            names_folder=any(
                item.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for item in hydra
            ),
            flags=[
                argument
                for source in config.runtime.config_sources
                if source.provider == "command-line"
                for argument in ("--config-dir", source.path)
            ],
        )

    @classmethod
    def of_folder(cls, run: Path) -> "CommandLine":
        """The command line of an earlier run, from its folder; empty if the file was changed."""
        return cls(*overrides_of_run(run))

    def repeated(self) -> list[str]:
        """The overrides that another run with the same settings needs."""
        return [*self.flags, *repeated_overrides(self.hydra, self.task)]

    def resumed_by(self, program: str, folder: Path) -> "CommandLine":
        """The same, of a program that goes on by itself in its run folder."""
        there = [override("hydra.run.dir", str(folder)), "ckpt_path=auto"]
        return replace(self, again=[program, *self.repeated(), *there])

    def data(self, *, but: Collection[str] = ()) -> list[str]:
        """The overrides with which another program makes the same splits.

        Args:
            but: settings of ``data`` that mean something else there.
        """
        pattern = r"hydra\.searchpath=|[+~]*data(?:\.(\w+))?="
        wanted = (re.match(pattern, item) for item in self.repeated())
        return [*self.flags, *(each.string for each in wanted if each and each[1] not in but)]


def sweep_command(given: CommandLine, folder: Path) -> str:
    """The command line that resumes a sweep in its folder.

    Args:
        given: what the sweep was started with.
        folder: the sweep folder.
    """
    again = [override("hydra.sweep.dir", str(folder)), "ckpt_path=auto"]
    left_out = {*again, "hydra.mode=MULTIRUN"}  # implied by -m
    kept = [item for item in (*given.hydra, *given.task) if item not in left_out]
    return train_command("-m", *given.flags, *kept, *again)


def spell_null_choices(arguments: Sequence[str]) -> list[str]:
    """Give ``group=none`` for ``group=null`` where that is an option: Hydra takes no null there."""
    spelt = []
    for item in arguments:
        group, equals, values = item.partition("=")
        if equals and "null" in values and "none" in group_options(group):
            values = ",".join("none" if each == "null" else each for each in values.split(","))
        spelt.append(f"{group}{equals}{values}")
    return spelt


def group_options(group: str) -> list[str]:
    """The options of a config group."""
    if not re.fullmatch(r"[a-z_]+", group):
        return []
    names = sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))
    return list(filter(is_option, names))


class UserOptions:
    """A loader of configs for Hydra's parser, whose ``glob`` finds only the options for users."""

    def __init__(self, loader: ConfigLoader | None) -> None:
        self._loader = loader

    def get_group_options(self, group: str, *others: Any, **named: Any) -> list[str]:
        """The options of a group; arguments as those of Hydra's own method."""
        assert self._loader is not None  # Hydra gives its sweepers one
        return [*filter(is_option, self._loader.get_group_options(group, *others, **named))]


def is_option(name: str) -> bool:
    """Whether a config of a group is for users: not a schema, nor a file that others begin with."""
    return not name.startswith("_") and not name.endswith("schema")
