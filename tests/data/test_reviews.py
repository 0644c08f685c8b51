import gzip
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sentiment.data import reviews
from sentiment.data.cleaning import clean
from sentiment.data.csv_format import CsvFormat, FormatOfOptions
from sentiment.data.reviews import (
    check_columns,
    column_names,
    is_blank,
    read_reviews,
    read_table,
)
from sentiment.runtime.errors import InputError

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
    path.write_bytes(b'\xef\xbb\xbf"a, b",pos\n')
    assert read(path, header=False, text_column="0", label_column="1")[0] == ["a, b"]


def test_missing_values_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    rows = [" good , 1 ", ",1", *["fine,0"] * 28, "bad,  ", "short"]
    path.write_text("review,sentiment\n" + "\n".join(rows) + "\n")
    texts, labels, kept, missing = read(path)
    assert (texts[:2], labels[:2], missing) == ([" good ", "fine"], ["1", "0"], 3)
    assert kept == [0, *range(2, 30)]
    path.write_text(path.read_text() + "short\n")
    message = refusal(path)
    assert "4 of 33 rows" in message
    assert "row 2)" in message


@pytest.mark.parametrize(
    "blank", ["", "  ", "\u00a0", "\u200b\ufeff", "\x00", "\t \u2028", "\u2800\ufe0f"]
)
def test_a_text_that_nobody_sees_is_missing(tmp_path: Path, blank: str) -> None:
    assert is_blank(blank)
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\n" + f'"{blank}",1\n' + "good,1\n" * 9)
    assert read(path)[2:] == (list(range(1, 10)), 1)
    path.write_text("review,sentiment\n" + "good,1\n" * 9 + f'good,"{blank}"\n')
    assert read(path)[2:] == (list(range(9)), 1)


def test_a_text_is_blank_where_cleaning_leaves_nothing_of_it() -> None:
    texts = [*map(chr, [*range(0x3200), *range(0xFE00, 0xFFFF), *range(0x1D100, 0x1D200)]),
             "<br />", "NA", "\u200c\u200d\u3164\u115f", "\u0928\u200d", "\u200b" * 99]  # fmt: skip
    for text in texts:
        assert is_blank(text) == (clean(text, strip_markup=False) == ""), ascii(text)


def test_rows_count_on_over_chunks_and_progress_ends_at_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\n" + "".join(f"t {n},{n % 2}\n" for n in range(25)))
    chunks = list(read_reviews(path, CsvFormat(), chunk_rows=10))
    assert [chunk.rows for chunk in chunks] == [[*range(10)], [*range(10, 20)], [*range(20, 25)]]
    assert chunks[-1].progress == 1
    unlabelled = list(read_reviews(path, CsvFormat(label_column=None)))
    assert [len(chunk.texts) for chunk in unlabelled] == [25]
    monkeypatch.setattr(reviews, "CHARACTERS_AT_A_TIME", 30)
    short = list(read_reviews(path, CsvFormat(), chunk_rows=10))
    assert len(short) > 3
    assert [row for chunk in short for row in chunk.rows] == [*range(25)]
    assert unlabelled[0].labels == []


def test_columns_are_named_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("a,b\n1,2\n")
    assert column_names(path, CsvFormat()) == ["a", "b"]
    assert column_names(path, CsvFormat(header=False)) == ["0", "1"]
    check_columns(path, CsvFormat(), ["b"])
    with pytest.raises(InputError, match="numbered: '0', '1'"):
        check_columns(path, CsvFormat(header=False), ["2"])
    path.write_text("a,b,a\n1,2,3\n")
    check_columns(path, CsvFormat(), ["b"])
    with pytest.raises(InputError, match="2 columns are called 'a'"):
        check_columns(path, CsvFormat(), ["a"])
    path.write_text("a,b\n1,2\n")
    (chunk,) = read_table(path, CsvFormat(text_column="a"), 10)
    assert (chunk.cells, chunk.first, chunk.progress) == ([["1", "2"]], 0, 1)


@pytest.mark.parametrize("packed", [False, True])
def test_an_undecodable_byte_is_located(tmp_path: Path, packed: bool) -> None:
    content = b"review,sentiment\n" + b"plain text,1\n" * 200_000 + b"caf\xe9,0\n"
    path = tmp_path / ("r.csv.gz" if packed else "r.csv")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    assert f"byte {content.index(0xE9)} " in refusal(path)


@pytest.mark.parametrize("end", [b"", b"(,1\n"])
def test_a_character_cut_in_two_is_located(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "r.csv"
    start = b"review,sentiment\n"
    start += b"a" * ((1 << 20) - 1 - len(start))  # the byte is the last of the first block read
    path.write_bytes(start + b"\xc3" + end)
    assert f"byte {len(start)} " in refusal(path)


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ("", "empty"),
        ("review,sentiment\n", "no rows"),
        ("text,label\na,1\n", "'text', 'label'"),
        ("reviews,sentiment\na,1\n", "did you mean 'reviews'?"),
        ("review,sentiment\na,1\nb,0,c\n", "line 3"),
        ("review,sentiment\na,1,x\nb,0,x\n", "row 1 (line 2): has 3 cells, and the header 2"),
        ("review,sentiment\n" + "a,1\n" * 1500 + "a,1,x\n" * 1500, "line 1502"),
        ("\n\n", "empty"),
        (
            "review|sentiment\na|1\n",
            "'review|sentiment'; the separator is likely '|': set",
        ),
        ('review,sentiment\n"a,1\n"b",0\n', "row 1 (lines 2 to 3): has text behind"),
        (
            'review,sentiment\n"a, b",1\n"c,0\n',
            "row 2 (line 3): has a quotation mark that is never",
        ),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str, fact: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(content)
    assert fact in refusal(path)


def test_missing_file_folder_and_truncated_archive(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nope.csv")
    assert "folder" in refusal(tmp_path)
    cut = tmp_path / "r.csv.gz"
    cut.write_bytes(gzip.compress((PLAIN * 500).encode())[:-20])
    assert "cannot be read" in refusal(cut)
    assert "no such file" in refusal(cut / "r.csv")
    wrong = tmp_path / "r.csv"
    wrong.write_text(PLAIN)
    assert "compression" in refusal(wrong, compression="xz")


def test_a_missing_column_is_answered_with_the_likely_ones(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("id,Text,stars\n1,good,5\n")
    assert "give data.text_column=Text data.label_column=stars" in refusal(path)
    assert "(give data.label_column=stars)" in refusal(path, text_column="Text")


@pytest.mark.parametrize("separator", ["", "t"])  # a shell makes these of ; and \t
def test_a_separator_that_a_shell_has_changed_is_refused(separator: str) -> None:
    with pytest.raises(InputError, match="use 'tab' or a single character") as caught:
        CsvFormat(separator=separator)
    assert ("\"data.separator=';'\"" in str(caught.value)) == (separator == "")


def test_a_locked_or_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    draw = random.Random(0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("r.csv", PLAIN + "".join(f"{draw.random()},1\n" for _ in range(5_000)))
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[:1000] + bytes(range(100)) + whole[1100:])
    assert "cannot be read" in refusal(path)
    directory = whole.rindex(b"PK\x01\x02")
    whole[6] |= 1
    whole[directory + 8] |= 1  # the flag that says: encrypted
    path.write_bytes(whole)
    assert "encrypted" in refusal(path)
    whole[6] = whole[directory + 8] = 0
    struct.pack_into("<H", whole, 8, 99)
    struct.pack_into("<H", whole, directory + 10, 99)  # a method of packing nobody knows
    path.write_bytes(whole)
    assert "not supported" in refusal(path)
    path.write_bytes(b"")
    assert "data.compression=none" in refusal(path)


def test_one_column_cannot_be_both(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(PLAIN)
    assert "both" in refusal(path, label_column="review")


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("separator", ["::", "", "\n", '"']),
        ("escape", ["", "ab", '"', "\n", ","]),
        ("encoding", ["utf-99", "undefined", "rot13", "idna", "unicode_escape", "hex"]),
        ("compression", ["rar"]),
        ("quoting", ["all"]),
    ],
)
@pytest.mark.parametrize(
    ("kind", "typed"), [(CsvFormat, "data.{}={!r}: "), (FormatOfOptions, "--{} {!r}: ")]
)
def test_impossible_formats_are_refused(
    setting: str, values: list[str], kind: type[CsvFormat], typed: str
) -> None:
    for value in values:
        options: dict[str, Any] = {setting: value}
        with pytest.raises(InputError) as caught:
            kind(**options)
        assert str(caught.value).startswith(typed.format(setting, value))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tab", "\\t", "\t"])
def test_a_tab_can_be_named(name: str) -> None:
    assert CsvFormat(separator=name).separator == "\t"


def test_a_weight_stands_beside_each_review_that_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment,w\na,x, 2 \n,x,none\nb,y,0\nc,y,1e-3\n" + "d,x,1\n" * 9)
    (chunk,) = read_reviews(path, CsvFormat(weight_column="w"))
    assert chunk.texts[:3] == ["a", "b", "c"]
    assert list(chunk.weights) == [2, 0, 0.001, *[1] * 9]
    (chunk,) = read_reviews(path, CsvFormat())
    assert list(chunk.weights) == []


@pytest.mark.parametrize("weight", ["much", "-1", "inf", "nan", "1e31", '"1,5"'])
def test_what_is_no_weight_is_refused_with_its_row(tmp_path: Path, weight: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f"review,sentiment,w\na,x,1\nb,y,{weight}\n")
    message = refusal(path, weight_column="w")
    assert f"{path}, row 2: {weight.strip(chr(34))!r}" in message
    path.write_text("review,sentiment,w\na,x,1\nb,y,  \n")
    assert f"{path}, row 2: the weight is missing" in refusal(path, weight_column="w")


def test_a_weight_column_is_named_like_the_others(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment,weights\na,x,1\n")
    assert "(give data.weight_column=weights)" in refusal(path, weight_column="w")
    assert "both label and weight" in refusal(path, weight_column="sentiment")
    path.write_text(PLAIN)
    assert "(set data.weight_column)" in refusal(path, weight_column="w")
