"""The page of a check, ``check.html``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentiment.check.findings import Finding
from sentiment.check.reviews import Reviews
from sentiment.report.page import write_html
from sentiment.report.tables import format_duration

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_FIRST_ROWS, _MOST_ROWS = 10, 50  # of a finding, unfolded and in all; rows.csv has the others
_ROLES = {
    "csv": "to be split", "train_csv": "training", "val_csv": "validation", "test_csv": "test",
    "unlabeled_csv": "unlabeled",
}  # fmt: skip


def write_page(
    path: Path,
    reviews: Reviews,
    findings: Sequence[Finding],
    facts: Mapping[str, Any],
    texts: Mapping[int, str],
) -> None:
    """Write the page.

    Args:
        path: the file.
        reviews: the reviews.
        findings: what was found, the most serious first.
        facts: see ``Checked``.
        texts: the beginnings of the texts of the rows of ``findings``, by review.
    """
    several = len(reviews.files) > 1
    shown = []
    for number, finding in enumerate(findings, 1):
        rows: list[dict[str, Any]] = []
        group, before = 0, ""
        for row in finding.rows[:_MOST_ROWS]:
            origin = row.origin(reviews, texts)
            place, text = f"row {origin.row:,}", origin.text
            together = row.group == group > 0
            rows.append(
                {
                    "place": f"{origin.file.corpus.path.name}, {place}" if several else place,
                    "label": origin.label,
                    "likely": row.likely,
                    "why": row.why,
                    "text": "" if together and text == before else text,
                    "together": together,
                }
            )
            group, before = row.group, text
        parts = [rows[:_FIRST_ROWS], rows[_FIRST_ROWS:]]
        shown.append({"anchor": f"{finding.kind}-{number}", "finding": finding, "parts": parts})
    values = {
        **facts,
        "roles": _ROLES,
        "found": shown,
        "time": format_duration(facts["seconds"]),
    }
    write_html(path, _TEMPLATE, values)
