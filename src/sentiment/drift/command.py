"""Compare new texts with those of a training, and say whether they have changed."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment.predict.options import (
    FEW,
    add_csv_options,
    check_csv,
    csv_format_from,
    is_checkpoint,
)
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.environment import limit_threads
from sentiment.runtime.errors import listed
from sentiment.runtime.files import is_table
from sentiment.runtime.program import FOUND, ending_at_once, exit_on_input_error
from sentiment.runtime.progress_bar import write_note
from sentiment.runtime.run_folder import best_checkpoint

if TYPE_CHECKING:
    from rich.table import Table

_DISTANCES = ("length", "score")  # tests whose effect is a Kolmogorov-Smirnov distance
# What the two values of a test are.
_VALUES = {
    "length": "median length", "score": "mean score", "predicted classes": "predicted {}",
    "words": 'texts with "{}"',
}  # fmt: skip


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(
        "sentiment.drift",
        description="Compare new texts, without labels, with the validation reviews of a training:"
        " unknown tokens, lengths, scores, classes and words. The exit code is 0 if they are alike,"
        f" {FOUND} if they have drifted, and 2 after an error.",
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
    parsed, unknown = parser.parse_known_intermixed_args(arguments)
    order = "give one checkpoint, then one CSV file"
    if is_checkpoint(parsed.csv) or is_table(parsed.checkpoint):
        parser.error(order)
    if unknown and unknown[0].startswith("--label"):
        parser.error(f"{unknown[0]!r} is not an option; new texts need no labels")
    if unknown:
        parser.refuse(unknown[0], order)
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
        if (new := found["texts"]["new"]) < FEW:
            write_note(f"{new} texts are few: only large changes are found among them")
        if parsed.json:
            sys.stdout.write(json_text(found) + "\n")
        else:
            for part in report(found):
                if isinstance(part, str):
                    sys.stdout.write(part)
                else:
                    sys.stdout.write("\n")
                    print_table(part)
            changed = ", ".join(test["name"] for test in found["tests"] if test["drift"])
            sys.stdout.write(f"\nDrift: {changed}\n" if changed else "\nNo drift\n")
    sys.exit(FOUND if found["drift"] else 0)


def report(found: dict[str, Any]) -> Iterator["Table | str"]:
    """Yield tables of the tests, the classes and the words, and lines that explain them."""
    from rich.text import Text

    from sentiment.report.tables import format_count, format_percent, new_table

    def columns(first: str, *others: str) -> "Table":
        table = new_table()
        table.add_column(first, overflow="fold")
        for name in others:
            table.add_column(name, justify="right", no_wrap=True)
        return table

    table = columns("", "validation", "new", "change", "limit", "p", "drift")
    table.add_row("texts", *map(format_count, found["texts"].values()))
    for test in found["tests"]:
        values = test["validation"], test["new"]
        table.add_row(
            Text(_VALUES.get(test["name"], test["name"]).format(test["of"])),
            *map(format_count if test["name"] == "length" else format_percent, values),
            _effect(test["name"], f"{test['effect']:.2f}", f"{100 * test['effect']:.1f}"),
            _effect(test["name"], f"{test['threshold']:g}", f"{100 * test['threshold']:g}"),
            _p(test["p_value"]),
            "yes" if test["drift"] else "no",
        )
    yield table
    yield (
        "KS: Kolmogorov-Smirnov distance of the two distributions, from 0 to 1.\n"
        f"Drift: the change reaches the limit, and p is below {found['level']:g} (--level).\n"
        "p: multiplied by the number of tests, of words too, up to 1.\n"
    )
    drifted = {test["name"] for test in found["tests"] if test["drift"]}
    estimates = ["estimated: validation", "new"] * ("predicted classes" in drifted)
    table = columns("class", "predicted: validation", "new", *estimates)
    for label, proportions in found["classes"].items():
        shown = list(proportions.values())[: 2 + len(estimates)]
        table.add_row(Text(label), *map(format_percent, shown))
    yield table
    if estimates:
        yield (
            "Estimated: the true proportions, from probabilities in place of predicted classes;\n"
            "those of the new texts, if nothing else has changed.\n"
        )
        if others := sorted(drifted & {"unknown tokens", *_DISTANCES}):
            yield f"{listed(others).capitalize()} changed, too: do not trust the estimates.\n"
    if not found["words"]:
        return
    table = columns("words that changed most, per 1,000 tokens", "validation", "new")
    for word in found["words"]:
        per_1000 = (f"{1000 * word[which]:.2f}" for which in ("validation", "new"))
        table.add_row(Text(word["word"]), *per_1000)
    yield table


def _p(value: float) -> str:
    """A p-value, which was multiplied by a number of tests and so may have reached 1."""
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 1 else "1"


def _effect(name: str, distance: str, points: str) -> str:
    """A change: the distance of two distributions, or the difference of two fractions."""
    return f"KS {distance}" if name in _DISTANCES else f"{points} points"
