"""Progress bars and the log lines above them."""

import io
import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout

import pytest

from sentiment.runtime.progress_bar import LinesAboveBars, progress_bar, terminal_size
from terminal import on_terminal


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("name", logging.INFO, "file", 1, text, None, None)


@pytest.mark.parametrize("printing", [nullcontext(), redirect_stdout(io.StringIO())])
def test_a_log_line_appears_above_an_open_bar(
    monkeypatch: pytest.MonkeyPatch, printing: AbstractContextManager[object]
) -> None:
    """Also while standard output is redirected, as in a run of a sweep."""
    terminal = on_terminal(monkeypatch)
    handler = LinesAboveBars(terminal)
    with printing, progress_bar("Reading", 4, "row") as bar:
        bar.update(2)
        bar.refresh()
        assert terminal.screen[-1].startswith("Reading:  50%")
        assert "2/4" in terminal.screen[-1]
        assert "row/s" in terminal.screen[-1]
        handler.emit(record("a line"))
        line, below = terminal.screen
        assert line == "a line"
        assert below.startswith("Reading:  50%")
    handler.emit(record("the end"))
    assert terminal.screen == ["a line", "the end", ""]


@pytest.mark.parametrize(
    ("columns", "shown"), [("", "the whole"), ("9", "the whole"), ("8", "whole"), ("2", "w")]
)
def test_a_narrow_terminal_gets_a_shorter_line(
    monkeypatch: pytest.MonkeyPatch, columns: str, shown: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    terminal, pipe, line = on_terminal(monkeypatch), io.StringIO(), record("the whole")
    line.shorter = ["whole", "w"]
    for stream in (terminal, pipe):
        LinesAboveBars(stream).emit(line)
    assert terminal.screen[0] == shown
    assert pipe.getvalue() == "the whole\n"


def test_a_terminal_that_says_no_size_has_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    leader, follower = os.openpty()  # of 0 columns and rows
    with os.fdopen(leader), os.fdopen(follower, "w") as stream:
        assert terminal_size(stream) == (80, 24)
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar("Reading", 4, "row") as bar:
            bar.update(2)
            assert "|" in str(bar)
            assert len(str(bar)) == 80


def test_a_stream_that_lacks_a_character_gets_the_rest_of_the_line() -> None:
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    LinesAboveBars(pipe).emit(record("Predict with: 'Отзыв.csv'"))
    assert pipe.buffer.getvalue() == b"Predict with: '?????.csv'\n"


def test_there_is_no_bar_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress_bar("Reading", 4, "row") as bar:
        bar.update(4)
    assert not pipe.getvalue()


def test_a_bar_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress_bar("Reading", 4, "row", shown=False) as bar:
        bar.update(4)
    assert not terminal.getvalue()
