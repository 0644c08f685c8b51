"""Settings of a model: their limits, and the form in which a checkpoint stores them.

Imports no torch, so that a config can be checked before it is imported.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

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
