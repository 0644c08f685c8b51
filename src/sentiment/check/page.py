"""The page of a check, ``check.html``."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sentiment.check.findings import Finding
from sentiment.check.reviews import Reviews
from sentiment.data.cleaning import clean
from sentiment.report.page import write_html
from sentiment.report.tables import format_duration

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_FIRST_ROWS = 10  # of a finding, unfolded
MOST_ROWS = 50  # of a finding; rows.csv has the others
MOST_CHARACTERS = 20_000  # of texts that are compared
_ROLES = {
    "csv": "to be split", "train_csv": "training", "val_csv": "validation", "test_csv": "test",
    "unlabeled_csv": "unlabeled",
}  # fmt: skip
_LINE_BREAK = re.compile(r"</?(?:br|p)\b[^<>…]*(?:>|(?=…$))|<(?=…$)", re.IGNORECASE)
_AROUND, _MOST_WORDS = 4, 12  # words beside a difference, and of it
_COMPARED = 500  # words between the first difference and the last
_MOST_CHANGES = 4


class Change(NamedTuple):
    """Where a text differs from another: words before, of the other, of its own, and after."""

    before: str
    other: str
    own: str
    after: str


def write_page(
    path: Path,
    reviews: Reviews,
    findings: Sequence[Finding],
    facts: Mapping[str, Any],
    texts: Mapping[int, str],
    compared: Mapping[int, str],
) -> None:
    """Write the page.

    Args:
        path: the file.
        reviews: the reviews.
        findings: what was found, the most serious first.
        facts: see ``Checked``.
        texts: the beginnings of the texts of the rows of ``findings``, by review.
        compared: likewise, more of the texts of rows in groups.
    """
    shown = []
    for number, finding in enumerate(findings, 1):
        rows = list(_rows(finding, reviews, texts, compared))
        shown.append(
            {
                "anchor": f"{finding.kind}-{number}",
                "finding": finding,
                "parts": [rows[:_FIRST_ROWS], rows[_FIRST_ROWS:]],
                "changes": any(row["changes"] for row in rows),
            }
        )
    values = {
        **facts,
        "roles": _ROLES,
        "found": shown,
        "time": format_duration(facts["seconds"]),
    }
    write_html(path, _TEMPLATE, values)


def _rows(
    finding: Finding, reviews: Reviews, texts: Mapping[int, str], compared: Mapping[int, str]
) -> Iterator[dict[str, Any]]:
    """What the page shows of each row; of a text like another one above it, where they differ."""
    several = len(reviews.files) > 1
    varied = len({row.why for row in finding.rows}) > 1  # else the heading says it
    group, first = 0, ""
    for row in finding.rows[:MOST_ROWS]:
        origin = row.origin(reviews, texts)
        place = f"row {origin.row:,}"
        together = row.group == group > 0
        shown: dict[str, Any] = {
            "place": f"{origin.file.corpus.path.name}, {place}" if several else place,
            "label": origin.label,
            "likely": row.likely,
            "why": row.why if varied else "",
            "text": _LINE_BREAK.sub(" ", origin.text) if finding.kind != "markup" else origin.text,
            "together": together,
            "changes": [],
            "more": 0,
        }
        if together:
            changes = _changes(first, compared[row.review])
            why = "equal" if not changes else row.likeness
            if changes and why == "equal":
                why = "equal to another one"
            shown |= {"text": "", "why": why, "changes": changes[:_MOST_CHANGES]}
            shown["more"] = len(changes) - len(shown["changes"])
        elif row.group:
            group, first = row.group, compared[row.review]
            shown["why"] = ""
        yield shown


def _changes(first: str, text: str) -> list[Change]:
    """Where a text differs from the first one, but for case and markup."""
    one, two = clean(first).split(), clean(text).split()
    ours, others = [word.casefold() for word in two], [word.casefold() for word in one]
    shorter = min(len(one), len(two))
    start = next((at for at in range(shorter) if ours[at] != others[at]), shorter)
    end = next(
        (at for at in range(shorter - start) if ours[-1 - at] != others[-1 - at]), shorter - start
    )
    middle, other = ours[start : len(two) - end], others[start : len(one) - end]
    matcher = difflib.SequenceMatcher(None, other[:_COMPARED], middle[:_COMPARED], autojunk=False)
    return [
        Change(
            _few(two[max(0, start + low - _AROUND) : start + low]),
            _few(one[start + from_ : start + to]),
            _few(two[start + low : start + high]),
            _few(two[start + high : start + high + _AROUND]),
        )
        for kind, from_, to, low, high in matcher.get_opcodes()
        if kind != "equal"
    ]


def _few(words: Sequence[str]) -> str:
    return " ".join(words[:_MOST_WORDS])[:200] + " …" * (len(words) > _MOST_WORDS)
