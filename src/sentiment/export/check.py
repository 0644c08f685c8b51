"""Compare a checkpoint and its ONNX files: size, accuracy, speed and labels."""

import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table

from sentiment.evaluate import predict_labelled
from sentiment.predict.predictor import Predictor
from sentiment.report.tables import format_count, format_percent, new_table

if TYPE_CHECKING:
    from sentiment.data.csv_format import CsvFormat

SENTENCE = (  # of 20 tokens
    "The film was a little long , but the actors were wonderful and I would gladly see it again ."
)
_ROUNDS, _WARM_UP = 200, 20


class Measured(NamedTuple):
    """What was measured of a file."""

    name: str
    megabytes: float
    accuracy: float
    changed: int  # labels that are not those of the first file
    reviews_per_second: float  # read, tokenised and classified by one process
    sentence_ms: float  # the median time of ``SENTENCE``
    threads: int


def compare_files(
    checkpoint: Predictor, files: Mapping[str, Path], reviews: Path, csv_format: "CsvFormat"
) -> list[Measured]:
    """Predict a labelled file with a checkpoint, which is the reference, and its ONNX files.

    Args:
        checkpoint: the checkpoint.
        files: the ONNX files, by the names that a table has for them.
        reviews: the labelled file.
        csv_format: how to read it.

    Raises:
        InputError: see ``Predictor.load`` and ``predict_labelled``.
    """
    loaded = {name: Predictor.load(path) for name, path in files.items()}
    predictors = {"checkpoint": checkpoint} | loaded
    sentence_ms = _sentence_ms(predictors)
    found: list[Measured] = []
    for name, predictor in predictors.items():
        start = time.perf_counter()
        predicted = predict_labelled(predictor, reviews, csv_format)
        took = time.perf_counter() - start
        labels = predicted.logits[0].argmax(1)
        if not found:
            reference = labels
        found.append(
            Measured(
                name=name,
                megabytes=_size(predictor.members[0].path) / 1e6,
                accuracy=float((labels == predicted.labels).mean()),
                changed=int((labels != reference).sum()),
                reviews_per_second=len(labels) / took,
                sentence_ms=sentence_ms[name],
                threads=predictor.members[0].classifier.threads,
            )
        )
    return found


def _size(path: Path) -> int:
    """Bytes of a file, or of the files of a published folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _sentence_ms(predictors: Mapping[str, Predictor]) -> dict[str, float]:
    """The median milliseconds of each for ``SENTENCE``; they take turns, as machines are noisy."""
    times: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(_WARM_UP + _ROUNDS):
        for name, predictor in predictors.items():
            start = time.perf_counter()
            predictor(SENTENCE)
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * median(each[_WARM_UP:]) for name, each in times.items()}


def measured_table(rows: list[Measured]) -> Table:
    """Lay out the result of ``compare_files``."""
    table = new_table()
    table.add_column("", no_wrap=True)
    headings = ("MB", "accuracy", "labels changed", "reviews/s", "ms a sentence", "threads")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            f"{row.megabytes:.1f}",
            format_percent(row.accuracy),
            format_count(row.changed),
            format_count(round(row.reviews_per_second)),
            f"{row.sentence_ms:.2f}",
            format_count(row.threads),
        )
    return table
