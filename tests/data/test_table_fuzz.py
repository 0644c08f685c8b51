"""Random tables are read as written, or refused; so are damaged files."""

import bz2
import csv
import gzip
import io
import lzma
import random
import re
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentiment.data.csv_format import CsvFormat
from sentiment.data.reviews import column_names, read_table
from sentiment.data.table_rows import BadRowError, Dialect, rows_of
from sentiment.runtime.errors import InputError

Table = list[list[str]]
PIECES = [
    "a", "film", " ", " ", ", ", ",", '"', '""', "\\", "\n", "\r\n", "\r", "\t", ";", "é", "ß",
    "😀", "\u200b", "NA", "0", "'", "C:\\dir", '\\"', "\\n", "\x0b", "\u2028", "\0",
]  # fmt: skip


def random_table(draw: random.Random, without: str = "") -> Table:
    """A header and rows of two or three columns, some too short, without some characters."""
    pieces = [piece for piece in PIECES if not set(piece) & set(without)]
    width = draw.choice([2, 2, 3])

    def cell() -> str:
        return "".join(draw.choices(pieces, k=draw.randrange(1, 9)))

    rows = [
        [cell(), *draw.choices(["0", "pos", ""], k=width - 1)] for _ in range(draw.randrange(1, 12))
    ]
    for row in rows[1:]:
        if draw.random() < 0.1 and row[0].strip():
            del row[draw.randrange(1, width) :]
    return [["text", "label", "more"][:width], *rows]


def by_csv_module(**options: Any) -> Callable[[Table, str], str]:
    def write(table: Table, separator: str) -> str:
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=separator, lineterminator="\n", **options).writerows(table)
        return file.getvalue()

    return write


def as_spark(table: Table, separator: str) -> str:
    """Quotes where they are needed, and within them a backslash before quotes and backslashes."""

    def written(cell: str) -> str:
        if not set(cell) & {separator, '"', "\n", "\r"}:
            return cell
        return '"' + re.sub(r'(["\\])', r"\\\1", cell) + '"'

    return "".join(separator.join(map(written, row)) + "\n" for row in table)


def without_quotes(table: Table, separator: str) -> str:
    return "".join(separator.join(row) + "\n" for row in table)


def undecidable(name: str, text: str, table: Table) -> bool:
    """Whether a text is another valid table in a dialect that is tried first."""
    cells = [cell for row in table for cell in row]
    short = any(len(row) < len(table[0]) for row in table)
    if name == "none":
        enclosed = any(re.fullmatch('".*" *', cell, re.DOTALL) for cell in cells)
        return '"' in text and (short or enclosed)
    if name == "none, set":
        return any(row[-1].endswith("\r") for row in table)
    if name == "spark":
        return short or '\\"' not in text or any(re.search(r"\\\\|\\\Z", cell) for cell in cells)
    return False


# How a table is written, what its cells may not hold so that this is sound, and how it is read.
WRITERS: dict[str, tuple[Callable[[Table, str], str], str, dict[str, str]]] = {
    "minimal": (by_csv_module(), "\r\t", {}),
    "all": (by_csv_module(quoting=csv.QUOTE_ALL), "", {}),
    "nonnumeric": (by_csv_module(quoting=csv.QUOTE_NONNUMERIC), "\t", {}),
    "spark": (as_spark, "\t", {}),
    "none": (without_quotes, "\t,;\r\n", {}),
    "none, set": (without_quotes, "\t,;\n", {"quoting": "none"}),
    "none, escaped": (
        by_csv_module(quoting=csv.QUOTE_NONE, escapechar="\\"),
        "\r",
        {"quoting": "none", "escape": "\\"},
    ),
    "escaped": (
        by_csv_module(doublequote=False, escapechar="\\"), "\r", {"escape": "backslash"}
    ),
    "escaped, all": (
        by_csv_module(quoting=csv.QUOTE_ALL, doublequote=False, escapechar="\\"),
        "",
        {"escape": "backslash"},
    ),
}  # fmt: skip


def full(table: Table) -> Table:
    """The table with empty cells where rows are too short."""
    return [row + [""] * (len(table[0]) - len(row)) for row in table]


def read(path: Path, **options: Any) -> Table:
    csv_format = CsvFormat(**options)
    rows = [cells for chunk in read_table(path, csv_format, 4) for cells in chunk.cells]
    return [column_names(path, csv_format), *rows]


def read_or_refused(path: Path, **options: Any) -> Table | None:
    try:
        return read(path, **options)
    except InputError as error:
        message = str(error)
    assert "\n" not in message
    assert str(path) in message
    return None


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("header", [True, False])
def test_a_table_comes_back_or_is_refused(
    tmp_path: Path, name: str, separator: str, header: bool
) -> None:
    write, without, options = WRITERS[name]
    draw = random.Random(name + separator)
    tried = came_back = 0
    for number in range(40):
        table = random_table(draw, without)
        text = write(table[not header :], separator)
        if undecidable(name, text, table):
            continue
        blank = draw.choice(["", "\n", " \n\n"])
        path = tmp_path / f"{number}.csv"
        path.write_bytes(f"{blank}{text}{blank}".encode())
        tried += 1
        got = read_or_refused(path, separator=separator, header=header, **options)
        names = table[0] if header else [str(column) for column in range(len(table[0]))]
        assert got in (full([names, *table[1:]]), None)
        came_back += got is not None
    assert tried > 10
    assert came_back > 0.8 * tried


def damaged(draw: random.Random, data: bytes) -> bytes:
    """The bytes cut at a position, or with some of them changed, removed or inserted."""
    position = draw.randrange(len(data))
    odd = draw.choice([b'"', b",", b"\n", b"\\", b"\r", b"\0", b"\xff", draw.randbytes(3), b""])
    if draw.random() < 0.2:
        return data[:position]
    return data[:position] + odd + data[position + draw.randrange(4) :]


def letters(text: str) -> Counter[str]:
    """The characters of a text that no dialect uses."""
    return Counter(character for character in text if character not in ' \t\r\n",\\\ufeff')


@pytest.mark.parametrize("name", ["minimal", "all", "spark", "none"])
def test_damage_is_refused_or_loses_nothing(tmp_path: Path, name: str) -> None:
    write, without, options = WRITERS[name]
    draw = random.Random(name)
    refused = 0
    for number in range(60):
        data = damaged(draw, write(random_table(draw, without), ",").encode())
        path = tmp_path / f"{number}.csv"
        path.write_bytes(data)
        table = read_or_refused(path, **options)
        if table is None:
            refused += 1
            continue
        assert len({len(cells) for cells in table}) == 1
        cells = "".join(cell for row in table for cell in row)
        assert letters(cells) == letters(data.decode())
    assert 0 < refused < 60


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("r.csv", data)
    return file.getvalue()


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zip", zipped)],
)
def test_a_damaged_archive_is_refused_or_whole(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    draw = random.Random(suffix)
    table = random_table(draw)
    data = by_csv_module(quoting=csv.QUOTE_ALL)(table, ",").encode()
    packed = pack(data[:50]) + pack(data[50:]) if suffix != "zip" else pack(data)
    path = tmp_path / f"r.csv.{suffix}"
    path.write_bytes(packed)
    assert read(path) == full(table)
    for number in range(60):
        path = tmp_path / f"{number}.csv.{suffix}"
        path.write_bytes(damaged(draw, packed))
        whole_part = path.read_bytes() == pack(data[:50])  # cut where a stream ends
        assert whole_part or read_or_refused(path) in (full(table), None)


@pytest.mark.parametrize(
    ("dialect", "options"),
    [(Dialect(), {}), (Dialect(quoted=False), {"quoting": csv.QUOTE_NONE})],
)
def test_rows_are_those_of_the_csv_module(dialect: Dialect, options: dict[str, Any]) -> None:
    draw = random.Random(0)
    for _ in range(3000):
        text = "".join(draw.choices('",ab\n\r ', k=draw.randrange(14)))
        lines = list(io.StringIO(text, newline=""))
        try:
            expected = [row for row in csv.reader(lines, strict=True, **options) if row]
        except csv.Error:
            if re.search(r'" +([,\r\n]|$)', text):  # spaces are let pass behind a closing mark
                continue
            with pytest.raises(BadRowError):
                list(rows_of(iter(lines), ",", dialect))
            continue
        rows = rows_of(iter(lines), ",", dialect)
        assert [row.cells for row in rows if row.cells != [""] or not row.blank] == expected


def test_the_time_is_linear_in_the_cells_before_a_quoted_one() -> None:
    def seconds(cells: int) -> float:
        begun = time.process_time()
        (row,) = rows_of(iter(["a," * cells + '"x"\n']), ",", Dialect())
        assert len(row.cells) == cells + 1
        return time.process_time() - begun

    assert seconds(400_000) < 8 * seconds(100_000)
