"""How exactly a number of reviews determines a fraction of all reviews."""

import math

_Z = 1.959964  # the normal distribution is within this many standard deviations for 95 %


def confidence_interval(fraction: float, reviews: int) -> tuple[float, float]:
    """The 95 % interval of a fraction of independent reviews (Wilson, 1927).

    Args:
        fraction: that was found, from 0 to 1.
        reviews: in how many, 1 or more.
    """
    middle = fraction + _Z * _Z / (2 * reviews)
    spread = _Z * math.sqrt(fraction * (1 - fraction) / reviews + (_Z / (2 * reviews)) ** 2)
    scale = 1 + _Z * _Z / reviews
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def needed_reviews(fraction: float) -> int:
    """The least number of reviews whose interval can begin at a fraction below 1: if all count."""
    return math.ceil(_Z * _Z * fraction / (1 - fraction))
