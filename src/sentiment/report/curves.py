"""Curves and groups of test reviews: where a classifier is right, and how far to trust its scores.

NumPy alone: reads no files and draws nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.model.metrics import fifths
from sentiment.report.confidence import confidence_interval
from sentiment.report.tables import format_percent, is_number

_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

_POINTS = 200  # of a curve, as many as a plot can show
_MOST_VALUES = 12  # of a column, before others are counted together
_LEAST_COVERED = 20  # reviews


class Curve(NamedTuple):
    """A curve, (points,) each, and the area that sums it up."""

    x: _Floats
    y: _Floats
    area: float


@dataclass(frozen=True)
class Group:
    """Some reviews with something in common.

    Attributes:
        name: what they have in common.
        reviews: how many they are, 1 or more.
        accuracy: the fraction of them that is classified correctly.
    """

    name: str
    reviews: int
    accuracy: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        return confidence_interval(self.accuracy, self.reviews)


def roc(scores: _Floats, positive: _Bools) -> Curve:
    """The true-positive rate over the false-positive rate, and the area under it.

    Args:
        scores: (n,) the probability of a label.
        positive: (n,) whether a review has it; some do, some do not.
    """
    found, wrong = _counts(scores, positive)
    x, y = wrong / wrong[-1], found / found[-1]
    return _thinned(Curve(x, y, float(np.trapezoid(y, x))))


def precision_recall(scores: _Floats, positive: _Bools) -> Curve:
    """Precision over recall, and the average precision; arguments as of ``roc``."""
    found, wrong = _counts(scores, positive)
    recall = found / found[-1]
    precision = np.append(1.0, found[1:] / (found + wrong)[1:])
    average = float((np.diff(recall) * precision[1:]).sum())
    return _thinned(Curve(recall, precision, average))


def _counts(scores: _Floats, positive: _Bools) -> tuple[_Floats, _Floats]:
    """Right and wrong reviews among those above each distinct score, from none to all."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    found = np.cumsum(positive[order])[last]
    wrong = np.cumsum(~positive[order])[last]
    return np.append(0.0, found), np.append(0.0, wrong)


def coverage(score: _Floats, right: _Bools) -> Curve:
    """The accuracy of the reviews with the highest scores over their fraction of all reviews.

    Args:
        score: (n,) of the predicted labels.
        right: (n,) whether they are right.
    """
    order = np.argsort(-score, kind="stable")
    number = np.arange(1, len(score) + 1)
    accuracy = np.cumsum(right[order]) / number
    least = max(_LEAST_COVERED, len(score) // 20)  # of fewer, the accuracy is chance
    shown = slice(min(least, len(score)) - 1, None)
    return _thinned(Curve(number[shown] / len(score), accuracy[shown], float(accuracy.mean())))


def covered(score: _Floats, right: _Bools, fraction: float) -> tuple[float, Group]:
    """The lowest score among a fraction of the reviews, those with the highest; and their group."""
    count = max(1, round(fraction * len(score)))
    chosen = np.argsort(-score, kind="stable")[:count]
    group = Group(f"{100 * fraction:.0f} %", count, float(right[chosen].mean()))
    return float(score[chosen[-1]]), group


def _thinned(curve: Curve) -> Curve:
    """A curve with as many points as a plot can show, at even distances along it."""
    length = np.append(0.0, np.cumsum(np.abs(np.diff(curve.x)) + np.abs(np.diff(curve.y))))
    wanted = np.linspace(0, length[-1], _POINTS)
    chosen = np.unique(np.append(np.searchsorted(length, wanted), [0, len(length) - 1]))
    chosen = chosen[chosen < len(length)]
    return Curve(curve.x[chosen], curve.y[chosen], curve.area)


def _written(value: float) -> str:
    """A number, whole numbers with all their digits."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"


def groups_of_numbers(
    values: _Floats, right: _Bools, written: Callable[[float], str] = _written
) -> list[Group]:
    """Reviews in fifths by a number, the smallest first; equal numbers stay together.

    Args:
        values: (n,).
        right: (n,) whether each review is classified correctly.
        written: how a number is written.
    """
    which = fifths(values)
    groups = []
    for fifth in np.unique(which):
        own = values[which == fifth]
        ends = dict.fromkeys(written(end) for end in (own.min(), own.max()))
        groups.append((" to ".join(ends), which == fifth))
    return _groups(groups, right)


def groups_of_column(cells: Sequence[str], right: _Bools) -> list[Group]:
    """Reviews by the value of a column: numbers in order, in fifths if many; others by frequency.

    Args:
        cells: (n,) as written in the file.
        right: (n,) whether each review is classified correctly.
    """
    counts = Counter(cell.strip() for cell in cells)
    numbers = {cell: _number(cell) for cell in counts if cell}
    values = [number for number in numbers.values() if number is not None]
    numeric = bool(values) and len(values) == len(numbers)
    stripped = np.array([cell.strip() for cell in cells], object)
    if numeric and len(values) > _MOST_VALUES:
        filled = stripped != ""
        some = np.array([numbers[cell] for cell in stripped[filled]], np.float64)
        found = groups_of_numbers(some, right[filled])
        return found + _groups([("(empty)", ~filled)], right)
    by_frequency = [cell for cell, _ in counts.most_common()]
    shown = sorted(numbers, key=lambda cell: numbers[cell] or 0.0) if numeric else by_frequency
    shown = [*dict.fromkeys([*shown, *by_frequency])][:_MOST_VALUES]
    groups = {cell or "(empty)": stripped == cell for cell in shown}
    others = len(counts) - len(shown)
    rest = ~np.isin(stripped, shown)
    return _groups([*groups.items(), (f"({others:,} other values)", rest)], right)


def _groups(chosen: Iterable[tuple[str, _Bools]], right: _Bools) -> list[Group]:
    return [
        Group(name, int(own.sum()), float(right[own].mean())) for name, own in chosen if own.any()
    ]


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if is_number(value) else None


def groups_of_unknown(
    tokens: npt.NDArray[np.int64], known: npt.NDArray[np.int64], right: _Bools
) -> list[Group]:
    """Reviews in fifths by the fraction of their tokens that are not in the vocabulary."""
    unknown = (tokens - known) / np.maximum(tokens, 1)
    return groups_of_numbers(unknown, right, format_percent)
