"""Options that the command lines with checkpoints and CSV files share."""

import argparse
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.errors import InputError

if TYPE_CHECKING:
    from sentiment.data.csv_format import CsvFormat


# What argparse takes for no option: also - alone, and numbers.
_NO_OPTION = re.compile(r"[^-]|-?$|-\d+$|-\d*\.\d+$")

_WEIGHTS_LAST = "give the weights last, with spaces between"


def add_csv_options(parser: argparse.ArgumentParser, *, labels: bool) -> None:
    """Add the options that say how a CSV file is to be read."""
    group = parser.add_argument_group("reading the CSV file")
    group.add_argument("--text-column", metavar="NAME", help="default: the one of the training")
    if labels:
        group.add_argument(
            "--label-column", metavar="NAME", help="default: the one of the training"
        )
    group.add_argument(
        "--separator", metavar="CHAR", help="default: a tab for .tsv, a comma for others"
    )
    group.add_argument(
        "--quoting",
        default="auto",
        help="minimal if quotation marks enclose cells, none if they are a part of the texts;"
        " default: auto, which finds out",
    )
    group.add_argument(
        "--escape",
        metavar="CHAR",
        help="what stands before quotation marks within quotes, such as backslash; default: they"
        " are doubled",
    )
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first row names the columns, which are else called 0, 1, 2 ...; default:"
        " as in the training",
    )
    group.add_argument("--encoding", default="utf-8", help="default: utf-8")
    group.add_argument("--compression", default="infer", help="default: by the file's suffix")


def add_weights_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how much each of several checkpoints counts."""
    parser.add_argument(
        "--weights",
        nargs="+",
        type=_weight,
        metavar="W",
        help="how much each of several checkpoints counts; default: all the same",
    )


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number; {_WEIGHTS_LAST}") from error


def check_options(parser: OneLineParser, arguments: Sequence[str]) -> None:
    """Exit with code 2 where a text begins with a dash, which argparse would take for options.

    argparse itself takes a number for no option, nor what has a space in it, but for ``-h `` ….
    """
    known = list(takewhile(lambda argument: argument != "--", arguments))
    for index, argument in enumerate(known):
        is_text = _NO_OPTION.match(argument) or (" " in argument and argument[:2] != "-h")
        if is_text or parser.takes(argument.partition("=")[0]):
            continue
        if "--weights" in known[:index] and re.match(r"-\.?\d", argument):
            parser.error(f"argument --weights: {argument[:40]!r} is no number; {_WEIGHTS_LAST}")
        parser.error(
            f"{argument[:40]!r} is no option; a text that begins with a dash comes after --,"
            f" as in {parser.prog} best.ckpt -- {argument[:40]}"
        )


def csv_format_from(
    parsed: argparse.Namespace, text_column: str, label_column: str | None, *, header: bool
) -> "CsvFormat":
    """The format that the options describe; the columns and header are used where none is given."""
    from sentiment.data.csv_format import FormatOfOptions

    return FormatOfOptions(
        text_column=parsed.text_column or text_column,
        label_column=getattr(parsed, "label_column", None) or label_column,
        separator=parsed.separator,
        header=header if parsed.header is None else parsed.header,
        encoding=parsed.encoding,
        compression=parsed.compression,
        quoting=parsed.quoting,
        escape=parsed.escape,
    )


def check_distinct(checkpoints: Sequence[Path]) -> None:
    """Refuse a checkpoint that stands twice among those that predict together.

    Raises:
        InputError: it does, by any path.
    """
    known = [path.resolve() for path in checkpoints]
    for path in checkpoints:
        if known.count(path.resolve()) > 1:
            raise InputError(f"{path}: is given twice; --weights lets one count more than others")


def hint_at_file(text: str) -> None:
    """Note on standard error that a text looks like a file."""
    exists = False
    with suppress(OSError, ValueError):  # too long for a name, or of other characters
        exists = Path(text).is_file()
    like_one = text.endswith((".ckpt", ".csv", ".tsv")) and " " not in text
    if not (exists or like_one):
        return
    if text.endswith(".ckpt"):
        meant = "more checkpoints come before all texts"
    else:
        meant = f"did you mean --csv {text} --out OUT?"
    why = "a file of that name exists" if exists else "looks like a file"
    sys.stderr.write(f"note: {text!r} is predicted as a text, but {why}; {meant}\n")
