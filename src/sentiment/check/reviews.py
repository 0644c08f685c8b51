"""The reviews of all files that are checked, one file after the other, in the words of all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sentiment.batch import NO_CLASS, UNK_INDEX
from sentiment.data.corpus import TOKENS_AT_A_TIME, Corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.labels import likeness
from sentiment.data.padding import gather_reviews

_BESIDE = 100  # tokens, as which a text counts beside its own where memory is bounded
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CheckedFile:
    """A file that is checked.

    Attributes:
        role: the setting that names it: ``csv``, ``train_csv``, ``val_csv``, ``test_csv`` or
            ``unlabeled_csv``.
        corpus: its reviews.
        csv_format: how it is read.
    """

    role: str
    corpus: Corpus
    csv_format: CsvFormat

    @property
    def labeled(self) -> bool:
        """Whether its reviews have labels."""
        return self.role != "unlabeled_csv"

    @property
    def trains(self) -> bool:
        """Whether a training learns from it."""
        return self.role in ("csv", "train_csv")


@dataclass(frozen=True)
class Origin:
    """A row of a file: the file, its 1-based number there, its label, and how its text begins."""

    file: CheckedFile
    row: int
    label: str
    text: str


class Reviews:
    """The reviews of several files; an index counts through all of them.

    Args:
        files: the files.
        labels: the labels as written in the files, in the order of the classes.
        names: names of the labels for the reader.
        merge: whether labels that are likely the same, as ``Good`` and ``good``, are one class.

    Attributes:
        files, labels, names, merge: as given.
        words: the distinct words of all files; word ``i`` has the token id ``i + UNK_INDEX + 1``.
        firsts: (files + 1,) index of each file's first review, and the number of all reviews.
        written: (reviews,) index of each label as written, ``NO_CLASS`` in files without labels.
        classes: (reviews,) likewise, of labels that are likely the same the most frequent one.
        foreign: files none of whose classes is in the first file.
        compared: (reviews,) as ``classes``, but ``NO_CLASS`` in foreign files.
        lengths: (reviews,) tokens of each.
    """

    def __init__(
        self,
        files: Sequence[CheckedFile],
        labels: Sequence[str],
        names: Sequence[str],
        *,
        merge: bool = False,
    ) -> None:
        self.files, self.labels, self.names = list(files), list(labels), list(names)
        self.merge = merge
        index: dict[str, int] = {}
        classes: list[Ints] = []
        self._token_of: list[Ints] = []
        for file in files:
            own = [index.setdefault(word, len(index)) for word in file.corpus.words]
            self._token_of.append(np.array(own, np.int64) + UNK_INDEX + 1)
            class_of = np.array(list(map(self.labels.index, file.corpus.label_names)), np.int64)
            none = np.full(len(file.corpus), NO_CLASS)
            classes.append(class_of[file.corpus.labels] if file.labeled else none)
        self.words = list(index)
        self.firsts = np.cumsum([0, *(len(file.corpus) for file in files)])
        self.written = np.concatenate(classes)
        self.classes = self._merged() if merge else self.written
        self.foreign = self._foreign() if merge else []
        self.compared = self.classes.copy()
        for at in self.foreign:
            self.compared[self.of_file(at)] = NO_CLASS
        self.lengths = np.concatenate([file.corpus.lengths for file in files])

    def _merged(self) -> Ints:
        """The classes, of labels that are likely the same the one that most training rows have."""
        counts = self.counts(self.written)
        trained = sum(counts[at] for at, file in enumerate(self.files) if file.trains)
        order = np.lexsort((-counts.sum(0), -np.asarray(trained)))
        alike = [likeness(label) for label in self.labels]
        chosen: dict[object, int] = {}
        for label in order.tolist():
            chosen.setdefault(alike[label], label)
        merged = np.array([*map(chosen.__getitem__, alike), NO_CLASS])
        return merged[np.where(self.written == NO_CLASS, len(alike), self.written)]

    def _foreign(self) -> list[int]:
        counts = self.counts(self.classes) > 0
        return [
            at
            for at, file in enumerate(self.files)
            if file.labeled and not (counts[0] & counts[at]).any()
        ]

    def counts(self, classes: Ints) -> Ints:
        """(files, labels) how often each of ``written`` or ``classes`` occurs in each file."""
        counts = np.zeros((len(self.files), len(self.labels)), np.int64)
        for at in range(len(self.files)):
            own = classes[self.of_file(at)]
            counts[at] = np.bincount(own[own != NO_CLASS], minlength=len(self.labels))
        return counts

    def of_file(self, at: int) -> slice:
        """The reviews of a file."""
        return slice(int(self.firsts[at]), int(self.firsts[at + 1]))

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def file_of(self, reviews: Ints) -> Ints:
        """The index of the file of each review."""
        return np.searchsorted(self.firsts, reviews, side="right") - 1

    def place(self, review: int) -> tuple[CheckedFile, int]:
        """The file of a review and its 1-based row there, the header not counted."""
        at = int(self.file_of(np.array(review)))
        corpus = self.files[at].corpus
        return self.files[at], int(corpus.rows[review - self.firsts[at]]) + 1

    def label(self, review: int) -> str:
        """The name of a review's label as written; "" if it has none."""
        own = int(self.written[review])
        return "" if own == NO_CLASS else self.names[own]

    def tokens(self, reviews: Ints) -> tuple[Ints, Ints]:
        """The tokens of some reviews, one after the other, (tokens,), and their lengths, (n,)."""
        of = self.file_of(reviews)
        changes = np.flatnonzero(np.diff(of, prepend=-1, append=-1))
        parts = []
        for first, last in pairwise(changes.tolist()):
            corpus, at = self.files[of[first]].corpus, of[first]
            own = reviews[first:last] - self.firsts[at]
            ids, _ = gather_reviews(np.asarray(corpus.token_ids), np.asarray(corpus.offsets), own)
            parts.append(self._token_of[at][ids])
        return np.concatenate([np.empty(0, np.int64), *parts]), self.lengths[reviews]

    def batches(self, reviews: Ints) -> Iterator[Ints]:
        """The reviews, some at a time, which bounds the memory for them and their tokens."""
        ends = np.cumsum(self.lengths[reviews] + _BESIDE)
        first = 0
        while first < len(reviews):
            before = ends[first - 1] if first else 0
            last = int(np.searchsorted(ends, before + TOKENS_AT_A_TIME, side="right"))
            yield reviews[first : (first := max(first + 1, last))]
