from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from sentiment.batch import Batch, Shard
from sentiment.train import callbacks
from sentiment.train.callbacks import EpochTable, OneCheckpoint, Progress, accuracy_line


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


def trainer_of(**figures: float) -> Any:
    return SimpleNamespace(
        callback_metrics={name.replace("_", "/"): torch.tensor(figures[name]) for name in figures},
        optimizers=[torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)],
        current_epoch=0, max_epochs=1, is_global_zero=True, sanity_checking=False,
    )  # fmt: skip


def test_an_epoch_tells_what_a_mixed_objective_adds() -> None:
    figures = {"train/loss": 0.5, "train/accuracy": 0.75, "val/loss": 0.25, "val/accuracy": 0.8}
    val = "val loss 0.2500, accuracy 80.00 %"
    assert accuracy_line(figures) == f"train loss 0.5000, accuracy 75.00 %; {val}"
    mixed = {**figures, "train/entropy": 0.6901, "train/divergence": 0.0053}
    assert accuracy_line(mixed) == (
        f"train loss 0.5000, accuracy 75.00 %, entropy 0.6901, divergence 0.0053; {val}"
    )


def test_training_and_the_rest_are_timed_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(callbacks, "time", clock)
    table = EpochTable(tmp_path / "metrics.csv", settings={}, line=accuracy_line, print_lines=False)
    trainer, module = trainer_of(train_loss=0.5, val_loss=0.25), None
    trainer.sanity_checking = True
    clock.now += 50  # reading data and the sanity check count for nothing
    table.on_validation_start(trainer, module)  # type: ignore[arg-type]
    trainer.sanity_checking = False
    table.on_train_start(trainer, module)  # type: ignore[arg-type]
    table.on_train_epoch_start(trainer, module)  # type: ignore[arg-type]
    clock.now += 8
    batch = Batch(torch.ones(2, 4), torch.tensor([3, 4]), torch.tensor([0, 1]))
    table.on_train_batch_end(trainer, module, None, batch, 0)  # type: ignore[arg-type]
    table.on_validation_start(trainer, module)  # type: ignore[arg-type]
    clock.now += 2
    table.on_validation_end(trainer, module)  # type: ignore[arg-type]
    table.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    clock.now += 1  # checkpoints
    table.on_train_end(trainer, module)  # type: ignore[arg-type]
    assert (table.train_seconds, table.fit_seconds) == (8, 11)
    assert (table.train_reviews, table.train_tokens, table.imbalance) == (2, 7, 1)
    share = Shard(torch.tensor([0, 1, 1]), torch.tensor([7, 5]), torch.tensor([0, 1]))
    table.on_train_batch_end(trainer, module, None, batch._replace(shard=share), 1)  # type: ignore[arg-type]
    assert (table.train_reviews, table.train_tokens, table.imbalance) == (5, 19, 21 / 19)
    row = pd.read_csv(tmp_path / "metrics.csv").iloc[0]
    assert (row["val/loss"], row["lr"], row["seconds"]) == (0.25, 0.5, 10)

    again = EpochTable(tmp_path / "metrics.csv", settings={}, line=accuracy_line, print_lines=False)
    again.load_state_dict(table.state_dict())
    assert again.state_dict() == table.state_dict()


def test_a_moved_checkpoint_is_found_in_its_folder(tmp_path: Path) -> None:
    score = torch.tensor(0.5)
    old = OneCheckpoint(dirpath=tmp_path / "old", filename="best", monitor="val/loss")
    path = str(tmp_path / "old" / "best.ckpt")
    old.best_model_path = old.kth_best_model_path = path
    old.best_k_models, old.best_model_score = {path: score}, score
    new = OneCheckpoint(dirpath=tmp_path / "new", filename="best", monitor="val/loss")
    new.load_state_dict(old.state_dict())
    assert new.best_model_path == str(tmp_path / "new" / "best.ckpt")
    assert new.best_k_models == {new.best_model_path: score}
    assert new.best_model_score == score
    assert new.mode == "min"


def test_progress_is_told_of_a_whole_minute_though_it_begins_within_an_epoch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    monkeypatch.setattr(callbacks, "time", clock)
    trainer: Any = SimpleNamespace(
        accumulate_grad_batches=1, current_epoch=0, num_training_batches=10
    )
    batch = SimpleNamespace(lengths=torch.tensor([300, 300]))
    progress, module = Progress(), SimpleNamespace()
    progress.on_train_start(trainer, module)  # type: ignore[arg-type]
    with caplog.at_level("INFO"):
        for index in range(5, 8):  # 600 tokens in each half minute
            clock.now += 30
            outputs = {"loss": torch.tensor(2.0)}
            progress.on_train_batch_end(trainer, module, outputs, batch, index)  # type: ignore[arg-type]
    (told,) = caplog.messages
    assert told == "  epoch 1: 70 %; perplexity of the last 2 batches 7.4; 20 tokens/s"
