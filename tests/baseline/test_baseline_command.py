import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from conftest import write_reviews
from programs import run_program
from sentiment import Predictor
from sentiment.baseline.run import compare_command, run_baselines
from sentiment.compare import main as compare
from sentiment.config.resolvers import register
from sentiment.runtime.errors import InputError
from sentiment.runtime.overrides import config_directory
from sentiment.runtime.run_folder import was_stopped


def run(folder: Path, *overrides: str) -> None:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("baseline", list(overrides))
    run_baselines(cfg, folder)
    GlobalHydra.instance().clear()


@pytest.mark.plots
@pytest.mark.parametrize("classes", [2, 4])
def test_each_baseline_writes_the_results_of_a_training(
    tmp_path: Path, trained: Path, classes: int, capsys: Any
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 200, classes)
    run(tmp_path / "run", f"data.csv={reviews}")
    of_training = json.loads((trained / "results.json").read_text())
    for weighting in ("tfidf", "naive_bayes"):
        results = json.loads((tmp_path / "run" / weighting / "results.json").read_text())
        assert results["test/accuracy"] == 1.0  # a single word gives the class away
        assert results["test/loss"] < results["test/auroc"]
        shared = {key for key in of_training if not key.startswith("train")} & results.keys()
        assert {
            "val/accuracy", "test/f1", "test/auroc", "test/ece", "val/ece", "test/by_length",
            "temperature", "labels", "versions",
        } <= shared  # fmt: skip
        for name in ("confusion_matrix.png", "reliability.png"):
            assert (tmp_path / "run" / weighting / name).stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "100.00" in printed
    assert all(weighting in printed for weighting in ("tfidf", "naive_bayes"))
    compare([str(tmp_path / "run"), str(trained), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["rows"]) == 3
    assert [row["seeds"] for row in printed["rows"]].count([]) == 2
    assert len({row["data_set"] for row in printed["rows"]}) == 2


def test_the_end_prints_how_to_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert compare_command(tmp_path / "x y").endswith(f"sentiment.compare '{tmp_path}/x y'")
    (tmp_path / "runs").mkdir()
    assert compare_command(tmp_path / "runs" / "1").endswith("sentiment.compare runs")
    assert compare_command(Path("x")).endswith("sentiment.compare x runs")


def test_the_splits_are_those_of_a_training(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 120)
    run(tmp_path / "run", f"data.csv={reviews}", f"data.splits_dir={tmp_path / 'splits'}",
        "weightings=[tfidf]", "abstain.coverage=0.5")  # fmt: skip
    results = json.loads((tmp_path / "run" / "tfidf" / "results.json").read_text())
    assert results["abstain/val_coverage"] >= 0.5
    thresholds = Predictor.load(tmp_path / "run" / "tfidf").thresholds
    assert thresholds is not None
    assert thresholds.tolist() == list(results["abstain/thresholds"].values())
    rows = {
        name: len((tmp_path / "splits" / f"{name}.csv").read_text().splitlines()) - 1
        for name in ("train", "val", "test")
    }
    assert rows == {name: results[f"{name}_reviews"] for name in rows}
    assert not (tmp_path / "run" / "naive_bayes").exists()


def test_a_used_folder_is_left_alone(tmp_path: Path) -> None:
    reviews = f"data.csv={write_reviews(tmp_path / 'reviews.csv', 60)}"
    run(tmp_path / "run", reviews, "weightings=[tfidf]")
    before = (tmp_path / "run" / "tfidf" / "results.json").read_bytes()
    with pytest.raises(InputError, match="run: holds a run already, which would be overwritten"):
        run(tmp_path / "run", reviews, "weightings=[naive_bayes]")  # they would share a config
    trained = tmp_path / "other" / "naive_bayes" / "checkpoints" / "last.ckpt"
    trained.parent.mkdir(parents=True)
    trained.touch()
    with pytest.raises(InputError, match="naive_bayes: holds a run already"):
        run(tmp_path / "other", reviews)
    assert (tmp_path / "run" / "tfidf" / "results.json").read_bytes() == before
    assert not (tmp_path / "other" / "tfidf").exists()


def test_a_stopped_run_is_marked_until_it_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    with monkeypatch.context() as patched:
        patched.setattr("sentiment.baseline.run.run_baseline", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, f"data.csv={reviews}")
    assert was_stopped(tmp_path)
    run(tmp_path, f"data.csv={reviews}", "weightings=[naive_bayes]")
    assert not was_stopped(tmp_path)


def test_imdb_that_was_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"sentiment\.download imdb"):
        run(tmp_path / "run", "data=imdb")


def test_a_class_without_a_training_review_is_refused(tmp_path: Path) -> None:
    for split, classes in (("train", 2), ("val", 3), ("test", 3)):
        table = pd.read_csv(write_reviews(tmp_path / f"{split}.csv", 60, classes))
        table["review"] += f" {split}"  # no text stands twice
        table.to_csv(tmp_path / f"{split}.csv", index=False)
    files = [f"data.{split}_csv={tmp_path / split}.csv" for split in ("train", "val", "test")]
    with pytest.raises(InputError, match="no training review has the label 'plain'"):
        run(
            tmp_path / "run", "data=csv", "data.text_column=review", "data.label_column=sentiment",
            "data.labels=[awful,lovely,plain]", *files,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.csv=nope.csv", "nope.csv"),
        ("weightings=[bm25]", "weightings"),
        ("model=gru", "model"),
    ],
)
def test_the_command_line_refuses_in_one_line(tmp_path: Path, override: str, expected: str) -> None:
    done = run_program("baseline", override, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
