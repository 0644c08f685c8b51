"""The command line of ``sentiment.report``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from sentiment.runtime.arguments import OneLineParser, whole
from sentiment.runtime.environment import limit_threads
from sentiment.runtime.program import ending_at_once, exit_on_input_error

COMPARISON = "comparison.html"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: one line on standard output, or one line that says what is wrong."""
    parser = OneLineParser(
        "sentiment.report",
        description="Write the report of a training or a baseline as one HTML file, or set several"
        " side by side.",
        epilog="Example: %(prog)s runs/mine --slices rating",
    )
    parser.add_argument("run", nargs="+", type=Path, help="a run folder, or a folder above some")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"the file to write; default: report.html in the run folder, or, of several runs,"
        f" {COMPARISON} here",
    )
    parser.add_argument(
        "--slices",
        nargs="+",
        metavar="COLUMN",
        help="columns of the test file by which to report accuracy; default: as in the training",
    )
    parser.add_argument(
        "--mistakes",
        type=whole,
        metavar="N",
        help="most reviews to show that were misclassified or, of several runs, on which they"
        " disagree; 0 leaves texts out. Default: as in the training, or 20",
    )
    parsed = parser.parse_intermixed_args(arguments)
    if parsed.out is not None and parsed.out.suffix.lower() not in (".html", ".htm"):
        parser.error(f"--out {parsed.out}: give a file that ends in .html")
    with exit_on_input_error():
        with ending_at_once():
            from sentiment.report.comparison_page import write_comparison
            from sentiment.report.run_page import write_report
            from sentiment.report.runs import find_runs
        limit_threads()
        runs, replaced = find_runs(parsed.run), ""
        if len(runs) == 1:
            path = write_report(
                runs[0].folder, parsed.out, slices=parsed.slices, mistakes=parsed.mistakes
            )
        elif parsed.slices:
            parser.error("--slices is for the report of one run; give one run folder")
        else:
            out = parsed.out or Path(COMPARISON)
            replaced = ", in place of an earlier one" if out.exists() else ""
            path = write_comparison(runs, out, mistakes=parsed.mistakes)
        sys.stdout.write(f"wrote {path}{replaced}\n")
