import pytest

from sentiment.report.confidence import confidence_interval


@pytest.mark.parametrize(
    ("right", "reviews", "low", "high"),  # from the exact formula, by hand and in tables
    [(10, 30, 0.1923, 0.5122), (5, 5, 0.5655, 1.0), (0, 5, 0.0, 0.4345)],
)
def test_an_interval_is_wilsons(right: int, reviews: int, low: float, high: float) -> None:
    assert confidence_interval(right / reviews, reviews) == pytest.approx((low, high), abs=1e-4)
