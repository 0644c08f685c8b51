"""``predictions.csv``: what a classifier has predicted for each test review, without the texts."""

import csv
import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment.model.metrics import Outcome
from sentiment.runtime.environment import program_command
from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.files import replaced_when_whole

log = logging.getLogger(__name__)

FILE = "predictions.csv"
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]

_MOST_SCORES = 5_000_000  # more would make a file of over 50 MB
_COUNTS = ("row", "tokens", "known_tokens")


@dataclass(frozen=True)
class Predictions:
    """The predictions for n reviews.

    Attributes:
        labels: names of the classes.
        rows: (n,) the row of each review in its file, from 1.
        true: (n,) index of the label of each.
        predicted: (n,) index of the predicted label.
        score: (n,) its probability.
        scores: (n, classes) the probabilities of all labels; None if they were not written.
        tokens: (n,) tokens of each review, uncut.
        known_tokens: (n,) how many of these are in the vocabulary.
    """

    labels: Sequence[str]
    rows: _Ints
    true: _Ints
    predicted: _Ints
    score: _Floats
    scores: _Floats | None
    tokens: _Ints
    known_tokens: _Ints

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each prediction is right, (n,)."""
        return np.equal(self.true, self.predicted)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: _Ints) -> "Predictions":
        """Those at these indices, in this order."""
        names = ("rows", "true", "predicted", "score", "tokens", "known_tokens")
        scores = None if self.scores is None else self.scores[chosen]
        return replace(self, scores=scores, **{name: getattr(self, name)[chosen] for name in names})


def write_predictions(
    folder: Path,
    outcome: Outcome,
    labels: Sequence[str],
    rows: _Ints,
    tokens: _Ints,
    known_tokens: _Ints,
) -> None:
    """Write the predictions of a test into a run folder.

    Args:
        folder: the run folder.
        outcome: the outcome of the test.
        labels: names of the classes.
        rows: (n,) the row of each review in its file, from 1, in the order of the outcome.
        tokens: (n,) tokens of each, uncut.
        known_tokens: (n,) how many of these are in the vocabulary.
    """
    scores = outcome.logits.double().softmax(1).numpy()
    true, predicted = outcome.labels.tolist(), outcome.logits.argmax(1).tolist()
    named = labels if scores.size <= _MOST_SCORES else ()
    heads = ["row", "label", "predicted", "score", *(f"score_{name}" for name in named)]
    best = scores[np.arange(len(scores)), predicted]
    columns = [best, *(scores[:, index] for index in range(len(named)))]
    with (
        replaced_when_whole(folder / FILE) as part,
        part.open("x", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*heads, "tokens", "known_tokens"])
        writer.writerows(
            zip(
                rows.tolist(),
                (labels[index] for index in true),
                (labels[index] for index in predicted),
                *((f"{score:.7g}" for score in column.tolist()) for column in columns),
                tokens.tolist(),
                known_tokens.tolist(),
                strict=True,
            )
        )


def read_predictions(folder: Path, labels: Sequence[str]) -> Predictions | None:
    """Read the predictions of a run folder; None if it has none, as runs of before 0.2 have not.

    Args:
        folder: the run folder.
        labels: names of the classes.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return _parsed(csv.reader(file), labels)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InputError(f"{path}: is damaged ({error}); remove it, or train again") from error


def _parsed(rows: Iterator[list[str]], labels: Sequence[str]) -> Predictions:
    """Read the rows of the file into arrays, which need little memory.

    Raises:
        ValueError, KeyError: it is not the file of a run with these labels.
    """
    heads, index = next(rows, []), {name: number for number, name in enumerate(labels)}
    kinds: dict[str, Callable[[str], float]] = dict.fromkeys(
        ("label", "predicted"), index.__getitem__
    )
    kinds |= dict.fromkeys(_COUNTS, int)
    columns: dict[str, array[Any]] = {name: array("q" if name in kinds else "d") for name in heads}
    appends = [(columns[name].append, kinds.get(name, float)) for name in heads]
    for row in rows:
        for (append, kind), cell in zip(appends, row, strict=True):
            append(kind(cell))
    found = {name: np.frombuffer(values, values.typecode) for name, values in columns.items()}
    names = [f"score_{name}" for name in labels]
    scores = np.stack([found[name] for name in names], 1) if {*names} <= found.keys() else None
    true, predicted, score = (found[name] for name in ("label", "predicted", "score"))
    number, tokens, known = (found[name] for name in _COUNTS)
    return Predictions(labels, number, true, predicted, score, scores, tokens, known)


@contextmanager
def without_failing(folder: Path) -> Iterator[None]:
    """Log a warning, and go on, if the report of a run that has just ended cannot be written."""
    try:
        yield
    except Exception as error:
        again = program_command("sentiment.report", str(folder))
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        log.warning(
            "the report was not written (%s%s); write it by %s", kind, first_words(error), again
        )
