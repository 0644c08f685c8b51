"""The programs, started so that Ctrl-C is answered by one line from the first moment.

Knows them by name: their own imports take seconds, and come when they are started.
"""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import NoReturn

from sentiment.runtime.errors import InputError


def start(name: str) -> NoReturn:
    """Import a program and run its ``main``.

    Args:
        name: of its module, which is imported under this name though it may be ``__main__`` too:
            so other processes find what they are to run.

    Raises:
        SystemExit: at the end, and with code 130 on Ctrl-C.
    """
    _spin_briefly()
    try:
        with _ending_at_once():
            main = import_module(name).main
        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(128 + signal.SIGINT)
    sys.exit()


def _spin_briefly() -> None:
    """Let OpenMP's threads soon sleep while they wait for one another.

    They would spin for milliseconds, in which a core that other work has taken too gets nothing
    done: a training then takes ten times as long as with one thread. libgomp reads this when torch
    is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """End on Ctrl-C without an exception, which a module that is half imported may swallow."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # ignored, as it is after `&` in a script
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> NoReturn:
    os.write(2, b"\nStopped.\n")
    os._exit(128 + signal.SIGINT)


def write_utf8() -> None:
    """Let standard output be UTF-8 whatever the locale, so that any text can be written."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Print an InputError as one line and exit with code 2; be quiet when a pipe is closed."""
    try:
        yield
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


# Where the commands that pip installs begin.
train = partial(start, "sentiment.train.command")
pretrain = partial(start, "sentiment.pretrain.command")
baseline = partial(start, "sentiment.baseline.command")
compare = partial(start, "sentiment.compare")
vectors = partial(start, "sentiment.vectors.command")
evaluate = partial(start, "sentiment.evaluate")
predict = partial(start, "sentiment.predict.command")
