import pytest

from sentiment.report.confidence import confidence_interval, needed_reviews


@pytest.mark.parametrize(
    ("right", "reviews", "low", "high"),  # from the exact formula, by hand and in tables
    [(10, 30, 0.1923, 0.5122), (5, 5, 0.5655, 1.0), (0, 5, 0.0, 0.4345)],
)
def test_an_interval_is_wilsons(right: int, reviews: int, low: float, high: float) -> None:
    assert confidence_interval(right / reviews, reviews) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.97])
def test_the_needed_reviews_are_just_enough_if_all_are_right(accuracy: float) -> None:
    enough = needed_reviews(accuracy)
    assert confidence_interval(1.0, enough)[0] >= accuracy > confidence_interval(1.0, enough - 1)[0]
