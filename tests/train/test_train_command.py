import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from lightning import Callback
from omegaconf import DictConfig

from conftest import TINY, write_reviews
from programs import Program, run_program
from sentiment import Predictor
from sentiment.config.explain import translate_config_errors
from sentiment.config.overrides import CommandLine
from sentiment.data import corpus
from sentiment.data.workers import encode_chunks
from sentiment.evaluate import main as evaluate
from sentiment.predict.checkpoint import CLASSIFIER
from sentiment.train.fit import Stopped, stopped
from sentiment.train.run import train

Compose = Callable[..., DictConfig]

RESULT_KEYS = {
    "test/accuracy", "test/f1", "test/loss", "test/ece", "test/by_length", "val/accuracy",
    "val/ece", "temperature", "labels", "vocabulary_size",
    "vector_coverage", "train_reviews", "val_reviews", "test_reviews", "dropped_duplicates",
    "fit_seconds", "latency_ms", "train_reviews_per_second", "train_tokens_per_second",
    "parameters", "seed",
    "device", "versions",
}  # fmt: skip


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return weights


def assert_same_weights(left: Path, right: Path) -> None:
    ours, theirs = weights_of(left), weights_of(right)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_a_run_folder_holds_everything(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    assert results.keys() >= RESULT_KEYS
    assert results["test_reviews"] == 24
    assert results["train_reviews"] + results["val_reviews"] == 96
    assert results["labels"] == ["awful", "lovely"]
    per_review = results["train_tokens_per_second"] / results["train_reviews_per_second"]
    assert per_review == pytest.approx(12)  # tokens in each of these reviews
    rows = pd.read_csv(trained / "metrics.csv")
    assert rows["epoch"].tolist() == [0, 1]
    assert rows[["train/loss", "train/accuracy", "val/loss", "val/accuracy"]].notna().all(axis=None)
    assert results["val/accuracy"] == pytest.approx(rows["val/accuracy"].max())
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (trained / name).is_file()
    for name in ("learning_curves.png", "confusion_matrix.png", "reliability.png"):
        assert (trained / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("overrides", "limited", "val", "test"),
    [
        (["trainer.limit_test_batches=1"], {"test": "trainer.limit_test_batches=1"}, 10, 8),
        (["trainer.limit_train_batches=9"], {"train": "trainer.limit_train_batches=9"}, 10, 24),
        (
            ["trainer.limit_val_batches=0.5", "trainer.limit_test_batches=9"],
            {"val": "trainer.limit_val_batches=0.5"}, 8, 24,
        ),
        (
            ["trainer.fast_dev_run=true"],
            dict.fromkeys(("train", "val", "test"), "trainer.fast_dev_run=true"), 8, 8,
        ),
    ],
)  # fmt: skip
def test_reviews_that_settings_leave_out_are_not_counted(
    tmp_path: Path, composed: Compose, trained: Path, overrides: list[str],
    limited: dict[str, str], val: int, test: int,
) -> None:  # fmt: skip
    csv, whole = trained / "reviews.csv", json.loads((trained / "results.json").read_text())
    cfg = composed(*TINY, f"data.csv={csv}", "data.batch_size=8", *overrides)
    train(cfg, tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["limited"] == limited
    assert (results["val_reviews"], results["test_reviews"]) == (val, test)
    assert sum(fifth["reviews"] for fifth in results["test/by_length"]) == test
    for split in ("train", "val", "test"):
        same = results["fingerprints"][split] == whole["fingerprints"][split]
        assert same == (split == "train" or split not in limited)
    assert "limited" not in whole


def test_a_small_task_is_learned(trained: Path) -> None:
    assert json.loads((trained / "results.json").read_text())["test/accuracy"] == 1.0


def test_the_same_seed_gives_the_same_metrics(tmp_path: Path, composed: Compose) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)

    def metrics_of(seed: int, folder: str = "run") -> dict[str, Any]:
        results = train(composed(*TINY, f"data.csv={reviews}", f"seed={seed}"), tmp_path / folder)
        return {name: value for name, value in results.items() if "/" in name}

    first = metrics_of(3)
    assert first == metrics_of(3, "again")
    assert first["train/loss"] != metrics_of(4, "other")["train/loss"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=adam", "scheduler=none", "model=rnn", "model.pooling=last"],
        ["optimizer=rmsprop", "scheduler=cosine", "model=bigru", "model.pooling=attention"],
        ["optimizer=sgd", "scheduler=plateau", "model=stacked_lstm", "model.merge=sum"],
        ["trainer=debug", "data.tokens_per_batch=64", "loss.balanced=true"],
        ["loss.class_weights=[1,2,3]", "loss.label_smoothing=0.1", "callbacks.early_stopping=null"],
        ["model.ngrams=3", "model=stacked_gru"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_choices_train_on_three_classes(
    tmp_path: Path, composed: Compose, overrides: list[str]
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60, classes=3)
    cfg = composed(*TINY, "trainer.max_epochs=1", f"data.csv={reviews}", *overrides)
    results = train(cfg, tmp_path / "run")
    assert results["labels"] == ["awful", "lovely", "plain"]
    assert math.isfinite(results["test/loss"])


def test_a_training_that_abstains_reports_how_often(
    tmp_path: Path, composed: Compose, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    caplog.set_level("INFO")
    given = [*TINY, "trainer.max_epochs=1", f"data.csv={reviews}", "abstain.coverage=0.6"]
    results = train(composed(*given, f"data.splits_dir={tmp_path}"), tmp_path / "run")
    assert "get no label" in caplog.text
    coverages = [results[f"abstain/{split}_coverage"] for split in ("val", "test")]
    assert coverages[0] == pytest.approx(0.6, abs=1 / results["val_reviews"])
    low, high = results["abstain/val_accuracy_interval"]
    assert low <= results["abstain/val_accuracy"] <= high
    assert len(set(results["abstain/thresholds"].values())) == 1
    capsys.readouterr()
    evaluate([str(tmp_path / "run"), str(tmp_path / "test.csv"), "--json"])
    evaluated = json.loads(capsys.readouterr().out)
    own = {name: value for name, value in evaluated.items() if name.startswith("abstain/")}
    assert own == {name: json.loads(json.dumps(results))[name] for name in own}
    assert own["abstain/test_coverage"] == coverages[1]


def test_ngrams_teach_and_go_along_in_the_checkpoint(tmp_path: Path, composed: Compose) -> None:
    """Each word occurs under both labels; only pairs of words differ between them."""
    pairs = ["not good", "not bad", "very good", "very bad"]
    texts = [f"film {row} , it was {pairs[row % 4]} they say" for row in range(160)]
    labels = ["down", "up", "up", "down"] * 40
    pd.DataFrame({"review": texts, "sentiment": labels}).to_csv(tmp_path / "r.csv", index=False)
    base = [*TINY, "model.pooling=mean", "optimizer.lr=1e-2", f"data.csv={tmp_path / 'r.csv'}"]
    known = [train(composed(*base, f"model.ngrams={n}"), tmp_path / str(n)) for n in (1, 2)]
    assert known[0]["test/accuracy"] < 0.9
    assert known[1]["test/accuracy"] == 1
    best = tmp_path / "2" / "checkpoints" / "best.ckpt"
    label = Predictor.load(best)("so it was not bad they say")["label"]
    assert label == "up"


def test_vectors_from_a_file_stay_frozen_for_as_long_as_asked(
    tmp_path: Path, composed: Compose
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("the 1 2 3\nfilm 0 1 0\nawful -1 0 0.5\nlovely 1 0 0.25\n")
    seen: list[torch.Tensor] = []

    class Watch(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(pl_module.classifier.embedding.weight.detach().clone())

    base = [item for item in TINY if not item.startswith("embeddings")]
    cfg = composed(
        *base, f"data.csv={reviews}", "embeddings=file", f"embeddings.path={vectors}",
        "embeddings.frozen_epochs=1", "trainer.max_epochs=2",
    )  # fmt: skip
    results = train(cfg, tmp_path / "run", callbacks=[Watch()])
    assert 0 < results["vector_coverage"] < 1
    words = json.loads(json.dumps(_data_state(tmp_path / "run")["vocabulary"]))
    row = words.index("awful")
    torch.testing.assert_close(seen[0][row], torch.tensor([-1.0, 0.0, 0.5]))
    assert not torch.equal(seen[1][row], seen[0][row])


def _data_state(folder: Path) -> dict[str, Any]:
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    state: dict[str, Any] = checkpoint["SentimentDataModule"]
    return state


class Signal(Callback):
    """Sends this process a signal at a batch of an epoch."""

    def __init__(self, number: int, epoch: int, batch: int) -> None:
        self.number, self.epoch, self.batch = number, epoch, batch

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "epoch", "batch", "ngrams"),
    [
        (signal.SIGINT, 1, 1, 0),
        (signal.SIGTERM, 0, 2, 2),
        (signal.SIGINT, 1, 5, 0),
        (signal.SIGTERM, 1, 5, 0),
    ],
    ids=["Ctrl-C in an epoch", "SIGTERM in the first", "Ctrl-C at an end", "SIGTERM at an end"],
)
def test_an_interrupted_training_resumes_as_if_it_had_not_been(
    tmp_path: Path, composed: Compose, caplog: pytest.LogCaptureFixture,
    number: int, epoch: int, batch: int, ngrams: int,
) -> None:  # fmt: skip
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    overrides = [
        *TINY, f"data.csv={reviews}", "data.batch_size=8", "trainer.max_epochs=3",
        f"model.ngrams={ngrams}",
    ]  # fmt: skip
    train(composed(*overrides), tmp_path / "whole")

    with caplog.at_level("INFO"), pytest.raises(Stopped) as stopped:
        train(composed(*overrides), tmp_path / "run", callbacks=[Signal(number, epoch, batch)])
    assert stopped.value.exit_code == 128 + number
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert f"ckpt_path={last}" in caplog.text

    train(composed(*overrides, f"ckpt_path={last}"), tmp_path / "run")
    assert_same_weights(last, tmp_path / "whole" / "checkpoints" / "last.ckpt")
    resumed = pd.read_csv(tmp_path / "run" / "metrics.csv")
    whole = pd.read_csv(tmp_path / "whole" / "metrics.csv")
    assert resumed["epoch"].tolist() == [0, 1, 2]
    for name in ("val/loss", "train/loss", "train/accuracy"):
        np.testing.assert_array_equal(resumed[name], whole[name])


@pytest.mark.slow
def test_the_command_line_trains_and_prints_what_to_do_next(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    done = subprocess.run(
        [sys.executable, "-m", "sentiment.train", *TINY[:-1], f"data.csv={reviews}"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert list(run.glob("tensorboard/events*"))
    assert (run / "train.log").is_file()
    cfg = yaml.safe_load((run / ".hydra" / "config.yaml").read_text())
    assert cfg["model"]["hidden_size"] == 8
    assert "epoch 2 of 2: train loss" in done.stdout
    logged = (run / "train.log").read_text()
    for fact in ("epoch 2 of 2: train loss", "LSTM of 8, both directions", "macro F1"):
        assert logged.count(fact) == done.stdout.count(fact) == 1
    command = re.search(r"python -m sentiment\.predict (\S+)", done.stdout)
    assert command is not None
    assert (tmp_path / command[1]).is_file()


@pytest.mark.slow
def test_a_terminated_process_says_how_to_go_on(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.csv", 60)
    settings = ["trainer.max_epochs=9999", "callbacks.early_stopping=null", "hydra.run.dir=run"]
    with Program("train", *TINY, "data.csv=reviews.csv", *settings, cwd=tmp_path) as process:
        process.wait_for("epoch 2 of")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
        last = tmp_path / "run" / "checkpoints" / "last.ckpt"
        assert process.stdout.rstrip().endswith(f"ckpt_path={last}")
    assert last.is_file()


@pytest.mark.slow
def test_the_sample_teaches_negation(tmp_path: Path, composed: Compose) -> None:
    results = train(composed("trainer=cpu", "trainer.precision=32-true"), tmp_path / "run")
    assert results["test/accuracy"] > 0.9
    predict = Predictor.load(tmp_path / "run" / "checkpoints" / "best.ckpt")
    for label, texts in {
        "positive": [
            "This movie was fantastic! I really enjoyed it.",
            "Not bad at all, I liked it.",
            "It wasn't boring for a second.",
        ],
        "negative": ["It was not good at all.", "It wasn't funny.", "I didn't like it."],
    }.items():
        for text in texts:
            assert predict(text)["label"] == label, text


def test_a_stop_passes_through_to_its_exit_code() -> None:
    with pytest.raises(Stopped) as stopped, translate_config_errors():
        raise Stopped(130)
    assert stopped.value.exit_code == 130


@pytest.mark.slow
def test_a_multirun_ends_with_a_ranked_table(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    given = ["-m", "model=birnn,bigru", "seed=1,2", *TINY, "trainer.max_epochs=1"]
    done = run_program("train", *given, f"data.csv={reviews}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "sweeps").iterdir()
    table = pd.read_csv(sweep / "sweep.csv")
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert set(zip(table["model"], table["seed"], strict=True)) == {
        ("birnn", 1), ("birnn", 2), ("bigru", 1), ("bigru", 2),
    }  # fmt: skip
    assert table["val/accuracy"].is_monotonic_decreasing
    assert "sweep.csv" in done.stdout


@pytest.mark.slow
def test_a_stopped_sweep_reports_the_runs_that_ended(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.csv", 60)
    with Program(
        "train", "-m", *TINY, "data.csv=reviews.csv", "trainer.max_epochs=1,9999",
        "callbacks.early_stopping=null", "hydra.sweep.dir=sweep", cwd=tmp_path,
    ) as process:  # fmt: skip
        while not (tmp_path / "sweep" / "1" / "metrics.csv").exists():
            assert process.poll() is None, process.stderr
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 128 + signal.SIGINT
        assert "The sweep ends here" in process.stdout
    assert pd.read_csv(tmp_path / "sweep" / "sweep.csv")["status"].tolist() == ["ok", "stopped"]


def test_where_one_label_dominates_the_best_epoch_has_the_highest_f1(
    tmp_path: Path, composed: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    reviews = pd.read_csv(write_reviews(tmp_path / "reviews.csv", 180))
    rare = reviews["sentiment"] == "awful"
    reviews[~rare | (rare.cumsum() % 9 == 0)].to_csv(tmp_path / "reviews.csv", index=False)
    overrides = [*TINY, f"data.csv={tmp_path / 'reviews.csv'}", "loss.balanced=true"]
    with caplog.at_level("INFO"):
        results = train(
            composed(*overrides, "optimizer.lr=2e-2", "trainer.max_epochs=4"), tmp_path / "run"
        )
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv").sort_values(["val/f1", "val/loss"])
    rows = rows[rows["val/f1"] == rows["val/f1"].max()]
    assert results["best_epoch"] == rows["epoch"].iloc[0]
    assert "the label lovely" in caplog.text
    assert f"val/f1 {rows['val/f1'].iloc[0]:.4f}" in caplog.text


class InterruptTest(Callback):
    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        raise KeyboardInterrupt


def test_a_training_that_is_stopped_in_its_test_is_completed_later(
    tmp_path: Path, composed: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = [*TINY, f"data.csv={write_reviews(tmp_path / 'reviews.csv', 60)}"]
    with pytest.raises(KeyboardInterrupt):  # Lightning would exit with code 1
        train(composed(*overrides), tmp_path / "run", callbacks=[InterruptTest()])
    with caplog.at_level("INFO"):
        code = stopped(signal.SIGINT, tmp_path / "run", CLASSIFIER, CommandLine()).exit_code
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert (code, f"ckpt_path={last}" in caplog.text) == (130, True)
    results = train(composed(*overrides, f"ckpt_path={last}"), tmp_path / "run")
    assert "test/accuracy" in results


def test_ctrl_c_before_the_training_begins_gives_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Iterator[Any]:
        yield from encode_chunks(*arguments)
        (left,) = tmp_path.glob("cache/corpora/.*.tmp")
        assert list(left.iterdir())
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(corpus, "encode_chunks", interrupted)
    write_reviews(tmp_path / "reviews.csv", 60)
    cache = {"SENTIMENT_CACHE": str(tmp_path / "cache")}
    done = run_program("train", *TINY, "data.csv=reviews.csv", cwd=tmp_path, env=cache)
    assert done.returncode == 128 + signal.SIGINT
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("cache/corpora/.*.tmp"))
