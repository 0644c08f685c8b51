"""Many trainings in one process: nothing of one is left when the next begins."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from conftest import TINY, write_reviews
from sentiment.sweep import best_run

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


def multirun(folder: Path, *overrides: str) -> None:
    write_reviews(folder / "reviews.csv", 60)
    done = subprocess.run(
        [
            sys.executable, "-m", "sentiment.train", "-m", *TINY, "data.csv=reviews.csv",
            "hydra.sweep.dir=sweep", *overrides,
        ],
        cwd=folder, capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
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
