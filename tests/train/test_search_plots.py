"""Plots of searches: which files there are for which kinds of study."""

import logging
import math
import warnings
from pathlib import Path

import matplotlib as mpl
import optuna
import pytest
from matplotlib import pyplot as plt
from matplotlib.image import imread
from optuna.study import StudyDirection
from optuna.trial import Trial

from sentiment.train.search.report import draw_search

pytestmark = pytest.mark.plots

EACH = {"history.png", "importance.png", "parallel_coordinates.png", "slice.png"}
MAXIMIZE, MINIMIZE = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
OBJECTIVES = ["val/accuracy", "parameters", "latency_ms", "fit_seconds"]


def reached(trial: Trial, objectives: int) -> tuple[float, ...]:
    """Values of an invented training; trial 3 is pruned and trial 5 fails."""
    rate = trial.suggest_float("optimizer.lr", 1e-4, 1e-1, log=True)
    trial.suggest_float("fixed", 1, 1)
    size = trial.suggest_int("model.größe", 8, 64, log=True)
    trial.suggest_categorical("embeddings.path", ["a b/日本.txt", "[b]", "c" * 80])
    trial.suggest_categorical("data.lowercase", [True, False])
    if objectives == 1 and trial.number == 3:
        trial.report(0.1, 0)
        raise optuna.TrialPruned
    if trial.number == 5:
        raise ValueError
    return (0.9 - 0.03 * abs(math.log10(rate) + 2), 100 * size, size / rate, 1.0)[:objectives]


def study_of(objectives: int, trials: int = 12) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = optuna.create_study(
        directions=[MAXIMIZE, MINIMIZE, MINIMIZE, MINIMIZE][:objectives],
        sampler=optuna.samplers.RandomSampler(seed=1),
    )
    study.optimize(lambda trial: reached(trial, objectives), n_trials=trials, catch=ValueError)
    return study


@pytest.mark.parametrize(
    ("objectives", "names"),
    [(1, EACH), (2, EACH | {"pareto.png"}), (3, EACH | {"pareto.png"}), (4, EACH)],
)
def test_each_plot_is_a_file_and_nothing_else_is_left(
    tmp_path: Path, objectives: int, names: set[str]
) -> None:
    mpl.use("Agg")
    style = mpl.rcParams.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = draw_search(study_of(objectives), OBJECTIVES[:objectives], tmp_path)
    assert {path.name for path in drawn} == names
    assert set(tmp_path.iterdir()) == set(drawn)
    assert all(min(imread(path).shape[:2]) > 400 for path in drawn)
    assert not plt.get_fignums()
    assert mpl.rcParams == style


@pytest.mark.parametrize("trials", [0, 1])
def test_of_fewer_than_two_completed_trials_there_is_no_plot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trials: int
) -> None:
    caplog.set_level(logging.INFO)
    assert draw_search(study_of(1, trials), OBJECTIVES[:1], tmp_path) == []
    assert f"{trials} completed trials" in caplog.text


@pytest.mark.parametrize(
    ("value", "missing"),
    [("max", {"importance.png"}), ("$x_{$", EACH - {"history.png"})],
    ids=["equal values", "broken mathematics"],
)
def test_a_plot_that_cannot_be_drawn_is_left_out_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: str, missing: set[str]
) -> None:
    caplog.set_level(logging.INFO, "sentiment")
    study = optuna.create_study()
    for _ in range(3):
        trial = study.ask()
        trial.suggest_categorical("model.pooling", [value])
        trial.suggest_float("optimizer.lr", 0, 1)
        study.tell(trial, 0.5)
    drawn = {path.name for path in draw_search(study, OBJECTIVES[:1], tmp_path)}
    assert drawn == {path.name for path in tmp_path.iterdir()} == EACH - missing
    assert {message.split(":")[0] for message in caplog.messages} == {f"No {n}" for n in missing}
    assert not plt.get_fignums()
