"""When to ask a person: the scores below which a classifier gives no label. NumPy alone.

Chow (1970, "On Optimum Recognition Error and Reject Tradeoff") shows that rejecting the reviews
with the lowest scores is best, if scores are calibrated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.floating]
_Ints = npt.NDArray[np.int64]
Numbers = dict[str, float | None]  # by name

PREFIX = (
    "abstain/"  # of the numbers about abstaining that a checkpoint keeps among those of its run
)
_THRESHOLD = f"{PREFIX}threshold/"  # and the index of a class
_ANSWERED = f"{PREFIX}val_answered/"  # likewise

_ROUNDING = 1e-9  # of a product such as 0.7 * 10


class Answered(NamedTuple):
    """How many reviews of a split get a label, and how many of these the right one."""

    reviews: int
    answered: int
    right: int

    @property
    def coverage(self) -> float:
        """The fraction of the reviews that get a label."""
        return self.answered / self.reviews

    @property
    def accuracy(self) -> float | None:
        """The accuracy over the reviews that get a label; None if there are none."""
        return self.right / self.answered if self.answered else None


@dataclass(frozen=True)
class Goal:
    """What thresholds are chosen for.

    Attributes:
        coverage: the fraction of the validation reviews that get a label, or None.
        accuracy: the accuracy over those that get one, of which there are as many as possible, or
            None.
        per_class: whether each predicted class has a threshold of its own.
    """

    coverage: float | None = None
    accuracy: float | None = None
    per_class: bool = False

    def __bool__(self) -> bool:
        """Whether thresholds are to be chosen."""
        return self.coverage is not None or self.accuracy is not None

    def thresholds(self, probabilities: _Floats, labels: _Ints) -> list[float | None] | None:
        """The threshold of each class, for the scores of reviews that it is predicted for.

        A threshold lies halfway between the lowest score that gets a label and the next lower one.
        It is 0 if all reviews get one, and None if no threshold reaches the accuracy. A class that
        is predicted for no review has the threshold of all reviews.

        Args:
            probabilities: (reviews, classes), of validation reviews.
            labels: (reviews,), their true classes.

        Returns:
            None if no class reaches the accuracy.
        """
        scores, predicted = probabilities.max(1), probabilities.argmax(1)
        right = predicted == labels
        found = [self._threshold(scores, right)] * probabilities.shape[1]
        if self.per_class:
            for index in np.unique(predicted):
                own = predicted == index
                found[index] = self._threshold(scores[own], right[own])
        return None if all(each is None for each in found) else found

    def choose(self, probabilities: _Floats, labels: _Ints) -> Numbers:
        """The thresholds, and what they do to validation reviews, as a checkpoint keeps them.

        Arguments as for ``thresholds``. Empty if there are none, or a probability is not finite.
        """
        usable = bool(self) and np.isfinite(probabilities).all()
        thresholds = self.thresholds(probabilities, labels) if usable else None
        if thresholds is None:
            return {}
        numbers: Numbers = {f"{_THRESHOLD}{i}": each for i, each in enumerate(thresholds)}
        own = stored_thresholds(numbers, len(thresholds))
        found = count_answered(probabilities, labels, own)
        rates = {"val_coverage": found.coverage, "val_accuracy": found.accuracy}
        numbers |= {f"{PREFIX}{name}": rate for name, rate in rates.items()}
        given = probabilities.argmax(1)[is_answered(probabilities, own)]
        counts = np.bincount(given, minlength=len(thresholds)).tolist()
        return numbers | {f"{_ANSWERED}{i}": count for i, count in enumerate(counts)}

    def _threshold(self, scores: _Floats, right: npt.NDArray[np.bool_]) -> float | None:
        """The threshold for some reviews, given their scores and whether they are right."""
        order = np.argsort(-scores, kind="stable")
        scores = scores[order].astype(np.float64)
        last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of each score
        if self.coverage is not None:
            reached = last + 1 >= self.coverage * len(scores) - _ROUNDING
            end = last[reached.argmax()]
        else:
            reached = right[order].cumsum()[last] >= (self.accuracy or 0) * (last + 1) - _ROUNDING
            if not reached.any():
                return None
            end = last[reached].max()
        return 0.0 if end + 1 == len(scores) else float(scores[end : end + 2].mean())


def is_answered(
    probabilities: _Floats, thresholds: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.bool_]:
    """Whether the score of each review reaches the threshold of the predicted class, (reviews,).

    Arguments as for ``count_answered``.
    """
    lowest = 0.0 if thresholds is None else thresholds[probabilities.argmax(1)]
    answered: npt.NDArray[np.bool_] = probabilities.max(1) >= lowest
    return answered


def count_answered(
    probabilities: _Floats, labels: _Ints, thresholds: npt.NDArray[np.float64] | None
) -> Answered:
    """Count the reviews whose score reaches the threshold of the predicted class.

    Args:
        probabilities: (reviews, classes).
        labels: (reviews,), the true classes.
        thresholds: (classes,), or None.
    """
    answered = is_answered(probabilities, thresholds)
    right = answered & (probabilities.argmax(1) == labels)
    return Answered(len(labels), int(answered.sum()), int(right.sum()))


def numbers_of(run: Mapping[str, float | None]) -> Numbers:
    """Those numbers of a run that ``Goal.choose`` returned."""
    return {name: value for name, value in run.items() if name.startswith(PREFIX)}


def stored_answers(run: Mapping[str, float | None], classes: int) -> list[int] | None:
    """How many validation reviews get each label, or None if the checkpoint does not say.

    Arguments as for ``stored_thresholds``.
    """
    found = [run.get(f"{_ANSWERED}{index}") for index in range(classes)]
    return None if None in found else [int(count or 0) for count in found]


def stored_thresholds(
    run: Mapping[str, float | None], classes: int
) -> npt.NDArray[np.float64] | None:
    """The thresholds, (classes,), that a checkpoint keeps, or None if it keeps none.

    A class that never gets an answer has infinity.

    Args:
        run: the numbers of the run that a checkpoint keeps.
        classes: the number of classes.

    Raises:
        ValueError: a threshold is missing or out of range.
    """
    if not any(name.startswith(_THRESHOLD) for name in run):
        return None
    found = [run.get(f"{_THRESHOLD}{index}", np.nan) for index in range(classes)]
    thresholds = np.array([np.inf if each is None else each for each in found], np.float64)
    if not ((thresholds >= 0) & ((thresholds <= 1) | np.isinf(thresholds))).all():
        raise ValueError(f"the thresholds of scores are {found}, not numbers from 0 to 1")
    return thresholds
