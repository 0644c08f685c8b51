"""Drift: how often is it a false alarm, and are the proportions of two classes recovered?

    OMP_NUM_THREADS=1 python scripts/benchmarks/drifting.py CHECKPOINT test.csv

draws texts at random from a labelled file like that of the training, which should not count as
drift, and others with given proportions of the second class.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from sentiment import Predictor
from sentiment.drift.comparison import NewTexts, compare
from sentiment.drift.proportions import estimated_proportions
from sentiment.drift.run import validation_summary
from sentiment.predict.logits import softmax

PLANTED = (0.2, 0.35, 0.65, 0.8)
AT_ONCE = 1_000

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]


class File:
    """The predicted texts of a file.

    Args:
        predictor: the classifier.
        texts: the texts.
    """

    def __init__(self, predictor: Predictor, texts: list[str]) -> None:
        self.words: list[list[str]] = []
        parts = []
        for first in range(0, len(texts), AT_ONCE):
            some = texts[first : first + AT_ONCE]
            encoded = predictor.tokenizer.encode(some)
            unknown = encoded.lengths - predictor.count_known(encoded)
            logits = predictor.combine(predictor.member_logits(some, encoded))
            parts.append((encoded.lengths, unknown, softmax(logits)))
            words = np.array(encoded.words, object)[encoded.token_ids]
            ends = np.cumsum(encoded.lengths)[:-1]
            self.words += [each.tolist() for each in np.split(words, ends)]
        self.lengths, self.unknown, self.probabilities = map(
            np.concatenate, zip(*parts, strict=True)
        )

    def taken(self, rows: Ints) -> NewTexts:
        """Some of the texts, as ``sentiment.drift`` counts them."""
        texts_with: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for row in rows.tolist():
            texts_with.update(set(self.words[row]))
            counts.update(self.words[row])
        return NewTexts(
            [self.lengths[rows]], [self.unknown[rows]], [self.probabilities[rows]],
            texts_with, counts,
        )  # fmt: skip


def by_confusion(predicted: Ints, confusion: Ints) -> Floats:
    """The proportions under which the classifier predicts these counts (Lipton et al., 2018)."""
    rates = confusion / confusion.sum(1, keepdims=True)
    found = np.linalg.lstsq(rates.T, predicted / predicted.sum(), rcond=None)[0].clip(0)
    proportions: Floats = found / found.sum()
    return proportions


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--level", type=float, default=0.05)
    parser.add_argument("--resamples", type=int, default=100, help="of 500 texts")
    parser.add_argument("--draws", type=int, default=40, help="of 1,000 texts, each proportion")
    given = parser.parse_args()
    predictor = Predictor.load(given.checkpoint)
    (member,) = predictor.members
    summary, vocabulary = validation_summary(member.path), member.data.vocabulary
    table = pd.read_csv(given.csv)
    file = File(predictor, table[predictor.text_column].tolist())
    second = table[predictor.label_column].astype(str).to_numpy() == predictor.raw_labels[1]
    drawn = np.random.default_rng(1)
    alarms = 0
    for _ in range(given.resamples):
        new = file.taken(drawn.choice(len(table), 500, replace=False))
        alarms += compare(summary, new, vocabulary, predictor.labels, given.level)["drift"]
    sys.stdout.write(f"false alarms: {alarms} of {given.resamples}, level {given.level}\n")
    for planted in PLANTED:
        errors = []
        for _ in range(given.draws):
            size = round(1_000 * planted)
            rows = [
                drawn.choice(np.flatnonzero(second == label), number, replace=False)
                for label, number in ((True, size), (False, 1_000 - size))
            ]
            probabilities = file.probabilities[np.concatenate(rows)]
            counts = np.bincount(probabilities.argmax(1), minlength=2)
            found = (
                counts / counts.sum(),
                by_confusion(counts, summary.confusion),
                estimated_proportions(probabilities, summary.probabilities),
            )
            errors.append([100 * (each[1] - planted) for each in found])
        means, largest = np.sqrt(np.square(errors).mean(0)), np.abs(errors).max(0)
        cells = (f"{mean:.1f} ({most:.1f})" for mean, most in zip(means, largest, strict=True))
        sys.stdout.write(f"{planted:.0%}: counted, confusion matrix, EM: {', '.join(cells)}\n")


if __name__ == "__main__":
    main()
