"""Files of version 0.1.0 open, predict the same, resume, and compare.

See ``golden/README.md``.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from conftest import compose_config
from programs import run_program
from sentiment import Predictor
from sentiment.pretrain.run import pretrain
from sentiment.report.runs import find_runs
from sentiment.train.run import train

GOLDEN = Path(__file__).parent / "golden" / "0.1.0"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_text())
SETTINGS = (
    "model.hidden_size=4", "embeddings.size=4", "trainer=cpu", "trainer.precision=32-true",
    "logger=csv", "data=csv", "data.csv=reviews.csv", "data.text_column=review",
    "data.label_column=sentiment", "data.min_freq=2", "data.batch_size=8", "optimizer.lr=2e-2",
    "trainer.enable_progress_bar=false", "scheduler=none",
)  # fmt: skip
NO_STOP = "callbacks.early_stopping=null"


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files of version 0.1.0, as the working folder."""
    folder = shutil.copytree(GOLDEN, tmp_path / "golden")
    monkeypatch.chdir(folder)
    return folder


def go_on(folder: str, *overrides: str) -> dict[str, Any]:
    run = Path(folder).resolve()
    last = f"ckpt_path={folder}/checkpoints/last.ckpt"
    return train(compose_config([*SETTINGS, *overrides, last], run), run)


@pytest.mark.parametrize("checkpoint", EXPECTED["scores"])
def test_a_checkpoint_predicts_the_same(checkpoint: str) -> None:
    predictions = Predictor.load(GOLDEN / checkpoint)(EXPECTED["texts"])
    for prediction, expected in zip(predictions, EXPECTED["scores"][checkpoint], strict=True):
        assert prediction["scores"] == pytest.approx(expected, abs=1e-5)


def test_a_training_stopped_within_an_epoch_ends_the_same(golden: Path) -> None:
    last = golden / "runs" / "stopped" / "checkpoints" / "last.ckpt"
    before = torch.load(last, weights_only=True)["callbacks"]["EpochTable"]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*callbacks.*")
        results = go_on("runs/stopped", NO_STOP, "trainer.max_epochs=3", "model.word_dropout=0.1")
    after = torch.load(last, weights_only=True)["callbacks"]["Stopwatch"]
    assert after["train_reviews"] == 3 * 86  # those before the stop too
    assert after["fit_seconds"] > before["fit_seconds"] > 0
    for name, value in EXPECTED["resumed"].items():
        assert results[name] == pytest.approx(value, rel=1e-3), name


def test_a_complete_training_is_prolonged(golden: Path) -> None:
    given = ("model.ngrams=2", "model.head_size=3", NO_STOP, "trainer.max_epochs=3")
    assert go_on("runs/classifier", *given)["epochs"] == 3


def test_a_language_model_is_trained_on_and_started_from(golden: Path) -> None:
    run = (golden / "runs" / "language_model").resolve()
    given = [
        *SETTINGS, "data.unlabeled_csv=unlabeled.csv", "data.tokens_per_batch=128",
        "softmax.negatives=8", "held_out_tokens=200", "trainer.max_epochs=3",
        f"ckpt_path={run / 'checkpoints' / 'last.ckpt'}",
    ]  # fmt: skip
    assert pretrain(compose_config(given, run, "pretrain"), run)["epochs"] == 3
    start = [
        *SETTINGS, "data.unlabeled_csv=unlabeled.csv", "trainer.max_epochs=1",
        f"pretrained.path={GOLDEN}/runs/language_model/checkpoints/best.ckpt",
    ]  # fmt: skip
    results = train(compose_config(start, golden / "new"), golden / "new")
    old = json.loads((GOLDEN / "runs" / "from_language_model" / "results.json").read_text())
    assert results["val/loss"] == pytest.approx(old["val/loss"], rel=1e-4)


@pytest.mark.slow
def test_a_killed_search_continues_as_it_would_have(golden: Path) -> None:
    given = [*SETTINGS, NO_STOP, "trainer.max_epochs=2", "hydra.sweeper.n_trials=4"]
    done = run_program("train", "-m", "sweep=optuna", *given, "hydra.sweep.dir=search")
    assert done.returncode == 0, done.stderr
    study = optuna.load_study(study_name=None, storage="sqlite:///search/study.db")
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    for trial, expected in zip(study.trials, EXPECTED["trials"], strict=True):
        assert trial.params == expected["params"]
        assert trial.values == pytest.approx(expected["values"])


def test_runs_compare(golden: Path) -> None:
    runs = find_runs([golden / "runs", golden / "sweep"])
    assert {run.name for run in runs if run.status == "ok"} == {
        "bilstm", "gru", "bigru", "lstm", "tfidf", "naive_bayes", "language_model"
    }  # fmt: skip
