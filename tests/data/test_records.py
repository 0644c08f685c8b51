import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from conftest import write_reviews
from programs import run_program
from sentiment.data.csv_format import CsvFormat, FormatOfOptions
from sentiment.data.datamodule import SentimentDataModule
from sentiment.data.reviews import column_names, read_reviews, read_table
from sentiment.data.vector_file import WordVectors
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import text_when_whole

ROWS: list[dict[str, Any]] = [
    {"text": 'A "joy",\nreally', "label": "good", "stars": 5},
    {"text": "Übung 文本", "label": "bad", "stars": None},
]
FORMAT = CsvFormat(text_column="text", label_column="label")


def write_jsonl(path: Path) -> None:
    path.write_text("\n".join([json.dumps(row) for row in ROWS] + [""]))


def write_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS))


def write_parquet(path: Path) -> None:
    pd.DataFrame(ROWS).astype({"stars": "Int64"}).to_parquet(path)


def write_zstd(path: Path) -> None:
    content = pd.DataFrame(ROWS).astype({"stars": "Int64"}).to_csv(index=False)
    path.write_bytes(pa.compress(content.encode(), codec="zstd", asbytes=True))


def write_gzip(path: Path) -> None:
    pd.DataFrame(ROWS).astype({"stars": "Int64"}).to_json(path, orient="records", lines=True)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("r.jsonl", write_jsonl), ("r.ndjson", write_jsonl), ("r.json", write_json),
        ("r.parquet", write_parquet), ("r.csv.zst", write_zstd), ("r.jsonl.gz", write_gzip),
    ],
)  # fmt: skip
def test_each_kind_of_file_has_the_same_cells(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:

    write(tmp_path / name)
    (chunk,) = read_table(tmp_path / name, FORMAT, 10)
    assert column_names(tmp_path / name, FORMAT) == ["text", "label", "stars"]
    assert chunk.cells == [
        [row["text"], row["label"], "" if row["stars"] is None else "5"] for row in ROWS
    ]
    assert chunk.progress == 1
    (reviews,) = read_reviews(tmp_path / name, FORMAT)
    assert reviews.labels == ["good", "bad"]


def test_values_that_are_no_texts_are_written_as_json(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"text": "a", "x": [1, {"y": true}]}\n\n{"x": 1.5, "text": "b", "z": false}\n')
    (chunk,) = read_table(path, FORMAT, 10)
    assert chunk.cells == [["a", '[1, {"y": true}]', ""], ["b", "1.5", "false"]]


def test_lines_of_fasttext_have_a_label_and_a_text(tmp_path: Path) -> None:
    path = tmp_path / "reviews.txt"
    labels = ("__label__good\t", "__label__bad ")
    lines = [f"{labels[row % 2]}film number {row}\n" for row in range(40)]
    path.write_text("".join(lines))
    data = SentimentDataModule(
        csv=str(path), text_column="text", label_column="label", file_format="fasttext"
    )
    data.prepare_data()
    data.setup()
    assert data.facts.labels == ["bad", "good"]
    texts = tmp_path / "texts.txt"
    texts.write_text("no label, here\n__label__good\t__label__x one\n")
    of_texts = CsvFormat(text_column="text", label_column=None, file_format="fasttext")
    (chunk,) = read_reviews(texts, of_texts)
    assert chunk.texts == ["no label, here", "one"]


@pytest.mark.parametrize(
    ("csv_format", "settings"),
    [
        (FORMAT, "data.file_format=fasttext data.text_column=text data.label_column=label"),
        (FormatOfOptions(text_column="review"), "--file-format fasttext --text-column text"),
    ],
)
def test_lines_of_fasttext_are_known_by_their_labels(
    tmp_path: Path, csv_format: CsvFormat, settings: str
) -> None:
    (tmp_path / "r.txt").write_text("__label__good a fine film\n__label__bad no\n")
    with pytest.raises(InputError, match=f"r.txt: no column.*fastText, give {settings}"):
        next(read_reviews(tmp_path / "r.txt", csv_format))


@pytest.mark.parametrize(
    ("name", "content", "file_format", "expected"),
    [
        ("r.jsonl", '{"text": 1\n', "auto", "line 1: is not JSON"),
        ("r.jsonl", '{"text": "a"}\n[1]\n', "auto", "line 2: holds a list, and an object is"),
        ("r.jsonl", '{"text": "\\ud800", "label": "b"}\n', "auto", "row 1: column 'text' is not"),
        ("r.jsonl", "", "auto", "empty; give a file with reviews in it"),
        ("r.jsonl", '[\n{"text": "a"}]', "auto", "if the whole file is .* data.file_format=json$"),
        ("r.json", '{"text": "a"}\n{"text": "b"}', "auto", "set data.file_format=jsonl$"),
        ("r.jsonl", "\n", "auto", "no rows"),
        ("r.json", '{"text": "a"}', "auto", "holds an object, and a list of objects"),
        ("r.json", "[1]", "auto", "row 1: holds a number"),
        ("r.json", "[" * 100_000, "auto", "is not JSON"),
        ("r.parquet", "PAR1", "auto", "cannot be read as Parquet"),
        ("r.csv", "PAR1\0", "auto", "is a Parquet file, .* give it the suffix .parquet"),
        ("r.csv", '{"text": "a", "label": "b"}\n' * 2, "auto", "give it the suffix .jsonl$"),
        ("r.txt", "__label__a __label__b x\n", "fasttext", "line 1: has several labels"),
        ("r.txt", "__label__a x\nmore\n", "fasttext", "line 2: does not begin with __label__"),
        ("r.jsonl", '{"texts": "a", "label": "b"}\n', "auto", "did you mean 'texts'.*"),
        ("r.jsonl", '{"x": 1, "y": 2}', "auto", r"\(set data.text_column, data.label_column\)"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: str, file_format: str, expected: str
) -> None:
    (tmp_path / name).write_text(content)
    csv_format = CsvFormat(text_column="text", label_column="label", file_format=file_format)
    with pytest.raises(InputError, match=expected) as caught:
        list(read_reviews(tmp_path / name, csv_format))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parquet_has_texts_in_bytes_and_says_which_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    table = pd.DataFrame({"text": ["Übung".encode(), b"\xff"], "label": ["x", "y"]})
    table[:1].to_parquet(path)
    (chunk,) = read_reviews(path, FORMAT)
    assert chunk.texts == ["Übung"]
    table.to_parquet(path)
    with pytest.raises(InputError, match="row 2: column 'text' is not"):
        list(read_reviews(path, FORMAT))


def test_a_list_longer_than_any_line_may_be_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentiment.data.table_text.LONGEST", 1 << 10)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(ROWS * 10_000))
    assert sum(len(chunk.texts) for chunk in read_reviews(path, FORMAT)) == 20_000


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "r.parquet")
    write_zstd(tmp_path / "r.csv.zst")
    with text_when_whole(tmp_path / "v.txt.zst") as file:
        file.write("a 1 2\n")
    assert WordVectors(tmp_path / "v.txt.zst", ["a"], dimension=2)["a"].tolist() == [1, 2]
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for name in ("r.parquet", "r.csv.zst"):
        with pytest.raises(InputError, match=r"pip install 'sentiment\[files\]'"):
            list(read_reviews(tmp_path / name, FORMAT))
    with pytest.raises(InputError, match=r"v\.txt\.zst: .*pip install 'sentiment\[files\]'"):
        WordVectors(tmp_path / "v.txt.zst", ["a"], dimension=2)
    with (
        pytest.raises(InputError, match=r"pip install 'sentiment\[files\]'"),
        text_when_whole(tmp_path / "w.txt.zst"),
    ):
        pass


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_records_have_weights(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    weights = [2, 0.5] if suffix == "jsonl" else [Decimal("2.0"), Decimal("0.5")]
    table = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"], "w": weights})
    if suffix == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_parquet(path)
    (chunk,) = read_reviews(path, replace(FORMAT, weight_column="w"))
    assert list(chunk.weights) == [2, 0.5]
    path = tmp_path / "missing.jsonl"
    path.write_text('{"text": "a", "label": "x", "w": 1}\n{"text": "b", "label": "y"}\n')
    with pytest.raises(InputError, match="row 2: the weight is missing"):
        list(read_reviews(path, replace(FORMAT, weight_column="w")))


def test_commands_take_parquet(tmp_path: Path) -> None:
    pd.read_csv(write_reviews(tmp_path / "r.csv", 60)).to_parquet(tmp_path / "r.parquet")
    columns = ("data.text_column=review", "data.label_column=sentiment")
    done = run_program("baseline", "data=csv", "data.csv=r.parquet", *columns, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
