"""Start and end the programs: whatever stops them becomes one line and an exit code.

Programs are imported only when they start, because that takes seconds.
"""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import NoReturn

from sentiment.runtime.errors import InputError, first_words, install_command, out_of_memory

# Packages of the extra "train" that programs import first.
_TO_TRAIN = ("torch", "hydra", "omegaconf", "pandas", "requests", "scipy", "yaml")
_STOPPED = 128 + signal.SIGINT
FOUND = 3  # exit code of a command that has found what it looks for


def start(name: str) -> NoReturn:
    """Import a program and run its ``main``.

    Args:
        name: the name of its module, which is imported under this name even if it runs as
            ``__main__``, so that other processes find its functions.

    Raises:
        SystemExit: at the end, with code 130 on Ctrl-C, and with code 2 if the packages are not
            installed that a program beside ``sentiment.predict`` needs.
    """
    _spin_briefly()
    if len(sys.argv) == 2:
        sys.argv[1] = {"help": "--help", "-V": "--version"}.get(sys.argv[1], sys.argv[1])
    try:
        with ending_at_once():
            main = import_module(name).main
        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(_STOPPED)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in _TO_TRAIN:
            raise
        write_error(f"this needs {package}: {install_command('train')}")
        sys.exit(2)
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
def ending_at_once(clean_up: Callable[[], None] = lambda: None) -> Iterator[None]:
    """End on Ctrl-C or SIGTERM without an exception, which a half-imported module may swallow.

    A signal that is ignored, as Ctrl-C is after `&` in a script, stays ignored.

    Args:
        clean_up: called first.
    """

    def end(number: int, frame: object) -> None:
        clean_up()
        end_at_once(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_once(number: int = signal.SIGINT) -> NoReturn:
    """Exit as after a signal, without taking the interpreter apart."""
    if number == signal.SIGINT:
        os.write(2, b"\nStopped.\n")
    os._exit(128 + number)


def write_error(error: object) -> None:
    """Print one line with an error on standard error."""
    sys.stderr.write(f"error: {error}\n")


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Run a plain command line: an ``InputError``, or full memory, is one line and code 2.

    Standard output is UTF-8 whatever the locale, so that any text can be written; where its reader
    has closed the pipe, the program ends with code 141 and says nothing.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    try:
        yield
    except InputError as error:
        write_error(error)
        sys.exit(2)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        write_error(f"{first_words(error)}: no memory is left; free some, or use another device")
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


# What each command does, as ``python -m sentiment`` lists it.
COMMANDS = {
    "check": "check data before a training: wrong labels, repeats, leaks, texts, giveaways",
    "train": "train a classifier on a CSV file of texts and labels; with -m, several",
    "predict": "predict texts, the rows of a CSV file, or lines with a trained classifier",
    "serve": "answer requests for predictions over HTTP, with a page to try texts in a browser",
    "evaluate": "measure a trained classifier on a CSV file with labels",
    "drift": "compare new texts with those of a training: have they changed?",
    "export": "write a trained network to an ONNX file, which predicts without torch",
    "compare": "compare trainings and baselines in one table",
    "report": "write the report of a training as one HTML page, or of several side by side",
    "baseline": "train linear classifiers of n-grams, in seconds, on the same reviews",
    "distill": "train a student on what teachers say of texts without labels",
    "vectors": "train word vectors on your texts, for a training to start from",
    "pretrain": "train a language model on your texts, for a training to start from",
    "publish": "write a trained classifier as a folder with a model card, for others",
    "download": "download the IMDB reviews, or GloVe vectors",
}

# Where the commands that pip installs begin.
train = partial(start, "sentiment.train.command")
pretrain = partial(start, "sentiment.pretrain.command")
check = partial(start, "sentiment.check.command")
baseline = partial(start, "sentiment.baseline.command")
compare = partial(start, "sentiment.compare")
report = partial(start, "sentiment.report.command")
vectors = partial(start, "sentiment.vectors.command")
export = partial(start, "sentiment.export.command")
distill = partial(start, "sentiment.distill.command")
evaluate = partial(start, "sentiment.evaluate")
download = partial(start, "sentiment.download")
publish = partial(start, "sentiment.publish.command")
drift = partial(start, "sentiment.drift.command")
predict = partial(start, "sentiment.predict.command")
serve = partial(start, "sentiment.serve.command")
