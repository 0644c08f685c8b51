"""The options and first steps that the commands for prediction and evaluation share."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment.predict.hub import is_on_hub
from sentiment.runtime.arguments import fraction
from sentiment.runtime.errors import InputError, listed
from sentiment.runtime.files import is_onnx, is_table
from sentiment.runtime.progress_bar import write_note
from sentiment.runtime.run_folder import best_checkpoint, is_published

if TYPE_CHECKING:
    from sentiment.data.csv_format import CsvFormat
    from sentiment.predict.predictor import Predictor

FEW = 100  # texts, with which results are uncertain


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for how one or several checkpoints are used."""
    parser.add_argument(
        "--weights",
        nargs="+",
        type=_weight,
        metavar="W",
        help="how much each of several checkpoints counts; default: all the same",
    )
    add_prediction_options(parser)


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for how any checkpoint is used: device and threshold."""
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    parser.add_argument(
        "--threshold",
        type=fraction,
        metavar="T",
        help="give no label where the highest score is below T, from 0 to 1; 0 labels every text;"
        " default: as the training chose by abstain.coverage or abstain.accuracy, if it did",
    )


def is_checkpoint(path: str | Path) -> bool:
    """Whether a path ends as checkpoints or ONNX files do, or is a folder or Hub name of one."""
    if str(path).endswith(".ckpt") or is_onnx(path) or is_on_hub(path):
        return True
    return best_checkpoint(path) != Path(path) or is_published(path)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        message = f"{text[:40]!r} is not a number; give the weights last, with spaces between"
        raise argparse.ArgumentTypeError(message) from error


def add_csv_options(parser: argparse.ArgumentParser, *, labels: bool) -> None:
    """Add the options for reading a CSV file, named like the fields of ``CsvFormat``.

    Args:
        parser: the parser of the command.
        labels: whether the file has a column with labels.
    """
    group = parser.add_argument_group("reading the CSV file")
    columns = ["--text-column", "--label-column"] if labels else ["--text-column"]
    for name in columns:
        group.add_argument(name, metavar="NAME", help="default: as in the training")
    group.add_argument(
        "--separator", metavar="CHAR", help="default: a tab for .tsv, a comma for others"
    )
    group.add_argument(
        "--quoting",
        help="minimal if quotation marks enclose cells, none if they are a part of the texts;"
        " default: auto, which finds out",
    )
    group.add_argument(
        "--escape",
        metavar="CHAR",
        help="the character before a quotation mark within quotes, such as backslash; default:"
        " quotation marks are doubled",
    )
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first row names the columns; without a header they are called 0, 1, 2"
        " ...; default: as in the training",
    )
    group.add_argument("--encoding", help="default: utf-8")
    group.add_argument("--compression", help="default: by the file's suffix")
    group.add_argument(
        "--file-format",
        help="csv, jsonl, json, parquet or fasttext; default: by the file's suffix, else csv",
    )


def csv_format_from(
    parsed: argparse.Namespace,
    predictor: "Predictor | None" = None,
    kind: "type[CsvFormat] | None" = None,
) -> "CsvFormat":
    """The format that the options describe; columns and header are by default as in the training.

    Args:
        parsed: the options.
        predictor: the classifier.
        kind: how messages name the settings; None is as options of a command line.

    Raises:
        InputError: an option has an unknown value.
    """
    from sentiment.data.csv_format import FormatOfOptions

    values: dict[str, Any] = {}
    if predictor is not None:
        values = {"text_column": predictor.text_column, "header": predictor.header}
        values["label_column"] = predictor.label_column if "label_column" in parsed else None
    for field in fields(FormatOfOptions):
        if (option := getattr(parsed, field.name, None)) is not None:
            values[field.name] = option
    return (kind or FormatOfOptions)(**values)


def check_csv(parsed: argparse.Namespace, path: Path | None = None) -> None:
    """Check the beginning of the CSV file, or of another one with the same options.

    It is called before checkpoints are loaded, which takes longer.

    Raises:
        InputError: the file is missing, empty or of another kind, or an option has an unknown
            value.
    """
    from sentiment.data.records import check_table

    check_table(path or parsed.csv, csv_format_from(parsed))


def load_predictor(parsed: argparse.Namespace) -> "Predictor":
    """Load the checkpoints of a command line.

    Raises:
        InputError: a checkpoint is given twice; or see ``Predictor.load``.
    """
    from sentiment.predict.predictor import Predictor

    paths: Sequence[Path] = parsed.checkpoints
    resolved = [path.resolve() for path in paths]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise InputError(f"{path}: is given twice; --weights lets one count more than others")
    predictor = Predictor.load(
        *paths, device=parsed.device, weights=parsed.weights, threshold=parsed.threshold
    )
    if len(paths) > 1 and parsed.threshold is None:
        without_thresholds(predictor)
    return predictor


def without_thresholds(predictor: "Predictor") -> None:
    """Give every text a label, and note thresholds that were chosen for other scores."""
    from sentiment.model.abstention import numbers_of

    names = [str(member.path) for member in predictor.members if numbers_of(member.run)]
    predictor.thresholds = None
    if names:
        write_note(
            f"every text gets a label: the thresholds of {listed(names)} are for other scores;"
            " --threshold T sets one"
        )


def check_top(top: int | None, labels: Sequence[str]) -> None:
    """Raise InputError if more labels are asked for than there are."""
    if top is not None and top > len(labels):
        raise InputError(
            f"--top {top}: there are {len(labels)} labels ({listed(labels)}); give at most"
            f" {len(labels)}"
        )


def hint_at_file(text: str) -> None:
    """Note on standard error that a text looks like a file."""
    exists = False
    with suppress(OSError, ValueError):  # too long for a file name, or not allowed in one
        exists = Path(text).is_file()
    if not exists and (" " in text or not (is_checkpoint(text) or is_table(text))):
        return
    reason = "a file of that name exists" if exists else "looks like a file"
    remedy = (
        "more checkpoints come before all texts"
        if is_checkpoint(text)
        else (f"did you mean --csv {text} --out OUT?")
    )
    write_note(f"{text!r} is predicted as a text, but {reason}; {remedy}")
