import logging
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from sentiment.runtime import environment
from sentiment.runtime.environment import (
    device_name,
    limit_threads,
    prepare_process,
    program_command,
    require_device,
)
from sentiment.runtime.errors import InputError

ABSENT = "cuda:0" if not torch.cuda.is_available() else f"cuda:{torch.cuda.device_count()}"


@pytest.mark.parametrize("name", ["foo", "", "cpu:x", "meta", ABSENT])
def test_a_device_that_cannot_be_used_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        require_device(name)
    message = str(caught.value)
    assert message.startswith(f"device {name!r} ")
    assert "; choose cpu" in message
    assert "\n" not in message
    require_device("cpu")


def test_a_gpu_is_called_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"is unknown .*cuda.*; choose cpu or cuda:0 or cuda:1"):
        require_device("gpu")


@pytest.mark.parametrize(("chosen", "expected"), [(None, 2), ("8", 8)])
def test_threads_keep_to_the_cores_of_a_container(
    chosen: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = [8]
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")  # as if the container had a quota of two
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    limit_threads()
    assert threads[-1] == expected


@pytest.mark.parametrize(("threads", "expected"), [(1, ", 1 thread"), (4, ", 4 threads")])
def test_threads_are_counted(threads: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert device_name(torch.device("cpu")).endswith(expected)


def test_the_command_calls_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / ".venv" / "bin" / "python3"
    monkeypatch.setattr(sys, "executable", str(own))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: str(own.with_name(name)))
    monkeypatch.setattr(sys, "argv", ["src/sentiment/train/__main__.py"])
    assert program_command("sentiment.train", "a b") == "python -m sentiment.train 'a b'"
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/python")
    assert program_command("sentiment.train") == ".venv/bin/python3 -m sentiment.train"
    monkeypatch.chdir(own.parents[2].parent)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert ".venv/bin/python3 -m sentiment.compare" in program_command("sentiment.compare")


@pytest.mark.parametrize(
    ("called", "on_path", "expected"),
    [
        ("sentiment", True, "sentiment predict x"),
        ("sentiment", False, "env/bin/sentiment predict x"),
        ("sentiment-train", True, "sentiment-predict x"),
        ("sentiment-train", False, "env/bin/sentiment-predict x"),
        ("sentiment-train.exe", False, "env/bin/sentiment-predict.exe x"),
        ("sentiment-demo.py", False, "python -m sentiment.predict x"),
        ("sentiment.py", False, "python -m sentiment.predict x"),
    ],
)
def test_another_command_is_named_as_this_one_was_called(
    called: str, on_path: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "env" / "bin" / called
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(own), "train"])
    monkeypatch.setattr(sys, "executable", "python")
    found = own if on_path else tmp_path / called
    monkeypatch.setattr(shutil, "which", lambda name: str(found.with_name(name)))
    assert program_command("sentiment.predict", "x") == expected


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        prepare_process()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        prepare_process()
        assert signal.getsignal(signal.SIGTERM) is environment._leave
    finally:
        signal.signal(signal.SIGTERM, before)
