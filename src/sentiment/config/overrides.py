"""Command lines that a user is told to type: to go on with a training, to repeat it, to test it."""

import re
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from sentiment.config.resolvers import config_directory
from sentiment.report.runs import below, read_yaml
from sentiment.runtime.environment import python_command

ONE_RUN = "hydra.mode=RUN"  # lets a sweep's settings be trained once


def command(program: str, *overrides: str) -> str:
    """The command line that runs one of our programs with these overrides, quoted for a shell."""
    return shlex.join([python_command(), "-m", program, *overrides])


def train_command(*overrides: str) -> str:
    """The command line that trains with these overrides, quoted for a shell."""
    return command("sentiment.train", *overrides)


def override(key: str, value: str) -> str:
    """A setting as Hydra's grammar takes it: quoted where it must be."""
    if re.fullmatch(r"[\w./:+-]+", value):
        return f"{key}={value}"
    quoted = value.replace("'", "\\'")
    return f"{key}='{quoted}'"


def own_overrides() -> list[str]:
    """The overrides of this run, without those that a resumed one gives anew."""
    if not HydraConfig.initialized():
        return []
    given = HydraConfig.get().overrides
    return _kept(list(given.hydra), list(given.task))


def data_overrides(*, but: Collection[str] = ()) -> list[str]:
    """What this run was told of its data, for another program to have the same splits.

    Args:
        but: settings of ``data`` that mean something else there.
    """
    wanted = (
        re.match(r"hydra\.searchpath=|[+~]*data(?:\.(\w+))?=", item) for item in own_overrides()
    )
    return [match.string for match in wanted if match and match[1] not in but]


def overrides_of(run: Path) -> list[str]:
    """What a run was told, as far as another run of the same needs it."""
    try:
        given = below(read_yaml(run / ".hydra" / "hydra.yaml"), "hydra", "overrides")
    except TypeError:  # it was changed
        return []
    lists = (given.get(name) for name in ("hydra", "task"))
    return _kept(
        *([str(item) for item in each] if isinstance(each, list) else [] for each in lists)
    )


def sweep_again(folder: Path) -> str:
    """The command line that goes on with this process's sweep."""
    again = [override("hydra.sweep.dir", str(folder)), "ckpt_path=auto"]
    return train_command(*(item for item in sys.argv[1:] if item not in again), *again)


def _kept(hydra: list[str], task: list[str]) -> list[str]:
    kept = [item for item in hydra if item.startswith("hydra.searchpath=")]
    kept += [item for item in task if not item.startswith("ckpt_path=")]
    # A sweep's file may settle more than the space, so one run of it needs the file too.
    return [*kept, ONE_RUN] if any(item.startswith("sweep=") for item in task) else kept


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
    """What can be chosen in a group of ``conf/``."""
    if not re.fullmatch(r"[a-z_]+", group):
        return []
    names = sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))
    return [name for name in names if not name.startswith("_")]
