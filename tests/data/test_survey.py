from pathlib import Path
from typing import Any

import pytest

from sentiment.data.csv_format import CsvFormat, FormatOfOptions
from sentiment.data.reviews import read_table
from sentiment.runtime.errors import InputError


def read(path: Path, content: str, **options: Any) -> list[list[str]]:
    path.write_bytes(content.encode())
    return [cells for chunk in read_table(path, CsvFormat(**options), 10) for cells in chunk.cells]


@pytest.mark.parametrize(
    ("name", "content", "cells", "message"),
    [
        # quotation marks that are a part of texts
        ("r.tsv", 't\tl\n"a b\t1\nc\t0\n', [['"a b', "1"], ["c", "0"]], "data.quoting=minimal"),
        ("r.tsv", 't\tl\n"a" b\t1\nc\t0\n', [['"a" b', "1"], ["c", "0"]], "row 1 (line 2)"),
        ("r.tsv", 't\tl\n"a\t1\nb\t0\nc"\t1\n', [['"a', "1"], ["b", "0"], ['c"', "1"]], "row 1"),
        ("r.csv", 't,l\n"a b,1\nc,0\n', [['"a b', "1"], ["c", "0"]], "row 1"),
        # a backslash before them
        (
            "r.csv",
            't,l\n"a \\"b\\", c",1\nC:\\d,0\n',
            [['a "b", c', "1"], ["C:\\d", "0"]],
            "escape",
        ),
        ("r.csv", 't,l\n"a \\"b\\"\nc\\\\",1\n', [['a "b"\nc\\', "1"]], "data.escape=backslash"),
        (
            "r.csv",
            't,l\n"\\",",1\nsay \\"a\\" \\\\,0\n',
            [['",', "1"], ['say "a" \\', "0"]],
            "escape",
        ),
        # quotes as ever
        ("r.csv", 't,l\n"a, b\nc",1\n"d",0\n', [["a, b\nc", "1"], ["d", "0"]], ""),
        ("r.csv", 't,l\n"C:\\d, \\n",1\nC:\\\\,0\n', [["C:\\d, \\n", "1"], ["C:\\\\", "0"]], ""),
        ("r.tsv", '"t"\t"l"\n"a\tb\nc"\t"1"\n', [["a\tb\nc", "1"]], ""),
        ("r.csv", 't\n"a\nb"\n"c"\n', [["a\nb"], ["c"]], "1 of 2 rows span several lines"),
        # carriage returns
        ("r.csv", "t,l\na\rb,1\nc,0\r\n", [["a\rb", "1"], ["c", "0"]], ""),
        ("r.csv", "t,l\na,1\rb,0\r", [["a", "1"], ["b", "0"]], "carriage returns"),
        ("r.csv", '"t\rx",l\na\rb,1\n', [["a\rb", "1"]], ""),
        ("r.csv", 't,l\r"a\nb",1\rc,0\r', [["a\nb", "1"], ["c", "0"]], ""),
        # spaces behind a closing mark
        ("r.csv", 't,l\n"a, b" ,1\n"c, d"  \n', [["a, b ", "1"], ["c, d  ", ""]], "1 of 2 rows"),
        # rows that are too short
        ("r.csv", "t,l\na,1\nb\n", [["a", "1"], ["b", ""]], "1 of 2 rows have fewer cells"),
        (
            "r.tsv",
            't\tl\n"a\t1\nb\t0\nc"\t1\nd\n',
            [['"a', "1"], ["b", "0"], ['c"', "1"], ["d", ""]],
            "1 of 4 rows",
        ),
        (
            "r.tsv",
            "t\tl\n" + 3 * '"a\t1\nb\t0\nc"\t1\n' + '"a\t1\nd\nc"\t1\n',
            [*(3 * [['"a', "1"], ["b", "0"], ['c"', "1"]]), ['"a', "1"], ["d", ""], ['c"', "1"]],
            "1 of 12 rows",
        ),
        ("r.tsv", 't\tl\n"a\nb"\t1\nc\n', [["a\nb", "1"], ["c", ""]], "1 of 2 rows"),
        # doubled marks show that marks enclose cells
        (
            "r.csv",
            't,l\n"He ""said"" hi",1\n"It cost 1,000\nand more",1\nno,0\n',
            [['He "said" hi', "1"], ["It cost 1,000\nand more", "1"], ["no", "0"]],
            "",
        ),
    ],
)
def test_a_dialect_is_found(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    content: str,
    cells: list[list[str]],
    message: str,
) -> None:
    assert read(tmp_path / name, content) == cells
    assert bool(caplog.text) == bool(message)
    assert message in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # one row or three
        ('t,l\n"a,1\nb,0\nc",1\n', "row 1 (lines 2 to 4)"),
        ('t,l\n"a,1\nb,0\nc",1\nd,0\ne\n', "row 1 (lines 2 to 4)"),
        ('t,l\n"he said,\nb,\nc said",\nd,\n', "row 1 (lines 2 to 4)"),
        # a row that is broken beside others that show that quotes enclose cells
        ('t,l\n"say ""a""",1\n"b,0\n', "row 2 (line 3): has a quotation mark that is never closed"),
        ('"t","l"\n"a" b,1\n', "row 1 (line 2): has text behind"),
        ("t\na, b\n", "data.separator=tab if each line is a text"),
        ('t,l\n"a\n\n",1\nb,0,\n', "row 2 (line 5): has 3 cells"),
    ],
)
def test_what_fits_no_dialect_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "r.csv"
    with pytest.raises(InputError) as caught:
        read(path, content)
    assert f"{path}, " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "separator"),
    [
        ('"t";"l"\n"a, ""b""; c";"1"\n', ";"),
        ('t;l\nsaid "a", "b";1\n', ";"),
        ('t|l\n"a, b"|1\n', "|"),
        ('t\tl\n"a, b"\t1\n', "tab"),
        ("t;l\na, b;1\n", ";"),
    ],
)
@pytest.mark.parametrize("csv_format", [CsvFormat(), FormatOfOptions()])
def test_a_message_has_the_likely_separator(
    tmp_path: Path, content: str, separator: str, csv_format: CsvFormat
) -> None:
    path = tmp_path / "r.csv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        next(read_table(path, csv_format, 10))
    value = separator if separator == "tab" else repr(separator)
    assert f"{csv_format.override('separator', value)}" in str(caught.value)


def test_without_a_header_the_likely_separator_is_in_most_lines(tmp_path: Path) -> None:
    rows = 'fine, really;1\n"a" then, "b";0\nc;1\n'
    with pytest.raises(InputError, match="data.separator=';'"):
        read(tmp_path / "r.csv", rows, header=False)
    with pytest.raises(InputError, match="check the separator"):
        read(tmp_path / "r.csv", 't,l\n"a" b; c,1\n"d, e",0\n')


def test_what_is_set_is_not_sought(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    ambiguous = 't,l\n"a,1\nb,0\nc",1\n'
    assert len(read(path, ambiguous, quoting="none")) == 3
    assert len(read(path, ambiguous, quoting="minimal")) == 1
    with pytest.raises(InputError, match="never closed"):
        read(path, 't,l\n"a,1\n', quoting="minimal")
    assert read(path, "t,l\na\\,b,1\nc\\\nd,0\n", quoting="none", escape="\\") == [
        ["a,b", "1"],
        ["c\nd", "0"],
    ]
    assert read(path, "t\na\\\n\n", quoting="none", escape="\\") == [["a\n"]]
    assert read(path, 't,l\n"a ^"b^", ^c",1\n', escape="^") == [['a "b", ^c', "1"]]


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("t,l\n" + "a,1\n" * 200_000)
    chunks = read_table(path, CsvFormat(), 10)
    next(chunks)
    path.write_text("t,l\n" + "a,1\n" * 100)
    with pytest.raises(InputError, match="changed while it was being read"):
        list(chunks)
