"""Settings of a model in the form in which a checkpoint stores them."""

from numbers import Integral, Real
from typing import Any


def plain(value: Any) -> Any:
    """Convert a setting to a plain Python type, such as a StrEnum to a string."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)
