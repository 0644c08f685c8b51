import bz2
import gzip
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sentiment.data.reviews import CsvFormat, read_reviews
from sentiment.errors import InputError

PLAIN = 'review,sentiment\ngood,pos\n"bad, very\nbad",neg\n'


def read(path: Path, **options: Any) -> tuple[list[str], list[str], list[int], int]:
    texts, labels, rows, missing = [], [], [], 0
    for chunk in read_reviews(path, CsvFormat(**options), chunk_rows=1000):
        texts += chunk.texts
        labels += chunk.labels
        rows += chunk.rows
        missing += chunk.missing
    return texts, labels, rows, missing


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)],
)
def test_compressed_files_read_alike(tmp_path: Path, suffix: str, pack: Any) -> None:
    path = tmp_path / f"r.csv{suffix}"
    path.write_bytes(pack(PLAIN.encode()))
    texts, labels, rows, missing = read(path)
    assert texts == ["good", "bad, very\nbad"]
    assert labels == ["pos", "neg"]
    assert (rows, missing) == ([0, 1], 0)


def test_a_zip_must_hold_one_file(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("r.csv", PLAIN)
    assert read(path)[1] == ["pos", "neg"]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("s.csv", PLAIN)
    assert "2 members" in refusal(path)


def test_tabs_no_header_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "r.tsv"
    path.write_text('it is "fine", really\t1\t x \nno\t0\ty\n')
    texts, labels, *_ = read(path, header=False, text_column="0", label_column="2")
    assert texts == ['it is "fine", really', "no"]
    assert labels == ["x", "y"]


def test_semicolons_and_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes("review;sentiment\ncafé;1\nthé;0\n".encode("latin-1"))
    assert read(path, separator=";", encoding="latin-1")[0] == ["café", "thé"]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"\xef\xbb\xbf" + PLAIN.encode())
    assert read(path)[1] == ["pos", "neg"]


def test_words_that_look_missing_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\nNA,1\nnull,0\nNone,1\n")
    assert read(path)[0] == ["NA", "null", "None"]


def test_missing_values_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    rows = ["good,1", ",1", *["fine,0"] * 18, "bad,"]
    path.write_text("review,sentiment\n" + "\n".join(rows) + "\n")
    texts, labels, kept, missing = read(path)
    assert (len(texts), len(labels), missing) == (19, 19, 2)
    assert 1 not in kept
    assert 20 not in kept


def test_too_many_missing_values_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\na,1\nb,0\n,1\n")
    message = refusal(path)
    assert "1 of 3 rows" in message
    assert "row 3" in message


@pytest.mark.parametrize("packed", [False, True])
def test_an_undecodable_byte_is_located(tmp_path: Path, packed: bool) -> None:
    content = b"review,sentiment\n" + b"plain text,1\n" * 100_000 + b"caf\xe9,0\n"
    path = tmp_path / ("r.csv.gz" if packed else "r.csv")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    assert f"byte {content.index(0xE9)} " in refusal(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "empty"),
        ("review,sentiment\n", "no rows"),
        ("text,label\na,1\n", "'text', 'label'"),
        ("reviews,sentiment\na,1\n", "did you mean 'reviews'?"),
        ("review,sentiment\na,1\nb,0,c\n", "line 3"),
        ("review,sentiment\na,1,x\nb,0,x\n", "more fields"),
        ('review,sentiment\n"a,1\n', "well-formed"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(content)
    assert told in refusal(path)


def test_missing_file_folder_and_truncated_archive(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nope.csv")
    assert "folder" in refusal(tmp_path)
    cut = tmp_path / "r.csv.gz"
    cut.write_bytes(gzip.compress((PLAIN * 500).encode())[:-20])
    assert "cannot be read" in refusal(cut)
    wrong = tmp_path / "r.csv"
    wrong.write_text(PLAIN)
    assert "compression" in refusal(wrong, compression="xz")


def test_one_column_cannot_be_both(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(PLAIN)
    assert "both" in refusal(path, label_column="review")


@pytest.mark.parametrize(
    "options", [{"separator": "::"}, {"encoding": "utf-99"}, {"compression": "rar"}]
)
def test_impossible_formats_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options.values()))):
        CsvFormat(**options)
