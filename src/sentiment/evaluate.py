"""Measure trained checkpoints on a CSV file with labels.

Loads neither Hydra nor Lightning.
"""

if __name__ == "__main__":
    from sentiment.runtime.program import start

    start("sentiment.evaluate")  # before what is slow to import

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from sentiment.data.labels import equal_labels
from sentiment.data.reviews import read_reviews
from sentiment.data.splits import reviews_fingerprint
from sentiment.model.metrics import accuracy_by_length, summarise_predictions
from sentiment.predict.member import Member
from sentiment.predict.options import (
    add_csv_options,
    add_weights_option,
    check_distinct,
    csv_format_from,
)
from sentiment.predict.predictor import Predictor
from sentiment.report.tables import (
    json_text,
    length_table,
    members_table,
    print_table,
    result_table,
)
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.environment import device_name, limit_threads, versions
from sentiment.runtime.errors import InputError
from sentiment.runtime.program import exit_on_input_error, write_utf8

if TYPE_CHECKING:
    from sentiment.data.csv_format import CsvFormat


def evaluate(
    checkpoints: Sequence[Path], path: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Test a checkpoint, or several together, on a file: keys as those of ``results.json``.

    Raises:
        InputError: a checkpoint, the file or the device is no good, or the file has labels that
            neither training nor the options know.
    """
    check_distinct(checkpoints)
    predictor = Predictor.load(*checkpoints, device=options.device, weights=options.weights)
    csv_format = csv_format_from(
        options, predictor.text_column, predictor.label_column, header=predictor.header
    )
    reviews = predict_labelled(predictor, path, csv_format, options.labels)
    logits, labels, missing = reviews.logits, reviews.labels, reviews.missing
    combined = predictor.combine(logits)
    present = set(labels.tolist())
    absent = [name for index, name in enumerate(predictor.labels) if index not in present]
    if absent:
        _note(f"no row has the label {', '.join(absent[:20])}; F1 and AUROC are of the others")
    left_out = f", {missing:,} of them left out for a missing text or label" if missing else ""
    _note(f"{len(labels) + missing:,} rows read{left_out}")
    members = predictor.members
    return {
        **summarise_predictions(combined, labels, "test/"),
        "test/by_length": accuracy_by_length(combined, labels, reviews.lengths),
        **(_of_training(members[0]) if len(members) == 1 else {}),
        "labels": predictor.labels,
        "test_reviews": len(labels),
        "fingerprints": {"test": reviews.fingerprint},
        "dropped_missing": missing,
        "parameters": sum(member.num_parameters for member in members),
        "device": device_name(torch.device(options.device)),
        "versions": versions(),
        **(
            {"members": _alone(members, options.weights, logits, labels)}
            if len(members) > 1
            else {}
        ),
    }


def _of_training(member: Member) -> dict[str, Any]:
    """What a checkpoint tells of its training."""
    run, data = member.saved.run, member.saved.data
    return {
        **{name: value for name, value in run.items() if name.startswith("val/")},
        "temperature": float(member.classifier.temperature),
        "vocabulary_size": len(data.vocabulary),
        "vector_coverage": run.get("vector_coverage"),
        "train_reviews": data.train_reviews,
        "val_reviews": data.val_reviews,
        "dropped_duplicates": data.dropped_duplicates,
        "seed": run.get("seed"),
    }


def _alone(
    members: Sequence[Member],
    weights: Sequence[float] | None,
    logits: Sequence[torch.Tensor],
    labels: torch.Tensor,
) -> list[dict[str, Any]]:
    """The weight of each member of an ensemble, and its test figures by itself."""
    weights = weights or [1.0] * len(members)
    return [
        {"checkpoint": str(member.path), "weight": weight}
        | summarise_predictions(own, labels, "test/")
        for member, weight, own in zip(members, weights, logits, strict=True)
    ]


class LabelledReviews(NamedTuple):
    """What a labelled file holds, and what was predicted of it."""

    logits: list[torch.Tensor]  # of each member, (reviews, classes)
    labels: torch.Tensor  # (reviews,), the true classes
    lengths: torch.Tensor  # (reviews,), tokens of the first member before they are cut
    missing: int  # rows left out because they lack a text or a label
    fingerprint: str  # see ``reviews_fingerprint``


def predict_labelled(
    predictor: Predictor,
    path: Path,
    csv_format: "CsvFormat",
    file_labels: Sequence[str] | None = None,
) -> LabelledReviews:
    """Predict a labelled file.

    Args:
        predictor: predicts.
        path: the file.
        csv_format: how to read it.
        file_labels: what it calls the classes, in their order; None is as the training or its
            results did.

    Raises:
        InputError: the file is no good, or has other labels.
    """
    classes = _classes_by_label(predictor, file_labels)
    logits: list[list[torch.Tensor]] = []
    labels: list[npt.NDArray[np.int64]] = []
    lengths: list[npt.NDArray[np.int64]] = []
    digests: list[npt.NDArray[np.uint64]] = []
    missing = 0
    for chunk in read_reviews(path, csv_format, chunk_rows=2_000):
        for label, row in zip(chunk.labels, chunk.rows, strict=True):
            if label in classes:
                continue
            equal = {classes[other]: other for other in equal_labels(label, classes)}
            if len(equal) != 1:
                known = ", ".join(map(repr, list(classes)[:20]))
                raise InputError(
                    f"{path}, row {row + 1}: label {label!r} of column"
                    f" {csv_format.label_column!r} is none of {known};"
                    " --label-column names another column, --labels what this file calls"
                    f" {', '.join(predictor.labels[:20])}"
                )
            ((classes[label], other),) = equal.items()
            _note(f"label {label!r} is taken for {other!r}")
        encoded = predictor.tokenizer.encode(chunk.texts)
        logits.append(predictor.member_logits(chunk.texts, encoded))
        labels.append(np.array([classes[label] for label in chunk.labels], np.int64))
        lengths.append(encoded.lengths)
        digests.append(encoded.digests)
        missing += chunk.missing
    joined = [torch.cat(chunks) for chunks in zip(*logits, strict=True)]
    names = file_labels or predictor.raw_labels
    return LabelledReviews(
        joined,
        torch.from_numpy(np.concatenate(labels)),
        torch.from_numpy(np.concatenate(lengths)),
        missing,
        reviews_fingerprint(zip(digests, labels, strict=True), names),
    )


def _classes_by_label(predictor: Predictor, labels: Sequence[str] | None) -> dict[str, int]:
    """The class that each label of a file stands for; see ``predict_labelled``."""
    if labels is None:
        classes = {name: index for index, name in enumerate(predictor.labels)}
        return classes | {name: index for index, name in enumerate(predictor.raw_labels)}
    if len(set(labels)) < len(labels) or len(labels) != len(predictor.labels):
        raise InputError(
            f"--labels {' '.join(labels)}: give what the file calls each of the classifier's"
            f" {len(predictor.labels)} labels, in this order: {', '.join(predictor.labels[:20])}"
        )
    return {name: index for index, name in enumerate(labels)}


def _note(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(
        prog="python -m sentiment.evaluate",
        description="Measure a trained checkpoint, or several together, on a CSV file with labels.",
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        nargs="+",
        help="checkpoints/best.ckpt of a run folder; of several, the mean of their probabilities",
    )
    parser.add_argument("csv", type=Path, help="a CSV file with texts and labels, after them")
    add_weights_option(parser)
    add_csv_options(parser, labels=True)
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="what this file calls the labels, in the order of the classifier's; for example, 0 1"
        " where they are negative and positive. Default: as in the training",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    parsed = parser.parse_intermixed_args(arguments)
    if parsed.csv.suffix == ".ckpt":
        parser.error(f"{parsed.csv} stands where the CSV file belongs: checkpoints first, CSV last")
    return parsed


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: a table or JSON on standard output, one line for what is wrong."""
    parsed = parse_arguments(arguments)
    write_utf8()
    limit_threads()
    with exit_on_input_error():
        results = evaluate(parsed.checkpoint, parsed.csv, parsed)
        if parsed.json:
            sys.stdout.write(json_text(results) + "\n")
        else:
            of_training = ("train_reviews", "vector_coverage", "dropped_duplicates")
            told = {key: value for key, value in results.items() if key not in of_training}
            print_table(result_table(told))
            if "members" in results:
                sys.stdout.write("\n")
                print_table(members_table(results["members"]))
            sys.stdout.write("\n")
            print_table(length_table(results["test/by_length"]))
