"""Read new texts, predict them, and compare them with the validation reviews of a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np

from sentiment.data.csv_format import CsvFormat
from sentiment.data.reviews import read_reviews, row_count
from sentiment.data.workers import encode_chunks
from sentiment.drift.comparison import NewTexts, compare
from sentiment.predict.checkpoint import read_summary
from sentiment.predict.logits import softmax
from sentiment.predict.predictor import Predictor
from sentiment.predict.summary import Summary, texts_with
from sentiment.runtime.environment import available_cores
from sentiment.runtime.errors import InputError, listed
from sentiment.runtime.files import is_onnx
from sentiment.runtime.progress_bar import progress_bar


def drift(
    predictor: Predictor, path: Path, csv_format: CsvFormat, *, level: float
) -> dict[str, Any]:
    """Compare the texts of a file with the validation reviews of a classifier's training.

    Args:
        predictor: a checkpoint.
        path: the file; it needs no labels.
        csv_format: how to read it.
        level: the probability of a false alarm where nothing has changed, at most.

    Raises:
        InputError: the checkpoint has no summary of its validation reviews, or the file cannot be
            read.
    """
    member, *others = predictor.members
    if others or not member.path.exists():  # a member of an ensemble has a name alone
        names = listed([str(each.path) for each in predictor.members])
        raise InputError(
            f"an ensemble of {names} keeps no summary of validation reviews; give one checkpoint"
        )
    summary = validation_summary(member.path)
    if len(summary.confusion) != len(predictor.labels):
        raise InputError(f"{member.path}: was changed; use another checkpoint of the run")
    texts = read_texts(predictor, path, csv_format)
    return compare(summary, texts, member.data.vocabulary, predictor.labels, level)


def validation_summary(path: Path) -> Summary:
    """The summary that a checkpoint keeps of its validation reviews.

    Raises:
        InputError: it has none, or is damaged.
    """
    if is_onnx(path) or path.is_dir():
        raise InputError(
            f"{path}: has no summary of validation reviews to compare with; give the checkpoint"
            " that it was made of"
        )
    summary = read_summary(path)
    if summary is None:
        raise InputError(
            f"{path}: keeps no summary of its validation reviews to compare with: it was written"
            " by an earlier version, or before the first validation; train again"
        )
    return summary


def read_texts(predictor: Predictor, path: Path, csv_format: CsvFormat) -> NewTexts:
    """Count the words of a file and predict its texts; rows without a text are left out.

    Raises:
        InputError: the file cannot be read.
    """
    texts = NewTexts()
    chunks = read_reviews(path, csv_format, chunk_rows=1_000)
    with progress_bar(f"Reading {path.name}", row_count(path, csv_format), "row") as bar:
        settings, workers = predictor.tokenizer.settings, max(1, available_cores() - 1)
        for chunk, encoded in encode_chunks(chunks, settings, workers):
            size = len(encoded.words)
            found = texts_with(encoded.token_ids.astype(np.int64), encoded.lengths, size)
            counts = np.bincount(encoded.token_ids, minlength=size)
            texts.texts_with.update(dict(zip(encoded.words, found.tolist(), strict=True)))
            texts.counts.update(dict(zip(encoded.words, counts.tolist(), strict=True)))
            texts.lengths.append(encoded.lengths)
            texts.unknown.append(encoded.lengths - predictor.count_known(encoded))
            logits = predictor.combine(predictor.member_logits(chunk.texts, encoded))
            texts.probabilities.append(softmax(logits))
            bar.update(len(chunk.rows) + chunk.missing)
    return texts
