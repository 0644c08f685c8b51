"""Progress bars, and the lines that appear above them."""

import functools
import logging
import os
import sys
from contextlib import nullcontext, suppress
from threading import RLock
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(
    description: str, total: float | None, unit: str, *, shown: bool = True, **options: Any
) -> "tqdm[Any]":
    """A bar with rate and time left on standard error, which disappears when it is closed.

    Args:
        description: what is in progress.
        total: the number of units; None if it is unknown.
        unit: what is counted, in the singular.
        shown: False shows nothing, as does a standard error that is neither a terminal nor a
            notebook.
        options: further arguments of ``tqdm``.
    """
    is_notebook = type(sys.stderr).__module__.startswith("ipykernel")
    columns, rows = (80, 24) if is_notebook else terminal_size(sys.stderr)
    bar = _tqdm()(
        desc=description,
        total=total,
        unit=unit,
        disable=not (shown and (is_notebook or sys.stderr.isatty())),
        leave=False,
        ncols=columns,
        nrows=rows,
        **options,
    )
    if not is_notebook:  # tqdm's own function takes a terminal of 0 columns at its word
        bar.dynamic_ncols = terminal_size  # type: ignore[assignment]
    return bar


def terminal_size(stream: IO[str]) -> tuple[int, int]:
    """Columns and rows of a terminal; 80 and 24 where it does not say.

    The environment variable ``COLUMNS`` precedes what the terminal says.
    """
    columns = rows = 0
    with suppress(OSError, ValueError):
        columns, rows = os.get_terminal_size(stream.fileno())
    given = os.environ.get("COLUMNS", "")
    return (int(given) if given.isdecimal() else 0) or columns or 80, rows or 24


@functools.cache
def _tqdm() -> "type[tqdm[Any]]":
    """The class of the bars, with a lock of this process and without a thread.

    Its own lock is shared with forked processes: one that is killed while it holds the lock would
    block all others for ever.
    """
    from tqdm import tqdm

    tqdm.monitor_interval = 0
    tqdm.set_lock(RLock())
    return tqdm


def write_note(text: str) -> None:
    """Write a note to standard error, on a terminal above the progress bars that are open."""
    _tqdm().write(f"note: {text}", file=sys.stderr)


class LinesAboveBars(logging.StreamHandler[Any]):
    """Writes log lines, on a terminal above the progress bars that are open.

    A record may have ``shorter`` lines, of which a narrow terminal gets the first that fits.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        tqdm = sys.modules.get("tqdm")  # not imported: no bar is open
        # Names the stream of the bars: standard output may be redirected, and not be ours.
        with nullcontext() if tqdm is None else tqdm.tqdm.external_write_mode(sys.stderr):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line in characters that the stream can hold, with ``?`` for others."""
        line = super().format(record)
        if self.stream.isatty():
            columns, _ = terminal_size(self.stream)
            lines = [line, *getattr(record, "shorter", ())]
            line = next((each for each in lines if len(each) <= columns), lines[-1])
        encoding = self.stream.encoding or "utf-8"
        return line.encode(encoding, "replace").decode(encoding)
