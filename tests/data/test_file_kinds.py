import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest

from sentiment.data.csv_format import CsvFormat
from sentiment.data.reviews import column_names, read_reviews, read_table
from sentiment.runtime.errors import InputError


def archive(*members: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for member in members:
            packed.writestr(member, "content")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive("docProps/app.xml", "xl/workbook.xml"), "an Excel workbook"),
        (archive("mimetype", "content.xml"), "an OpenDocument file"),
        (archive("best/data.pkl", "best/version"), "a checkpoint of PyTorch"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an Excel workbook"),
        (b"PAR1\x15\x00\x15", "give it the suffix .parquet"),
        (b"ARROW1\0\0\xff\xff", "pandas.read_feather("),
        (b"SQLite format 3\0" + bytes(90), "an SQLite database"),
        (pickle.dumps([1]), "a pickle"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\n<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"sep=;\nreview;label\n", "remove that line"),
        (b'{"review": "a", "label": 1}\n{"review": "b"}\n', "give it the suffix .jsonl"),
        (json.dumps([{"review": "a"}], indent=1).encode(), "a JSON file"),
        (b'[["a", 1], ["b", 0]]', "a JSON file"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".zip"])
def test_what_is_no_csv_is_named(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(content)
    renamed = path.rename(path.with_suffix(suffix))
    with pytest.raises(InputError) as caught:
        next(read_reviews(renamed, CsvFormat()))
    assert message.replace("r.csv", renamed.name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "header", ["ORCID,review", "PAR1,review", "[spoilers],review", "{curly},review", "RDX,BZh"]
)
def test_a_csv_may_begin_with_the_same_letters(tmp_path: Path, header: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f"{header}\na,b\n")
    assert column_names(path, CsvFormat()) == header.split(",")


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("r.csv", "<html><p>a</p></html>", "utf-8"),
        ("r.tsv", "<body>a</body>", "utf-8"),
        ("r.tsv", '{"text": "a"}', "utf-8"),
        ("r.csv", "version https://git-lfs", "utf-8"),
        ("r.csv", "] a", "utf-32-le"),
    ],
)
def test_a_headerless_csv_may_begin_as_other_texts_do(
    tmp_path: Path, name: str, text: str, encoding: str
) -> None:
    path = tmp_path / name
    separator = "\t" if name.endswith("tsv") else ","
    path.write_bytes(f"{text}{separator}pos\nb{separator}neg\n".encode(encoding))
    csv_format = CsvFormat(header=False, encoding=encoding)
    assert [chunk.cells for chunk in read_table(path, csv_format, 10)] == [
        [[text, "pos"], ["b", "neg"]]
    ]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "déjà vu à Noël"),
        ("cp1252", "Schöne Grüße"),
        ("cp1251", "Очень хороший фильм"),
        ("gb18030", "剧情无聊。演技很差"),
        ("cp932", "この映画は面白かった"),
        ("euc_kr", "이 영화는 재미있어요"),
    ],
)
@pytest.mark.parametrize("before", [0, 300_000])
def test_a_message_has_the_line_that_cannot_be_decoded_and_its_likely_encoding(
    tmp_path: Path, encoding: str, text: str, before: int
) -> None:
    path = tmp_path / "r.csv"
    rows = ["review,sentiment", *["fine,1"] * (before // 6), "é,1", f"{text},0", "bad,0"]
    path.write_bytes(
        b"\r\n".join(row.encode("utf-8" if row[0] == "é" else encoding) for row in rows)
    )
    with pytest.raises(InputError) as caught:
        next(read_table(path, CsvFormat(), 10))
    message = str(caught.value)
    assert message.startswith(f"{path}, line {before // 6 + 3}: byte ")
    assert f"data.encoding={encoding}," in message
    assert f"{text[:4]}" in message


def test_utf_8_is_likely_where_the_setting_is_ascii(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\ncafé,1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2: .*café.*data\.encoding=utf-8"):
        next(read_table(path, CsvFormat(encoding="ascii"), 10))
