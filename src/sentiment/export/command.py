"""Export the network of a checkpoint to an ONNX file, and compare both on a CSV file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.environment import limit_threads
from sentiment.runtime.files import is_onnx
from sentiment.runtime.program import ending_at_once, exit_on_input_error
from sentiment.runtime.run_folder import best_checkpoint


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(
        "sentiment.export",
        description="Write a trained network to an ONNX file, which predicts without torch.",
    )
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="file",
        help="checkpoints/best.ckpt of a run folder, or the folder; then the file to write, which"
        " ends in .onnx",
    )
    parsed = parser.parse_args(arguments)
    order = "give a checkpoint, then the file to write, such as model.onnx"
    if len(parsed.files) < 2 or not is_onnx(parsed.files[-1]):
        parser.error(order)
    if len(parsed.files) > 2:
        parser.error(
            f"{order}; of several checkpoints, export each: sentiment.predict takes several files"
        )
    parsed.checkpoint, parsed.target = best_checkpoint(parsed.files[0]), parsed.files[1]
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
        export(parsed.checkpoint, parsed.target)
        size = parsed.target.stat().st_size / 1e6
        sys.stdout.write(f"wrote {parsed.target}, {size:.1f} MB\n")
