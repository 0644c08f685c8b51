"""Settings of a model: their limits, and the form in which a checkpoint stores them.

Imports no torch, so that a config can be checked before it is imported.
"""

import sys
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from types import UnionType
from typing import Any, get_args, get_origin

_COUNTS = ("num_layers", "num_classes")


def plain(value: Any) -> Any:
    """Convert a setting to a plain Python type, such as a StrEnum to a string."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def require_limits(settings: Mapping[str, Any]) -> None:
    """Raise a ValueError if a network has a size below 1 or a dropout outside [0, 1).

    Args:
        settings: the arguments of its constructor; a size may be None, others are not looked at.
    """
    for name, value in settings.items():
        if name.endswith("_dropout"):
            require_fraction(**{name: value})
        elif value is not None and (name.endswith("_size") or name in _COUNTS):
            require_positive(**{name: value})


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise a ValueError if a value is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}")


def require_positive(**sizes: int) -> None:
    """Raise a ValueError if a size is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size} is too small; give 1 or more")


def require_fraction(**fractions: float) -> None:
    """Raise a ValueError if a fraction is outside [0, 1)."""
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise ValueError(f"{name}={fraction} is out of range; give 0 or more, below 1")


def has_type(value: Any, declared: Any) -> bool:
    """Whether a saved value has the declared type: a class, a union, a list or a dictionary.

    A dictionary has strings as keys. An int is a size, a count or an index, so it has to lie
    between 0 and ``sys.maxsize``; it may stand for a float.
    """
    kind, inner = get_origin(declared), get_args(declared)
    if kind in (Sequence, list):
        return type(value) is list and (
            set(map(type, value)) <= {inner[0]} - {int}  # fast for a long vocabulary
            or all(has_type(item, inner[0]) for item in value)
        )
    if kind is dict:
        return isinstance(value, dict) and all(
            type(key) is str and has_type(item, inner[1]) for key, item in value.items()
        )
    if isinstance(kind, type) and kind is not UnionType:  # such as NDArray[int64]
        return type(value) is kind
    if inner:  # a union
        return any(has_type(value, choice) for choice in inner)
    if type(value) is int and declared is not Any:
        return declared in (int, float) and 0 <= value <= sys.maxsize
    return declared is Any or type(value) is declared
