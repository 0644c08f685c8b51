"""Self-contained HTML pages: one file without scripts or anything from the network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentiment.report.tables import format_count, format_percent
from sentiment.runtime.errors import needing
from sentiment.runtime.files import replaced_when_whole

REPORT = "report.html"  # in a run folder
_HERE = Path(__file__).parent


def write_html(path: Path, template: Path, values: Mapping[str, Any]) -> None:
    """Write a page; every value is escaped, so that markup in a text stays text.

    Args:
        path: the file, replaced if it exists.
        template: a template that extends ``base.html.j2``.
        values: what the template names.

    Raises:
        InputError: jinja2 is missing.
    """
    with needing("train", f"{path}: such a page"):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    environment = Environment(
        loader=FileSystemLoader([template.parent, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=format_count,
        percent=format_percent,
        unbroken=lambda text: text.replace(" %", "\u00a0%"),
    )
    text = environment.get_template(template.name).render(values)
    with replaced_when_whole(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace")
