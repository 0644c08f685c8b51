"""Trainings of several real processes: equal to one process, ended together, one run folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from conftest import compose_config, write_reviews
from programs import Program, run_program
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


def start(folder: Path, *overrides: str, **environment: str) -> Program:
    return Program("train", *TINY, *overrides, cwd=folder, env=environment)


def run(folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    """Train in this process, and in those that Lightning starts."""
    return run_program("train", *TINY, *overrides, cwd=folder)


def ranks(
    folder: Path, *overrides: str, processes: int = 2, machines: int = 1
) -> list[tuple[int, str, str]]:
    """Train in processes as torchrun starts them: exit code and output of each."""
    devices = processes // machines
    group = {"TORCHELASTIC_RUN_ID": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    settings = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={devices}"]
    started = [
        start(
            folder, *settings, f"trainer.num_nodes={machines}", *overrides, **group,
            RANK=f"{rank}", WORLD_SIZE=f"{processes}", GROUP_RANK=f"{rank // devices}",
            LOCAL_RANK=f"{rank % devices}", LOCAL_WORLD_SIZE=f"{devices}",
        )
        for rank in range(processes)
    ]  # fmt: skip
    return outputs_of(started)


def outputs_of(processes: Sequence[Program]) -> list[tuple[int, str, str]]:
    """Exit code and output of each process, when all have ended."""
    ended = []
    for process in processes:
        with process:
            ended.append((process.wait(), process.stdout, process.stderr))
    return ended


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
    several = ranks(folder, *SAME, *given, "hydra.run.dir=several", processes=processes)
    assert all((code, err) == (0, "") for code, _, err in several), several
    left, right = results_of(folder / "one"), results_of(folder / "several")
    assert right.pop("processes") == processes
    assert right.pop("imbalance") >= 1
    assert left.keys() == right.keys()
    for results in (left, right):
        results.get("baseline", {}).pop("seconds", None)
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
    settings = ["trainer=ddp", "trainer.accelerator=cpu", "logger=tensorboard"]
    settings.append(f"data.splits_dir={splits}")
    with start(folder, *settings, SENTIMENT_CACHE=str(folder / "cache")) as process:
        assert (process.wait(), process.stderr) == (0, "")
        out = process.stdout
    (home,) = (folder / "runs").iterdir()
    assert sorted(path.name for path in home.iterdir()) == [
        ".hydra",
        "checkpoints",
        "confusion_matrix.png",
        "learning_curves.png",
        "metrics.csv",
        "predictions.csv",
        "reliability.png",
        "results.json",
        "tensorboard",
        "train.log",
    ]  # fmt: skip (there is no report where tests leave plots out)
    assert sorted(path.name for path in (home / ".hydra").iterdir()) == [
        "config.yaml", "hydra.yaml", "overrides.yaml",
    ]  # fmt: skip
    assert out.count("words in the vocabulary") == out.count("epoch 2 of 2") == 1
    assert "2 processes: the one with most tokens had 1.0" in out
    corpora = [path for path in (folder / "cache" / "corpora").iterdir() if path.is_dir()]
    assert len(corpora) == 1
    best = str(home / "checkpoints" / "best.ckpt")
    metrics = json.loads(run_program("evaluate", best, str(splits / "test.csv"), "--json").stdout)
    results = results_of(home)
    for name, value in results.items():
        if name.startswith("test/"):
            expected = pytest.approx(value, rel=1e-5) if is_number(value) else value
            assert metrics[name] == expected, name


def stopped(folder: Path, sign: signal.Signals, *overrides: str) -> tuple[int, str]:
    """Start a training, and send a signal to one of its processes, then to the first."""
    with start(folder, *overrides, "callbacks.save_minutes=0") as process:
        last = folder / "run" / "checkpoints" / "last.ckpt"
        while not last.exists() and process.poll() is None:
            time.sleep(0.02)
        started = children(process.pid)
        os.kill(started[0], sign)
        time.sleep(0.1)
        process.send_signal(sign)
        code = process.wait(60)
        assert "Traceback" not in process.stderr
        assert ends(*started)
        return code, process.stdout


def test_a_stopped_training_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """With dropout, from within an epoch; the signals come at different moments."""
    write_reviews(tmp_path / "reviews.csv", 600, classes=3)
    overrides = ["trainer.strategy=ddp", "trainer.devices=2", "data.batch_size=4"]
    code, out = stopped(tmp_path, signal.SIGTERM, *overrides, "hydra.run.dir=run")
    assert code == 128 + signal.SIGTERM
    assert out.count("Stopped. Resume with") == 1
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["SentimentDataModule"]["position"] == (0, saved["global_step"])
    again = ranks(tmp_path, *overrides, "hydra.run.dir=run", "ckpt_path=auto")
    assert [code for code, *_ in again] == [0, 0], again
    assert "Resuming from" in again[0][1]
    whole = ranks(tmp_path, *overrides, "hydra.run.dir=whole")
    assert [code for code, *_ in whole] == [0, 0], whole
    ours, theirs = weights_of(tmp_path / "run"), weights_of(tmp_path / "whole")
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    pd.testing.assert_frame_equal(table_of(tmp_path / "run"), table_of(tmp_path / "whole"))
    left, right = results_of(tmp_path / "run"), results_of(tmp_path / "whole")
    assert left["baseline"].pop("seconds") > 0 < right["baseline"].pop("seconds")
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
    with start(folder, "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=999",
               "callbacks.early_stopping=null", "hydra.run.dir=run") as process:  # fmt: skip
        last = folder / "run" / "checkpoints" / "last.ckpt"
        while not last.exists() and process.poll() is None:
            time.sleep(0.05)
        started = children(process.pid)
        begin = time.monotonic()
        os.kill(process.pid if first else started[0], signal.SIGKILL)
        process.wait(60)
        assert time.monotonic() - begin < 30
        assert ends(*started)
        err = process.stderr
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


def test_two_machines_train_by_torchrun(folder: Path) -> None:
    address = ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    settings = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", *SAME]
    settings += ["trainer.num_nodes=2", "hydra.run.dir=run"]
    first, second = (
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}",
             "--nproc-per-node=1", *address, "-m", "sentiment.train", *TINY, *settings],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for node in range(2)
    )  # fmt: skip
    (out, err), (second_out, _) = first.communicate(timeout=300), second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), err
    assert "Everything is in" in out
    assert second_out.strip() == ""
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
    ended = ranks(folder, *overrides, machines=2)
    assert all(code for code, *_ in ended)
    errors = "".join(err for *_, err in ended).splitlines()
    assert all(line.startswith("error: ") and expected in line for line in errors)
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
    outputs = outputs_of(processes)
    assert [code for code, *_ in outputs] == [0, 0], outputs
    assert outputs[1][1:] == ("", "")
    assert results_of(folder / "runs" / "4711")["processes"] == 2
