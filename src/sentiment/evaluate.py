"""Measure a trained checkpoint on a CSV file with labels.

Loads neither Hydra nor Lightning.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sentiment.checkpoint import load_classifier
from sentiment.cli import add_csv_options, csv_format_from, refusing_bad_input, write_utf8
from sentiment.data.reviews import read_reviews
from sentiment.environment import device_name, versions
from sentiment.errors import InputError
from sentiment.model.metrics import summarise_predictions
from sentiment.predictor import Predictor
from sentiment.report.tables import json_text, print_table, result_table

if TYPE_CHECKING:
    from sentiment.data.reviews import CsvFormat


def evaluate(checkpoint: Path, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Test a checkpoint on a file: the keys of ``results.json`` that a checkpoint can answer.

    Raises:
        InputError: the checkpoint, the file or the device is no good, or the file has labels that
            training had not.
    """
    saved = load_classifier(checkpoint)
    predictor = Predictor(saved.classifier, saved.data, options.device)
    csv_format = csv_format_from(
        options, predictor.text_column, predictor.label_column, header=predictor.header
    )
    logits, labels, missing = predict_labelled(predictor, path, csv_format)
    present = set(labels.tolist())
    absent = [name for index, name in enumerate(predictor.labels) if index not in present]
    if absent:
        _note(f"no row has the label {', '.join(absent[:20])}; F1 and AUROC are of the others")
    if missing:
        _note(f"{missing:,} rows left out for a missing text or label")
    return {
        **summarise_predictions(logits, labels, "test/"),
        **{name: value for name, value in saved.run.items() if name.startswith("val/")},
        "labels": predictor.labels,
        "vocabulary_size": len(saved.data["vocabulary"]),
        "vector_coverage": saved.run.get("vector_coverage"),
        "train_reviews": saved.data["train_reviews"],
        "val_reviews": saved.data["val_reviews"],
        "test_reviews": len(labels),
        "dropped_duplicates": saved.data["dropped_duplicates"],
        "dropped_missing": missing,
        "parameters": sum(weight.numel() for weight in saved.classifier.parameters()),
        "seed": saved.run.get("seed"),
        "device": device_name(torch.device(options.device)),
        "versions": versions(),
    }


def predict_labelled(
    predictor: Predictor, path: Path, csv_format: "CsvFormat"
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Predict a labelled file.

    Returns:
        The logits, (reviews, classes), the true classes, (reviews,), and how many rows were left
        out because they lack a text or a label.
    """
    classes = {name: index for index, name in enumerate(predictor.labels)}
    classes |= {name: index for index, name in enumerate(predictor.raw_labels)}
    logits: list[torch.Tensor] = []
    labels: list[int] = []
    missing = 0
    for chunk in read_reviews(path, csv_format, chunk_rows=2_000):
        for label, row in zip(chunk.labels, chunk.rows, strict=True):
            if label not in classes:
                raise InputError(
                    f"{path}, row {row + 1}: label {label!r} is none of the classifier's:"
                    f" {', '.join(map(repr, predictor.raw_labels[:20]))}"
                    f" (column {csv_format.label_column!r}; --label-column names another)"
                )
            labels.append(classes[label])
        logits.append(predictor.logits(chunk.texts))
        missing += chunk.missing
    return torch.cat(logits), torch.tensor(labels), missing


def _note(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sentiment.evaluate",
        description="Measure a trained checkpoint on a CSV file with labels.",
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoints/best.ckpt of a run folder")
    parser.add_argument("csv", type=Path, help="a CSV file with texts and labels")
    add_csv_options(parser, labels=True)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: a table or JSON on standard output, one line for what is wrong."""
    parsed = parse_arguments(arguments)
    write_utf8()
    with refusing_bad_input():
        results = evaluate(parsed.checkpoint, parsed.csv, parsed)
        if parsed.json:
            sys.stdout.write(json_text(results) + "\n")
        else:
            print_table(result_table(results))


if __name__ == "__main__":
    main()
