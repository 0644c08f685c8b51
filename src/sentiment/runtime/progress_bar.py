"""Progress bars, and the lines that appear above them."""

import functools
import logging
import sys
from contextlib import nullcontext
from threading import RLock
from typing import TYPE_CHECKING, Any

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
    return _tqdm()(
        desc=description,
        total=total,
        unit=unit,
        disable=not (shown and (is_notebook or sys.stderr.isatty())),
        leave=False,
        ncols=80 if is_notebook else None,
        dynamic_ncols=not is_notebook,
        **options,
    )


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
    """Writes log lines, on a terminal above the progress bars that are open."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        tqdm = sys.modules.get("tqdm")  # not imported: no bar is open
        # Names the stream of the bars: standard output may be redirected, and not be ours.
        with nullcontext() if tqdm is None else tqdm.tqdm.external_write_mode(sys.stderr):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line in characters that the stream can hold, with ``?`` for others."""
        encoding = self.stream.encoding or "utf-8"
        return super().format(record).encode(encoding, "replace").decode(encoding)
