"""A terminal that tests write to and look at."""

import io
import sys

import pytest


class Terminal(io.StringIO):
    """A text stream that says it is a terminal.

    Args:
        shown_on: the stream of the same terminal that gets what is written; None is this one.
    """

    encoding = "utf-8"

    def __init__(self, shown_on: "Terminal | None" = None) -> None:
        super().__init__()
        self._shown_on = shown_on

    def write(self, text: str) -> int:
        """Write to the terminal."""
        return super().write(text) if self._shown_on is None else self._shown_on.write(text)

    def isatty(self) -> bool:
        """True."""
        return True

    @property
    def screen(self) -> list[str]:
        """The lines that one sees; a carriage return goes back to the start of the line."""
        lines = []
        for written in self.getvalue().split("\n"):
            line = ""
            for part in written.split("\r"):
                line = part + line[len(part) :]
            lines.append(line.rstrip())
        return lines


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let standard output and standard error be streams of a terminal, for the rest of the test.

    Called by the test itself, because pytest sets both between a fixture and its test.
    """
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", Terminal(shown_on=terminal))
    return terminal
