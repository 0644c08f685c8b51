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
# Each with a library that it imports, and that takes long.
LIBRARIES = {
    "train": "hydra", "pretrain": "hydra", "baseline": "torch", "vectors": "numpy",
    "evaluate": "torch", "predict": "torch", "compare": "rich",
}  # fmt: skip


@pytest.mark.parametrize("name", LIBRARIES)
def test_ctrl_c_while_libraries_are_imported_is_one_line(name: str, tmp_path: Path) -> None:
    library = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nos.abort()\n"
    (tmp_path / f"{LIBRARIES[name]}.py").write_text(library)
    done = subprocess.run(
        [sys.executable, "-m", f"sentiment.{name}", "--help"],
        capture_output=True, text=True, check=False,
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
        f"sentiment-{name}": f"sentiment.runtime.program:{name}" for name in LIBRARIES
    }
