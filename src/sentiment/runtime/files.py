"""Files and folders that appear under their name only when they are whole, and are made once."""

import bz2
import gzip
import io
import logging
import lzma
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

log = logging.getLogger(__name__)

COMPRESSION_SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}

_LONG_AGO = 3600.0  # seconds in which a process that lives writes something

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


def remove_leftovers(parent: Path) -> None:
    """Remove what killed processes left where ``folder_when_whole`` makes folders."""
    for folder in parent.glob(".*.tmp"):
        with suppress(OSError):  # its own process may remove it at the same time
            touched = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - touched > _LONG_AGO:
                shutil.rmtree(folder, ignore_errors=True)


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


@contextmanager
def text_when_whole(path: Path) -> Iterator[IO[str]]:
    """A text file that appears when it is whole: UTF-8, compressed as its suffix says."""
    with ExitStack() as stack:
        temporary = stack.enter_context(replaced_when_whole(path.resolve()))
        raw = stack.enter_context(temporary.open("wb"))
        packed = stack.enter_context(_packed(raw, path))
        yield stack.enter_context(io.TextIOWrapper(packed, "utf-8", newline=""))


@contextmanager
def _packed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes are compressed into ``raw``, in the way the suffix of ``path`` says."""
    compression = COMPRESSION_SUFFIXES.get(path.suffix.lower())
    with ExitStack() as stack:
        stream: Any = raw
        if compression == "gzip":  # without a time and a name, equal texts make equal files
            stream = stack.enter_context(gzip.GzipFile("", "wb", 6, cast("Any", raw), mtime=0))
        elif compression == "bz2":
            stream = stack.enter_context(bz2.open(raw, "wb"))
        elif compression == "xz":
            stream = stack.enter_context(lzma.open(raw, "wb"))
        elif compression == "zip":
            archive = stack.enter_context(zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED))
            stream = stack.enter_context(archive.open(path.stem, "w", force_zip64=True))
        yield stream
