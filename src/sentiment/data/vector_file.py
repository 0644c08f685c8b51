"""A fast reader of word vectors in GloVe's text format, for torchtext.

Knows files and rows; ``embeddings.py`` makes embedding layers of the vectors.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchtext.vocab import Vectors

from sentiment.runtime.cache import file_state
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import compression_of, uncompressed

BLOCK = 1 << 22  # bytes read at a time: large enough to be fast, small enough for the cache
LONGEST_ROW = 1 << 23  # bytes; a longer row shows that this is no text file
_NEWLINE, _RETURN, _SPACE = b"\n\r "
_HEADER = re.compile(rb"\d+ (\d+)")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NUMBER_BYTES = b"0123456789+-.eE \n"
_LARGEST = float(np.finfo(np.float32).max)


@contextmanager
def _open(path: Path) -> Iterator[Callable[[int], bytes]]:
    """Yield a function that reads from a plain, compressed or zipped file; see ``uncompressed``."""
    outside = (each for each in (path, *path.parents) if compression_of(each) == "zip")
    file = next((each for each in outside if each.is_file()), path)
    wanted = path.relative_to(file).as_posix()

    def member(names: Sequence[str]) -> str:
        if wanted == "." and len(names) == 1:
            return names[0]
        if wanted not in names:
            raise InputError(
                f"{file} holds {', '.join(names) or 'no file'}: choose one, as in {file}/NAME"
            )
        return wanted

    try:
        with file.open("rb") as raw, uncompressed(raw, compression_of(file), member) as read:
            yield read
    except FileNotFoundError as error:
        raise InputError(f"no word vectors at {path}: there is no such file") from error
    except OSError as error:
        raise InputError(f"cannot read the word vectors in {path}: {error}") from error


def _blocks(read: Callable[[int], bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield blocks of whole rows, each with the number (from 1) of its first row."""
    row, rest = 1, b""
    while chunk := read(BLOCK):
        whole, newline, tail = (rest + chunk).rpartition(b"\n")
        if newline:
            yield row, whole + newline
            row += whole.count(b"\n") + 1
        elif len(tail) > LONGEST_ROW:
            raise InputError(f"{path}, row {row} does not end; is this a text file of vectors?")
        rest = tail
    if rest:
        yield row, rest + b"\n"


def _is_number(field: bytes) -> bool:
    return bool(_NUMBER.fullmatch(field)) and abs(float(field)) <= _LARGEST


def _has_numbers(word: bytes, size: int) -> bool:
    """Whether a line with too many columns holds more numbers, not a word with spaces."""
    more = word.split(b" ")[1:]
    return sum(map(_is_number, more)) >= min(len(more), max(size - 1, 1))


def _read(path: Path, size: int | None) -> Iterator["_Rows"]:
    """Yield the rows of a file, block by block."""
    with _open(path) as read:
        for first, block in _blocks(read, path):
            if first == 1:
                size, first, block = _split_header(block, size, path)  # noqa: PLW2901
            if block and size is not None:
                yield _Rows.locate(block, first, size, path)


def _split_header(block: bytes, size: int | None, path: Path) -> tuple[int, int, bytes]:
    """The vector size, the number of the first row, and the first block without its header.

    The size is that of a first line "count dimension", else ``size``, else that of the first row.
    """
    block = block.removeprefix(codecs.BOM_UTF8)
    line, _, after = block.partition(b"\n")
    header = _HEADER.fullmatch(line.rstrip())
    stated = int(header[1]) if header else size or line.rstrip().count(b" ")
    if size not in (None, stated):
        raise InputError(f"{path} holds vectors of size {stated}, not {size}")
    if stated < 1:
        raise InputError(f"{path}, row 1: no word and numbers, separated by single spaces")
    return (stated, 2, after) if header else (stated, 1, block)


@dataclass(frozen=True)
class _Rows:
    """The rows of a block of bytes: their numbers, and the positions of words and numbers."""

    size: int
    block: bytes
    numbers: NDArray[np.intp]
    starts: NDArray[np.intp]
    cuts: NDArray[np.intp]  # the space between the word and its numbers
    ends: NDArray[np.intp]

    @classmethod
    def locate(cls, block: bytes, first: int, size: int, path: Path) -> "_Rows":
        """Find the rows that are not blank, and check that each has ``size`` numbers."""
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        starts = np.append(0, ends[:-1] + 1)
        ends -= data[ends - 1] == _RETURN
        ends -= data[ends - 1] == _SPACE  # fastText writes one behind the last number
        full = np.flatnonzero(ends > starts)
        numbers, starts, ends = first + full, starts[full], ends[full]
        spaces = np.flatnonzero(data == _SPACE)
        after = np.searchsorted(spaces, ends)
        widths = after - np.searchsorted(spaces, starts)
        wrong, cuts = widths < size, ends.copy()
        cuts[~wrong] = spaces[after[~wrong] - size]
        for i in np.flatnonzero(widths > size):
            wrong[i] = _has_numbers(block[starts[i] : cuts[i]], size)
        if wrong.any():
            row, width = numbers[wrong][0], widths[wrong][0]
            raise InputError(f"{path}, row {row}: {width} numbers where {size} are expected")
        return cls(size, block, numbers, starts, cuts, ends)

    def words(self) -> list[bytes]:
        spans = zip(self.starts.tolist(), self.cuts.tolist(), strict=True)
        return [self.block[start:cut] for start, cut in spans]

    def values(self, chosen: list[int], path: Path) -> NDArray[np.float32]:
        """Parse the numbers of the chosen rows, (chosen, size), all at once."""
        lines = [self.block[self.cuts[i] + 1 : self.ends[i]] for i in chosen]
        text = b"\n".join(lines)
        if not text.translate(None, _NUMBER_BYTES):  # numpy would read nan and inf as numbers
            with suppress(ValueError):
                values = np.loadtxt(BytesIO(text), delimiter=" ", comments=None, ndmin=2)
                if np.abs(values).max() <= _LARGEST:
                    return values.astype(np.float32)
        for i, line in zip(chosen, lines, strict=True):
            for field in line.split(b" "):
                if not _is_number(field):
                    raise InputError(
                        f"{path}, row {self.numbers[i]}: {field.decode(errors='replace')!r} "
                        f"is not a number, or too large"
                    )
        raise InputError(f"{path}, rows near {self.numbers[chosen[0]]}: cannot read the numbers")


def _undecodable(words: list[bytes]) -> int:
    try:
        b"\n".join(words).decode()
    except UnicodeDecodeError:
        return sum(word.decode(errors="replace").encode() != word for word in words)
    return 0


class WordVectors(Vectors):  # type: ignore[misc]
    """torchtext's ``Vectors`` of the wanted words only, read from a file in GloVe's text format.

    Each row is a word and its numbers, separated by single spaces; a first line "count dimension"
    may precede them. The file is plain, ``.gz``, ``.bz2``, ``.xz``, or a member of a zip:
    ``archive.zip/member.txt``. If a word is repeated, its first row counts. Unlike torchtext's own
    reader, this writes nothing.

    Attributes:
        itos: the wanted words that the file has, in the order of the file.
        stoi: the index of each.
        vectors: float32, (words, dim).
        dim: size of a vector.
        skipped: how many rows were left out because their word is not UTF-8.
    """

    def __init__(
        self, path: str | Path, words: Iterable[str], *, dimension: int | None = None
    ) -> None:
        """Read the file.

        Raises:
            InputError: the file is missing, unreadable or empty, its vectors are not of the size
                ``dimension``, a row has another width than the others, or a value is not a number.
        """
        self.path = Path(path)
        self._wanted = {word.encode(errors="surrogatepass") for word in words}
        self._dimension = dimension
        super().__init__(str(path))

    def cache(
        self, name: str, cache: str, url: str | None = None, max_vectors: int | None = None
    ) -> None:
        """Read the file ``name``; the other arguments are torchtext's and not used."""
        del cache, url, max_vectors
        path, wanted = Path(name), self._wanted.copy()
        self.itos, self.skipped, self.dim = [], 0, 0
        parts = []
        for rows in _read(path, self._dimension):
            words, chosen = rows.words(), []
            for i, word in enumerate(words):
                if word in wanted:
                    wanted.remove(word)  # a repeated word is not found again
                    chosen.append(i)
            if chosen:
                parts.append(rows.values(chosen, path))
                self.itos += [words[i].decode(errors="surrogatepass") for i in chosen]
            self.skipped += _undecodable(words)
            self.dim = rows.size
        if not self.dim:
            raise InputError(f"{path} holds no word vectors")
        self.stoi = {word: i for i, word in enumerate(self.itos)}
        empty = np.empty((0, self.dim), np.float32)
        self.vectors = torch.from_numpy(np.concatenate([empty, *parts]))


# Arguments and result of the last call of read_vectors: most runs of a sweep ask for the same.
_last: tuple[object, WordVectors] | None = None
_MOST_KEPT = 1 << 28  # bytes; above this, memory matters more than time


def read_vectors(path: Path, words: Sequence[str], dimension: int | None) -> WordVectors:
    """Like ``WordVectors``, but the same call twice reads once; the result must not be changed."""
    global _last  # noqa: PLW0603
    file = next((each for each in (path, *path.parents) if each.is_file()), None)
    asked = (path, file and file_state(file), dimension, tuple(words))
    if _last is not None and _last[0] == asked:
        return _last[1]
    _last = None  # frees it before the next is read
    vectors = WordVectors(path, words, dimension=dimension)
    if vectors.vectors.nbytes <= _MOST_KEPT:
        _last = (asked, vectors)
    return vectors
