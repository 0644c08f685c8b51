"""How exactly a number of reviews determines a fraction of all reviews."""

import math

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.floating]
_Numbers = npt.NDArray[np.floating | np.integer]

_Z = 1.959964  # the normal distribution is within this many standard deviations for 95 %


def confidence_interval(fraction: float, reviews: int) -> tuple[float, float]:
    """The 95 % interval of a fraction of independent reviews (Wilson, 1927).

    Args:
        fraction: that was found, from 0 to 1.
        reviews: in how many, 1 or more.
    """
    (low,), (high,) = confidence_intervals(np.array([fraction]), np.array([reviews]))
    return float(low), float(high)


def confidence_intervals(
    fractions: _Floats, reviews: _Numbers, z: float = _Z
) -> tuple[_Floats, _Floats]:
    """The lower and the upper ends for n fractions, (n,) each.

    Args:
        fractions: (n,).
        reviews: (n,).
        z: standard deviations of the normal distribution; the default is for 95 %.
    """
    middle = fractions + z * z / (2 * reviews)
    spread = z * np.sqrt(fractions * (1 - fractions) / reviews + (z / (2 * reviews)) ** 2)
    scale = 1 + z * z / reviews
    return np.maximum(0, (middle - spread) / scale), np.minimum(1, (middle + spread) / scale)


def needed_reviews(fraction: float) -> int:
    """The fewest reviews, all right, whose interval begins at the fraction (below 1) or above."""
    return math.ceil(_Z * _Z * fraction / (1 - fraction))
