"""Find the CSV dialect of a file, its columns, and how many rows it has."""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

from sentiment.data.csv_format import CsvFormat, record_kind, separator_of
from sentiment.data.records import record_columns
from sentiment.data.table_rows import BadRowError, Dialect, rows_of
from sentiment.data.table_text import explained, open_table
from sentiment.runtime.cache import file_state
from sentiment.runtime.errors import InputError, listed

log = logging.getLogger(__name__)


@dataclass
class Survey:
    """The result of reading a file in one dialect, up to its first error.

    Attributes:
        dialect: the dialect.
        names: names of the columns; their numbers if the file has no header.
        rows: number of rows below the header, without blank lines.
        blank_lines: number of blank lines below the header.
        error: the row that breaks the dialect's rules, and how; None if there is none.
        short: number of rows that have fewer cells than there are names.
        first_short: the first of these rows.
        spanning: number of rows that span several lines.
        first_spanning: the first of these rows.
        separators_as_in_prose: whether a space follows each separator within their cells.
        met: see ``TableText``.
    """

    dialect: Dialect
    names: list[str] = field(default_factory=list)
    rows: int = 0
    blank_lines: int = 0
    error: tuple[str, str] | None = None
    short: int = 0
    first_short: str = ""
    spanning: int = 0
    first_spanning: str = ""
    separators_as_in_prose: bool = True
    met: set[str] = field(default_factory=set)

    @property
    def misfit(self) -> int:
        """0 if every row has as many cells as the header, 1 if some have fewer, else 2."""
        return 2 if self.error else 1 if self.short else 0

    @property
    def ambiguous(self) -> bool:
        """Whether a quotation mark may have joined rows that should be apart."""
        return self.spanning > 0 and len(self.names) > 1


def survey(path: Path, csv_format: CsvFormat) -> Survey:
    """Find a file's dialect, its columns and its number of rows, and log what is unusual.

    With ``quoting="auto"`` it is the first dialect that fits: quotes with doubled quotation marks
    in them, quotes with a backslash before quotation marks in them, no quotes.

    Raises:
        InputError: the file cannot be read, is empty, or fits no dialect or several.
    """
    state: tuple[int, ...] = ()
    with suppress(OSError):  # opening the file says what is wrong
        state = tuple(file_state(path))
    return _survey(path, csv_format, state)


@lru_cache(maxsize=32)
def _survey(path: Path, csv_format: CsvFormat, state: tuple[int, ...]) -> Survey:
    """Cached until the state of the file changes."""
    if (kind := record_kind(path, csv_format)) is not None:
        return Survey(Dialect(), *record_columns(path, csv_format, kind))
    found: list[Survey] = []
    try:
        chosen = _choose(path, csv_format, None, found)
    except InputError as error:
        again = None
        if any("\r" in each.met for each in found):  # lines of old Macs below another's header
            with suppress(InputError):
                again = _choose(path, csv_format, True, [])
        if again is None:
            raise explained(path, csv_format, error) from error
        chosen = again
    for message in _unusual(csv_format, chosen, found[0]):
        log.warning("%s: %s", path, message)
    return chosen


def _choose(
    path: Path, csv_format: CsvFormat, any_return: bool | None, found: list[Survey]
) -> Survey:
    """The survey in the dialect that fits; all surveys but one without quotes join ``found``."""
    escape, quoting = csv_format.escape, csv_format.quoting
    escaping = [Dialect(True, escape or "\\", every, any_return) for every in (True, False)]
    plain = Dialect(any_return=any_return)
    unquoted = Dialect(quoted=False, escape=escape, any_return=any_return)
    dialects = [unquoted] if quoting == "none" else escaping if escape else [plain]
    found += [_read_through(path, csv_format, dialect) for dialect in dialects]
    auto = quoting == "auto" and not escape
    if auto and found[0].misfit and "\\" in found[0].met:
        found += [_read_through(path, csv_format, dialect) for dialect in escaping]
    best = min(found, key=lambda each: (each.misfit, 0 if each.error else each.short))
    if auto and (best.misfit or best.ambiguous) and '"' in best.met:
        without = _read_through(path, csv_format, unquoted)
        if _marks_are_text(path, csv_format, best, without):
            return without
    if best.error:
        raise InputError(f"{path}, {best.error[0]}: {best.error[1]}")
    return best


def _marks_are_text(path: Path, csv_format: CsvFormat, quoted: Survey, unquoted: Survey) -> bool:
    """Whether quotation marks are a part of the texts, not around cells.

    Raises:
        InputError: both are possible, and the rows would differ.
    """
    spanned = quoted.ambiguous and not quoted.error  # most of those rows consist of whole ones:
    whole = not unquoted.error and 2 * (unquoted.short - quoted.short) < quoted.spanning
    if unquoted.misfit and not (spanned and whole):
        return False
    if quoted.dialect.escape and not quoted.ambiguous:
        return False
    surely, perhaps = _quotes_enclose(path, csv_format, quoted.dialect.any_return)
    tab = separator_of(path, csv_format) == "\t"
    if not (surely or perhaps) and (tab or quoted.misfit > unquoted.misfit):
        return True
    prose = quoted.separators_as_in_prose and not any(name[:1].isspace() for name in quoted.names)
    if spanned and not (surely or ((prose or perhaps) and not tab)):
        raise InputError(
            f"{path}, {quoted.first_spanning}: one row if quotation marks enclose cells"
            f" ({csv_format.override('quoting', 'minimal')}), several if they are a part of"
            f" the texts ({csv_format.override('quoting', 'none')}); set which"
        )
    return False


def _read_through(path: Path, csv_format: CsvFormat, dialect: Dialect) -> Survey:
    """Read a file in a dialect, to its end or to the first row that does not fit."""
    found = Survey(dialect)
    separator = separator_of(path, csv_format)
    unspaced = re.compile(rf"{re.escape(separator)}(?![ \t])")
    with open_table(path, csv_format) as text:
        try:
            for row in rows_of(text.lines(any_return=dialect.any_return), separator, dialect):
                cells = row.cells
                if row.blank:
                    found.blank_lines += bool(found.names) or not csv_format.header
                    continue
                if not found.names:
                    found.names = cells if csv_format.header else list(map(str, range(len(cells))))
                    found.rows += not csv_format.header
                    continue
                found.rows += 1
                if len(cells) != len(found.names):
                    where = _where(found, csv_format, row.first_line, row.last_line)
                    if len(cells) > len(found.names):
                        found.error = where, _too_long(path, cells, found.names, csv_format)
                        break
                    found.short += 1
                    found.first_short = found.first_short or where
                if row.last_line > row.first_line:
                    found.spanning += 1
                    found.first_spanning = found.first_spanning or _where(
                        found, csv_format, row.first_line, row.last_line
                    )
                    found.separators_as_in_prose &= not any(map(unspaced.search, cells))
        except BadRowError as error:
            found.rows += 1
            why = _broken(path, error.reason, csv_format, separator)
            found.error = _where(found, csv_format, *error.lines), why
        found.met = text.met
    if not found.names and not found.error:
        raise InputError(f"{path}: the file is empty; give a CSV with a header and rows")
    return found


def _where(found: Survey, csv_format: CsvFormat, first: int, last: int) -> str:
    """The row being read and its lines, as in ``row 2 (lines 3 to 4)``."""
    row = f"row {found.rows}" if found.names or not csv_format.header else "the header"
    return f"{row} ({f'line {first}' if first == last else f'lines {first} to {last}'})"


def likely_separator(path: Path, csv_format: CsvFormat) -> str:
    """The separator that the first lines show, if it is another, and how to set it; else ""."""
    lines: list[str] = []
    with suppress(InputError), open_table(path, csv_format) as text:
        lines = [line for line in islice(text.lines(), 100) if line.strip()]
    now = separator_of(path, csv_format)

    def shown(mark: str) -> bool:
        """Whether nearly every line has as many of these marks as the first one."""
        counts = [line.count(mark) for line in lines]
        return counts[0] > 0 and counts.count(counts[0]) >= 0.8 * len(counts)

    others = [mark for mark in (";", "\t", "|", ",") if lines and mark != now and mark in lines[0]]
    if not others or now in lines[0]:
        others = [] if not lines or shown(now) else list(filter(shown, others))
    if not others:
        return ""
    likely = max(others, key=lines[0].count)
    return f"the separator is likely {likely!r}: set {csv_format.separator_override(likely)}"


def _too_long(path: Path, cells: list[str], names: list[str], csv_format: CsvFormat) -> str:
    separator = separator_of(path, csv_format)
    first = "the header" if csv_format.header else "the first row"
    shown = f" ({listed(names, repr)})" if csv_format.header else ""
    check = f"check the separator (now {separator!r}) and the quotes around texts"
    if len(names) == 1:
        check += f"; {csv_format.override('separator', 'tab')} if each line is a text"
    likely = likely_separator(path, csv_format) or check
    return f"has {len(cells)} cells, and {first} {len(names)}{shown}; {likely}"


def _broken(path: Path, reason: str, csv_format: CsvFormat, separator: str) -> str:
    if likely := likely_separator(path, csv_format):
        return f"{reason}, and {likely}"
    return (
        f"{reason}, so this is not a well-formed CSV; mend the row, check the separator (now"
        f" {separator!r}), or set {csv_format.override('quoting', 'none')} if quotation marks are a"
        f" part of the texts, {csv_format.override('escape', 'backslash')} if backslashes stand"
        " before them"
    )


def _quotes_enclose(
    path: Path, csv_format: CsvFormat, any_return: bool | None
) -> tuple[bool, bool]:
    """Whether a file's quotation marks surely enclose cells, and whether they perhaps do.

    Goes by single lines. They surely do if they enclose a name of the header or half of the cells
    of a column, and perhaps if they enclose nothing, a doubled quotation mark, or a separator
    other than a tab.
    """
    separator = separator_of(path, csv_format)
    mark = re.escape(separator)
    enclosed = re.compile(rf'(?:^|{mark})"((?:[^"]|"")*+)"(?= *(?:{mark}|$))')
    counts: Counter[int] = Counter()
    lines = -1 if csv_format.header else 0
    perhaps = False
    with open_table(path, csv_format) as text:
        for ended in text.lines(any_return=any_return):
            line = ended.rstrip("\r\n")
            if not line.strip():
                continue
            lines += 1
            if '"' not in line:
                continue
            inner = enclosed.findall(line)
            if inner and lines == 0:  # the header
                return True, True
            perhaps |= any(
                not cell or '""' in cell or (separator in cell and separator != "\t")
                for cell in inner
            )
            counts.update(
                column
                for column, cell in enumerate(map(str.rstrip, line.split(separator)))
                if len(cell) > 1 and cell[0] == cell[-1] == '"'
            )
    return any(2 * count >= lines for count in counts.values()), perhaps


def _unusual(csv_format: CsvFormat, chosen: Survey, first: Survey) -> Iterator[str]:
    """What is unusual about a file, given its survey and the one in the first dialect tried."""
    dialect, rows = chosen.dialect, f"of {chosen.rows:,} rows"
    if not dialect.quoted and csv_format.quoting == "auto":
        where = first.error[0] if first.error else first.first_spanning or first.first_short
        minimal = csv_format.override("quoting", "minimal")
        yield (
            "read without quoting, as quotation marks are a part of the texts (see"
            f" {where}); {minimal} if they enclose cells"
        )
    if dialect.escape and csv_format.escape is None:
        escape = csv_format.override("escape", "backslash")
        yield f"read with a backslash before quotation marks within quotes, as with {escape}"
    if dialect.any_return:
        yield "read with lone carriage returns as the ends of rows"
    if chosen.short:
        yield (
            f"{chosen.short:,} {rows} have fewer cells than there are columns,"
            f" {chosen.first_short} the first; the cells that they lack count as empty"
        )
    if chosen.spanning and len(chosen.names) == 1:
        yield f"{chosen.spanning:,} {rows} span several lines, {chosen.first_spanning} the first"
