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
    from sentiment.predict.predictor import Predictor
    from sentiment.predict.saved_classifier import SavedClassifier


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
        from sentiment.export.run import write_onnx  # torch is slow to import
        from sentiment.predict.checkpoint import load_classifier
    limit_threads()
    with exit_on_input_error():
        parsed.checkpoint = local_checkpoint(parsed.checkpoint)
        if parsed.csv is not None:
            check_csv(parsed)  # loading the checkpoint takes longer
        saved = load_classifier(parsed.checkpoint)
        if parsed.csv is not None:
            predictor, csv_format = _checked(parsed, saved)
        write_onnx(saved, parsed.checkpoint, parsed.target, int8=parsed.int8)
        predict = program_command("sentiment.predict", str(parsed.target))
        size = parsed.target.stat().st_size / 1e6
        sys.stdout.write(f"wrote {parsed.target}, {size:.1f} MB: {predict} TEXT\n")
        if parsed.csv is None:
            return
        from sentiment.export.check import compare_files, measured_table
        from sentiment.report.tables import print_table

        with TemporaryDirectory() as folder:
            files = {"int8" if parsed.int8 else "float32": parsed.target}
            if parsed.int8:
                whole = Path(folder, "float32.onnx")
                write_onnx(saved, parsed.checkpoint, whole)
                files = {"float32": whole} | files
            rows = compare_files(predictor, files, parsed.csv, csv_format)
        sys.stdout.write("\n")
        print_table(measured_table(rows))


def _checked(
    parsed: argparse.Namespace, saved: "SavedClassifier"
) -> tuple["Predictor", "CsvFormat"]:
    """The classifier, and the format of the CSV file, whose first labels it knows."""
    from sentiment.evaluate import check_labelled
    from sentiment.predict.member import Member
    from sentiment.predict.predictor import Predictor
    from sentiment.predict.torch_network import Computed

    predictor = Predictor([Member(*Computed.of(saved, "cpu", parsed.checkpoint))])
    csv_format = csv_format_from(parsed, predictor)
    check_labelled(predictor, parsed.csv, csv_format)
    return predictor, csv_format
