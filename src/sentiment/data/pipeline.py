"""Make the splits and the vocabulary of a training from tokenised files.

The last result stays in memory for the next run of a sweep, which mostly has the same data.
"""

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment.data.corpus import Corpus
from sentiment.data.labels import order_labels
from sentiment.data.scripts import unsplit_script
from sentiment.data.soft_labels import soft_splits
from sentiment.data.splits import (
    Split,
    Splits,
    reviews_fingerprint,
    split_reviews,
    unlabeled_splits,
)
from sentiment.data.vocabulary import build_vocabulary, given_vocabulary, vocabulary_ids
from sentiment.runtime.errors import InputError, as_typed, listed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataFacts:
    """Facts found in the data, for the model and the results.

    Attributes:
        vocabulary: the words by index, ``<pad>`` and ``<unk>`` first.
        word_counts: (vocabulary,) how often each word occurs in the training split and, if there
            are any, the unlabeled reviews; 0 for the two special words.
        labels: names of the classes, by index.
        class_counts: training reviews of each class.
        train_reviews: number of training reviews.
        val_reviews: number of validation reviews.
        test_reviews: number of test reviews.
        dropped_duplicates: reviews left out because they repeat the text of another.
        dropped_missing: rows left out because the text or the label is missing.
        fingerprints: fingerprint of ``train``, ``val`` and ``test``, which is equal if a split has
            the same reviews with the same labels, in any order.
        unknown_words: tokens of the texts counted above that are not in the vocabulary.
        unlabeled_reviews: reviews without labels, not counting those left out.
        soft_reviews: reviews without labels that have a teacher's probabilities, likewise.
        unsplit: the warning about texts that the tokenizer does not split into words; "" if none.
    """

    vocabulary: list[str]
    word_counts: npt.NDArray[np.int64]
    labels: list[str]
    class_counts: list[int]
    train_reviews: int
    val_reviews: int
    test_reviews: int
    dropped_duplicates: int
    dropped_missing: int
    fingerprints: dict[str, str]
    unknown_words: int = 0
    unlabeled_reviews: int = 0
    soft_reviews: int = 0
    unsplit: str = ""


@dataclass(frozen=True)
class DataFiles:
    """The files of a training; attributes as the arguments of ``SentimentDataModule``.

    Raises:
        InputError: arguments contradict each other, or a file is given twice.
    """

    csv: str | None
    train_csv: str | None
    val_csv: str | None
    test_csv: str | None
    unlabeled_csv: object
    soft_csv: object = None

    def __post_init__(self) -> None:
        for key in ("unlabeled_csv", "soft_csv"):
            given = getattr(self, key) or []
            several = [given] if isinstance(given, str) else given
            if not (isinstance(several, list | tuple) and all(isinstance(p, str) for p in several)):
                raise InputError(
                    f"data.{key}={getattr(self, key)}: give a file, or several as"
                    f" 'data.{key}=[FILE,FILE]'"
                )
        if (self.csv is None) == (self.train_csv is None):
            raise InputError(
                f"data.csv={as_typed(self.csv)} and data.train_csv={as_typed(self.train_csv)}: give"
                " one of the two, a file to split or a file for training (data=csv and"
                " data=fasttext set neither)"
            )
        if self.csv is not None and (self.val_csv is not None or self.test_csv is not None):
            raise InputError(
                f"data.csv={self.csv}: is split into training, validation and test; with"
                " data.val_csv or data.test_csv, give data.train_csv=FILE instead"
            )
        given = [path.resolve() for path in self.labeled.values()]
        if twice := [str(path) for path in given if given.count(path) > 1]:
            raise InputError(f"{twice[0]}: is given for two splits; each needs a file of its own")
        given += [path.resolve() for path in self.unlabeled]
        if twice := [str(path) for path in given if given.count(path) > 1]:
            raise InputError(f"{twice[0]}: is given twice; take it out of data.unlabeled_csv")
        given = [path.resolve() for path in self.soft]
        given += [path.resolve() for path in self.unlabeled]
        if twice := [str(path) for path in given if given.count(path) > 1]:
            raise InputError(f"{twice[0]}: is given twice; in data.soft_csv once is enough")

    @property
    def labeled(self) -> dict[str, Path]:
        """The files with labels, by argument."""
        names = ("csv", "train_csv", "val_csv", "test_csv")
        given = {name: getattr(self, name) for name in names}
        return {name: Path(path) for name, path in given.items() if path is not None}

    @property
    def unlabeled(self) -> list[Path]:
        """The files without labels."""
        return paths_of(self.unlabeled_csv)

    @property
    def soft(self) -> list[Path]:
        """The files with a teacher's probabilities."""
        return paths_of(self.soft_csv)


def paths_of(given: Any) -> list[Path]:
    """The files that a setting names: none, one, or a list."""
    several = isinstance(given, Sequence) and not isinstance(given, str)
    return [Path(str(path)) for path in (given if several else [given] * (given is not None))]


@dataclass(frozen=True, kw_only=True)
class PreparationSettings:
    """The settings that determine the splits and the vocabulary of tokenised files.

    Attributes as the arguments of ``SentimentDataModule``; ``seed`` is its ``split_seed``.

    Raises:
        InputError: a value cannot be used.
    """

    labels: Sequence[str | None] | None
    label_names: Sequence[str | None] | None
    test_size: float
    val_size: float
    seed: int
    min_freq: int
    max_size: int | None
    vocabulary: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for key, given in (("labels", self.labels), ("label_names", self.label_names)):
            if any(
                isinstance(each, Sequence) and not isinstance(each, str) for each in given or ()
            ):
                raise InputError(f"data.{key}={given}: give one list, such as 'data.{key}=[a,b]'")
        names = self.label_names or ()
        if None in names:
            raise InputError(
                "data.label_names: null is not a name; a label of this name needs quotes:"
                " 'data.label_names=[\"null\",...]'"
            )
        if len({str(name) for name in names}) < len(names):
            raise InputError(f"data.label_names={list(names)}: a name occurs twice")
        check_at_least_one(min_freq=self.min_freq, max_size=self.max_size)
        for name, size in (("test_size", self.test_size), ("val_size", self.val_size)):
            if not 0 < size < 1:
                raise InputError(
                    f"data.{name}={size}: must lie between 0 and 1 (the fraction that is split off)"
                )


def check_at_least_one(**sizes: int | None) -> None:
    """Raise InputError for a setting of ``data`` that is a number below 1."""
    for name, value in sizes.items():
        if value is not None and value < 1:
            raise InputError(f"data.{name}={value}: must be 1 or more")


@dataclass(frozen=True)
class PreparedData:
    """Splits, vocabulary and facts; read-only, because other trainings may share them.

    Attributes:
        splits: the reviews of each split.
        unlabeled: for each file without labels, its reviews whose text is new.
        soft: for each file of a teacher's probabilities, its reviews whose text is new.
        word_ids: for each corpus, by fingerprint, the vocabulary index of its words; (corpus
            words,).
        facts: facts found in the data.
    """

    splits: Splits
    unlabeled: Sequence[Split]
    soft: Sequence[Split]
    word_ids: Mapping[str, npt.NDArray[np.int64]]
    facts: DataFacts

    def own_facts(self) -> DataFacts:
        """A copy of the facts, which the caller may change."""
        return copy.deepcopy(self.facts)


_last: tuple[object, PreparedData] | None = None


def prepare(
    corpora: Mapping[str, Corpus],
    unlabeled: Sequence[Corpus],
    soft: Sequence[Corpus],
    settings: PreparationSettings,
) -> PreparedData:
    """Split the corpora and build the vocabulary; repeated calls return the last result.

    Args:
        corpora: the corpora by argument of ``SentimentDataModule``: ``csv``, or ``train_csv`` etc.
        unlabeled: the corpora without labels.
        soft: the corpora with a teacher's probabilities.
        settings: all other settings.

    Raises:
        InputError: the labels, the reviews or the words cannot be used.
    """
    global _last  # noqa: PLW0603
    named = [*corpora.items(), *(("unlabeled_csv", corpus) for corpus in unlabeled)]
    named += [("soft_csv", corpus) for corpus in soft]
    files = tuple((name, str(each.path), each.fingerprint) for name, each in named)
    if _last is not None and _last[0] == (files, settings):
        return _last[1]
    _last = None  # frees it before the next is made
    prepared = _prepare(corpora, unlabeled, soft, settings)
    _last = ((files, settings), prepared)
    return prepared


def _prepare(
    corpora: Mapping[str, Corpus],
    unlabeled: Sequence[Corpus],
    soft: Sequence[Corpus],
    settings: PreparationSettings,
) -> PreparedData:
    unsplit = ""
    for corpus in corpora.values():
        if finding := unsplit_script(corpus.words):
            unsplit = f"{corpus.path}: {finding}"
            log.warning(unsplit)
            break
    by_file = {str(corpus.path): corpus.label_names for corpus in corpora.values()}
    labels = order_labels(by_file, settings.labels, partial(first_row, corpora.values()))
    names = display_names(labels, settings)
    splits = split_reviews(
        corpora["csv" if "csv" in corpora else "train_csv"],
        labels,
        val=corpora.get("val_csv"),
        test=corpora.get("test_csv"),
        test_size=settings.test_size,
        val_size=settings.val_size,
        seed=settings.seed,
        labels_chosen=settings.labels is not None,
    )
    taught: list[Split] = []
    if soft:
        train, taught = soft_splits(soft, splits, labels, names)
        splits = replace(splits, train=train)
    without_labels = unlabeled_splits(unlabeled, splits, taught)
    others = [*without_labels, *taught]
    if settings.vocabulary is not None:
        vocabulary = given_vocabulary(settings.vocabulary, [splits.train, *others])
    else:
        vocabulary = build_vocabulary(
            splits.train, others, min_freq=settings.min_freq, max_size=settings.max_size
        )
    word_ids = {
        corpus.fingerprint: vocabulary_ids(corpus.words, vocabulary)
        for corpus in (*corpora.values(), *unlabeled, *soft)
    }
    word_counts = np.array([vocabulary.freqs[word] for word in vocabulary.itos], np.int64)
    facts = DataFacts(
        vocabulary=list(vocabulary.itos),
        word_counts=word_counts,
        unknown_words=vocabulary.freqs.total() - int(word_counts.sum()),
        labels=names,
        class_counts=np.bincount(splits.train.classes, minlength=len(labels)).tolist(),
        train_reviews=len(splits.train),
        val_reviews=len(splits.val),
        test_reviews=len(splits.test),
        dropped_duplicates=splits.dropped_duplicates,
        dropped_missing=sum(corpus.missing for corpus in corpora.values()),
        unlabeled_reviews=sum(map(len, without_labels)),
        soft_reviews=sum(map(len, taught)),
        unsplit=unsplit,
        fingerprints={
            name: _fingerprint(getattr(splits, name), labels) for name in ("train", "val", "test")
        },
    )
    shared: list[npt.NDArray[Any]] = [facts.word_counts, *word_ids.values()]
    for split in (splits.train, splits.val, splits.test, *others):
        shared += [split.reviews, split.classes]
        shared += [] if split.targets is None else [split.targets]
    for array in shared:
        array.flags.writeable = False
    return PreparedData(splits, without_labels, taught, word_ids, facts)


def first_row(corpora: Iterable[Corpus], label: str) -> str:
    """The file and row where a label occurs first."""
    corpus = next(each for each in corpora if label in each.label_names)
    first = np.argmax(corpus.labels == corpus.label_names.index(label))
    return f"{corpus.path}, row {corpus.rows[first] + 1}"


def _fingerprint(split: Split, labels: Sequence[str]) -> str:
    slices = (slice(first, first + 65536) for first in range(0, len(split), 65536))
    some = ((split.corpus.digests[split.reviews[each]], split.classes[each]) for each in slices)
    return reviews_fingerprint(some, labels)  # one slice at a time bounds the memory


def display_names(labels: list[str], settings: PreparationSettings) -> list[str]:
    """The names of the labels in results; raises InputError unless there is one for each."""
    names = settings.label_names
    if names is None:
        return labels
    if len(names) != len(labels):
        raise InputError(
            f"data.label_names={list(names)}: {len(names)} names for {len(labels)} labels"
            f" ({listed(labels)})"
        )
    return list(map(str, names))
