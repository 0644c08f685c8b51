"""Teachers label texts, and students learn from them."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

import sentiment
from conftest import TINY, write_reviews
from programs import Program, run_program
from sentiment import Predictor
from sentiment.distill.run import SOFT_FILE, distill, with_priors
from sentiment.runtime.errors import InputError

Compose = Callable[..., DictConfig]


def settings(folder: Path) -> list[str]:
    reviews = write_reviews(folder / "reviews.csv", 80)
    texts = pd.read_csv(write_reviews(folder / "u.csv", 150))["review"] + " , we hear"
    pd.DataFrame({"review": texts}).to_csv(folder / "u.csv", index=False)
    return [
        *TINY, f"data.csv={reviews}", f"data.unlabeled_csv={folder / 'u.csv'}",
        "optimizer.lr=2e-2", "data.batch_size=8",
    ]  # fmt: skip


def test_a_student_learns_what_its_teachers_say(
    tmp_path: Path, baselines: Path, checkpoint: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    teachers = [str(baselines / "naive_bayes"), str(checkpoint)]
    given = {"teachers": teachers, "match_priors": False}
    run = sentiment.distill(*settings(tmp_path), given, folder=tmp_path / "run")
    results = run.results
    assert results["teachers"] == ["naive_bayes", "best.ckpt"]
    assert results["soft_reviews"] == 150
    assert results["test/accuracy"] == 1
    soft = pd.read_csv(tmp_path / "run" / SOFT_FILE)
    assert soft.columns.tolist() == ["review", "score_awful", "score_lovely"]
    says = Predictor.load(*teachers)(soft["review"].tolist())
    for column in ("awful", "lovely"):
        said = [each["scores"][column] for each in says]
        assert soft[f"score_{column}"].tolist() == pytest.approx(said, abs=1e-6)
    # These teachers were trained on other splits of reviews with the same texts.
    assert "of the 16 test reviews: what a student knows of these" in "".join(capfd.readouterr())


def test_without_teachers_it_teaches_itself_and_goes_on_where_it_was_stopped(
    tmp_path: Path,
) -> None:
    given = [*settings(tmp_path), "rounds=2", "trainer.max_epochs=300", "hydra.run.dir=run",
             "callbacks.early_stopping=null"]  # fmt: skip
    last = tmp_path / "run" / "round_1" / "checkpoints" / "last.ckpt"
    with Program("distill", *given, "trainer.max_time='00:00:00:30'", cwd=tmp_path) as program:
        while not last.exists() and program.poll() is None:
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
        assert program.wait() == 130
        assert "-m sentiment.distill " in program.stdout
        assert "ckpt_path=auto" in program.stdout
    refused = run_program("distill", *given, cwd=tmp_path)
    assert refused.returncode == 2
    assert "add ckpt_path=auto" in refused.stderr
    other = run_program("distill", *given, "match_priors=false", "ckpt_path=auto", cwd=tmp_path)
    assert other.returncode == 2
    assert "began with match_priors=true" in other.stderr
    first = (tmp_path / "run" / "naive_bayes" / "results.json").stat().st_mtime_ns
    done = run_program(
        "distill", *given, "trainer.max_time='00:00:00:01'", "ckpt_path=auto", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "naive_bayes" / "results.json").stat().st_mtime_ns == first
    runs = [
        json.loads((tmp_path / "run" / f"round_{n}" / "results.json").read_text()) for n in (1, 2)
    ]
    assert [run["teachers"] for run in runs] == [["naive_bayes"], ["round_1"]]
    assert "teachers=[round_1]" in done.stdout


def test_shares_are_kept_and_the_order_of_texts_is_too() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal([1, 0, -1], size=(500, 3))
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    adjusted = with_priors(scores, np.array([0.2, 0.5, 0.3]))
    assert adjusted.mean(0) == pytest.approx([0.2, 0.5, 0.3], abs=1e-3)
    assert adjusted.sum(1) == pytest.approx(np.ones(500))
    odds, before = (np.log(each[:, 0] / each[:, 1]) for each in (adjusted, scores))
    assert np.ptp(odds - before) < 1e-4  # the same factor for all texts


@pytest.mark.parametrize(
    ("overrides", "facts"),
    [
        (["teachers=nope.ckpt"], ["nope.ckpt", "no such checkpoint"]),
        (["teachers=[reviews.csv]"], ["reviews.csv", "no such checkpoint"]),
        (["data.unlabeled_csv=null"], ["data.unlabeled_csv=FILE"]),
        (["data.soft_csv=reviews.csv"], ["data.soft_csv"]),
        (["ckpt_path=some.ckpt"], ["ckpt_path=auto"]),
        (["loss.entropy=0.5"], ["loss.entropy=0.5", "data.soft_csv"]),
        (["trainer.devices=2"], ["one process"]),
        (["data.weight_column=w"], ["data.weight_column=w"]),
        (["optimizer.weight_decay=-1"], ["weight_decay"]),
        (["rounds=0"], ["rounds=0", "at least 1"]),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, composed: Compose, overrides: list[str], facts: list[str]
) -> None:
    cfg = composed(*settings(tmp_path), *overrides, program="distill")
    with pytest.raises(InputError) as caught:
        distill(cfg, tmp_path / "run")
    for fact in facts:
        assert fact in str(caught.value)
    assert not list((tmp_path / "run").glob("*"))
