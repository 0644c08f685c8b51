"""Write the misclassified reviews of a labelled file to a CSV file, the worst first."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from sentiment.predict.csv_file import naming_target
from sentiment.predict.logits import Floats, softmax
from sentiment.runtime.files import nearest_folder, text_when_whole

_COLUMNS = ("row", "text", "label", "predicted_label", "score")

_FACTS = np.dtype(
    [("score", "f4"), ("row", "i8"), ("true", "i4"), ("wrong", "i4"), ("at", "i8"), ("size", "i8")]
)


class Misclassified:
    """Misclassified reviews. Memory holds a few numbers of each, a temporary file the texts.

    Args:
        texts: an empty file.
        target: the file that they are for, which messages name.
        labels: names of the classes.

    Attributes:
        count: the number of reviews that were added.
    """

    def __init__(self, texts: IO[bytes], target: Path, labels: Sequence[str]) -> None:
        self._texts = texts
        self._target = target
        self._labels = labels
        self._facts: list[np.ndarray[tuple[int], np.dtype[np.void]]] = []
        self.count = 0

    def add(
        self, texts: Sequence[str], rows: Sequence[int], true: Sequence[int], logits: Floats
    ) -> None:
        """Add those of some reviews that are misclassified.

        Args:
            texts: the reviews.
            rows: the 0-based number of each in its file.
            true: the class of each.
            logits: the calibrated logits, (reviews, classes).

        Raises:
            InputError: there is no room for the texts.
        """
        probabilities = softmax(logits)
        scores = probabilities.max(1).tolist()
        facts = []
        for index, (right, given) in enumerate(
            zip(true, probabilities.argmax(1).tolist(), strict=True)
        ):
            if right != given:
                text = texts[index].encode()
                at = self._texts.tell()
                facts.append((scores[index], rows[index], right, given, at, len(text)))
                with naming_target(self._target):
                    self._texts.write(text)
        self._facts.append(np.array(facts, _FACTS))
        self.count += len(facts)

    def write(self, out: IO[str], separator: str) -> None:
        """Write them as CSV, the highest score first; rows are counted from 1."""
        writer = csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(_COLUMNS)
        facts = np.concatenate([np.empty(0, _FACTS), *self._facts])
        for index in np.argsort(-facts["score"], kind="stable"):
            score, row, true, wrong, at, size = facts[index].item()
            self._texts.seek(at)
            text = self._texts.read(size).decode()
            labels = (self._labels[true], self._labels[wrong])
            writer.writerow([row + 1, text, *labels, f"{score:.6f}"])


@contextmanager
def written_misclassified(
    target: Path, labels: Sequence[str], separator: str
) -> Iterator[Misclassified]:
    """Collect misclassified reviews; if the block succeeds, the target is written at once.

    Args:
        target: the file, in UTF-8, compressed according to its suffix. Its folder, or the
            one above if it does not exist yet, holds the temporary files.
        labels: names of the classes.
        separator: the character between cells.

    Raises:
        InputError: the target cannot be written.
    """
    with ExitStack() as stack:
        with naming_target(target):
            texts = stack.enter_context(TemporaryFile(dir=nearest_folder(target)))
        found = Misclassified(texts, target, labels)
        yield found
        with naming_target(target), text_when_whole(target) as out:
            found.write(out, separator)
