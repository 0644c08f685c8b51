"""Trainings and baselines in one table, wherever their run folders lie.

Loads neither torch nor Hydra.
"""

if __name__ == "__main__":
    from sentiment.runtime.program import start

    start("sentiment.compare")  # before the slow imports

import sys
from collections.abc import Sequence
from pathlib import Path

from sentiment import Command
from sentiment.report.comparison_table import comparison_markdown, flat_rows, print_comparison
from sentiment.report.ranking import compare_folders
from sentiment.report.tables import csv_text, json_text
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.program import exit_on_input_error
from sentiment.runtime.progress_bar import write_note


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: a table on standard output, or one line that says what is wrong."""
    parser = OneLineParser(
        "sentiment.compare",
        description="Compare trainings and baselines: one table of all runs, the best first. Runs"
        " that differ in nothing but the seed are one row: mean +/- sample standard deviation.",
        epilog="Example: %(prog)s runs sweeps --markdown",
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
    parsed = parser.parse_args(arguments)
    with exit_on_input_error():
        comparison = compare_folders(parsed.folder, by_run=parsed.by_run)
        if parsed.form == "table":
            print_comparison(comparison)
        elif parsed.form == "markdown":
            sys.stdout.write(comparison_markdown(comparison))
        else:
            as_json = json_text(vars(comparison)) + "\n" if parsed.form == "json" else None
            sys.stdout.write(as_json or csv_text(flat_rows(comparison)))
            for note in comparison.notes:  # not in output for programs
                write_note(note)


sys.modules[__name__].__class__ = Command
