"""The overrides of a run: how they are written, and which ones another run needs."""

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from sentiment.runtime.errors import InputError, as_typed
from sentiment.runtime.yaml_files import below, flat, read_yaml

ONE_RUN = "hydra.mode=RUN"  # lets a sweep's settings be trained once


def config_directory() -> Path:
    """The path of ``conf/``: inside an installed wheel, or at the top of a source tree.

    Raises:
        InputError: ``conf/`` is in neither folder.
    """
    package = Path(str(resources.files("sentiment")))
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise InputError(
        f"no conf/train.yaml in {package} or {package.parents[1]}; install the package again"
    )


def override(key: str, value: object) -> str:
    """A setting as Hydra's grammar takes it: texts, also in lists, quoted where they must be.

    A leading ``~/`` is replaced by the home folder.
    """
    value = value.tolist() if hasattr(value, "tolist") else value  # an array
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"{key}=[{','.join(override('', each)[1:] for each in value)}]"
    text = as_typed(value)
    if text.startswith("~/"):
        text = str(Path(text).expanduser())
    if re.fullmatch(r"[\w./:+-]+", text, re.ASCII):
        return f"{key}={text}"
    # Before a quotation mark a backslash is doubled; elsewhere it stands for itself.
    quoted = re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + match[2].replace("'", "\\'"), text)
    return f"{key}='{quoted}'"


def overrides_of_run(folder: Path) -> tuple[list[str], list[str]]:
    """The overrides of Hydra's own settings and those of the config that a run was started with.

    Args:
        folder: the folder with its config; without one, or where it was changed, both are empty.
    """
    try:
        given = below(read_yaml(folder / ".hydra" / "hydra.yaml"), "hydra", "overrides")
    except TypeError:
        return [], []
    lists = (given.get(name) for name in ("hydra", "task"))
    hydra, task = ([*map(str, each)] if isinstance(each, list) else [] for each in lists)
    return hydra, task


def repeated_overrides(hydra: Sequence[str], task: Sequence[str]) -> list[str]:
    """The overrides that another run with the same settings needs; arguments as returned above."""
    kept = [item for item in hydra if item.startswith("hydra.searchpath=")]
    given, task = task, [item for item in task if not item.startswith("ckpt_path=")]
    for item in given:
        if item.startswith("sweep="):
            own = _settings_of_sweep(item.removeprefix("sweep="))
            if own is None:
                return [*kept, *task, ONE_RUN]
            task = [*own, *(each for each in task if each != item)]
    return [*kept, *task]


def _settings_of_sweep(name: str) -> list[str] | None:
    """What a file of ``conf/sweep`` sets for each run, as overrides; None of any other file."""
    content = read_yaml(config_directory() / "sweep" / f"{name}.yaml")
    if content is None or not all(
        str(key).startswith("override /hydra/") for each in content["defaults"] for key in each
    ):
        return None
    task = {key: value for key, value in content.items() if key not in ("defaults", "hydra")}
    return [override(key, value) for key, value in flat(task)]
