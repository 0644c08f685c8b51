import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from sentiment.report import tables


def printed(table: Table) -> str:
    file = io.StringIO()
    tables.print_table(table, file)
    return file.getvalue()


def test_json_keeps_order_and_precision_and_knows_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "run" / "results.json"
    values = {
        "z": 0.1 + 0.2,
        "a": float("nan"),
        "nested": {"inf": float("inf"), "list": [1, -np.inf, None, True]},
        "numpy": np.float32(0.5),
        "count": np.int64(7),
        "array": np.array([[1.0, np.nan]]),
        "pair": ("é", Path("a/b")),
    }
    tables.write_json(path, values)

    text = path.read_text(encoding="utf-8")
    read = json.loads(text)
    assert list(read) == list(values)
    assert read["z"] == 0.1 + 0.2
    assert read["a"] is None
    assert read["nested"] == {"inf": None, "list": [1, None, None, True]}
    assert (read["numpy"], read["count"], read["array"]) == (0.5, 7, [[1.0, None]])
    assert read["pair"] == ["é", "a/b"]
    assert text.endswith("}\n")
    assert "é" in text


def test_json_of_something_else_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    tables.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        tables.write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_csv_has_the_union_of_columns_in_order_of_appearance(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    tables.write_csv(path, [{"epoch": 0, "b": 1 / 3}, {"a": 'x, "y"\n', "epoch": 1, "b": None}])
    assert path.read_bytes().decode() == ('epoch,b,a\n0,0.3333333333333333,\n1,,"x, ""y""\n"\n')


def test_csv_of_no_rows_is_an_empty_file(tmp_path: Path) -> None:
    tables.write_csv(tmp_path / "metrics.csv", [])
    assert (tmp_path / "metrics.csv").read_bytes() == b""


def test_a_failed_csv_leaves_nothing_behind(tmp_path: Path) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(RuntimeError, match="no text"):
        tables.write_csv(tmp_path / "metrics.csv", [{"a": 1}, {"a": Unprintable()}])
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_nothing_is_cut_or_coloured() -> None:
    table = tables.new_table()
    for name in ("one", "two", "three"):
        table.add_column(name)
    table.add_row(*(letter * 90 for letter in "abc"), style="bold red")
    text = printed(table)
    assert all(letter * 90 in text for letter in "abc")
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_terminal_gets_its_own_width_and_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    table = tables.new_table()
    table.add_column("name")
    table.add_row("word " * 30)
    file = Terminal()
    tables.print_table(table, file)
    assert "\x1b[1m" in file.getvalue()
    assert file.getvalue().count("\n") > 4


def test_a_log_in_ascii_can_hold_any_table() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    table = tables.new_table()
    table.add_column("gut, übel")
    tables.print_table(table, file)
    file.flush()
    assert "gut, ?bel" in raw.getvalue().decode("ascii")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (7, "7"), (999, "999"), (1000, "1.00k"), (8617, "8.62k"), (9996, "10.0k"),
        (359_949, "360k"), (999_499, "999k"), (999_500, "1.00M"), (12_400_000, "12.4M"),
        (None, "-"),
    ],
)  # fmt: skip
def test_sizes(count: int | None, text: str) -> None:
    assert tables.format_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7.34, "7.3s"),
        (59.94, "59.9s"),
        (59.96, "1m 00s"),
        (164.2, "2m 44s"),
        (3599.7, "1h 00m"),
        (3780, "1h 03m"),
        (90_000, "25h 00m"),
        (None, "-"),
        (float("nan"), "-"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert tables.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, True), (1.5, True), (np.float32(2), True), (np.int64(3), True)]
    + [(value, False) for value in (None, "1", True, float("nan"), float("-inf"), [1])],
)
def test_is_number(value: object, expected: bool) -> None:
    assert tables.is_number(value) is expected
