import bz2
import gzip
import lzma
import os
from pathlib import Path
from typing import Any

import pytest

from sentiment.data import table_text
from sentiment.data.csv_format import CsvFormat, FormatOfOptions
from sentiment.data.reviews import read_table
from sentiment.runtime.errors import InputError

TABLE = "review,sentiment\ncafé,1\n"


def read(path: Path, **options: Any) -> list[list[str]]:
    return [cells for chunk in read_table(path, CsvFormat(**options), 10) for cells in chunk.cells]


def refusal(path: Path, content: bytes, **options: Any) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path, **options)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "set_to", "named"),
    [
        ("utf-16-le", "utf-16", "utf-16-le"),
        ("utf-16-be", "utf-16", "utf-16-be"),
        ("utf-16-le", "utf-8", "utf-16-le"),
        ("utf-16-be", "utf-16-le", "utf-16-be"),
        ("utf-32-le", "utf-8", "utf-32-le"),
        ("utf-32-be", "latin-1", "utf-32-be"),
        ("utf-16", "utf-8", "utf-16"),
        ("utf-16", "utf-16-be", "utf-16"),
        ("utf-32", "utf-16", "utf-32"),
        ("utf-8-sig", "latin-1", "utf-8"),
        ("utf-8", "utf-16", "utf-8"),
        ("utf-8", "utf-32-le", "utf-8"),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, written: str, set_to: str, named: str) -> None:
    path = tmp_path / "r.csv"
    message = refusal(path, TABLE.encode(written), encoding=set_to)
    assert f"data.encoding={named}" in message
    assert read(path, encoding=named) == [["café", "1"]]


def test_texts_with_little_ascii_have_their_encoding_named_too(tmp_path: Path) -> None:
    content = ("评论,标签\n" + 50 * "这部电影很好看,正\n").encode("utf-16-le")
    for encoding in ("utf-16", "utf-8"):
        message = refusal(tmp_path / "r.csv", content, encoding=encoding)
        assert "data.encoding=utf-16-le" in message


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    assert "byte 0 of the file" in refusal(tmp_path / "r.csv", b"+2AA-,1\n", encoding="utf-7")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", gzip.compress(b"a", mtime=0), "data.compression=gzip"),
        ("r.csv", bz2.compress(b"a"), "data.compression=bz2"),
        ("r.csv", lzma.compress(b"a"), "data.compression=xz"),
        ("r.csv", b"\x28\xb5\x2f\xfd\x24\x00\x01\0\0", "data.compression=zstd"),
        ("r.csv.gz", TABLE.encode(), "data.compression=none"),
        ("r.csv.xz", gzip.compress(b"a", mtime=0), "data.compression=gzip"),
        ("r.csv.gz", gzip.compress(gzip.compress(b"a", mtime=0), mtime=0), "compressed twice"),
    ],
)
def test_another_compression_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    assert message in refusal(tmp_path / name, content)


def test_a_further_stream_that_begins_damaged_is_not_left_out(tmp_path: Path) -> None:
    for suffix, pack in ((".bz2", bz2.compress), (".xz", lzma.compress)):
        path = tmp_path / f"r.csv{suffix}"
        rest = pack(b"tea,0\n")
        path.write_bytes(pack(TABLE.encode()) + rest)
        assert read(path) == [["café", "1"], ["tea", "0"]]
        assert "is it complete" in refusal(path, pack(TABLE.encode()) + b"X" + rest)
    path.write_bytes(lzma.compress(TABLE.encode()) + bytes(8) + rest)  # padding between streams
    assert len(read(path)) == 2


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be read twice"):
        read(tmp_path / "pipe")


def test_messages_of_a_command_line_name_its_options(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(TABLE.encode("utf-16"))
    with pytest.raises(InputError, match="--encoding utf-16"):
        next(read_table(path, FormatOfOptions(), 10))


def test_long_cells_are_read_and_endless_lines_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f'review\n"{"long " * 100_000}"\n')
    assert [len(text) for (text,) in read(path)] == [500_000]
    monkeypatch.setattr(table_text, "LONGEST", 1 << 20)
    assert "a line is longer than 1,048,576" in refusal(path, b"review\n" + b"x" * 2_000_000)
