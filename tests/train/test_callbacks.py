import io
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from conftest import TINY, write_reviews
from sentiment.batch import Batch, Shard
from sentiment.pretrain.progress import perplexity_line
from sentiment.runtime.progress_bar import LinesAboveBars
from sentiment.train import callbacks
from sentiment.train.callbacks import (
    MetricsTable,
    OneCheckpoint,
    Stopwatch,
    ValidationSummary,
    accuracy_line,
)
from sentiment.train.run import train
from sentiment.train.stopping import EarlyStopping
from terminal import Terminal, on_terminal


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


def trainer_of(**metrics: float) -> Any:
    return SimpleNamespace(
        callback_metrics={name.replace("_", "/"): torch.tensor(metrics[name]) for name in metrics},
        optimizers=[torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)],
        current_epoch=0, max_epochs=1, is_global_zero=True, sanity_checking=False,
        checkpoint_callback=None,
    )  # fmt: skip


def test_an_epoch_logs_what_a_mixed_objective_adds() -> None:
    metrics = {"train/loss": 0.5, "train/accuracy": 0.75, "val/loss": 0.25, "val/accuracy": 0.8}
    val = "val loss 0.2500, accuracy 80.00 %"
    assert accuracy_line(metrics) == f"train loss 0.5000, accuracy 75.00 %; {val}"
    mixed = {**metrics, "train/entropy": 0.6901, "train/divergence": 0.0053}
    assert accuracy_line(mixed) == (
        f"train loss 0.5000, accuracy 75.00 %, entropy 0.6901, divergence 0.0053; {val}"
    )


@pytest.mark.parametrize(
    ("epoch_line", "names", "of_80", "shortest"),
    [
        (accuracy_line, ("loss", "accuracy"), "train 0.5000, acc 50.00 %; val 0.5000, acc", 40),
        (
            perplexity_line,
            ("perplexity", "perplexity_forward", "perplexity_backward"),
            "0.5; a",
            68,
        ),
    ],
)
def test_the_line_of_an_epoch_has_shorter_ones(
    tmp_path: Path, caplog: Any, epoch_line: Any, names: tuple[str], of_80: str, shortest: int
) -> None:
    table, trainer = MetricsTable(tmp_path / "m.csv", Stopwatch(), epoch_line), trainer_of()
    module: Any = None
    for name in names:
        trainer.callback_metrics |= {f"{split}/{name}": 0.5 for split in ("train", "val")}
    with caplog.at_level(logging.INFO):
        table.on_validation_end(trainer, module)
        table.on_train_epoch_end(trainer, module)
    lines = caplog.records[0].shorter
    assert of_80 in next(line for line in lines if len(line) <= 80)
    assert len(lines[-1]) <= shortest


def test_training_and_the_rest_are_timed_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(callbacks, "time", clock)
    stopwatch = Stopwatch()
    table = MetricsTable(tmp_path / "metrics.csv", stopwatch, accuracy_line)
    trainer, module = trainer_of(train_loss=0.5, val_loss=0.25), SimpleNamespace()

    def call(hook: str, *arguments: Any) -> None:
        for callback in (stopwatch, table):
            getattr(callback, hook)(trainer, module, *arguments)

    trainer.sanity_checking = True
    clock.now += 50  # reading data and the sanity check count for nothing
    call("on_validation_start")
    trainer.sanity_checking = False
    call("on_train_start")
    call("on_train_epoch_start")
    clock.now += 8
    batch = Batch(torch.ones(2, 4), torch.tensor([3, 4]), torch.tensor([0, 1]))
    call("on_train_batch_end", None, batch, 0)
    call("on_validation_start")
    clock.now += 2
    call("on_validation_end")
    call("on_train_epoch_end")
    clock.now += 1  # checkpoints
    call("on_train_end")
    assert (stopwatch.train_seconds, stopwatch.fit_seconds) == (8, 11)
    assert (stopwatch.train_reviews, stopwatch.train_tokens, stopwatch.imbalance) == (2, 7, 1)
    rates = {"train_reviews_per_second": 0.25, "train_tokens_per_second": 0.875}
    assert stopwatch.results() == {"fit_seconds": 11, **rates}
    shard = Shard(torch.tensor([0, 1, 1]), torch.tensor([7, 5]), torch.tensor([0, 1]))
    call("on_train_batch_end", None, batch._replace(shard=shard), 1)
    assert (stopwatch.train_reviews, stopwatch.train_tokens) == (5, 19)
    assert stopwatch.imbalance == 21 / 19
    row = pd.read_csv(tmp_path / "metrics.csv").iloc[0]
    assert (row["val/loss"], row["lr"], row["seconds"]) == (0.25, 0.5, 10)

    again = Stopwatch()
    again.load_state_dict(stopwatch.state_dict())
    assert again.state_dict() == stopwatch.state_dict()
    continued = MetricsTable(tmp_path / "metrics.csv", again, accuracy_line)
    continued.load_state_dict(table.state_dict())
    assert continued.rows == table.rows


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


class Scripted(LightningModule):
    """Has given metrics in each epoch: validation accuracy and loss."""

    def __init__(self, *epochs: tuple[float, float]) -> None:
        super().__init__()
        self.epochs = epochs
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        accuracy, loss = self.epochs[self.current_epoch]
        self.log_dict({"val/accuracy": accuracy, "val/loss": loss}, batch_size=1)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, *epochs: tuple[float, float], patience: int = 99) -> tuple[int, int]:
    """Fit with these metrics; the best epoch and how many there were, from 1."""
    trainer = Trainer(
        accelerator="cpu", max_epochs=len(epochs), logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[
            OneCheckpoint(dirpath=folder, filename="best", monitor="val/accuracy"),
            EarlyStopping(monitor="val/accuracy", mode="max", patience=patience),
        ],
    )  # fmt: skip
    trainer.fit(Scripted(*epochs), [0], [0])
    best = torch.load(folder / "best.ckpt", weights_only=False)
    return best["epoch"] + 1, trainer.current_epoch


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([(0.9, 0.5), (1.0, 0.3), (1.0, 0.2), (1.0, 0.25)], 3),
        ([(1.0, 0.2), (1.0, 0.2)], 1),
        ([(1.0, 0.2), (0.9, 0.1), (1.0, 0.15)], 3),
    ],
)
def test_of_epochs_that_are_equally_good_the_one_of_the_lowest_loss_is_kept(
    tmp_path: Path, epochs: list[tuple[float, float]], best: int
) -> None:
    assert fit(tmp_path, *epochs) == (best, len(epochs))


def test_a_falling_loss_is_waited_for_where_the_metric_stays(tmp_path: Path) -> None:
    falling = [(1.0, 0.5 - 0.1 * epoch) for epoch in range(4)]
    assert fit(tmp_path, *falling, (1.0, 0.2), (1.0, 0.2), (1.0, 0.2), patience=2) == (4, 6)


@pytest.fixture
def train_on_terminal(
    tmp_path: Path, composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Terminal]:
    """Train with some callbacks on a terminal, which is returned, to the end or to an error."""

    def run(*others: Callback, piped: bool = False) -> Terminal:
        terminal = on_terminal(monkeypatch)
        monkeypatch.setenv("COLUMNS", "80")
        if piped:
            monkeypatch.setattr(sys, "stdout", io.StringIO())
        logger = logging.getLogger("sentiment")
        monkeypatch.setattr(logger, "level", logging.INFO)
        monkeypatch.setattr(logger, "handlers", [LinesAboveBars(terminal)])
        reviews = write_reviews(tmp_path / "reviews.csv", 60)
        cfg = composed(*TINY, f"data.csv={reviews}", "data.batch_size=8")
        with suppress(ZeroDivisionError):
            train(cfg, tmp_path / "run", callbacks=others)
        return terminal

    return run


def test_a_terminal_has_the_epochs_lines_above_a_bar(
    train_on_terminal: Callable[..., Terminal],
) -> None:
    terminal = train_on_terminal()
    written = terminal.getvalue()
    for bar in ("Epoch 1 of 2:", "Epoch 2 of 2, validation:", "Test:"):
        assert bar in written
    assert written.count("Epoch 1 of 2:   0%") == 1  # and goes on
    assert "Epoch 0" not in written
    epochs = [line for line in terminal.screen if "poch" in line and "acc" in line]
    assert [line[:13] for line in epochs] == ["epoch 1 of 2:", "epoch 2 of 2:"]
    assert all(len(line) <= 80 for line in epochs)
    assert not any("batch/s" in line for line in terminal.screen)


def test_a_bar_shows_where_standard_output_is_a_pipe(
    train_on_terminal: Callable[..., Terminal],
) -> None:
    assert "Epoch 1 of 2:" in train_on_terminal(piped=True).getvalue()


class EndInSecondBatch(Callback):
    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx:
            raise ZeroDivisionError


def test_an_error_is_not_glued_to_the_bar(
    train_on_terminal: Callable[..., Terminal],
) -> None:
    terminal = train_on_terminal(EndInSecondBatch())
    assert "Epoch 1 of 2:" in terminal.getvalue()
    assert terminal.screen[-1] == ""


def test_a_validation_is_summarised_once() -> None:
    read: list[str] = []
    failing = [True]

    class DataModule:
        facts = SimpleNamespace(vocabulary=["<pad>", "<unk>", "good", "bad"])

        def some_reviews(self, name: str, count: int) -> Any:
            if failing:
                raise MemoryError(failing.pop())
            read.append(name)
            return SimpleNamespace(flat=lambda: (np.array([2, 3, 3]), np.array([1, 2])))

    module: Any = SimpleNamespace(validated=None)
    trainer: Any = SimpleNamespace(datamodule=DataModule())
    callback = ValidationSummary()

    def saved() -> dict[str, Any]:
        checkpoint: dict[str, Any] = {}
        callback.on_save_checkpoint(trainer, module, checkpoint)
        return checkpoint

    assert saved() == {}  # before the first validation
    for better in (0, 1):
        logits, labels = torch.eye(2), torch.tensor([better, 1])
        module.validated = logits, labels
        if failing:
            with pytest.raises(MemoryError):
                saved()  # what failed is not kept as if it had been computed
        for _ in range(2):  # the best and the last checkpoint
            assert saved()["validation"]["confusion"][better, 0] == 1
    assert read == ["val", "val"]
