"""Compare new texts with those of a training, and say whether they have changed."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment.predict.options import (
    add_csv_options,
    check_csv,
    csv_format_from,
    is_checkpoint,
)
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.environment import limit_threads
from sentiment.runtime.files import is_table
from sentiment.runtime.program import ending_at_once, exit_on_input_error
from sentiment.runtime.progress_bar import write_note
from sentiment.runtime.run_folder import best_checkpoint

if TYPE_CHECKING:
    from rich.table import Table

DRIFT = 3  # exit code
_FEW = 100  # texts
# What stands in the first column for the tests whose effect is a distance.
_DISTANCES = {"length": "median length", "score": "mean score"}


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(
        "sentiment.drift",
        description="Compare new texts, without labels, with the validation reviews of a training:"
        " unknown tokens, lengths, scores, classes and words. The exit code is 0 if they are alike,"
        f" {DRIFT} if they have drifted, and 2 after an error.",
        epilog="Example: %(prog)s runs/mine new.csv --text-column text",
    )
    parser.add_argument(
        "checkpoint", type=Path, help="checkpoints/best.ckpt of a run folder, or the folder"
    )
    parser.add_argument("csv", type=Path, help="a CSV file with the new texts")
    parser.add_argument(
        "--level",
        type=_level,
        default=0.01,
        metavar="P",
        help="probability of a false alarm, at most, where nothing has changed; default: 0.01",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_csv_options(parser, labels=False)
    parsed = parser.parse_intermixed_args(arguments)
    if is_checkpoint(parsed.csv) or is_table(parsed.checkpoint):
        parser.error("give one checkpoint, then a CSV file")
    parsed.checkpoint = best_checkpoint(parsed.checkpoint)
    return parsed


def _level(text: str) -> float:
    """The value of --level; argparse prints the error."""
    try:
        level = float(text)
    except ValueError:
        level = 0.0
    if not 0 < level < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number between 0 and 1")
    return level


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: tables or JSON on standard output, an error in one line."""
    parsed = parse_arguments(arguments)
    with ending_at_once():
        from sentiment.drift.run import drift  # torch and scipy are slow to import
        from sentiment.predict.predictor import Predictor
        from sentiment.report.tables import json_text, print_table
    limit_threads()
    with exit_on_input_error():
        check_csv(parsed)  # loading the checkpoint takes longer
        predictor = Predictor.load(parsed.checkpoint, device=parsed.device)
        csv_format = csv_format_from(parsed, predictor)
        found = drift(predictor, parsed.csv, csv_format, level=parsed.level)
        if (new := found["texts"]["new"]) < _FEW:
            write_note(f"{new} texts are few: only large changes are found among them")
        if parsed.json:
            sys.stdout.write(json_text(found) + "\n")
        else:
            for table in tables(found):
                print_table(table)
                sys.stdout.write("\n")
            changed = ", ".join(_name(test) for test in found["tests"] if test["drift"])
            sys.stdout.write(f"Drift: {changed}\n" if changed else "No drift\n")
    sys.exit(DRIFT if found["drift"] else 0)


def tables(found: dict[str, Any]) -> Iterator["Table"]:
    """Lay out the tests, the classes and the words."""
    from rich.text import Text

    from sentiment.report.tables import format_count, format_percent, new_table

    def columns(first: str, *others: str) -> "Table":
        table = new_table()
        table.add_column(first, overflow="fold")
        for name in others:
            table.add_column(name, justify="right", no_wrap=True)
        return table

    table = columns("", "training", "new", "change", "drift from", "p", "drift")
    table.add_row("texts", *map(format_count, found["texts"].values()))
    for test in found["tests"]:
        values = test["training"], test["new"]
        table.add_row(
            Text(_name(test)),
            *map(format_count if test["name"] == "length" else format_percent, values),
            *(_effect(test, test[which]) for which in ("effect", "threshold")),
            "< 0.001" if test["p_value"] < 0.001 else f"{test['p_value']:.3f}",
            "yes" if test["drift"] else "no",
        )
    yield table
    table = columns("classes", "training", "predicted", "estimated")
    for label, proportions in found["classes"].items():
        table.add_row(Text(label), *map(format_percent, proportions.values()))
    yield table
    if not found["words"]:
        return
    table = columns("words that changed most", "training", "new")
    for word in found["words"]:
        per_1000 = (f"{1000 * word[which]:.2f} of 1,000" for which in ("training", "new"))
        table.add_row(Text(word["word"]), *per_1000)
    yield table


def _name(test: dict[str, Any]) -> str:
    """What a test compares: a statistic, or the class or word that changed most."""
    name: str = test["name"]
    return _DISTANCES.get(name, name) if test["of"] is None else f"{name}: {test['of']}"


def _effect(test: dict[str, Any], effect: float) -> str:
    """A change: the distance of two distributions, or the difference of two fractions."""
    if test["name"] in _DISTANCES:
        return f"{effect:.2f}"
    return f"{100 * effect:.1f} points"
