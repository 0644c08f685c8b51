import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from conftest import TINY, compose_config, write_reviews
from sentiment.config import choose_run_folder
from sentiment.errors import InputError
from sentiment.resume import check_resumable, deciding_settings, run_folder
from sentiment.train import train

Compose = Callable[..., DictConfig]


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    base = (*TINY, "data.batch_size=8", "callbacks.early_stopping=null")
    return train(compose_config([*base, *overrides], folder), folder)


@pytest.fixture(scope="module")
def constant_rate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs at a constant rate."""
    folder = tmp_path_factory.mktemp("constant")
    reviews = write_reviews(folder / "reviews.csv", 64)
    run(folder / "run", f"data.csv={reviews}", "scheduler=none")
    return folder


@pytest.fixture
def stopped(constant_rate: Path, tmp_path: Path) -> Path:
    """A copy of it, elsewhere."""
    shutil.copytree(constant_rate, tmp_path / "moved")
    return tmp_path / "moved"


def settings_of(*overrides: str) -> dict[str, Any]:
    cfg = compose_config(overrides, Path("run"))
    return deciding_settings(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]


def test_a_moved_run_is_prolonged_as_if_it_had_been_longer(stopped: Path, tmp_path: Path) -> None:
    last = stopped / "run" / "checkpoints" / "last.ckpt"
    overrides = [f"data.csv={stopped / 'reviews.csv'}", "scheduler=none", "trainer.max_epochs=4"]
    resumed = run(stopped / "run", *overrides, f"ckpt_path={last}")
    whole = run(tmp_path / "whole", *overrides)
    for name in ("test/loss", "val/accuracy", "val/loss", "train/loss", "best_epoch", "epochs"):
        assert resumed[name] == whole[name], name
    left, right = (
        pd.read_csv(folder / "metrics.csv").drop(columns="seconds")
        for folder in (stopped / "run", tmp_path / "whole")
    )
    pd.testing.assert_frame_equal(left, right)


def test_the_best_epoch_before_the_stop_stays_the_best(stopped: Path) -> None:
    folder = stopped / "run"
    last = folder / "checkpoints" / "last.ckpt"
    best = folder / "checkpoints" / "best.ckpt"
    before = best.read_bytes()
    saved = torch.load(last, weights_only=True)
    for state in saved["callbacks"].values():
        if state.get("monitor") == "val/accuracy":  # what cannot be beaten
            score = torch.tensor(2.0)
            state |= {"best_model_score": score, "kth_value": score}
            state["best_k_models"] = dict.fromkeys(state["best_k_models"], score)
    torch.save(saved, last)
    results = run(folder, f"data.csv={stopped / 'reviews.csv'}", "scheduler=none",
                  "trainer.max_epochs=3", f"ckpt_path={last}")  # fmt: skip
    assert best.read_bytes() == before
    assert results["epochs"] == 3
    assert results["best_epoch"] < 2
    row = pd.read_csv(folder / "metrics.csv").loc[results["best_epoch"]]
    assert results["val/loss"] == pytest.approx(row["val/loss"])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optimizer.lr=0.5", "optimizer.lr=0.002, not 0.5"),
        ("optimizer=sgd", "with optimizer=torch.optim.AdamW, not torch.optim.SGD"),
        ("model.hidden_size=9", "model.hidden_size=8, not 9"),
        ("seed=7", "seed=42, not 7"),
        ("data.max_length=5", "data.max_length=None, not 5"),
        ("loss.balanced=true", "loss.balanced=False, not True"),
        ("scheduler=plateau", "scheduler=None, not sentiment.model.schedules.plateau"),
        ("callbacks.checkpoint.monitor=val/loss", "monitor=val/accuracy, not val/loss"),
    ],
)
def test_other_settings_are_refused(constant_rate: Path, override: str, told: str) -> None:
    last = constant_rate / "run" / "checkpoints" / "last.ckpt"
    base = [*TINY, "data.batch_size=8", "callbacks.early_stopping=null", "scheduler=none"]
    check_resumable(last, constant_rate / "run", settings_of(*base))
    check_resumable(last, constant_rate / "run", settings_of(*base, "trainer.max_epochs=50"))
    check_resumable(last, constant_rate / "run", settings_of(*base, "data.csv=elsewhere.csv"))
    with pytest.raises(InputError, match="go on with the same settings, or start anew") as caught:
        check_resumable(last, constant_rate / "run", settings_of(*base, override))
    assert told in str(caught.value)


def test_a_schedule_over_all_epochs_cannot_be_prolonged(trained: Path) -> None:
    settings = [*TINY, "optimizer.lr=2e-2", "data.batch_size=8"]
    last = trained / "checkpoints" / "last.ckpt"
    check_resumable(last, trained, settings_of(*settings))
    with pytest.raises(InputError, match=r"max_epochs=2, not 3 \(its schedule spreads over all"):
        check_resumable(last, trained, settings_of(*settings, "trainer.max_epochs=3"))


def test_a_training_goes_on_in_its_own_folder(trained: Path, tmp_path: Path) -> None:
    last = trained / "checkpoints" / "last.ckpt"
    settings = settings_of(*TINY, "optimizer.lr=2e-2", "data.batch_size=8")
    assert run_folder(last) == trained
    assert choose_run_folder("runs", RunMode.RUN, str(last)) == str(trained)
    with pytest.raises(InputError, match=rf"or set it to {trained}$"):
        check_resumable(last, tmp_path, settings)
    alone = shutil.copy(last, tmp_path / "last.ckpt")
    assert run_folder(alone) is None
    with pytest.raises(InputError, match="give RUN/checkpoints/last.ckpt"):
        check_resumable(alone, tmp_path, settings)


def test_other_data_is_refused(stopped: Path) -> None:
    other = write_reviews(stopped / "other.csv", 80)
    last = stopped / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(InputError, match="another vocabulary"):
        run(stopped / "run", f"data.csv={other}", "scheduler=none", f"ckpt_path={last}")


def test_a_checkpoint_names_no_places(trained: Path) -> None:
    saved = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["settings"]["optimizer.lr"] == 2e-2
    assert str(trained) not in json.dumps(saved["settings"])


def test_the_lowest_loss_is_the_best(tmp_path: Path, composed: Compose) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    monitor = "callbacks.checkpoint.monitor=val/loss"
    results = run(tmp_path / "run", f"data.csv={reviews}", "trainer.max_epochs=4", monitor)
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    lowest = int(rows["val/loss"].to_numpy().argmin())
    assert results["best_epoch"] == lowest > 0
    assert composed("callbacks.early_stopping.monitor=val/loss").callbacks.early_stopping.mode == (
        "min"
    )


def test_without_a_figure_to_watch_the_last_epoch_is_tested(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    results = run(tmp_path / "run", f"data.csv={reviews}", "callbacks.checkpoint.monitor=null")
    assert results["best_epoch"] == 1


def test_epochs_without_a_validation_have_no_figures_of_one(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    overrides = ["trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"]
    results = run(tmp_path / "run", f"data.csv={reviews}", *overrides)
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert rows["val/loss"].notna().tolist() == [False, True, False]
    assert results["best_epoch"] == 1
