"""How exactly a number of reviews determines a fraction of all reviews."""

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

_Z = 1.959964  # the normal distribution is within this many standard deviations for 95 %


def confidence_interval(fraction: float, reviews: int) -> tuple[float, float]:
    """The 95 % interval of a fraction of independent reviews (Wilson, 1927).

    Args:
        fraction: that was found, from 0 to 1.
        reviews: in how many, 1 or more.
    """
    low, high = confidence_intervals(np.float64(fraction), np.float64(reviews))
    return float(low), float(high)


def confidence_intervals(
    fractions: _Floats | np.float64, reviews: _Floats | np.float64
) -> tuple[_Floats, _Floats]:
    """The lower and the upper ends for several fractions; arguments as above, (n,) each."""
    middle = fractions + _Z * _Z / (2 * reviews)
    spread = _Z * np.sqrt(fractions * (1 - fractions) / reviews + (_Z / (2 * reviews)) ** 2)
    scale = 1 + _Z * _Z / reviews
    ends = (middle - spread) / scale, (middle + spread) / scale
    return np.maximum(0.0, ends[0]), np.minimum(1.0, ends[1])
