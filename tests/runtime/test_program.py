import importlib
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sentiment
from sentiment.runtime import program as programs

SOURCE = Path(sentiment.__file__).parents[1]
# The libraries that a command imports only for its work, because they are slow to import.
SLOW = {
    "torch", "lightning", "torchmetrics", "sklearn", "pandas", "spacy", "torchtext", "scipy",
    "matplotlib", "optuna", "gensim", "joblib", "requests",
}  # fmt: skip
COMMANDS = {"train", "pretrain", "baseline", "vectors", "evaluate", "predict", "compare"}
START = """
import contextlib, importlib, sys
from hydra.core.global_hydra import GlobalHydra

for name, *arguments in {given!r}:
    sys.argv = [name, *arguments]
    with contextlib.suppress(SystemExit):
        importlib.import_module("sentiment." + name).main()
    GlobalHydra.instance().clear()
print("imported:", *{slow!r} & sys.modules.keys())
"""


def test_a_command_starts_without_slow_libraries(tmp_path: Path) -> None:
    hydra = [f"{name}.command" for name in ("train", "pretrain", "baseline", "vectors")]
    given = [(name, "--help") for name in (*hydra, "predict.command", "evaluate", "compare")]
    given += [(name, "--cfg=job") for name in hydra]
    given += [(name, override) for name in hydra for override in ("data.sede=3", "daat=csv")]
    done = subprocess.run(
        [sys.executable, "-c", START.format(given=given, slow=SLOW)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout.count("powered by Hydra"), done.stdout.count("show this help")) == (4, 3)
    assert done.stdout.count("\nsplit_seed: 42") + done.stdout.count("\n  split_seed: 42") >= 8
    errors = done.stderr.splitlines()
    assert [error.partition(":")[0] for error in errors] == ["error"] * 8
    assert all("did you mean" in error for error in errors)
    assert done.stdout.splitlines()[-1] == "imported:"


@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("hydra", ["train", "--help"]),
        ("rich", ["compare", "--help"]),
        ("torch", ["pretrain"]),
        ("torch", ["baseline"]),
        ("numpy", ["vectors"]),
        ("torch", ["evaluate", "x.ckpt", "x.csv"]),
        ("torch", ["predict", "x.ckpt", "good"]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_ctrl_c_while_libraries_are_imported_is_one_line(
    library: str, command: list[str], tmp_path: Path
) -> None:
    stop = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nos.abort()\n"
    (tmp_path / f"{library}.py").write_text(stop)
    done = subprocess.run(
        [sys.executable, "-m", f"sentiment.{command[0]}", *command[1:]],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCE}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nStopped.\n")


def test_ctrl_c_in_a_program_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def main() -> None:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "sentiment.train.command", SimpleNamespace(main=main))
    with pytest.raises(SystemExit) as stopped:
        programs.train()
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    program = SimpleNamespace(main=lambda: found.append(signal.getsignal(signal.SIGINT)))
    monkeypatch.setitem(sys.modules, "sentiment.train.command", program)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as ended:
            programs.train()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (ended.value.code, found) == (None, [signal.SIG_IGN])


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_spin_briefly_unless_the_user_says_otherwise(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    program = SimpleNamespace(main=lambda: found.append(os.environ.get("GOMP_SPINCOUNT")))
    monkeypatch.setitem(sys.modules, "sentiment.train.command", program)
    monkeypatch.setattr(os, "environ", dict(given))
    with pytest.raises(SystemExit):
        programs.train()
    assert found == [expected]


def test_the_installed_commands_are_these() -> None:
    project = SOURCE.parent / "pyproject.toml"
    if not project.is_file():
        pytest.skip("installed, without its sources")
    commands = tomllib.loads(project.read_text())["project"]["scripts"]
    assert commands == {
        f"sentiment-{name}": f"sentiment.runtime.program:{name}" for name in COMMANDS
    }
    for name in COMMANDS:
        (module,) = getattr(programs, name).args
        assert callable(importlib.import_module(module).main)
