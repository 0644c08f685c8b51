"""Files and folders that appear under their name only when they are whole, and are made once."""

import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds of waiting that nobody needs to be told of


@contextmanager
def replaced_when_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``; the file takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_when_whole(path: Path) -> Iterator[Path]:
    """Like ``replaced_when_whole`` for a folder; where two processes make it, the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def one_at_a_time(path: Path, making: str) -> Iterator[None]:
    """Let one process at a time make what stands at ``path``; the others wait for it.

    The lock is a file beside ``path`` that stays. It ends with the process that holds it, however
    that ends.

    Args:
        path: what is made; its folder is made if need be.
        making: what the others are told when they wait, such as ``"fetches a.zip"``.
    """
    from filelock import FileLock, Timeout  # slow to import, and seldom needed

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        log.info("another process %s; waiting for it to end", making)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
