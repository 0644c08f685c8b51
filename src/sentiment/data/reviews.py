"""CSV files in, checked chunks of texts and labels out.

Streams: a file of any size passes in constant memory. Knows nothing of tokens.
"""

import bz2
import codecs
import csv
import difflib
import gzip
import io
import itertools
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pandas as pd

from sentiment.errors import InputError
from sentiment.files import COMPRESSION_SUFFIXES

COMPRESSIONS = ("infer", "none", "gzip", "bz2", "xz", "zip")
_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_BLANK = " \t\r\n\ufeff"
_MAX_MISSING = 0.1


@dataclass(frozen=True, kw_only=True)
class CsvFormat:
    """How a CSV file is to be read.

    Attributes:
        text_column: name of the column with the texts; its number as a string without a header.
        label_column: name of the column with the labels, or None where there is none.
        separator: one character, or ``tab``; None takes a tab for ``.tsv`` files and a comma for
            others.
        header: whether the first row holds the names of the columns.
        encoding: a Python codec name.
        compression: one of ``COMPRESSIONS``; ``infer`` goes by the file's suffix.
    """

    text_column: str = "review"
    label_column: str | None = "sentiment"
    separator: str | None = None
    header: bool = True
    encoding: str = "utf-8"
    compression: str = "infer"

    def __post_init__(self) -> None:
        if self.separator in ("tab", "\\t"):
            object.__setattr__(self, "separator", "\t")
        if self.compression not in COMPRESSIONS:
            raise InputError(
                f"compression {self.compression!r} is unknown: use one of {', '.join(COMPRESSIONS)}"
            )
        if self.separator is not None and (len(self.separator) != 1 or self.separator in '"\r\n'):
            raise InputError(
                f"separator {self.separator!r} must be a single character, such as ',' or ';', or"
                " 'tab', and neither a quote nor a line break"
            )
        try:
            "".encode(self.encoding)  # codecs.lookup would let rot13 and others pass
        except (LookupError, ValueError) as error:
            raise InputError(
                f"encoding {self.encoding!r} is unknown to Python: try utf-8, latin-1 or cp1252"
            ) from error


class FormatOfOptions(CsvFormat):
    """One that the options of a command line describe, not the settings of a training."""


class ReviewChunk(NamedTuple):
    """Some rows of a file, those with a missing text or label left out."""

    texts: list[str]
    labels: list[str]  # as they stand in the file, stripped; empty where there is no label column
    rows: list[int]  # 0-based number of each row in the file, the header not counted
    missing: int  # rows of this chunk that were left out
    progress: float  # share of the file that has been read so far, 0 to 1


def read_reviews(path: Path, csv_format: CsvFormat, chunk_rows: int = 500) -> Iterator[ReviewChunk]:
    """Read texts and labels from a CSV file, chunk by chunk.

    Raises:
        InputError: the file or a column is missing, the file is empty or no CSV, its bytes do not
            fit the encoding, or more than a tenth of its rows lack a text or a label.
    """
    kept = missing = 0
    first_missing = -1
    columns = [csv_format.text_column]
    if csv_format.label_column is not None:
        columns.append(csv_format.label_column)
        if csv_format.label_column == csv_format.text_column:
            raise InputError(
                f"{path}: column {csv_format.text_column!r} cannot be both text and label; set the"
                " text column and the label column"
            )
    for frame, progress in read_frames(path, csv_format, columns, chunk_rows):
        blank = frame.isna().any(axis=1)
        if csv_format.label_column is not None:
            blank |= frame[csv_format.label_column].str.strip() == ""
        if first_missing < 0 and blank.any():
            first_missing = int(frame.index[blank.to_numpy()][0])
        whole = frame[~blank.to_numpy()]
        kept += len(whole)
        missing += int(blank.sum())
        labels = (
            whole[csv_format.label_column].str.strip().tolist() if csv_format.label_column else []
        )
        texts = cast("list[str]", whole[csv_format.text_column].tolist())
        yield ReviewChunk(texts, labels, whole.index.tolist(), int(blank.sum()), progress)
    if kept + missing == 0:
        raise InputError(f"{path}: no rows below the header; give a file with reviews in it")
    if missing > _MAX_MISSING * (kept + missing):
        raise InputError(
            f"{path}: {missing} of {kept + missing} rows lack a value in"
            f" {' or '.join(repr(column) for column in columns)} (the first is row"
            f" {first_missing + 1}); more than a tenth is refused: fill them, remove them, or name"
            " other columns"
        )


def read_frames(
    path: Path,
    csv_format: CsvFormat,
    columns: Sequence[str] | None,
    chunk_rows: int,
    *,
    blank_lines: bool = False,
) -> Iterator[tuple["pd.DataFrame", float]]:
    """Read a CSV file as tables of strings (NaN where a cell is empty) and the progress so far.

    ``columns`` None gives all columns. ``blank_lines`` makes a row of each blank line below the
    header of a file with a single column. Raises InputError as ``read_reviews`` does.
    """
    path = Path(path)
    check_columns(path, csv_format, columns or [csv_format.text_column])
    options: dict[str, Any] = {
        "sep": _separator(path, csv_format),
        "header": 0 if csv_format.header else None,
        "encoding": csv_format.encoding,
        "dtype": str,
        "keep_default_na": False,
        "na_values": [""],
        "chunksize": chunk_rows,
        "skip_blank_lines": True,
    }
    if blank_lines:
        options |= _keeping_blank_lines(path, csv_format)
    with _told_in_one_line(path, csv_format), _open(path, csv_format) as (stream, raw):
        size = max(1, path.stat().st_size)
        # All columns are read, because pandas lets rows that are too long pass where it is told
        # which columns to use.
        with pd.read_csv(stream, **options) as reader:
            for frame in reader:
                if not isinstance(frame.index, pd.RangeIndex):
                    raise InputError(
                        f"{path}: the first row has more fields than the header has names"
                        f" ({', '.join(map(str, frame.columns[:20]))}); check the separator (now"
                        f" {options['sep']!r}) and the quotes around texts"
                    )
                frame.columns = frame.columns.map(str)
                chosen = frame if columns is None else frame[list(columns)]
                yield chosen, min(1.0, raw.tell() / size)


def _keeping_blank_lines(path: Path, csv_format: CsvFormat) -> dict[str, Any]:
    """Options that make a row of each blank line below the header, if there is a single column."""
    if len(column_names(path, csv_format)) > 1:
        return {}
    if not csv_format.header:
        return {"skip_blank_lines": False, "names": ["0"]}  # a blank first line tells no number
    with _told_in_one_line(path, csv_format), _open(path, csv_format) as (stream, _):
        lines = io.TextIOWrapper(stream, csv_format.encoding)
        before = sum(1 for _ in itertools.takewhile(lambda line: not line.strip(_BLANK), lines))
    return {"skip_blank_lines": False, "skiprows": before}


def output_separator(source: Path, target: Path, csv_format: CsvFormat) -> str:
    """The source's separator, unless the suffix of the target stands for a file of another kind."""
    kind = _separator_of_suffix(target)
    if kind is None or kind == _separator_of_suffix(source):
        return _separator(source, csv_format)
    return kind


def column_names(path: Path, csv_format: CsvFormat) -> list[str]:
    """The names of a file's columns (``0``, ``1`` … without a header).

    Raises:
        InputError: the file is missing, empty, or cannot be read.
    """
    path = Path(path)
    with _told_in_one_line(path, csv_format), _open(path, csv_format) as (stream, _):
        first = pd.read_csv(
            stream,
            sep=_separator(path, csv_format),
            header=None,
            encoding=csv_format.encoding,
            dtype=str,
            keep_default_na=False,
            nrows=1,
        )
    return [str(name) for name in (first.iloc[0] if csv_format.header else first.columns)]


def check_columns(path: Path, csv_format: CsvFormat, columns: Sequence[str]) -> None:
    """Raise InputError, with the names there are, if a file lacks one of the columns."""
    names = column_names(path, csv_format)
    for column in columns:
        if column not in names:
            close = difflib.get_close_matches(column, names, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            what = "it has" if csv_format.header else "without a header they are numbered:"
            raise InputError(
                f"{path}: no column {column!r}; {hint}{what} {', '.join(map(repr, names[:20]))}"
                f"{_likely_separator(names)} ({_settings(csv_format)})"
            )
        if names.count(column) > 1:
            raise InputError(
                f"{path}: {names.count(column)} columns are called {column!r}; rename all but one"
            )


def _settings(csv_format: CsvFormat) -> str:
    """What to set where a column is not found."""
    if not isinstance(csv_format, FormatOfOptions):
        return "set data.text_column, data.label_column, data.header or data.separator"
    label = "" if csv_format.label_column is None else ", --label-column"
    if csv_format.header:
        return f"give --text-column{label} or --separator; --no-header if its first row is a review"
    return f"give --text-column{label} or --separator; --header if its first row has their names"


def _likely_separator(names: Sequence[str]) -> str:
    """What to say where a file seems to have a single column."""
    found = [mark for mark in (";", "\t", "|", ",") if len(names) == 1 and mark in names[0]]
    return f"; its separator may be {found[0]!r}" if found else ""


@contextmanager
def _open(path: Path, csv_format: CsvFormat) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The uncompressed bytes of a file, and the file itself (its position tells the progress)."""
    compression = csv_format.compression
    if compression == "infer":
        compression = COMPRESSION_SUFFIXES.get(path.suffix.lower(), "none")
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        stream: IO[bytes]
        if compression == "gzip":
            stream = cast("IO[bytes]", stack.enter_context(gzip.open(raw)))
        elif compression == "bz2":
            stream = cast("IO[bytes]", stack.enter_context(bz2.open(raw)))
        elif compression == "xz":
            stream = cast("IO[bytes]", stack.enter_context(lzma.open(raw)))
        elif compression == "zip":
            archive = stack.enter_context(zipfile.ZipFile(raw))
            members = [name for name in archive.namelist() if not name.endswith("/")]
            if len(members) != 1:
                raise InputError(
                    f"{path}: a zip file with {len(members)} members; give one that holds one CSV"
                )
            try:
                stream = stack.enter_context(archive.open(members[0]))
            except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed otherwise
                raise InputError(f"{path}: {error}; unpack it and give the CSV") from error
        else:
            stream = raw
        yield stream, raw


@contextmanager
def _told_in_one_line(path: Path, csv_format: CsvFormat) -> Iterator[None]:
    """Turn what reading a CSV file can raise into an InputError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        where = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        raise InputError(f"{path}: no such file{where}") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder, not a CSV file") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read (permission denied)") from error
    except UnicodeError as error:
        place = _undecodable_offset(path, csv_format)
        with path.open("rb") as file:
            wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        likely = "this looks like utf-16" if wide else "latin-1 and cp1252 are common"
        raise InputError(
            f"{path}: byte {place} is no {csv_format.encoding} text; set the encoding"
            f" ({likely}) or save the file as UTF-8"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path}: the file is empty; give a CSV with a header and rows") from error
    except (pd.errors.ParserError, csv.Error) as error:
        reason = " ".join(str(error).replace("Error tokenizing data. C error:", "").split())
        raise InputError(
            f"{path}: not a well-formed CSV ({reason}); check the separator"
            f" (now {_separator(path, csv_format)!r}) and the quotes"
        ) from error
    except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); is it whole, and is the compression"
            f" ({csv_format.compression}) right?"
        ) from error


def _undecodable_offset(path: Path, csv_format: CsvFormat) -> int:
    """Offset, in the uncompressed file, of the first byte that does not fit the encoding."""
    decoder = codecs.getincrementaldecoder(csv_format.encoding)()
    offset = 0
    with _open(path, csv_format) as (stream, _):
        while block := stream.read(1 << 20):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return offset - pending + error.start
            offset += len(block)
    return offset - len(decoder.getstate()[0])  # the file ends within a character


def _separator(path: Path, csv_format: CsvFormat) -> str:
    if csv_format.separator is not None:
        return csv_format.separator
    return _separator_of_suffix(path) or ","


def _separator_of_suffix(path: Path) -> str | None:
    """The separator that a suffix such as ``.tsv`` or ``.csv.gz`` stands for, if it is known."""
    found = {_SEPARATORS.get(suffix.lower()) for suffix in path.suffixes} - {None}
    return "\t" if "\t" in found else next(iter(found), None)
