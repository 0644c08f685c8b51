"""The exception for wrong input, whose message says what to do."""

import difflib
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is a single line that names the value, its source (file, row, column or config
    key), the valid choices, and what to do next. The entry points print it without a traceback
    and end with exit code 2.
    """


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra."""
    return f"pip install 'sentiment[{extra}]'"


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Import packages of an extra: where one is missing, raise InputError with what needs it."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{what} needs a package ({first_words(error)}): {install_command(extra)}"
        ) from error


def first_words(error: BaseException) -> str:
    """The first words of another library's error, no full stop; its class if there are none."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return textwrap.shorten(line.rstrip(". "), 120, placeholder=" ...")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of Python or torch, says that the memory of a CPU or GPU is full."""
    marks = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
    message = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or any(mark in message for mark in marks)


def as_typed(value: object) -> str:
    """A setting's value as a user types it on the command line: true, false, null."""
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def listed(names: Sequence[str], quote: Callable[[str], str] = str, most: int = 12) -> str:
    """The names with commas between them; of many the first ones, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(quote, names[:most])) + more


def likely_names(name: str, names: Collection[str]) -> list[str]:
    """What a wrong name may mean: all names that begin with it, or else the most similar one."""
    longer = [each for each in names if name and each.startswith(name)]
    return longer or difflib.get_close_matches(name, names, n=1)


def valid_names(name: str, names: Collection[str]) -> str:
    """The end of a message about a wrong name: the likely intended one, and all valid ones."""
    close = likely_names(name, names)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}valid: {', '.join(names)}"
