"""The text of a CSV file, uncompressed and decoded while it is read.

What cannot be read raises an ``InputError`` of one line. Knows nothing of cells.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from sentiment.data.csv_format import COMPRESSIONS, CsvFormat, record_kind
from sentiment.data.file_kinds import (
    HEAD,
    binary_kind,
    compression_in,
    likely_encoding,
    likely_encodings,
    textual_kind,
)
from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.files import compression_of, similar_file, uncompressed

LONGEST = 1 << 26  # characters; the longest line or cell, which bounds the memory
_BLOCK = 1 << 18


class TableText:
    """The text of an open file, to be read once.

    Attributes:
        met: which of quotation marks, backslashes and lone carriage returns have been read.
    """

    def __init__(
        self, path: Path, csv_format: CsvFormat, read: Callable[[int], bytes], raw: IO[bytes]
    ) -> None:
        self.met: set[str] = set()
        self._path, self._format = path, csv_format
        self._read, self._raw = read, raw
        self._size = max(1, path.stat().st_size)

    @property
    def progress(self) -> float:
        """Fraction of the file that has been read, 0 to 1."""
        return min(1.0, self._raw.tell() / self._size)

    def lines(self, *, any_return: bool | None = None) -> Iterator[str]:
        """The lines, each with its end.

        Args:
            any_return: whether a lone carriage return ends a line, too; None means that it does
                if the beginning of the file has no line feed outside of quotation marks.

        Raises:
            InputError: the file is damaged, of another kind or in another encoding, or a line is
                longer than ``LONGEST``.
        """
        unended: list[str] = []  # pieces of a line whose end has not been read
        for block in self.blocks():
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

    def blocks(self) -> Iterator[str]:
        """The text in blocks, none of which ends between a carriage return and a line feed.

        Raises:
            InputError: see ``lines``.
        """
        head = self.read()
        self._check(head)
        encoding = codecs.lookup(self._format.encoding).name
        decoder = codecs.getincrementaldecoder(encoding)()
        offset = lines = 0
        block, start, held = head, True, ""
        while True:
            pending = len(decoder.getstate()[0])
            try:
                text = held + decoder.decode(block, not block)
                if encoding == "utf-7":
                    text.encode()  # it may decode half a character, which no other codec does
            except UnicodeError as error:
                position = offset - pending
                if isinstance(error, UnicodeDecodeError):
                    position += error.start
                self._check_encoding(head, 0.05)
                at = max(0, position - offset)
                line = block[block.rfind(b"\n", 0, at) + 1 :].partition(b"\n")[0]
                number = lines + block.count(b"\n", 0, at) + 1
                raise self._undecodable(position, number, line) from error
            if start:
                text, start = text.removeprefix("\ufeff"), not text
            held = "\r" if block and text.endswith("\r") else ""
            yield text[: len(text) - len(held)]
            if not block:
                return
            offset += len(block)
            lines += block.count(b"\n")
            block = self.read()

    def read(self) -> bytes:
        """The next bytes, uncompressed; none at the end."""
        try:
            return self._read(_BLOCK)
        except OSError as error:
            raise InputError(_damaged(self._path, self._format, error)) from error

    def _check(self, head: bytes) -> None:
        """Raise InputError for what is not text, or clearly in another encoding or compression."""
        if not head:
            records = record_kind(self._path, self._format)
            needed = "a file with reviews in it" if records else "a CSV with a header and rows"
            raise InputError(f"{self._path}: the file is empty; give {needed}")
        _check_kind(self._path, head)
        compressed = _compression(self._path, self._format) != "none"
        if compressed and (again := compression_in(head)):
            raise InputError(f"{self._path}: is compressed twice; unpack it once ({again[0]})")
        self._check_encoding(head, 0.4)

    def _check_encoding(self, head: bytes, zeros: float) -> None:
        """Raise InputError if the first bytes show another encoding; see ``likely_encodings``."""
        encoding = codecs.lookup(self._format.encoding).name
        likely, why = likely_encodings(head, encoding, zeros)
        if likely and encoding not in likely:
            raise InputError(
                f"{self._path}: is not {self._format.encoding} text: {why}; set"
                f" {self._format.override('encoding', likely[0])}"
            )

    def _undecodable(self, position: int, number: int, line: bytes) -> InputError:
        likely, text = likely_encoding(line, self._format.encoding)
        shown = f", in which the line has {text!r}" if text else " (or the file is incomplete)"
        return InputError(
            f"{self._path}, line {number}: byte {position} of the file is not"
            f" {self._format.encoding} text; it is likely {likely}{shown}; set"
            f" {self._format.override('encoding', likely)}, or save the file as UTF-8"
        )


@contextmanager
def open_table(path: Path, csv_format: CsvFormat) -> Iterator[TableText]:
    """Open a CSV file for reading.

    Raises:
        InputError: the file is missing, not a regular file, of another kind, or its compression is
            not the one of its format.
    """
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
        _check_kind(path, head)
        _check_compression(path, csv_format, head)

        def only_member(names: Sequence[str]) -> str:
            members = [name for name in names if not name.startswith("__MACOSX/")]
            if len(members) != 1:
                raise InputError(
                    f"{path}: a zip file with {len(members)} members; give one that holds one CSV"
                )
            return members[0]

        try:
            unpacking = uncompressed(raw, _compression(path, csv_format), only_member)
            read = stack.enter_context(unpacking)
        except OSError as error:
            raise InputError(_damaged(path, csv_format, error)) from error
        yield TableText(path, csv_format, read, raw)


def explained(path: Path, csv_format: CsvFormat, error: InputError) -> InputError:
    """The error of reading a file, extended by what the file likely is if that is not a CSV."""
    if record_kind(path, csv_format) is not None:
        return error
    with suppress(InputError), open_table(path, csv_format) as text:
        return InputError(_with_likely_kind(path, text.read()[:HEAD], str(error)))
    return error


def _with_likely_kind(path: Path, head: bytes, message: str) -> str:
    if not (kind := textual_kind(head, path)):
        return message
    why = message.removeprefix(f"{path}").lstrip(",: ")
    because = "" if "JSON" in kind[0] else f" ({why})"  # JSON is recognised for sure
    return f"{path}: is likely {kind[0]}, and a CSV file is needed: {kind[1]}{because}"


def _check_kind(path: Path, head: bytes) -> None:
    if kind := binary_kind(head, path):
        raise InputError(f"{path}: is {kind[0]}, and a CSV file is needed: {kind[1]}")


def _compression(path: Path, csv_format: CsvFormat) -> str:
    infer = csv_format.compression == "infer"
    return compression_of(path) if infer else csv_format.compression


def _check_compression(path: Path, csv_format: CsvFormat, head: bytes) -> None:
    """Raise InputError if the first bytes show another compression than the one expected."""
    expected = _compression(path, csv_format)
    found, unpack = compression_in(head) or ("none", "")
    if found == expected:
        return
    if found == "none":
        source = "its name says" if csv_format.compression == "infer" else "the setting says"
        why = (
            f"{path}: does not begin as {expected} files do, though {source} so; is it complete? If"
            f" it is not compressed set {csv_format.override('compression', 'none')}"
        )
        raise InputError(_with_likely_kind(path, head, why))
    remedy = f"unpack it first ({unpack})"
    if found in COMPRESSIONS:
        remedy = f"set {csv_format.override('compression', found)}, or give it such a suffix"
    raise InputError(f"{path}: is compressed by {found}; {remedy}")


def _unopened(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        where = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        return f"{path}: no such file{where}{similar_file(path)}"
    if isinstance(error, IsADirectoryError):
        return f"{path}: a folder, not a file"
    if isinstance(error, PermissionError):
        return f"{path}: may not be read (permission denied)"
    return f"{path}: cannot be read ({error.strerror or error})"


def _damaged(path: Path, csv_format: CsvFormat, error: OSError) -> str:
    return (
        f"{path}: cannot be read ({first_words(error)}); is it complete, and is the compression"
        f" ({csv_format.compression}) right?"
    )
