"""Files and folders that appear under their name only when they are complete; compressed files."""

import bz2
import difflib
import gzip
import importlib
import io
import logging
import lzma
import os
import re
import shlex
import shutil
import struct
import sys
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from sentiment.runtime.errors import InputError, first_words, needing

log = logging.getLogger(__name__)

COMPRESSION_SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip", ".zst": "zstd"}

_ABANDONED_AFTER = 3600.0  # seconds without a write, after which a temporary folder is abandoned
QUIET_WAIT = 1.0  # seconds of waiting for another process that are not worth a message
_BLOCK = 1 << 18
# What the standard library raises for damaged bytes; of a zip file's directory, nearly anything.
_DAMAGED = (
    OSError, EOFError, ValueError, LookupError, ArithmeticError, RuntimeError, struct.error,
    zlib.error, lzma.LZMAError, zipfile.BadZipFile,
)  # fmt: skip


@contextmanager
def replaced_when_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; that file replaces ``path`` if the block succeeds."""
    temporary = _temporary_name(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_when_whole(path: Path) -> Iterator[Path]:
    """Like ``replaced_when_whole``, for a folder; of two processes that make it the first wins."""
    temporary = _temporary_name(path)
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


def _temporary_name(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def nearest_folder(path: Path) -> Path:
    """The folder of a file or, if that does not exist yet, the first above it that does."""
    return next(folder for folder in path.resolve().parents if folder.exists())


def remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders of killed processes from where ``folder_when_whole`` works."""
    for folder in parent.glob(".*.tmp"):
        with suppress(OSError):  # its own process may remove it at the same time
            touched = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - touched > _ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def one_at_a_time(path: Path, making: str) -> Iterator[None]:
    """Let one process at a time make ``path`` while the others wait.

    The lock is a file beside ``path``, which stays. The system releases it when the process that
    holds it ends, however it ends.

    Args:
        path: what is made; its folder is created if necessary.
        making: what the process does, for the log of those that wait, such as ``"fetches a.zip"``.
    """
    from filelock import FileLock, Timeout  # slow to import, and seldom needed

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=QUIET_WAIT)
    except Timeout:
        log.info("another process %s; waiting for it to end", making)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_table(path: str | Path) -> bool:
    """Whether a path ends as CSV files and other tables do, compressed or not."""
    name = str(path).lower()
    for suffix in COMPRESSION_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.endswith((".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"))


def is_there(path: Path) -> bool:
    """Whether a path is a file or, as a member of a zip archive, lies below one."""
    return any(file.is_file() for file in (path, *path.parents))


def similar_file(path: Path) -> str:
    """The end of a message about a missing file: a reason, or similar names quoted for a shell."""
    if path.name == "-":
        return "; standard input cannot be read twice: write it to a file first"
    if {*"*?"} & {*path.name}:
        return "; a pattern is not expanded: give one file"
    names: list[str] = []
    with suppress(OSError):
        names = [each.name for each in islice(os.scandir(path.parent), 10_000) if each.is_file()]
    longer = sorted(each for each in names if re.match(rf"{re.escape(path.name)}\W", each))
    stem = path.name.partition(".")[0]
    alike = [  # a common suffix does not make names similar
        each
        for each in difflib.get_close_matches(path.name, names, n=3)
        if difflib.get_close_matches(stem, [each.partition(".")[0]])
    ]
    found = longer or alike[:1]
    likely = [shlex.quote(str(path.with_name(each))) for each in found[:3]]
    return f"; did you mean {' or '.join(likely)}?" if likely else ""


def is_onnx(path: str | Path) -> bool:
    """Whether a path ends as ONNX files do."""
    return str(path).lower().endswith(".onnx")


def compression_of(path: Path) -> str:
    """The compression that the suffix of a path implies, or ``none``."""
    return COMPRESSION_SUFFIXES.get(path.suffix.lower(), "none")


def require_pyarrow(path: str | Path) -> Any:
    """Import pyarrow, which is an extra; raise InputError for this file if it is not installed."""
    with needing("files", f"{path}: such a file"):
        return importlib.import_module("pyarrow")


@contextmanager
def text_when_whole(path: Path) -> Iterator[IO[str]]:
    """Yield a text file that appears when it is complete: UTF-8, compressed by its suffix.

    The path ``-`` is standard output, where each line appears as soon as it is written.

    Raises:
        InputError: the suffix is ``.zst``, and pyarrow is not installed.
    """
    if str(path) == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    compression = compression_of(path)
    with ExitStack() as stack:
        temporary = stack.enter_context(replaced_when_whole(path.resolve()))
        raw = stack.enter_context(temporary.open("wb"))
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
        elif compression == "zstd":
            packed = require_pyarrow(path).CompressedOutputStream(raw, "zstd")
            stream = stack.enter_context(packed)
        yield stack.enter_context(io.TextIOWrapper(stream, "utf-8", newline=""))


@contextmanager
def uncompressed(
    raw: IO[bytes], compression: str, choose: Callable[[Sequence[str]], str]
) -> Iterator[Callable[[int], bytes]]:
    """Yield a function that reads and uncompresses up to n bytes of a file; b"" at the end.

    Args:
        raw: the open file.
        compression: a value of ``COMPRESSION_SUFFIXES``, or ``none``.
        choose: returns which file of a zip archive to read, given the names of its files.

    Raises:
        OSError: the bytes are damaged, or not of this compression; the function raises it, too.
        InputError: zstd needs pyarrow, which is not installed.
    """
    with ExitStack() as stack:
        with _damage_is_os_error():
            stream: Any = raw
            if compression == "gzip":
                stream = stack.enter_context(gzip.open(raw))
            elif compression in ("bz2", "xz"):
                new = bz2.BZ2Decompressor if compression == "bz2" else lzma.LZMADecompressor
                stream = io.BufferedReader(_Decompressed(raw, new), _BLOCK)
            elif compression == "zstd":
                unpacked = require_pyarrow(raw.name).CompressedInputStream(raw, "zstd")
                stream = stack.enter_context(unpacked)
            elif compression == "zip":
                archive = stack.enter_context(zipfile.ZipFile(raw))
                names = [name for name in archive.namelist() if not name.endswith("/")]
        if compression == "zip":
            name = choose(names)
            with _damage_is_os_error():
                stream = stack.enter_context(archive.open(name))

        def read(size: int) -> bytes:
            with _damage_is_os_error():
                data: bytes = stream.read(size)
                return data

        yield read


@contextmanager
def _damage_is_os_error() -> Iterator[None]:
    try:
        yield
    except (OSError, InputError):
        raise
    except _DAMAGED as error:
        raise OSError(first_words(error)) from error


class _Decompressed(io.RawIOBase):
    """The bytes of all compressed streams in a bz2 or xz file, one after the other.

    Unlike the standard library's files, it does not silently stop at a damaged further stream.
    """

    def __init__(
        self,
        raw: IO[bytes],
        new: Callable[[], "bz2.BZ2Decompressor | lzma.LZMADecompressor"],
    ) -> None:
        self._raw, self._new = raw, new
        self._decompressor = new()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer, at least in part, or return 0 at the end."""
        while True:
            decompressor = self._decompressor
            if decompressor.eof:
                following = decompressor.unused_data.lstrip(b"\0") or self._raw.read(_BLOCK)
                if not following:
                    return 0
                if not (following := following.lstrip(b"\0")):  # padding
                    continue
                self._decompressor = decompressor = self._new()
            else:
                following = self._raw.read(_BLOCK) if decompressor.needs_input else b""
                if decompressor.needs_input and not following:
                    raise EOFError("it ends within a compressed stream")
            if data := decompressor.decompress(following, len(buffer)):
                buffer[: len(data)] = data
                return len(data)
