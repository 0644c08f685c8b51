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
import sentiment.__main__ as everything
from sentiment.runtime import program as programs

SOURCE = Path(sentiment.__file__).parents[1]
# The libraries that a command imports only for its work, because they are slow to import.
SLOW = {
    "torch", "lightning", "torchmetrics", "sklearn", "pandas", "spacy", "torchtext", "scipy",
    "matplotlib", "optuna", "gensim", "joblib", "requests", "fastapi", "uvicorn",
    "cleanlab", "jinja2",
}  # fmt: skip
COMMANDS = {
    "train", "pretrain", "distill", "baseline", "vectors", "check", "evaluate", "predict", "serve",
    "compare", "download", "drift", "export", "publish", "report",
}  # fmt: skip
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
    programs = ("train", "pretrain", "distill", "baseline", "vectors", "check")
    hydra = [f"{name}.command" for name in programs]
    plain = ("predict", "serve", "export", "drift", "report")
    every = (*hydra, *(f"{name}.command" for name in plain))
    every = (*every, "evaluate", "compare", "download", "__main__")
    wrong: dict[tuple[str, ...], str] = {
        ("__main__", "train", "lr=3"): "did you mean",
        ("train.command", "--lr", "3"): "did you mean",
        ("train.command", "--cfg=nope", "--help"): "invalid choice",
        ("train.command", "sweep=optuna"): "add -m",
        ("train.command", "seed=1,2"): "add -m",
        ("train.command", "model.hidden_size=0"): "hidden_size",
        ("train.command", "data=imdb"): "imdb",
        ("train.command", "data.batch_size=0"): "data.batch_size=0: must be at least 1",
        ("train.command", "data.test_size=2"): "data.test_size=2.0: must be above 0 and below 1",
        ("train.command", "optimizer.lr=-1"): "optimizer.lr=-1.0: must be at least 0",
        ("train.command", "pretrained.path=nope"): "pretrained.path=nope: no such checkpoint",
        (
            "train.command",
            "embeddings=file",
            "embeddings.path=nope",
        ): "embeddings.path=nope: no such file",
        ("pretrain.command", "ckpt_path=nope"): "ckpt_path=nope: no such checkpoint",
        ("pretrain.command", "+model.nope=1"): "nope",
        ("pretrain.command", "model.layer_dropout=1.5"): "layer_dropout=1.5",
        **{(name, "data.csv=nope.csv"): "nope.csv: no such file" for name in hydra},
        **{(name, "data.sede=3"): "did you mean" for name in hydra},
        **{(name, "daat=csv"): "did you mean" for name in hydra},
    }
    given: list[tuple[str, ...]] = [
        (name, flag) for name in every for flag in ("--help", "--version")
    ]
    given += [(name, "--cfg=job") for name in hydra]
    given += [("__main__", "train", "--help"), *wrong]
    done = subprocess.run(
        [sys.executable, "-c", START.format(given=given, slow=SLOW)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"\n{done.stdout}".lower().count("\nusage: ") == len(every) + 1
    assert done.stdout.count(f"sentiment {sentiment.__version__}\n") == len(every)
    assert done.stdout.count("\n  split_seed: 42") == len(hydra)
    for (case, fact), error in zip(wrong.items(), done.stderr.splitlines(), strict=True):
        assert error.startswith("error: "), case
        assert fact in error, case
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
    assert commands.pop("sentiment") == "sentiment.__main__:main"
    assert commands == {
        f"sentiment-{name}": f"sentiment.runtime.program:{name}" for name in COMMANDS
    }
    assert programs.COMMANDS.keys() == COMMANDS
    for name in COMMANDS:
        (module,) = getattr(programs, name).args
        assert callable(importlib.import_module(module).main)


def test_one_command_lists_and_runs_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("sys.argv", ["bin/sentiment"])
    with pytest.raises(SystemExit):
        everything.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Usage: sentiment COMMAND ..."
    assert {line.split()[0] for line in lines if line.startswith("  ")} == COMMANDS

    given: list[list[str]] = []
    program = SimpleNamespace(main=lambda: given.append(sys.argv[1:]))
    monkeypatch.setitem(sys.modules, "sentiment.train.command", program)
    monkeypatch.setattr("sys.argv", ["bin/sentiment", "train", "model=gru", "--cfg", "job"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(SystemExit) as ended:
        everything.main()
    assert (ended.value.code, given) == (None, [["model=gru", "--cfg", "job"]])
    # By this, Lightning starts the other processes of a training.
    assert getattr(sys.modules["__main__"].__spec__, "name", None) == "sentiment.train"

    for typed in (["help", "train"], ["--help", "train"], ["train", "help"], ["train", "-V"]):
        monkeypatch.setattr("sys.argv", ["bin/sentiment", *typed])
        with pytest.raises(SystemExit):
            everything.main()
    assert given[1:] == [["--help"], ["--help"], ["--help"], ["--version"]]

    monkeypatch.setattr("sys.argv", ["bin/sentiment", "-V"])
    with pytest.raises(SystemExit):
        everything.main()
    assert capsys.readouterr().out == f"sentiment {sentiment.__version__}\n"

    monkeypatch.setattr("sys.argv", ["bin/sentiment", "trian"])
    with pytest.raises(SystemExit) as ended:
        everything.main()
    assert ended.value.code == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


def test_a_full_memory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, programs.exit_on_input_error():
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: CUDA out of memory")
    with pytest.raises(RuntimeError, match="other"), programs.exit_on_input_error():
        raise RuntimeError("other")
