"""The project's programs in processes of their own, forked from one that has the libraries already.

A new Python takes seconds to import them, many times as long as what a test asks of a program.
Such a process also has the schemas and resolvers of the tests before it, so one test of each
command starts a new Python.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import pytest
from joblib.externals.loky import process_executor

COMMANDS = (
    "train", "pretrain", "distill", "baseline", "vectors", "check", "predict", "drift",
    "export", "serve", "report",
)  # fmt: skip


def error_line(
    main: Callable[[Sequence[str]], None],
    arguments: Sequence[str],
    capsys: pytest.CaptureFixture[str],
) -> str:
    """The one line with which a command line, called in this process, says what is wrong."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


class Program:
    """A program that was started, in a session of its own, whose processes end with it.

    Args:
        name: such as ``train``.
        arguments: its command-line arguments.
        cwd: its working folder; None for that of this process.
        env: its environment variables in addition to those of this process.
        path: a folder to import further modules from.

    Attributes:
        pid: its process id.
        returncode: as in ``subprocess.Popen``; None while it runs.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        path: Path | None = None,
    ) -> None:
        if not hasattr(os, "fork"):
            pytest.skip("the system cannot fork")
        _import_once()
        self._folder = tempfile.TemporaryDirectory()
        self._stdout, self._stderr = (Path(self._folder.name, each) for each in ("out", "err"))
        self._stdout.touch()
        self._stderr.touch()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            if path is not None:
                sys.path.insert(0, str(path))
            self._run(name, arguments, cwd, env or {})

    def _run(
        self, name: str, arguments: tuple[str, ...], cwd: Path | None, env: Mapping[str, str]
    ) -> None:
        """Run the program in the child; never returns."""
        code = 1
        try:
            os.setsid()
            _redirect(self._stdout, self._stderr)
            _forget_the_test()
            os.environ.update({"OMP_NUM_THREADS": "1", **env})
            os.chdir(cwd or ".")
            sys.argv = [f"sentiment/{name}/__main__.py", *arguments]
            # By this, Lightning starts the other processes of a training.
            sys.modules["__main__"].__spec__ = find_spec(f"sentiment.{name}")
            module = f"sentiment.{name}.command" if name in COMMANDS else f"sentiment.{name}"
            code = _exit_code_of(module)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
                process_executor._python_exit()  # else joblib's processes would remain
            os._exit(code & 0xFF)

    @property
    def stdout(self) -> str:
        """Its standard output so far."""
        return self._stdout.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        """Its standard error so far."""
        return self._stderr.read_text(encoding="utf-8", errors="replace")

    def poll(self) -> int | None:
        """Its return code, or None if it still runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """Wait until it ends; returns its return code."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired("program", timeout, self.stdout, self.stderr)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def wait_for(self, text: str, timeout: float = 300) -> None:
        """Wait until it has written a text to standard output."""
        end = time.monotonic() + timeout
        while text not in self.stdout:
            assert self.poll() is None, self.stdout + self.stderr
            assert time.monotonic() < end, self.stdout
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.send_signal(signal.SIGKILL)
        self.wait()
        self._folder.cleanup()


def run_program(
    name: str,
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    path: Path | None = None,
    timeout: float = 300,
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; arguments as for ``Program``."""
    with Program(name, *arguments, cwd=cwd, env=env, path=path) as program:
        code = program.wait(timeout)
        return subprocess.CompletedProcess([name, *arguments], code, program.stdout, program.stderr)


@functools.cache
def _import_once() -> None:
    """Import what the programs import when they begin to work."""
    for module in (
        "sentiment.train.run", "sentiment.train.sweep", "sentiment.train.search.report",
        "sentiment.pretrain.run", "sentiment.distill.run", "sentiment.baseline.run",
        "sentiment.vectors.run", "sentiment.check.run", "tensorboard.compat.proto.summary_pb2",
        "matplotlib.pyplot",
    ):  # fmt: skip
        import_module(module)


def _redirect(stdout: Path, stderr: Path) -> None:
    for number, path in ((1, stdout), (2, stderr)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)


def _forget_the_test() -> None:
    """Undo what tests and the test runner have set in this process."""
    import logging
    import warnings

    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    for logger in [logging.root, *map(logging.getLogger, logging.root.manager.loggerDict)]:
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.disabled = False
        logger.propagate = True
    logging.root.setLevel(logging.WARNING)
    logging.disable(logging.NOTSET)
    warnings.resetwarnings()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit_code_of(module: str) -> int:
    from sentiment.runtime.program import start

    import_module(module)
    try:
        start(module)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return end.code or 0
