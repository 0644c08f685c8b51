import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Callback
from omegaconf import DictConfig

from conftest import TINY, write_reviews
from programs import run_program
from sentiment.config.explain import translate_config_errors
from sentiment.pretrain.progress import Progress, perplexity_line
from sentiment.pretrain.run import pretrain
from sentiment.runtime.errors import InputError
from sentiment.train.fit import Stopped

Compose = Callable[..., DictConfig]


def test_a_run_folder_holds_everything(pretrained: Path) -> None:
    results = json.loads((pretrained / "results.json").read_text())
    assert results["tokens"] == 12 * (results["train_reviews"] + results["unlabeled_reviews"])
    assert (results["train_reviews"], results["unlabeled_reviews"]) == (86, 80)
    assert results["held_out_tokens"] == 12 * 10
    rows = pd.read_csv(pretrained / "metrics.csv")
    assert rows["epoch"].tolist() == [0, 1]
    assert rows["val/perplexity"].is_monotonic_decreasing
    assert results["val/perplexity"] == pytest.approx(rows["val/perplexity"].min())
    assert results["val/perplexity"] < results["vocabulary_size"]
    assert (pretrained / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    checkpoint = torch.load(pretrained / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["TextDataModule"]["tokenizer"]["language"] == "en"


class Signal(Callback):
    """Sends this process Ctrl-C at a batch of an epoch."""

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 2):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_pretraining_resumes_as_if_it_had_not_been(
    tmp_path: Path, composed: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    base = [
        *TINY, f"data.csv={reviews}", "data.tokens_per_batch=100", "softmax.negatives=5",
        "model.output_dropout=0.2", "trainer.max_epochs=3",
    ]  # fmt: skip
    whole = pretrain(composed(*base, program="pretrain"), tmp_path / "whole")
    with caplog.at_level("INFO"), pytest.raises(Stopped):
        cfg = composed(*base, program="pretrain")
        pretrain(cfg, tmp_path / "run", callbacks=[Signal()])
    assert "-m sentiment.pretrain" in caplog.text
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    resumed = pretrain(composed(*base, f"ckpt_path={last}", program="pretrain"), tmp_path / "run")
    for name in ("train/loss", "train/perplexity", "val/loss", "epochs", "best_epoch"):
        assert resumed[name] == whole[name], name
    ours, theirs = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("run", "whole")
    )
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.num_layers=2"], "would see the words that it has to predict"),
        (["trainer=ddp"], "runs in one process; give trainer.devices=1"),
        (["softmax.negatives=0"], "softmax.negatives=0: must be at least 1, or null"),
        (["held_out_tokens=0"], "held_out_tokens=0"),
        (
            ["callbacks.checkpoint.monitor=val/accuracy"],
            "valid: val/loss, val/perp",
        ),
        (["scheduler=plateau", "scheduler.monitor=val/accuracy"], "scheduler.monitor=val/accuracy"),
    ],
)
def test_bad_settings_are_refused_before_the_data_is_read(
    tmp_path: Path, composed: Compose, overrides: list[str], expected: str
) -> None:
    cfg = composed("data=csv", "data.csv=nope.csv", *TINY, *overrides, program="pretrain")
    with pytest.raises(InputError) as refused, translate_config_errors():
        pretrain(cfg, tmp_path / "run")
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.cell=gru", "model.bidirectional=false", "model.num_layers=2", "scheduler=plateau"],
        ["pretrain=gpu", "trainer=cpu", "model.hidden_size=8", "trainer.max_epochs=1"],
        [
            "callbacks.checkpoint.monitor=val/perplexity",
            "scheduler=plateau",
            "scheduler.monitor=train/perplexity",
        ],
    ],
    ids=["stacked", "gpu", "perplexity"],
)
def test_choices_train(tmp_path: Path, composed: Compose, overrides: list[str]) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    cfg = composed(
        *TINY, "trainer.max_epochs=1", f"data.csv={reviews}", *overrides, program="pretrain"
    )
    results = pretrain(cfg, tmp_path / "run")
    assert math.isfinite(results["val/perplexity"])
    assert ("val/perplexity_backward" in results) == ("model.num_layers=2" not in overrides)


def test_vectors_from_a_file_are_the_beginning(tmp_path: Path, composed: Compose) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    (tmp_path / "vectors.txt").write_text("the 1 2 3\nfilm 0 1 0\nawful -1 0 0.5\n")
    tiny = [item for item in TINY if not item.startswith("embeddings")]
    cfg = composed(
        *tiny, f"data.csv={reviews}", "embeddings=file", "embeddings.frozen=true",
        f"embeddings.path={tmp_path / 'vectors.txt'}", program="pretrain",
    )  # fmt: skip
    results = pretrain(cfg, tmp_path / "run")
    assert 0 < results["vector_coverage"] < 1
    saved = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    row = saved["TextDataModule"]["vocabulary"].index("awful")
    expected = torch.tensor([-1.0, 0.0, 0.5])
    torch.testing.assert_close(saved["state_dict"]["model.embedding.weight"][row], expected)


def test_the_line_of_an_epoch() -> None:
    metrics = {"train/perplexity": 120.04, "val/perplexity": 99.96}
    assert perplexity_line(metrics) == "perplexity of training 120.0, of validation 100.0"
    metrics |= {"val/perplexity_forward": 90.0, "val/perplexity_backward": 110.0}
    assert perplexity_line(metrics).endswith("100.0 (forward 90.0, backward 110.0)")
    assert "training nan" in perplexity_line({})


@pytest.mark.parametrize("steps", [1, 2])
def test_a_long_epoch_logs_how_far_it_is(
    tmp_path: Path, composed: Compose, caplog: pytest.LogCaptureFixture, steps: int
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    cfg = composed(
        *TINY, "trainer.max_epochs=1", f"trainer.accumulate_grad_batches={steps}",
        f"data.csv={reviews}", program="pretrain",
    )  # fmt: skip
    with caplog.at_level("INFO"):
        results = pretrain(cfg, tmp_path / "run", callbacks=[Progress(seconds=0)])
    line = f"epoch 1: 100 %; perplexity of the last 1 batches {results['train/perplexity']:.1f}; "
    assert line in caplog.text


@pytest.mark.slow
def test_the_command_line_pretrains_and_a_training_starts_from_it(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    done = run_program("pretrain", *TINY, f"data.csv={reviews}", "data.max_length=9", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "epoch 2 of 2: perplexity of training" in done.stdout
    command = done.stdout.splitlines()[-1].split()
    assert command[1:3] == ["-m", "sentiment.train"]
    assert f"data.csv={reviews}" in command
    assert not any("max_length" in item for item in command)  # it would cut the classifier's
    small = ["trainer=cpu", "trainer.max_epochs=1"]
    training = run_program("train", *command[3:], *small, cwd=tmp_path)
    assert training.returncode == 0, training.stderr
    assert "Starts from the language model of" in training.stdout
    assert "held out" not in training.stdout
    refused = run_program("pretrain", "model=lstm", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "set by model.cell" in refused.stderr
