"""Trainings and baselines in one table, wherever their run folders lie.

Loads neither torch nor Hydra.
"""

if __name__ == "__main__":
    from sentiment.runtime.program import start

    start("sentiment.compare")  # before what is slow to import

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sentiment.report.comparison import Comparison, compare_runs, told_notes
from sentiment.report.comparison_layout import comparison_markdown, flat_rows, print_comparison
from sentiment.report.runs import find_runs
from sentiment.report.tables import csv_text, json_text
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.program import exit_on_input_error, write_utf8


def tell_comparison(comparison: Comparison, form: str) -> None:
    """Write the figures to standard output, and the notes below or, for a program, to stderr.

    Args:
        comparison: what ``compare_runs`` gave.
        form: ``table``, ``markdown``, ``json`` or ``csv``.
    """
    if form == "table":
        print_comparison(comparison)
    elif form == "markdown":
        sys.stdout.write(comparison_markdown(comparison))
    else:
        as_json = form == "json"
        told = json_text(vars(comparison)) + "\n" if as_json else csv_text(flat_rows(comparison))
        sys.stdout.write(told)
        for note in told_notes(comparison):
            sys.stderr.write(f"note: {note}\n")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(
        prog="python -m sentiment.compare",
        description="Compare trainings and baselines: one table of all runs, the best first. Runs"
        " that differ in nothing but the seed are one row: mean +/- sample standard deviation.",
        epilog="Example: python -m sentiment.compare runs sweeps --markdown",
    )
    parser.add_argument(
        "folder",
        nargs="+",
        type=Path,
        help="a run folder, a sweep's folder, or any folder above some",
    )
    parser.add_argument("--by-run", action="store_true", help="a row for each run")
    forms = parser.add_mutually_exclusive_group()
    for form in ("markdown", "json", "csv"):
        forms.add_argument(
            f"--{form}", dest="form", action="store_const", const=form, help=f"print {form}"
        )
    parser.set_defaults(form="table")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: a table on standard output, one line for what is wrong."""
    parsed = parse_arguments(arguments)
    write_utf8()
    with exit_on_input_error():
        runs = find_runs(parsed.folder)
        tell_comparison(compare_runs(runs, by_run=parsed.by_run), parsed.form)
