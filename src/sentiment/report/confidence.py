"""How exactly a number of reviews determines a fraction of all reviews."""

import math


def confidence_interval(fraction: float, reviews: int) -> tuple[float, float]:
    """The 95 % interval of a fraction of independent reviews (Wilson, 1927).

    Args:
        fraction: that was found, from 0 to 1.
        reviews: in how many, 1 or more.
    """
    z = 1.959964  # the normal distribution is within this many standard deviations for 95 %
    middle = fraction + z * z / (2 * reviews)
    spread = z * math.sqrt(fraction * (1 - fraction) / reviews + (z / (2 * reviews)) ** 2)
    scale = 1 + z * z / reviews
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
