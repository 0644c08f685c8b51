from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from sentiment.report.plots import reliability_diagram

REVIEWS = np.array([0, 0, 30, 10])
SCORES = np.array([np.nan, np.nan, 0.6, 0.9])
ACCURACIES = np.array([np.nan, np.nan, 0.7, 0.5])


def drawn(folder: Path, reviews: np.ndarray = REVIEWS) -> Figure:
    return reliability_diagram(reviews, SCORES, ACCURACIES, folder / "r.png", temperature=1.2345)


def test_draws_accuracy_over_score_and_the_fraction_of_reviews_below(tmp_path: Path) -> None:
    upper, lower = drawn(tmp_path).axes
    diagonal, points, *intervals = upper.lines
    assert len(intervals) == 2  # lower and upper ends
    assert np.asarray(diagonal.get_xydata()).tolist() == [[0, 0], [100, 100]]
    np.testing.assert_allclose(np.asarray(points.get_xydata()), [[60, 70], [90, 50]])
    bars = [patch for patch in lower.patches if isinstance(patch, Rectangle)]
    assert [(bar.get_x(), bar.get_height()) for bar in bars] == [
        (0, 0), (25, 0), (50, 75), (75, 25),
    ]  # fmt: skip


def test_the_error_is_the_mean_gap_over_reviews(tmp_path: Path) -> None:
    upper, lower = drawn(tmp_path).axes
    assert upper.get_title("right") == "ECE 17.50 %, temperature 1.23"
    assert lower.get_title("right") == "40 reviews"


@pytest.mark.parametrize("first", [0, 1, 2])
def test_every_point_is_inside(tmp_path: Path, first: int) -> None:
    reviews = REVIEWS.copy()
    reviews[first] = 5
    scores, accuracies = np.array([0.2, 0.4, 0.6, 0.9]), np.array([0.0, 0.6, 1.0, 0.1])
    upper, lower = reliability_diagram(
        reviews, scores, accuracies, tmp_path / "r.png", temperature=1
    ).axes
    assert lower.get_xlim() == (min(25 * first, 50), 100)
    seen = reviews > 0
    low, high = upper.get_ylim()
    assert low <= 100 * accuracies[seen].min()
    assert high >= 100 * accuracies[seen].max()


@pytest.mark.parametrize(("reviews", "first"), [([0, 5, 5, 5], 100 / 3), ([0, 0, 0, 5], 75)])
def test_the_axis_begins_at_the_lowest_score_that_can_be(
    tmp_path: Path, reviews: list[int], first: float
) -> None:
    upper, lower = reliability_diagram(
        np.array(reviews), np.full(4, 0.8), np.full(4, 0.9), tmp_path / "r.png", classes=3
    ).axes
    assert lower.get_xlim() == (first, 100)
    assert upper.get_ylim()[0] <= first


def test_without_reviews_there_is_no_error(tmp_path: Path) -> None:
    upper, lower = drawn(tmp_path, np.zeros(4, int)).axes
    assert upper.get_title("right").startswith("ECE nan")
    assert lower.get_title("right") == "0 reviews"


def test_titles_do_not_meet(tmp_path: Path) -> None:
    figure = drawn(tmp_path)
    figure.draw_without_rendering()
    for axes in figure.axes:
        left, right = (
            next(text for text in axes.get_children() if text is title)
            for title in (axes._left_title, axes._right_title)  # type: ignore[attr-defined]
        )
        assert left.get_window_extent().x1 < right.get_window_extent().x0
    assert imread(tmp_path / "r.png").shape == (896, 832, 4)
