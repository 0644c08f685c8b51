import numpy as np
import pytest

from sentiment.model.abstention import (
    Goal,
    count_answered,
    numbers_of,
    stored_answers,
    stored_thresholds,
)


def probabilities(scores: list[float], predicted: list[int] | None = None) -> np.ndarray:
    """Two classes, of which the predicted one (0 if not given) has the score."""
    found = np.stack([scores, 1 - np.array(scores)], 1)
    swapped = np.array(predicted or [0] * len(scores), bool)
    found[swapped] = found[swapped, ::-1]
    return found


def test_coverage_is_a_quantile_of_the_scores() -> None:
    p = probabilities([0.9, 0.6, 0.8, 0.7])
    labels = np.zeros(4, np.int64)
    assert Goal(coverage=0.5).thresholds(p, labels) == pytest.approx([0.75] * 2)
    assert Goal(coverage=0.51).thresholds(p, labels) == pytest.approx([0.65] * 2)
    assert Goal(coverage=0.99).thresholds(p, labels) == [0, 0]


def test_equal_scores_are_answered_together() -> None:
    p = probabilities([0.9, 0.8, 0.8, 0.8, 0.6])
    (threshold, _) = Goal(coverage=0.4).thresholds(p, np.zeros(5, np.int64)) or []
    assert threshold == pytest.approx(0.7)


@pytest.mark.parametrize("coverage", [0.1, 0.7, 0.9])
def test_no_more_is_answered_than_was_asked_for(coverage: float) -> None:
    p = np.random.default_rng(1).dirichlet([1, 1, 1], 1000)
    goal = Goal(coverage=coverage)
    thresholds = stored_thresholds(goal.choose(p, p.argmin(1)), 3)
    found = count_answered(p.astype(np.float32), p.argmin(1), thresholds)
    assert (found.coverage, found.accuracy) == (coverage, 0)


def test_of_an_accuracy_as_many_as_possible_are_answered() -> None:
    p, labels = probabilities([0.9, 0.8, 0.7, 0.6, 0.55]), np.array([0, 1, 0, 0, 1])
    numbers = Goal(accuracy=0.75).choose(p, labels)  # 1 of 1, 1 of 2, 2 of 3, 3 of 4, 3 of 5
    assert numbers == {
        "abstain/threshold/0": pytest.approx(0.575), "abstain/threshold/1": pytest.approx(0.575),
        "abstain/val_coverage": 0.8, "abstain/val_accuracy": 0.75,
        "abstain/val_answered/0": 4, "abstain/val_answered/1": 0,
    }  # fmt: skip
    assert Goal(accuracy=0.6).thresholds(p, labels) == [0, 0]


def test_an_accuracy_out_of_reach_has_no_threshold() -> None:
    p, labels = probabilities([0.9, 0.8]), np.array([1, 0])
    assert Goal(accuracy=0.6).thresholds(p, labels) is None
    assert Goal(accuracy=0.6).choose(p, labels) == {}
    assert Goal().choose(p, labels) == {}


def test_each_predicted_class_may_have_a_threshold_of_its_own() -> None:
    p = probabilities([0.9, 0.7, 0.8, 0.6], [0, 0, 1, 1])
    goal = Goal(coverage=0.5, per_class=True)
    assert goal.thresholds(p, np.zeros(4, np.int64)) == pytest.approx([0.8, 0.7])
    goal = Goal(accuracy=1.0, per_class=True)  # which the second class cannot reach
    numbers = goal.choose(p, np.zeros(4, np.int64))
    thresholds = stored_thresholds(numbers, 2)
    assert thresholds is not None
    assert thresholds.tolist() == [0, np.inf]
    assert numbers["abstain/val_coverage"] == 0.5
    assert stored_answers(numbers, 2) == [2, 0]
    third = np.pad(p, ((0, 0), (0, 1)))  # a class that is predicted for no review
    assert goal.thresholds(third, np.zeros(4, np.int64)) == [0, None, pytest.approx(0.85)]


def test_what_a_checkpoint_keeps_is_checked() -> None:
    run = {"seed": 1, "abstain/threshold/0": 0.5, "abstain/threshold/1": None}
    assert numbers_of(run).keys() == {"abstain/threshold/0", "abstain/threshold/1"}
    assert stored_thresholds({"seed": 1}, 2) is None
    assert stored_answers(run, 2) is None
    for wrong in ({0: 2.0}, {0: -1.0}, {0: float("nan")}, {1: 0.5}):
        with pytest.raises(ValueError, match="thresholds"):
            stored_thresholds({f"abstain/threshold/{i}": each for i, each in wrong.items()}, 2)


def test_of_a_diverged_training_there_are_no_thresholds() -> None:
    assert Goal(coverage=0.9).choose(np.full((4, 2), np.nan), np.array([0, 1, 0, 1])) == {}
