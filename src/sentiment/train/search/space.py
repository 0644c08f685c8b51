"""The search space: sweeps in Hydra's grammar as Optuna's distributions.

``choice(a,b)``, ``a,b`` and ``range(1,9)`` are written as for a grid;
``interval(1e-4,1e-2)`` is an interval of numbers, ``int(interval(16,256))`` of whole numbers, and
``tag(log,interval(1e-4,1e-2))`` is sampled by its logarithm.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from sentiment.runtime.errors import InputError

# Four digits are more than a search can know, and can be read and typed again.
_DIGITS = 4


@dataclass(frozen=True)
class Space:
    """The searched settings, and those that are the same in all trials.

    Attributes:
        distributions: the distribution of each searched key.
        shared: the overrides of every trial, as the user wrote them.
    """

    distributions: dict[str, BaseDistribution]
    shared: list[str]

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of the trial that drew these values."""
        return [*self.shared, *(f"{key}={as_text(value)}" for key, value in params.items())]

    def described(self) -> dict[str, str]:
        """The sweep of each searched key, as a user would write it."""
        return {key: describe(found) for key, found in self.distributions.items()}


def read_space(
    params: Mapping[str, Any], arguments: Sequence[str], parser: OverridesParser
) -> Space:
    """Read the space from a config's ``params`` and the command line, which takes precedence.

    Args:
        params: a sweep in Hydra's grammar, or a list of choices, for each key.
        arguments: the overrides of the command line. A sweep adds a key or replaces one of
            ``params``; a plain value settles a key, which is then not searched.
        parser: Hydra's.

    Raises:
        InputError: a sweep cannot be read, or there is nothing to search.
    """
    distributions: dict[str, BaseDistribution] = {}
    shared: dict[str, str] = {}
    for text in [*(_as_override(key, value) for key, value in params.items()), *arguments]:
        override = _parsed(text, parser)
        key = override.get_key_element()
        if override.is_sweep_override():
            shared.pop(key, None)
            distributions[key] = _distribution(override, text)
        else:
            distributions.pop(key, None)
            shared[key] = text
    if not distributions:
        raise InputError(
            "hydra.sweeper.params: nothing to search; give it keys in a YAML file of conf/sweep/"
            " or on the command line, such as 'optimizer.lr=tag(log,interval(1e-4,1e-2))'"
        )
    return Space(distributions, list(shared.values()))


def edges(space: Space) -> list[list[str]]:
    """Overrides that try each choice and each end of an interval once, to see if they are valid."""
    tried = []
    for key, found in space.distributions.items():
        if isinstance(found, CategoricalDistribution):
            values = list(found.choices)
        elif isinstance(found, IntDistribution | FloatDistribution):
            values = [found.low, found.high]
        tried += [[*space.shared, f"{key}={as_text(value)}"] for value in values]
    return tried


def describe(found: BaseDistribution) -> str:
    """A distribution as a user would write it."""
    if isinstance(found, CategoricalDistribution):
        return f"choice({','.join(map(str, found.choices))})"
    if not isinstance(found, IntDistribution | FloatDistribution):
        return distribution_to_json(found)
    ends = f"{found.low:g},{found.high:g}"
    if found.step not in (None, 1):
        return f"range({ends},{found.step}) with its end"
    interval = f"interval({ends})"
    if isinstance(found, IntDistribution):
        interval = f"int({interval})"
    return f"tag(log,{interval})" if found.log else interval


def _as_override(key: str, value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = f"choice({','.join(_quoted(choice) for choice in value)})"
    return f"{key}={value}"


def _quoted(choice: Any) -> str:
    text = str(choice)
    if not isinstance(choice, str) or re.fullmatch(r"[\w./:+-]+", text):
        return text
    return "'" + text.replace("'", "\\'") + "'"


def _parsed(text: str, parser: OverridesParser) -> Override:
    try:
        return parser.parse_overrides([text])[0]
    except HydraException as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"search space: {text}: {reason}; write choice(a,b), range(1,9), interval(0.1,0.5) or"
            " tag(log,interval(1e-4,1e-2))"
        ) from error


def _distribution(override: Override, text: str) -> BaseDistribution:
    sweep = override.value()
    log = "log" in getattr(sweep, "tags", ())
    try:
        if isinstance(sweep, IntervalSweep):
            low, high = sweep.start, sweep.end
            if low is None or high is None or low >= high:
                raise ValueError(f"{low} is not below {high}")
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=log)
            return FloatDistribution(low, high, log=log)
        if isinstance(sweep, RangeSweep):
            return _distribution_of_range(sweep, log=log)
        return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))
    except ValueError as error:
        raise InputError(f"search space: {text}: {' '.join(str(error).split())}") from error


def _distribution_of_range(sweep: RangeSweep, *, log: bool) -> BaseDistribution:
    """The distribution of a range, which excludes its end as in Hydra."""
    values = list(sweep.range())
    if not values:
        raise ValueError("the range is empty")
    low, high, step = min(values), max(values), abs(sweep.step)
    if isinstance(low, int) and isinstance(step, int):
        return IntDistribution(low, high, step=step, log=log)
    high = round(high, 12)  # 0.1 + 0.1 + 0.1 is a little above 0.3
    return FloatDistribution(low, high, step=step, log=log)


def as_text(value: Any) -> str:
    """Write a drawn value as in an override."""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.{_DIGITS}g}"
    return f"{text}.0" if text.lstrip("-").isdecimal() else text  # still a number with a fraction
