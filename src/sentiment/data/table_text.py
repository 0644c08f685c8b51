"""The text of a CSV file, unpacked and decoded as it is read.

Raises nothing but InputError, in one line, for what cannot be read. Knows nothing of cells.
"""

import bz2
import codecs
import gzip
import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from sentiment.data.csv_format import COMPRESSIONS, CsvFormat
from sentiment.data.file_kinds import HEAD, binary_kind, packing, textual_kind
from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.files import COMPRESSION_SUFFIXES

LONGEST = 1 << 24  # characters of a line or a cell, which bounds the memory
_BLOCK = 1 << 18
_BYTE_ORDER_MARKS = (  # the longer first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
# Which of each four or two bytes are often zero where texts have some ASCII.
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True): "utf-16-le",
    (True, False): "utf-16-be",
}
# What the standard library raises for damaged bytes; of a zip file's directory, nearly anything.
_DAMAGED = (
    OSError, EOFError, ValueError, LookupError, ArithmeticError, RuntimeError, struct.error,
    zlib.error, lzma.LZMAError, zipfile.BadZipFile,
)  # fmt: skip


class TableText:
    """The text of an open file, to be read once.

    Attributes:
        met: which of quotation marks, backslashes and lone carriage returns have been met.
    """

    def __init__(
        self, path: Path, csv_format: CsvFormat, stream: IO[bytes], raw: IO[bytes]
    ) -> None:
        self.met: set[str] = set()
        self._path, self._format = path, csv_format
        self._stream, self._raw = stream, raw
        self._size = max(1, path.stat().st_size)

    @property
    def progress(self) -> float:
        """Fraction of the file that has been read, 0 to 1."""
        return min(1.0, self._raw.tell() / self._size)

    def lines(self, *, any_return: bool | None = None) -> Iterator[str]:
        """The lines, each with its end.

        Args:
            any_return: whether a lone carriage return ends a line, too; None goes by whether the
                beginning has no line feed outside of quotation marks.

        Raises:
            InputError: the file is damaged, of another kind or in another encoding, or a line is
                longer than ``LONGEST``.
        """
        unended: list[str] = []  # pieces of a line, joined once it has ended
        for block in self._blocks():
            if any_return is None and re.search("[\r\n]", bare := re.sub('"[^"]*"', "", block)):
                any_return = "\n" not in bare
            self.met |= {mark for mark in '"\\' if mark in block}
            if not any_return and "\r" in block and block.count("\r") > block.count("\r\n"):
                self.met.add("\r")
            unended.append(block)
            if "\n" in block or (any_return and "\r" in block):
                text = io.StringIO("".join(unended), "" if any_return else "\n")
                lines = text.readlines()
                unended = [] if lines[-1].endswith("\n") else [lines.pop()]
                yield from lines
            if sum(map(len, unended)) > LONGEST:
                raise InputError(
                    f"{self._path}: a line is longer than {LONGEST:,} characters; is this a CSV"
                    f" file in {self._format.encoding}?"
                )
        if unended:
            yield from io.StringIO("".join(unended), "" if any_return else "\n")

    def _blocks(self) -> Iterator[str]:
        """The text, some at a time; a carriage return and a line feed after it stay together."""
        head = self.read()
        self._check(head)
        encoding = codecs.lookup(self._format.encoding).name
        decoder = codecs.getincrementaldecoder(encoding)()
        offset, block, start, held = 0, head, True, ""
        while True:
            pending = len(decoder.getstate()[0])
            try:
                text = held + decoder.decode(block, not block)
                if encoding == "utf-7":
                    text.encode()  # it may give half a character, which no other codec does
            except UnicodeError as error:
                place = offset - pending
                if isinstance(error, UnicodeDecodeError):
                    place += error.start
                self._check_encoding(head, 0.05)
                raise self._undecodable(place) from error
            if start:
                text, start = text.removeprefix("\ufeff"), not text
            held = "\r" if block and text.endswith("\r") else ""
            yield text[: len(text) - len(held)]
            if not block:
                return
            offset += len(block)
            block = self.read()

    def read(self) -> bytes:
        """The next bytes, unpacked; none at the end."""
        try:
            return self._stream.read(_BLOCK)
        except _DAMAGED as error:
            raise InputError(_damaged(self._path, self._format, error)) from error

    def _check(self, head: bytes) -> None:
        """Refuse what is no text, or text of an encoding that can be told from its bytes."""
        if not head:
            raise InputError(f"{self._path}: the file is empty; give a CSV with a header and rows")
        _refuse_other_kind(self._path, head)
        if self._stream is not self._raw and (packed := packing(head)):
            raise InputError(f"{self._path}: is compressed twice; unpack it once ({packed[0]})")
        self._check_encoding(head, 0.4)

    def _check_encoding(self, head: bytes, zeros: float) -> None:
        """Refuse another encoding than the first bytes show; see ``_likely_encodings``."""
        encoding = codecs.lookup(self._format.encoding).name
        likely, why = _likely_encodings(head, encoding, zeros)
        if likely and encoding not in likely:
            raise InputError(
                f"{self._path}: is no {self._format.encoding} text: {why}; set"
                f" {self._format.override('encoding', likely[0])}"
            )

    def _undecodable(self, place: int) -> InputError:
        encoding = self._format.encoding
        others = [name for name in ("utf-8", "latin-1", "cp1252") if name != encoding]
        return InputError(
            f"{self._path}: byte {place} is no {encoding} text; set the encoding, such as"
            f" {self._format.override('encoding', others[-1])} ({' and '.join(others)} are common),"
            " or save the file as UTF-8"
        )


def _likely_encodings(head: bytes, encoding: str, zeros: float) -> tuple[tuple[str, ...], str]:
    """The encodings that a file's first bytes leave possible, or () for any, and how they tell.

    Args:
        head: the first bytes.
        encoding: the one that is set now.
        zeros: the fraction of zero bytes at every second or fourth place that shows a wide one.

    Returns:
        The one to set is the first.
    """
    for mark, family in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            other = f"{family}-{'le' if mark[0] == 0xFF else 'be'}"
            other = "utf-8-sig" if family == "utf-8" else other
            return (family, other), f"it begins with the byte order mark of {family}"
    zeros = 0.05 if encoding in ("utf-16", "utf-32") else zeros
    for width in (4, 2):
        parts = [head[place:HEAD:width] for place in range(width)]
        if wide := _ZEROS.get(tuple(part.count(0) > zeros * len(part) for part in parts)):
            return (wide,), f"its zero bytes look like {wide}, without a byte order mark"
    if encoding.startswith(("utf-16", "utf-32")) and b"\0" not in head:
        with suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder("utf-8")().decode(head)
            return ("utf-8",), "it has no zero bytes and looks like utf-8"
    if encoding in ("utf-16", "utf-32"):
        why = f"it has no byte order mark, so it is {encoding}-le or {encoding}-be"
        return (f"{encoding}-le",), why
    return (), ""


@contextmanager
def open_table(path: Path, csv_format: CsvFormat) -> Iterator[TableText]:
    """Open a CSV file for reading.

    Raises:
        InputError: the file is missing, no plain file, of another kind, or compressed in another
            way than its format says.
    """
    compression = csv_format.compression
    if compression == "infer":
        compression = COMPRESSION_SUFFIXES.get(path.suffix.lower(), "none")
    with ExitStack() as stack:
        try:
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise InputError(
                    f"{path}: a pipe or a device, which cannot be read twice; write it to a file"
                )
            raw = stack.enter_context(path.open("rb"))
            head = raw.read(HEAD)
            raw.seek(0)
        except OSError as error:
            raise InputError(_unopened(path, error)) from error
        _refuse_other_kind(path, head)
        _check_packing(path, csv_format, compression, head)
        stream: IO[bytes] = raw
        try:
            if compression == "gzip":
                stream = cast("IO[bytes]", stack.enter_context(gzip.open(raw)))
            elif compression in ("bz2", "xz"):
                new = bz2.BZ2Decompressor if compression == "bz2" else lzma.LZMADecompressor
                stream = cast("IO[bytes]", io.BufferedReader(_Unpacked(raw, new), _BLOCK))
            elif compression == "zip":
                stream = stack.enter_context(_only_member(path, stack, raw))
        except _DAMAGED as error:
            if isinstance(error, InputError):
                raise
            raise InputError(_damaged(path, csv_format, error)) from error
        yield TableText(path, csv_format, stream, raw)


class _Unpacked(io.RawIOBase):
    """The bytes of compressed streams that follow one another, as bz2 and xz files hold them.

    The standard library's files leave out, without a word, a further stream that begins damaged.
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
            unpacker = self._decompressor
            if unpacker.eof:
                following = unpacker.unused_data.lstrip(b"\0") or self._raw.read(_BLOCK)
                if not following:
                    return 0
                if not (following := following.lstrip(b"\0")):  # padding
                    continue
                self._decompressor = unpacker = self._new()
            else:
                following = self._raw.read(_BLOCK) if unpacker.needs_input else b""
                if unpacker.needs_input and not following:
                    raise EOFError("it ends within a compressed stream")
            if data := unpacker.decompress(following, len(buffer)):
                buffer[: len(data)] = data
                return len(data)


def _only_member(path: Path, stack: ExitStack, raw: IO[bytes]) -> IO[bytes]:
    archive = stack.enter_context(zipfile.ZipFile(raw))
    names = [name for name in archive.namelist() if not name.endswith("/")]
    members = [name for name in names if not name.startswith("__MACOSX/")]
    if len(members) != 1:
        raise InputError(
            f"{path}: a zip file with {len(members)} members; give one that holds one CSV"
        )
    return archive.open(members[0])


def _refuse_other_kind(path: Path, head: bytes) -> None:
    if kind := binary_kind(head, path):
        raise InputError(f"{path}: is {kind[0]}, and a CSV file is needed: {kind[1]}")


def explained(path: Path, csv_format: CsvFormat, error: InputError) -> InputError:
    """The error that reading a file gave, with what it likely is where that is no CSV file."""
    with suppress(InputError), open_table(path, csv_format) as text:
        return InputError(_with_likely_kind(path, text.read()[:HEAD], str(error)))
    return error


def _with_likely_kind(path: Path, head: bytes, message: str) -> str:
    if not (kind := textual_kind(head, path)):
        return message
    why = message.removeprefix(f"{path}").lstrip(",: ")
    return f"{path}: is likely {kind[0]}, and a CSV file is needed: {kind[1]} ({why})"


def _check_packing(path: Path, csv_format: CsvFormat, compression: str, head: bytes) -> None:
    """Refuse a file that is compressed in another way than it is said to be."""
    packed, unpack = packing(head) or ("none", "")
    if packed == compression:
        return
    said = "its name says" if csv_format.compression == "infer" else "the setting says"
    if packed == "none":
        why = (
            f"{path}: does not begin as {compression} files do, though {said} so; is it whole? If"
            f" it is not compressed set {csv_format.override('compression', 'none')}"
        )
        raise InputError(_with_likely_kind(path, head, why))
    if packed in COMPRESSIONS:
        way = f"set {csv_format.override('compression', packed)}, or give it a name that says so"
    else:
        way = f"unpack it first ({unpack})"
    raise InputError(f"{path}: is compressed by {packed}; {way}")


def _unopened(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        where = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        return f"{path}: no such file{where}"
    if isinstance(error, IsADirectoryError):
        return f"{path}: a folder, not a CSV file"
    if isinstance(error, PermissionError):
        return f"{path}: may not be read (permission denied)"
    return f"{path}: cannot be read ({error.strerror or error})"


def _damaged(path: Path, csv_format: CsvFormat, error: Exception) -> str:
    return (
        f"{path}: cannot be read ({first_words(error)}); is it whole, and is the compression"
        f" ({csv_format.compression}) right?"
    )
