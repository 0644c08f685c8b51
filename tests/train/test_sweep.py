"""Many trainings in one process: refusals, ranking, and what each training leaves behind."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from conftest import TINY, write_reviews
from programs import run_program
from sentiment.runtime.errors import InputError
from sentiment.train import command as train
from sentiment.train.sweep import best_run

# Notes after each run what the process holds.
PROBE = """
import json, logging, os, signal, threading, warnings
import matplotlib.pyplot as plt
from hydra.experimental.callback import Callback

class Probe(Callback):
    def on_job_end(self, config, job_return, **kwargs):
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        loggers = [logging.getLogger(name) for name in [None, *logging.root.manager.loggerDict]]
        held = {
            "memory": pages * os.sysconf("SC_PAGE_SIZE"),
            "handlers": sum(len(logger.handlers) for logger in loggers),
            "files": len(os.listdir("/proc/self/fd")),
            "figures": len(plt.get_fignums()),
            "filters": len(warnings.filters),
            "signals": [str(signal.getsignal(name)) for name in (signal.SIGINT, signal.SIGTERM)],
            "threads": threading.active_count(),
        }
        with open("held.jsonl", "a") as file:
            file.write(json.dumps(held) + chr(10))
"""


Sweep = Callable[..., int]


@pytest.fixture
def trained(tmp_path: Path) -> list[int]:
    """The seeds of the runs that were begun."""
    return []


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[int]) -> Sweep:
    """Run a grid whose trainings only write results; seed 3 is refused, seed 4 fails."""

    def pretend(cfg: DictConfig, folder: Path, **_: object) -> dict[str, object]:
        trained.append(cfg.seed)
        if cfg.seed == 3:
            raise InputError("no such luck")
        if cfg.seed == 4:
            raise ZeroDivisionError
        logging.getLogger("sentiment.train.run").info("a log line")
        sys.stdout.write("a table\n")
        results = {"val/accuracy": 1 / cfg.seed, "fit_seconds": 7}
        (folder / "results.json").write_text(json.dumps(results))
        return results

    def run(*overrides: str) -> int:
        GlobalHydra.instance().clear()
        given = ["-m", *TINY, "hydra.sweep.dir=sweep", *overrides]
        monkeypatch.setattr(sys, "argv", ["sentiment.train", *given])
        try:
            train.main()
        except SystemExit as end:
            return int(str(end.code))
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sentiment.train.run.train", pretend)
    monkeypatch.setattr(train, "prepare_process", lambda: None)
    return run


def rows() -> dict[str, str]:
    table = pd.read_csv("sweep/sweep.csv", dtype=str)
    return dict(zip(table["folder"], table["status"], strict=True))


@pytest.mark.parametrize("subdir", ["seeds/${seed}", "a/b/${hydra.job.num}", "${seed}", ".."])
def test_runs_are_ranked_at_any_depth(sweep: Sweep, subdir: str) -> None:
    subdir = "../out/${seed}" if subdir == ".." else subdir
    assert sweep("seed=2,1", f"hydra.sweep.subdir={subdir}") == 0
    assert list(rows().values()) == ["ok", "ok"]
    best = json.loads(Path("sweep/best.json").read_text())
    assert best["val/accuracy"] == 1
    assert (Path(best["folder"]) / "results.json").is_file()
    assert best["command"].endswith("seed=1")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=1,2", "hydra.sweep.subdir=${model.cell}"], ["run 1 (seed=2)", "run 0", "lstm"]),
        (["seed=1,2", "hydra.sweep.subdir=same"], ["run 1 (seed=2)", "run 0"]),
        (["seed=1,2", "hydra.sweep.subdir=" + 256 * "x"], ["run 0", "too long"]),
        (["seed=1,2", "hydra.sweep.subdir=${nope}"], ["hydra.sweep.subdir", "nope"]),
        (["seed=1,-2"], ["run 1 (seed=-2)", "seed=-2"]),
        (["model.head_dropout=0,2"], ["run 1", "head_dropout=2.0"]),
        (["data.test_size=0.2,2"], ["run 1", "data.test_size=2.0"]),
        (["optimizer.lr=1e-3,-1"], ["run 1", "optimizer.lr=-1.0"]),
        (["embeddings.lr_scale=1,0"], ["run 1", "lr_scale"]),
        (["model=gru,lsm"], ["did you mean 'lstm'?"]),
        (["seed=1,2", "hydra.sweeper.max_batch_size=0"], ["max_batch_size=0"]),
        (["seed=1,2,-1", "hydra.sweeper.max_batch_size=1"], ["run 2"]),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_run(
    sweep: Sweep, trained: list[int], capsys: pytest.CaptureFixture[str],
    overrides: list[str], expected: list[str],
) -> None:  # fmt: skip
    assert sweep(*overrides) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert all(part in error for part in expected), error
    assert not trained
    assert not Path("sweep").exists()


def test_each_run_is_one_line(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], trained: list[int]
) -> None:
    sweep("seed=2,3", "optimizer.lr=1e-3,2e-3")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        "Run 0 (seed=2, optimizer.lr=0.001): val/accuracy 50.00 % in 7.0s",
        "Run 1 (seed=2, optimizer.lr=0.002): val/accuracy 50.00 % in 7.0s",
        "error: no such luck",
        "Run 2 (seed=3, optimizer.lr=0.001): failed",
        "error: no such luck",
        "Run 3 (seed=3, optimizer.lr=0.002): failed",
    ]
    log = Path("sweep/0/train.log").read_text()
    assert all(said in log for said in ("a log line", "Run 0 (seed=2"))


@pytest.mark.parametrize("subdir", ["${hydra.job.num}", "a/${seed}"])
def test_runs_that_fail_are_counted_and_the_others_go_on(
    sweep: Sweep, trained: list[int], subdir: str
) -> None:
    assert sweep("seed=1,3,4,2", f"hydra.sweep.subdir={subdir}") == 2
    assert trained == [1, 3, 4, 2]
    assert sorted(rows().values()) == ["failed", "failed", "ok", "ok"]


def test_a_sweep_resumes_in_its_folder_only_if_asked(
    sweep: Sweep, trained: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    subdir = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    assert sweep("seed=1,2", subdir) == 0
    assert sweep("seed=1,2,5", subdir) == 2
    assert "ckpt_path=auto" in capsys.readouterr().err
    assert trained == [1, 2]
    assert list(rows().values()) == ["ok", "ok"]
    assert sweep("seed=1,2,5", subdir, "ckpt_path=auto") == 0
    assert list(rows().values()) == ["ok", "ok", "ok"]


def test_a_run_that_fails_where_another_had_ended_counts_as_failed(sweep: Sweep) -> None:
    assert sweep("seed=1,2") == 0
    assert sweep("seed=1,3", "ckpt_path=auto") == 2
    assert rows() == {"0": "ok", "1": "failed"}


def multirun(folder: Path, *overrides: str) -> None:
    write_reviews(folder / "reviews.csv", 60)
    given = ["-m", *TINY, "data.csv=reviews.csv", "hydra.sweep.dir=sweep", *overrides]
    done = run_program("train", *given, cwd=folder, path=folder, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system has no /proc")
def test_forty_trainings_hold_what_ten_hold(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    multirun(
        tmp_path, f"seed={','.join(map(str, range(40)))}", "model=lstm", "model.hidden_size=256",
        "trainer.max_epochs=1", "trainer.limit_train_batches=1", "data.num_workers=1",
        "logger=tensorboard", "+hydra.callbacks.probe={_target_: probe.Probe}",
    )  # fmt: skip
    held = [json.loads(line) for line in (tmp_path / "held.jsonl").read_text().splitlines()]
    assert len(held) == 40
    tenth, last = held[9], held[39]
    # Weights and optimizer of one of these trainings that stayed would be half a per cent each.
    assert last.pop("memory") < 1.05 * tenth.pop("memory")
    assert last == tenth


@pytest.mark.slow
def test_a_run_does_not_depend_on_those_before_it(tmp_path: Path) -> None:
    multirun(tmp_path, "model=lstm,birnn,bigru,stacked_gru,lstm", "model.head_dropout=0.3")
    first, fifth = (
        torch.load(tmp_path / "sweep" / run / "checkpoints" / "last.ckpt", weights_only=True)
        for run in "04"
    )
    for name, weight in first["state_dict"].items():
        assert torch.equal(weight, fifth["state_dict"][name]), name


def test_the_best_run_is_repeated_by_its_overrides(tmp_path: Path) -> None:
    run = tmp_path / "1"
    (run / ".hydra").mkdir(parents=True)
    task = ["data.csv='my reviews.csv'", "ckpt_path=auto", "model=gru"]
    hydra = ["hydra.sweep.dir=x", "hydra.searchpath=[file:///my conf]", "hydra/launcher=joblib"]
    overrides = {"hydra": {"overrides": {"hydra": hydra, "task": task}}}
    (run / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(overrides))
    rows = [{"rank": 1, "folder": "1", "val/accuracy": 0.9, "model": "gru"}]
    best = best_run(tmp_path, rows)
    assert best is not None
    assert str(best["command"]).endswith(
        "-m sentiment.train 'hydra.searchpath=[file:///my conf]'"
        " 'data.csv='\"'\"'my reviews.csv'\"'\"'' model=gru"
    )
    assert best["checkpoint"] is None
    assert best["val/accuracy"] == 0.9
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.ckpt").touch()
    best = best_run(tmp_path, rows)
    assert best is not None
    assert best["checkpoint"] == str(run / "checkpoints" / "best.ckpt")


def test_where_no_run_finished_none_is_the_best(tmp_path: Path) -> None:
    assert best_run(tmp_path, []) is None
    assert best_run(tmp_path, [{"rank": None, "folder": "0"}]) is None
