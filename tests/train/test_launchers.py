"""Multiruns whose runs are processes of their own: what fails, and stopping them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch

from conftest import TINY, write_reviews
from hydra_plugins.sentiment_launchers import joblib_launcher
from programs import Program, run_program
from sentiment.runtime import environment as machine

LAUNCHERS = ("joblib", "submitit_local")
# A logger that ends the runs of some seeds, as memory that runs out or a bug would.
BOMB = """
import os, signal
from lightning.pytorch.loggers import Logger

class Bomb(Logger):
    name, version = "bomb", 0

    def __init__(self, seed):
        super().__init__()
        self.seed = seed
        if seed == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if seed == 3:
            raise ValueError("no server")

    def log_metrics(self, *args, **kwargs):
        if self.seed == 4:
            raise RuntimeError("a bug")

    def log_hyperparams(self, *args, **kwargs):
        pass
"""

# What submitit calls on a cluster: an array of jobs on this machine.
SBATCH = """#!/bin/bash
cp "$1" submitted.sh
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
for i in $(seq 0 $last); do
  SLURM_JOB_ID=7$i SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$i SLURM_JOB_NAME=train \\
  SLURM_NTASKS=1 SLURM_NTASKS_PER_NODE=1 SLURM_JOB_NUM_NODES=1 SLURM_PROCID=0 SLURM_LOCALID=0 \\
  SLURM_NODEID=0 SLURM_JOB_NODELIST=here bash submitted.sh > slurm_$i.txt 2>&1 &
done
echo "Submitted batch job 7"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do
  case $1 in --output|--error) shift 2;; *) shift;; esac
done
exec "$@"
"""
SACCT = """#!/bin/bash
printf 'JobID|State|NodeList\\n7_0|RUNNING|here\\n7_1|RUNNING|here\\n'
"""


def start(tmp_path: Path, *overrides: str) -> Program:
    write_reviews(tmp_path / "reviews.csv", 60)
    given = ["-m", *TINY, "data.csv=reviews.csv", "hydra.sweep.dir=sweep", *overrides]
    cache = {"SENTIMENT_CACHE": str(tmp_path / "cache")}
    return Program("train", *given, cwd=tmp_path, env=cache, path=tmp_path)


def statuses(tmp_path: Path) -> dict[str, str]:
    table = pd.read_csv(tmp_path / "sweep" / "sweep.csv", dtype=str)
    return dict(zip(table["folder"], table["status"], strict=True))


def test_processes_share_the_cores_and_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    seen = []
    for index in range(3):
        with joblib_launcher._pool_of_one(index, 3) as pool:
            names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
            seen.append([pool.submit(os.getenv, name).result() for name in names])
    assert seen == [["2", "2"], ["2", "5"], ["2", "2"]]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with joblib_launcher._pool_of_one(0, 3) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "3"


def test_lines_of_several_runs_stay_whole(capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = (joblib_launcher._NumberedLines(1, number) for number in (3, 4))
    print("one", "line", file=ours, end="")
    print("another", file=theirs)
    print(" goes on\nand ends", file=ours)
    assert capfd.readouterr().out == "[4] another\n[3] one line goes on\n[3] and ends\n"
    assert not ours.isatty()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_runs_that_fail_or_are_killed_take_no_other_with_them(
    tmp_path: Path, launcher: str
) -> None:
    """And those that end have the weights that the printed command gives in one process."""
    (tmp_path / "bomb.py").write_text(BOMB)
    logger = "+logger.bomb={_target_: bomb.Bomb, seed: ${seed}}"
    launched = f"hydra/launcher={launcher}"
    with start(tmp_path, launched, "seed=2,3,4,5", "trainer.max_epochs=1", logger) as sweep:
        assert sweep.wait() == 2
        output = sweep.stdout + sweep.stderr
    failed = dict.fromkeys("012", "failed")
    assert statuses(tmp_path) == {"3": "ok", **failed}, output
    assert "error: 3 of 4 runs failed" in output
    assert output.count("The table is in") == 1
    lines = [line for line in output.splitlines() if "Run " in line]
    assert sorted(line.split(":")[0] for line in lines) == [
        "Run 1 (seed=3)", "Run 2 (seed=4)", "Run 3 (seed=5)",
    ]  # fmt: skip
    if launcher == "joblib":
        assert "error: run 0 was ended by SIGKILL" in output
        assert "[1] error: config: logger.bomb: no server" in output
        assert "RuntimeError: a bug" in output
    else:
        assert "error: run 0 ended without a result: see" in output
    assert_repeats_its_best(tmp_path, output)


@pytest.mark.slow
def test_runs_in_one_process_repeat_their_best(tmp_path: Path) -> None:
    with start(tmp_path, "model=birnn,bigru", "data.batch_size=8") as sweep:
        assert sweep.wait() == 0, sweep.stderr
        output = sweep.stdout
    table = pd.read_csv(tmp_path / "sweep" / "sweep.csv")
    best = json.loads((tmp_path / "sweep" / "best.json").read_text())
    assert best["val/accuracy"] == table["val/accuracy"].max()
    assert_repeats_its_best(tmp_path, output)


def assert_repeats_its_best(tmp_path: Path, output: str) -> None:
    best = json.loads((tmp_path / "sweep" / "best.json").read_text())
    assert (
        f"Best run by val/accuracy: {best['checkpoint']}. Repeat it with:\n  {best['command']}\n"
        in output
    )
    _, _, program, *given = shlex.split(best["command"])
    assert program == "sentiment.train"
    done = run_program("train", *given, "hydra.run.dir=again", cwd=tmp_path, path=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        torch.load(tmp_path / path, weights_only=True)["state_dict"]
        for path in (best["checkpoint"], "again/checkpoints/best.ckpt")
    )
    for name, weight in ours.items():
        assert torch.equal(weight, theirs[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_reaches_every_run(tmp_path: Path, launcher: str, number: signal.Signals) -> None:
    """A terminal sends Ctrl-C to the whole group of processes, a scheduler SIGTERM to the first."""
    endless = ["trainer.max_epochs=9999", "callbacks.early_stopping=null", "seed=1,2"]
    if launcher == "joblib":
        endless.append("hydra.launcher.n_jobs=2")  # even where there is one core
    with start(tmp_path, f"hydra/launcher={launcher}", *endless) as process:
        while not all(trains(tmp_path / "sweep" / run) for run in "01"):
            assert process.poll() is None
            time.sleep(0.2)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(60) == 128 + number
        output = process.stdout + process.stderr
        wait_until_gone(process.pid)
    assert "The sweep ends here" in output
    assert "Traceback" not in output
    assert statuses(tmp_path) == {"0": "stopped", "1": "stopped"}
    assert "none is the best" in output
    for run in "01":
        last = tmp_path / "sweep" / run / "checkpoints" / "last.ckpt"
        torch.load(last, weights_only=True)


def wait_until_gone(group: int) -> None:
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("processes are left")


def trains(run: Path) -> bool:
    with suppress(FileNotFoundError):
        return len((run / "metrics.csv").read_text().splitlines()) > 2
    return False


@pytest.mark.slow
def test_a_sweep_goes_through_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, script in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    given = ["hydra.launcher.partition=fast", "hydra.launcher.cpus_per_task=1", "seed=1,2"]
    given += ["hydra/launcher=submitit_slurm", "trainer.max_epochs=1"]
    with start(tmp_path, *given) as sweep:
        assert sweep.wait() == 0, sweep.stdout + sweep.stderr
    assert statuses(tmp_path) == {"0": "ok", "1": "ok"}
    submitted = (tmp_path / "submitted.sh").read_text()
    assert "#SBATCH --partition=fast" in submitted
    assert "#SBATCH --array=0-1%2" in submitted


@pytest.mark.slow
def test_without_a_cluster_or_the_extra_one_line_says_so(tmp_path: Path) -> None:
    with start(tmp_path, "hydra/launcher=submitit_slurm") as sweep:
        assert sweep.wait() == 2
        (error,) = sweep.stderr.splitlines()
    assert error.startswith("error: hydra/launcher=submitit_slurm: there is no srun here")
    hidden = "import sys; sys.modules['hydra_plugins.hydra_submitit_launcher'] = None"
    main = "from sentiment.train.command import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", f"{hidden}; {main}", "-m", "hydra/launcher=submitit_local"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (error,) = done.stderr.splitlines()
    assert error.endswith("submitit_local is not installed: pip install 'sentiment[slurm]'")
