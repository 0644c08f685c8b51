"""Trainings of several real processes: equal to one process, ended together, one run folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from conftest import compose_config, write_reviews
from programs import run_program
from sentiment.report.tables import is_number
from sentiment.train.run import train

pytestmark = pytest.mark.slow

TINY = (
    "model.hidden_size=8", "embeddings.size=16", "trainer.accelerator=cpu", "data.batch_size=8",
    "trainer.precision=32-true", "trainer.max_epochs=2", "optimizer.lr=1e-2", "logger=csv",
    "data.csv=reviews.csv",
)  # fmt: skip
SAME = ("model.embedding_dropout=0", "model.head_dropout=0")  # no masks that differ by process
TIMES = {
    "fit_seconds",
    "latency_ms",
    "train_reviews_per_second",
    "train_tokens_per_second",
}


def start(folder: Path, *overrides: str, launcher: Iterable[str] = (), **environment: str) -> Any:
    """Begin a training in a folder, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, "sentiment.train", *TINY, *overrides],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, start_new_session=True,
    )  # fmt: skip


def run(folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    return run_program("train", *TINY, *overrides, cwd=folder)


def alone(folder: Path, name: str, *overrides: str) -> Path:
    """Train in this one process; the run folder."""
    given = [*TINY, "trainer=cpu", *overrides, f"data.csv={folder / 'reviews.csv'}"]
    train(compose_config([*given, "trainer.precision=32-true"], folder / name), folder / name)
    GlobalHydra.instance().clear()
    return folder / name


def results_of(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return results


def table_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns="seconds")


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return {k: v for k, v in saved["state_dict"].items() if k.startswith("classifier.")}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def ends(*pids: int) -> bool:
    """Whether the processes end within a while (a zombie has ended)."""

    def runs(pid: int) -> bool:
        try:
            return "zombie" not in Path(f"/proc/{pid}/status").read_text()
        except FileNotFoundError:
            return False

    for _ in range(150):
        if not any(map(runs, pids)):
            return True
        time.sleep(0.1)
    return False


def children(pid: int) -> list[int]:
    ids = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in ids.split()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_reviews(tmp_path / "reviews.csv", 123, classes=3)
    return tmp_path


def vectors(path: Path) -> str:
    words = ["the", "film", "number", "was", "and", "so", "act", "awful", "lovely", "plain"]
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(len(words), 16, generator=generator).tolist()
    lines = [
        " ".join([word, *map("{:.4f}".format, row)]) for word, row in zip(words, rows, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return f"embeddings.path={path}"


@pytest.mark.parametrize(
    ("processes", "overrides"),
    [
        (
            2,
            ["loss.class_weights=[1,2,3]", "loss.label_smoothing=0.1", "data.tokens_per_batch=100"],
        ),
        (3, ["data.batch_size=2", "trainer.accumulate_grad_batches=2", "embeddings.lazy=true"]),
        (2, ["data.batch_size=1", "scheduler=plateau", "callbacks.early_stopping.patience=1"]),
        (2, ["embeddings=file", "VECTORS", "embeddings.frozen=true", "trainer.max_epochs=1"]),
        (2, ["embeddings=file", "VECTORS", "embeddings.frozen_epochs=1"]),
        (2, ["trainer.limit_train_batches=5", "trainer.limit_val_batches=1"]),
        (2, ["model.ngrams=2"]),
    ],
    ids=["weighted", "fillers", "single reviews", "frozen", "thawing", "limited", "n-grams"],
)
def test_metrics_and_weights_are_those_of_one_process(
    folder: Path, processes: int, overrides: list[str]
) -> None:
    given = [vectors(folder / "v.txt") if item == "VECTORS" else item for item in overrides]
    alone(folder, "one", *SAME, *given)
    several = run(folder, *SAME, *given, "trainer.strategy=ddp", f"trainer.devices={processes}",
                  "hydra.run.dir=several")  # fmt: skip
    assert several.returncode == 0, several.stderr
    assert not several.stderr
    left, right = results_of(folder / "one"), results_of(folder / "several")
    assert right.pop("processes") == processes
    assert right.pop("imbalance") >= 1
    assert left.keys() == right.keys()
    assert left.pop("test/by_length") == right.pop("test/by_length")
    for name in left.keys() - TIMES:
        expected = pytest.approx(left[name], rel=1e-4) if is_number(left[name]) else left[name]
        assert right[name] == expected, name
    ours, theirs = weights_of(folder / "several"), weights_of(folder / "one")
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-3, atol=2e-4, msg=name)
    images = [(folder / name / "confusion_matrix.png").read_bytes() for name in ("one", "several")]
    assert images[0] == images[1]


def test_only_the_first_process_writes_and_prints(folder: Path) -> None:
    """Also where Hydra chooses the folder, and nothing is in the cache."""
    splits = folder / "splits"
    done = start(folder, "trainer=ddp", "logger=tensorboard", f"data.splits_dir={splits}",
                 "trainer.accelerator=cpu", SENTIMENT_CACHE=str(folder / "cache"))  # fmt: skip
    out, err = done.communicate(timeout=300)
    assert (done.returncode, err) == (0, "")
    (home,) = (folder / "runs").iterdir()
    assert sorted(path.name for path in home.iterdir()) == [
        ".hydra", "checkpoints", "confusion_matrix.png", "learning_curves.png", "metrics.csv",
        "reliability.png", "results.json", "tensorboard", "train.log",
    ]  # fmt: skip
    assert sorted(path.name for path in (home / ".hydra").iterdir()) == [
        "config.yaml", "hydra.yaml", "overrides.yaml",
    ]  # fmt: skip
    assert out.count("words in the vocabulary") == out.count("epoch 2 of 2") == 1
    assert "2 processes: the one with most tokens had 1.0" in out
    corpora = [path for path in (folder / "cache" / "corpora").iterdir() if path.is_dir()]
    assert len(corpora) == 1
    evaluated = subprocess.run(
        [sys.executable, "-m", "sentiment.evaluate", str(home / "checkpoints" / "best.ckpt"),
         str(splits / "test.csv"), "--json"],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    metrics = json.loads(evaluated.stdout)
    results = results_of(home)
    assert metrics["test/by_length"] == results.pop("test/by_length")
    for name, value in results.items():
        if name.startswith("test/"):
            assert metrics[name] == pytest.approx(value, rel=1e-5), name


def stopped(folder: Path, sign: signal.Signals, *overrides: str) -> tuple[int, str]:
    """Start a training, and send a signal to one of its processes, then to the first."""
    process = start(folder, *overrides, "callbacks.save_minutes=0")
    last = folder / "run" / "checkpoints" / "last.ckpt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.02)
    started = children(process.pid)
    os.kill(started[0], sign)
    time.sleep(0.1)
    if process.poll() is None:
        os.kill(process.pid, sign)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert ends(*started)
    return process.returncode, out


def test_a_stopped_training_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """With dropout, from within an epoch; the signals come at different moments."""
    write_reviews(tmp_path / "reviews.csv", 600, classes=3)
    overrides = ["trainer.strategy=ddp", "trainer.devices=2", "data.batch_size=4"]
    code, out = stopped(tmp_path, signal.SIGTERM, *overrides, "hydra.run.dir=run")
    assert code == 128 + signal.SIGTERM
    assert out.count("Stopped. Resume with") == 1
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["SentimentDataModule"]["position"] == (0, saved["global_step"])
    again = run(tmp_path, *overrides, "hydra.run.dir=run", "ckpt_path=auto")
    assert again.returncode == 0, again.stderr
    assert "Resuming from" in again.stdout
    assert run(tmp_path, *overrides, "hydra.run.dir=whole").returncode == 0
    ours, theirs = weights_of(tmp_path / "run"), weights_of(tmp_path / "whole")
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    pd.testing.assert_frame_equal(table_of(tmp_path / "run"), table_of(tmp_path / "whole"))
    left, right = results_of(tmp_path / "run"), results_of(tmp_path / "whole")
    assert all(left[name] == right[name] for name in left.keys() - TIMES)


def test_another_number_of_processes_may_go_on(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.csv", 600, classes=3)
    code, _ = stopped(tmp_path, signal.SIGINT, *SAME, "trainer.strategy=ddp", "trainer.devices=2",
                      "data.batch_size=4", "hydra.run.dir=run")  # fmt: skip
    assert code == 128 + signal.SIGINT
    again = run(tmp_path, *SAME, "data.batch_size=4", "ckpt_path=auto", "hydra.run.dir=run")
    assert again.returncode == 0, again.stderr
    assert "begun by 2 processes and is resumed by 1" in again.stdout
    alone(tmp_path, "whole", *SAME, "data.batch_size=4")
    pd.testing.assert_frame_equal(
        table_of(tmp_path / "run"), table_of(tmp_path / "whole"), rtol=1e-3
    )


@pytest.mark.parametrize("first", [False, True], ids=["another", "the first"])
def test_when_one_process_is_killed_the_others_end(folder: Path, first: bool) -> None:
    process = start(folder, "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=999",
                    "callbacks.early_stopping=null", "hydra.run.dir=run")  # fmt: skip
    last = folder / "run" / "checkpoints" / "last.ckpt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.05)
    started = children(process.pid)
    begin = time.monotonic()
    os.kill(process.pid if first else started[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 30
    assert ends(*started)
    assert process.returncode in ((-signal.SIGKILL,) if first else (1, -signal.SIGKILL))
    assert "Traceback" not in err
    # Or else Lightning, which looks every five seconds, has ended it before it could report it.
    assert "another process of this training has ended" in err or "terminated with code" in err


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["hydra.mode=MULTIRUN", "seed=1,2"],
            "-m: a sweep trains each run in one process, not in 2",
        ),
        (["data.csv=nope.csv"], "nope.csv: no such file"),
        (["trainer.devices=13"], "10 val reviews for 13 processes"),
        (["trainer.num_nodes=2"], "torchrun or srun must start the processes"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    folder: Path, overrides: list[str], expected: str
) -> None:
    done = run(folder, "trainer=ddp", "trainer.accelerator=cpu", *overrides)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
    assert "vocabulary" not in done.stdout


def torchrun(folder: Path, *overrides: str, machines: int = 2) -> list[tuple[int, str, str]]:
    """Two machines on this one, each with a process: exit code and output of each."""
    port = free_port()
    nodes = [
        start(
            folder, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1",
            f"trainer.num_nodes={machines}", *overrides,
            launcher=["torch.distributed.run", "--nnodes=2", f"--node-rank={node}",
                      "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}",
                      "-m"],
        )
        for node in range(2)
    ]  # fmt: skip
    outputs = [node.communicate(timeout=300) for node in nodes]
    return [(node.returncode, *texts) for node, texts in zip(nodes, outputs, strict=True)]


def test_two_machines_train_by_torchrun(folder: Path) -> None:
    first, second = torchrun(folder, *SAME, "hydra.run.dir=run")
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "Everything is in" in first[1]
    assert second[1].strip() == ""
    assert (folder / "run" / ".hydra" / "config.yaml").is_file()
    left, right = results_of(alone(folder, "one", *SAME)), results_of(folder / "run")
    assert right["test/loss"] == pytest.approx(left["test/loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "error: 2 processes need one folder; give hydra.run.dir=FOLDER"),
        (["hydra.run.dir=run", "trainer.num_nodes=3"], "3 processes, but torchrun or srun has"),
        (["hydra.run.dir=run", "data.text_column=nope"], "'nope'"),
    ],
    ids=["folder", "number", "data"],
)
def test_torchrun_is_refused_in_one_line(folder: Path, overrides: list[str], expected: str) -> None:
    ended = torchrun(folder, *overrides)
    assert all(code for code, *_ in ended)
    lines = "".join(err for *_, err in ended).splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert all(expected in line for line in errors)
    assert 1 <= len(errors) <= 2  # once, or once on each machine
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("machines", [1, 2])
def test_processes_of_srun_train_together(folder: Path, machines: int) -> None:
    tasks = 2 // machines
    job = {
        "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": f"{tasks}", "SLURM_NNODES": f"{machines}",
        "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }  # fmt: skip
    processes = [
        start(folder, "trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={tasks}",
              f"trainer.num_nodes={machines}", "hydra.run.dir=runs/4711", **job,
              SLURM_PROCID=f"{number}", SLURM_LOCALID=f"{number % tasks}",
              SLURM_NODEID=f"{number // tasks}")
        for number in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[1] == ("", "")
    assert results_of(folder / "runs" / "4711")["processes"] == 2
