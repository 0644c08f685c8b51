"""The page of a check, ``check.html``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentiment.check.findings import Finding
from sentiment.check.reviews import Reviews
from sentiment.report.page import write_html
from sentiment.report.tables import format_duration

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_MOST_ROWS = 40  # of a finding; rows.csv has the others
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
        rows = []
        group = 0
        for row in finding.rows[:_MOST_ROWS]:
            file, at = reviews.place(row.review)
            rows.append(
                {
                    "place": f"{file.corpus.path.name}, row {at}" if several else f"row {at}",
                    "label": reviews.label(row.review),
                    "likely": row.likely,
                    "why": row.why,
                    "text": texts[row.review],
                    "first": row.group != group or not row.group,
                }
            )
            group = row.group
        shown.append({"anchor": f"{finding.kind}-{number}", "finding": finding, "rows": rows})
    values = {
        **facts,
        "roles": _ROLES,
        "found": shown,
        "time": format_duration(facts["seconds"]),
        "largest": max(
            (max(each["classes"].values(), default=1) for each in facts["files"]), default=1
        ),
    }
    write_html(path, _TEMPLATE, values)
