"""Configs and overrides as the YAML files of a run or of the project have them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sentiment.runtime.errors import InputError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, if PyYAML has it


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, or None if the file does not exist.

    Raises:
        InputError: the file cannot be read, or is not YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as YAML: fix or remove it ({reason})") from error


def below(node: object, *keys: str) -> Mapping[str, Any]:
    """The mapping at nested keys of a file's content, or an empty one.

    Raises:
        TypeError: the value there is not a mapping.
    """
    node = {} if node is None else node
    if not isinstance(node, Mapping):
        raise TypeError(f"no mapping: {node!r}")
    return below(node.get(keys[0]), *keys[1:]) if keys else node


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested config, each with its full key."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def parse_overrides(lines: Iterable[str]) -> dict[str, str]:
    """Keys without Hydra's ``+``, and values as text."""
    parts = (line.partition("=") for line in lines)
    return {key.lstrip("+"): value for key, _, value in parts}
