from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pytest
from omegaconf import DictConfig
from optuna.pruners import NopPruner, ThresholdPruner

from conftest import TINY, write_reviews
from sentiment.train.run import train
from sentiment.train.search.pruning import PruneHopeless


@pytest.fixture
def settings(tmp_path: Path) -> Sequence[str]:
    return [*TINY, f"data.csv={write_reviews(tmp_path / 'reviews.csv')}", "trainer.max_epochs=3"]


def new_trial(pruner: optuna.pruners.BasePruner) -> optuna.Trial:
    return optuna.create_study(direction="maximize", pruner=pruner).ask()


def test_a_hopeless_trial_ends_after_its_epoch_and_is_not_tested(
    composed: Callable[..., DictConfig], settings: Sequence[str], tmp_path: Path
) -> None:
    trial = new_trial(ThresholdPruner(lower=2.0))  # no accuracy is as high
    results = train(
        composed(*settings), tmp_path / "run", callbacks=[PruneHopeless(trial, "val/accuracy")]
    )
    assert results["pruned"] is True
    assert results["epochs"] == 1
    assert not any(name.startswith("test/") for name in results)
    assert trial.study.trials[0].intermediate_values == {0: results["val/accuracy"]}


def test_a_hopeful_trial_reports_every_epoch_and_is_tested(
    composed: Callable[..., DictConfig], settings: Sequence[str], tmp_path: Path
) -> None:
    trial = new_trial(NopPruner())
    results = train(
        composed(*settings), tmp_path / "run", callbacks=[PruneHopeless(trial, "val/loss")]
    )
    assert "pruned" not in results
    assert results["test/accuracy"] >= 0
    assert results["latency_ms"] > 0
    assert list(trial.study.trials[0].intermediate_values) == [0, 1, 2]


def test_an_epoch_without_a_validation_reports_nothing(
    composed: Callable[..., DictConfig], settings: Sequence[str], tmp_path: Path
) -> None:
    trial = new_trial(NopPruner())
    cfg = composed(*settings, "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=5")
    train(cfg, tmp_path / "run", callbacks=[PruneHopeless(trial, "val/accuracy")])
    assert list(trial.study.trials[0].intermediate_values) == [1, 3]


def test_what_was_pruned_when_it_was_killed_ends_at_once(
    composed: Callable[..., DictConfig], settings: Sequence[str], tmp_path: Path
) -> None:
    trial = new_trial(ThresholdPruner(lower=2.0))
    train(composed(*settings), tmp_path / "run", callbacks=[PruneHopeless(trial, "val/accuracy")])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    again = train(
        composed(*settings, f"ckpt_path={last}"),
        tmp_path / "run",
        callbacks=[PruneHopeless(trial, "val/accuracy")],
    )
    assert again["pruned"] is True
    assert again["epochs"] == 1
