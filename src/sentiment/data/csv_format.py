"""How a table is written: kind of file, columns, separator, quotes, encoding and compression."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from sentiment.runtime.errors import InputError
from sentiment.runtime.files import COMPRESSION_SUFFIXES

COMPRESSIONS = ("infer", "none", *COMPRESSION_SUFFIXES.values())
QUOTINGS = ("auto", "minimal", "none")
FORMATS = ("auto", "csv", "jsonl", "json", "parquet", "fasttext")
_RECORDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
# Python counts these among its text encodings, but no file of texts is written in them.
_NO_TEXT = {"idna", "punycode", "unicode_escape", "raw_unicode_escape"}


@dataclass(frozen=True, kw_only=True)
class CsvFormat:
    r"""How a CSV file is to be read.

    Attributes:
        text_column: name of the column with the texts; without a header its number as a string,
            counted from 0.
        label_column: name of the column with the labels, or None if there is none.
        weight_column: name of the column with the weights of the reviews in the training loss, or
            None if all count the same.
        separator: one character, or ``tab``; None goes by the file's suffix: a tab for ``.tsv`` and
            ``.tab``, else a comma.
        header: whether the first row holds the names of the columns.
        encoding: a Python codec name.
        compression: one of ``COMPRESSIONS``; ``infer`` goes by the file's suffix.
        quoting: ``minimal`` if quotation marks enclose cells that hold separators, line breaks or
            quotation marks; ``none`` if they are a part of the texts; ``auto`` finds out.
        escape: the character, or ``backslash``, that stands before a quotation mark within
            quotes if it is not doubled; with ``quoting="none"``, before a separator or a line
            break within a cell.
        file_format: one of ``FORMATS``; ``auto`` goes by the file's suffix, ``.jsonl``, ``.json``
            or ``.parquet``, else it is ``csv``. Separator, header, quoting and escape have a
            meaning for CSV files alone.

    Raises:
        InputError: a value that cannot be used; the message names the setting and what to give.
    """

    text_column: str = "review"
    label_column: str | None = "sentiment"
    weight_column: str | None = None
    separator: str | None = None
    header: bool = True
    encoding: str = "utf-8"
    compression: str = "infer"
    quoting: str = "auto"
    escape: str | None = None
    file_format: str = "auto"

    def __post_init__(self) -> None:
        if self.separator in ("tab", "\\t"):
            object.__setattr__(self, "separator", "\t")
        if self.escape == "backslash":
            object.__setattr__(self, "escape", "\\")
        for name, choices in (
            ("compression", COMPRESSIONS), ("quoting", QUOTINGS), ("file_format", FORMATS),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise self._error(name, f"use one of {', '.join(choices)}")
        for name, taken, word in (
            ("separator", '"\r\n', "tab"),
            ("escape", '"\r\n' + (self.separator or ",\t"), "backslash"),
        ):
            value = getattr(self, name)
            if value is not None and (len(value) != 1 or value in taken or value.isalnum()):
                why = "quotation marks and line breaks have one"
                if value == "" and name == "separator":
                    why = f"for a shell, quote ; and |, as {self.separator_override(';')}"
                raise self._error(
                    name,
                    f"use {word!r} or a single character that has no other meaning in the file"
                    f" ({why})",
                )
        try:
            "".encode(self.encoding)  # codecs.lookup would let rot13 and others pass
            known = codecs.lookup(self.encoding).name.replace("-", "_") not in _NO_TEXT
        except (LookupError, ValueError):
            known = False
        if not known:
            raise self._error("encoding", "Python knows no such text encoding; try utf-8 or cp1252")

    @classmethod
    def of_settings(cls, data: Mapping[str, Any], **others: Any) -> Self:
        """The format that the ``data`` settings of a config describe, but for some attributes."""
        given = {name: data[name] for name in (each.name for each in fields(cls)) if name in data}
        return cls(**given | others)

    def override(self, setting: str, value: str) -> str:
        """What a user types to change a setting."""
        return f"data.{setting}={value}"

    def named(self, setting: str) -> str:
        """What a user types before the value of a setting."""
        return f"data.{setting}"

    def separator_override(self, separator: str) -> str:
        """What a user types in a shell to set a separator."""
        if separator == "\t":
            return self.override("separator", "tab")
        return f'"{self.override("separator", repr(separator))}"'

    def _error(self, setting: str, reason: str) -> InputError:
        return InputError(f"{self.override(setting, repr(getattr(self, setting)))}: {reason}")


@dataclass(frozen=True, kw_only=True)
class ScoresFormat(CsvFormat):
    """The format of a file with a teacher's probabilities: as a CSV file by default, no labels.

    Attributes:
        score_columns: each label and the name of the column with its probabilities.
    """

    label_column: str | None = None
    score_columns: tuple[tuple[str, str], ...] = ()


class FormatOfOptions(CsvFormat):
    """A format from command-line options (``--separator tab``) instead of a config."""

    def override(self, setting: str, value: str) -> str:
        """What a user types to change a setting."""
        if setting == "header":
            return "--no-header" if value == "false" else "--header"
        return f"{self.named(setting)} {value}"

    def named(self, setting: str) -> str:
        """What a user types before the value of a setting."""
        return f"--{setting.replace('_', '-')}"

    def separator_override(self, separator: str) -> str:
        """What a user types in a shell to set a separator."""
        return self.override("separator", "tab" if separator == "\t" else repr(separator))


class FormatOfArguments(CsvFormat):
    """A format from arguments of a Python function (``separator="tab"``) instead of a config."""

    def override(self, setting: str, value: str) -> str:
        """What a user types to change a setting."""
        if setting == "header":
            return f"{setting}={value.capitalize()}"
        quoted = value[:1] in ("'", '"')
        return f"{setting}={value if quoted else repr(value)}"

    def named(self, setting: str) -> str:
        """What a user types before the value of a setting."""
        return setting

    def separator_override(self, separator: str) -> str:
        """What a user types to set a separator."""
        return self.override("separator", "tab" if separator == "\t" else separator)


def record_kind(path: Path, csv_format: CsvFormat) -> str | None:
    """The format of a file that is not CSV, one of ``FORMATS``; None of a CSV file."""
    kind = csv_format.file_format
    if kind == "auto":
        own = path.with_suffix("") if path.suffix.lower() in COMPRESSION_SUFFIXES else path
        kind = _RECORDS.get(own.suffix.lower(), "csv")
    return None if kind == "csv" else kind


def has_header(path: Path, csv_format: CsvFormat) -> bool:
    """Whether the columns of a file have names."""
    return csv_format.header or record_kind(path, csv_format) is not None


def separator_of(path: Path, csv_format: CsvFormat) -> str:
    """The separator of a file: the format's if it is set, else its suffix's, else a comma."""
    return csv_format.separator or separator_of_suffix(path) or ","


def separator_of_suffix(path: Path) -> str | None:
    """The separator that a suffix such as ``.tsv`` or ``.csv.gz`` implies, or None."""
    found = {_SEPARATORS.get(suffix.lower()) for suffix in path.suffixes} - {None}
    return "\t" if "\t" in found else next(iter(found), None)
