"""Searches by the command line, as a user starts, kills and repeats them."""

import csv
import json
import shlex
import subprocess
import time
from pathlib import Path

import optuna
import pytest

from conftest import write_reviews
from programs import Program, run_program

TINY = (
    "embeddings.size=8", "trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=3",
    "logger=csv", "data.batch_size=8", "model.embedding_dropout=0",
)  # fmt: skip


def command(folder: Path, reviews: Path, *overrides: str) -> list[str]:
    given = [f"data.csv={reviews}", f"hydra.sweep.dir={folder}", *TINY, *overrides]
    return ["train", "-m", "sweep=optuna", *given]


def search(folder: Path, reviews: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    return run_program(*command(folder, reviews, *overrides))


def trials_in(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(
        study_name="sentiment", storage=f"sqlite:///{folder / 'study.db'}"
    ).trials


SPACE = (
    "model=gru", "model.hidden_size=choice(4,8)", "model.pooling=max",
    "optimizer.lr=tag(log,interval(1e-5,3e-2))",
)  # fmt: skip


SETTLED = """# @package _global_
defaults:
  - override /hydra/sweeper: sentiment_optuna
data:
  val_size: 0.3
hydra:
  sweeper:
    seed: ${seed}
    n_trials: 2
    params:
      model.hidden_size: [4, 8]
"""


@pytest.mark.slow
def test_a_search_logs_records_ranks_and_draws(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", rows=240)
    folder = tmp_path / "sweep"
    done = search(
        folder, reviews, *SPACE, "hydra.sweeper.n_trials=12",
        "hydra.sweeper.objectives=[val/loss]", "+hydra.sweeper.pruner.n_startup_trials=2",
        f"data.splits_dir=choice({tmp_path}/splits,{reviews}/no_folder)",
    )  # fmt: skip
    trials = trials_in(folder)
    failed = [t for t in trials if t.state == optuna.trial.TrialState.FAIL]
    pruned = [t for t in trials if t.state == optuna.trial.TrialState.PRUNED]
    assert len(trials) == 12
    assert failed, "a trial of the wrong folder fails"
    assert pruned, "a trial with a tiny rate is hopeless"
    assert {t.params["data.splits_dir"] for t in failed} == {f"{reviews}/no_folder"}
    assert done.returncode == 2, done.stderr
    assert f"12 of 12 trials ({len(pruned)} pruned, {len(failed)} failed)" in done.stdout
    with (folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = min(t.value for t in trials if t.value is not None)
    assert float(rows[0]["val/loss"]) == best
    assert [row["status"] for row in rows].count("pruned") == len(pruned)
    assert {path.name for path in folder.glob("*.png")} >= {"history.png"}
    assert "categorical units" not in done.stdout + done.stderr  # of matplotlib
    assert done.stdout.count("\nTrial ") + done.stdout.startswith("Trial ") == 12
    assert "words in the vocabulary" not in done.stdout  # what a run prints is in its log
    assert "words in the vocabulary" in (folder / rows[0]["folder"] / "train.log").read_text()


@pytest.mark.slow
def test_a_search_that_is_killed_and_begun_again_ends_as_if_it_had_not_been(
    tmp_path: Path,
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", rows=240)
    overrides = [*SPACE, "hydra.sweeper.n_trials=7", "+hydra.sweeper.sampler.n_startup_trials=2"]
    assert search(tmp_path / "whole", reviews, *overrides).returncode == 0
    folder = tmp_path / "killed"
    for _ in range(3):
        begun = len(list(folder.glob("*/metrics.csv")))
        with Program(*command(folder, reviews, *overrides)) as process:  # killed at the end
            while len(list(folder.glob("*/metrics.csv"))) < begun + 2 and process.poll() is None:
                time.sleep(0.01)
    assert 1 <= sum(t.state.is_finished() for t in trials_in(folder)) < 7, "killed on its way"
    done = search(folder, reviews, *overrides)
    assert done.returncode == 0, done.stderr
    for whole, killed in zip(trials_in(tmp_path / "whole"), trials_in(folder), strict=True):
        assert killed.params == whole.params
        assert killed.state == whole.state
        assert killed.values == whole.values
        assert killed.intermediate_values == whole.intermediate_values


@pytest.mark.slow
def test_settings_of_a_sweeps_file_are_in_the_printed_commands(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv")
    (tmp_path / "my" / "sweep").mkdir(parents=True)
    (tmp_path / "my" / "sweep" / "own.yaml").write_text(SETTLED)
    given = [f"data.csv={reviews}", *TINY, f"hydra.searchpath=[file://{tmp_path}/my]", "sweep=own"]
    given += [f"hydra.sweep.dir={tmp_path}/s"]
    pruner = "hydra.sweeper.pruner._target_=optuna.pruners.HyperbandPruner"
    done = run_program("train", "-m", *given, pruner)
    assert done.returncode == 0, done.stderr
    command = shlex.split(done.stdout.split("Test its best with:\n")[1])
    tested = run_program("train", *command[command.index("sentiment.train") + 1 :])
    assert tested.returncode == 0, tested.stderr
    assert "nothing was trained" in tested.stdout
    best = json.loads((tmp_path / "s" / "best.json").read_text())
    results = json.loads((Path(best["folder"]) / "results.json").read_text())
    assert results["val/accuracy"] == best["val/accuracy"]
    assert results["val_reviews"] == 29  # 30 % of what is left after the test split
    assert "test/accuracy" in results


@pytest.mark.slow
def test_two_processes_in_one_folder_and_a_typo_are_refused(tmp_path: Path) -> None:
    from filelock import FileLock

    reviews = write_reviews(tmp_path / "reviews.csv")
    (tmp_path / "multirun.yaml").write_text("of the first")
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    with FileLock(tmp_path / ".sweeping.lock"):
        done = search(tmp_path, reviews, *SPACE, "hydra.sweeper.storage=postgresql://me:secret@h/x")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: hydra.sweep.dir={tmp_path}: another process searches")
    assert "secret" not in done.stderr + done.stdout
    assert "sweep ends" not in done.stdout
    assert (tmp_path / "multirun.yaml").read_text() == "of the first"
    done = search(tmp_path, reviews, *SPACE, "optimizer.lrr=interval(0,1)")
    assert done.returncode == 2
    assert "did you mean optimizer.lr" in done.stderr
    assert done.stderr.count("\n") == 1
