"""Export the network of a checkpoint to an ONNX file, and compare both on a CSV file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sentiment.predict.hub import local_checkpoint
from sentiment.predict.options import add_csv_options, check_csv, csv_format_from
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.environment import limit_threads, program_command
from sentiment.runtime.files import is_onnx
from sentiment.runtime.program import ending_at_once, exit_on_input_error

if TYPE_CHECKING:
    from sentiment.data.csv_format import CsvFormat


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(
        "sentiment.export",
        description="Write a trained network to an ONNX file, which predicts without torch.",
        epilog="Examples:\n"
        "  %(prog)s best.ckpt model.onnx\n"
        "  %(prog)s best.ckpt model.onnx --int8 --check reviews.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="file",
        help="checkpoints/best.ckpt of a run folder, or the folder; then the file to write, which"
        " ends in .onnx",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="round the weights to 8 bits: a quarter of the size, and slightly other scores",
    )
    parser.add_argument(
        "--check",
        dest="csv",
        type=Path,
        metavar="CSV",
        help="compare accuracy, labels and speed with those of the checkpoint, on a CSV file with"
        " labels",
    )
    add_csv_options(parser, labels=True)
    parsed = parser.parse_intermixed_args(arguments)
    order = "give a checkpoint, then the file to write, such as best.ckpt model.onnx"
    if len(parsed.files) < 2 or not is_onnx(parsed.files[-1]):
        parser.error(order)
    if len(parsed.files) > 2:
        parser.error(
            f"several checkpoints do not go into one file: {order}; sentiment.predict and"
            " sentiment.evaluate take several files together"
        )
    parsed.checkpoint, parsed.target = parsed.files
    if is_onnx(parsed.checkpoint):
        parser.error(f"{parsed.checkpoint} is an ONNX file already; {order}")
    return parsed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error is one line."""
    parsed = parse_arguments(arguments)
    with ending_at_once():
        from sentiment.export.run import export  # torch is slow to import
    limit_threads()
    with exit_on_input_error():
        parsed.checkpoint = local_checkpoint(parsed.checkpoint)
        if parsed.csv is not None:
            check_csv(parsed)  # loading the checkpoint takes longer
            csv_format = _checked_format(parsed)
        export(parsed.checkpoint, parsed.target, int8=parsed.int8)
        predict = program_command("sentiment.predict", str(parsed.target))
        size = parsed.target.stat().st_size / 1e6
        sys.stdout.write(f"wrote {parsed.target}, {size:.1f} MB: {predict} TEXT\n")
        if parsed.csv is not None:
            _check(parsed, csv_format)


def _checked_format(parsed: argparse.Namespace) -> "CsvFormat":
    """The format of the CSV file, whose first labels the checkpoint knows."""
    from sentiment.evaluate import check_labelled
    from sentiment.predict.predictor import Predictor

    predictor = Predictor.load(parsed.checkpoint)
    csv_format = csv_format_from(parsed, predictor)
    check_labelled(predictor, parsed.csv, csv_format)
    return csv_format


def _check(parsed: argparse.Namespace, csv_format: "CsvFormat") -> None:
    """Print a comparison of the checkpoint, the file and, with --int8, one without rounding."""
    from sentiment.export.check import compare_files, measured_table
    from sentiment.export.run import export
    from sentiment.report.tables import print_table

    with TemporaryDirectory() as folder:
        files = {"checkpoint": parsed.checkpoint}
        if parsed.int8:
            files["float32"] = Path(folder, "float32.onnx")
            export(parsed.checkpoint, files["float32"])
        files["int8" if parsed.int8 else "float32"] = parsed.target
        rows = compare_files(files, parsed.csv, csv_format)
    sys.stdout.write("\n")
    print_table(measured_table(rows))
