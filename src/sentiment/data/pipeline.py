"""What the files of a training come to: splits and vocabulary.

The last result stays in memory, so that the runs of a sweep, which mostly share their data, do not
find it again each time.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentiment.data.corpus import Corpus
from sentiment.data.splits import (
    Split,
    Splits,
    order_labels,
    reviews_fingerprint,
    split_given_files,
    split_one_file,
    unlabeled_splits,
)
from sentiment.data.vocabulary import build_vocabulary, given_vocabulary, vocabulary_ids
from sentiment.runtime.errors import InputError


@dataclass(frozen=True)
class DataFacts:
    """What was found in the data, for the model and the results.

    Attributes:
        vocabulary: the words by index, ``<pad>`` and ``<unk>`` first.
        word_counts: (vocabulary,) how often the training split has each, and the unlabeled reviews
            where there are any; 0 for the special two.
        labels: names of the classes, by index.
        class_counts: training reviews of each class.
        train_reviews: reviews that train.
        val_reviews: reviews that validate.
        test_reviews: reviews that test.
        dropped_duplicates: reviews left out because their text stands elsewhere.
        dropped_missing: rows left out because the text or the label is missing.
        fingerprints: of ``train``, ``val`` and ``test``: equal where the split has the same reviews
            with the same labels, in any order.
        unknown_words: running words of the same texts that are no word of the vocabulary.
        unlabeled_reviews: reviews without labels, what was left out not counted.
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


@dataclass(frozen=True, kw_only=True)
class PreparationSettings:
    """What decides the splits and the vocabulary, besides the tokenised files.

    Attributes as the arguments of ``SentimentDataModule``; ``seed`` is its ``split_seed``.
    """

    labels: tuple[str | None, ...] | None
    label_names: tuple[str, ...] | None
    test_size: float
    val_size: float
    seed: int
    min_freq: int
    max_size: int | None
    vocabulary: tuple[str, ...] | None = None


@dataclass(frozen=True)
class PreparedData:
    """Splits, vocabulary and facts; for reading alone, because other trainings may share it.

    Attributes:
        splits: the reviews of each split.
        unlabeled: by file without labels, its reviews that stand nowhere else.
        word_ids: by path of a corpus, the vocabulary index of each of its words; (corpus words,).
        facts: what is told of the data.
    """

    splits: Splits
    unlabeled: Sequence[Split]
    word_ids: Mapping[str, npt.NDArray[np.int64]]
    facts: DataFacts

    def own_facts(self) -> DataFacts:
        """The facts in lists of their own, which the caller may change."""
        return copy.deepcopy(self.facts)


_last: tuple[object, PreparedData] | None = None


def prepare(
    corpora: Mapping[str, Corpus], unlabeled: Sequence[Corpus], settings: PreparationSettings
) -> PreparedData:
    """Split the corpora and build the vocabulary, or take what the same corpora gave last time.

    Args:
        corpora: by argument of ``SentimentDataModule``: ``csv``, or ``train_csv`` and others.
        unlabeled: the corpora without labels.
        settings: what decides the rest.

    Raises:
        InputError: the labels, the reviews or the words are no good.
    """
    global _last  # noqa: PLW0603
    named = [*corpora.items(), *(("unlabeled_csv", corpus) for corpus in unlabeled)]
    files = tuple((name, str(each.path), each.fingerprint) for name, each in named)
    if _last is not None and _last[0] == (files, settings):
        return _last[1]
    _last = None  # frees it before the next is made
    prepared = _prepare(corpora, unlabeled, settings)
    _last = ((files, settings), prepared)
    return prepared


def _prepare(
    corpora: Mapping[str, Corpus], unlabeled: Sequence[Corpus], settings: PreparationSettings
) -> PreparedData:
    labels = order_labels(list(corpora.values()), settings.labels)
    names = _display_names(labels, settings)
    splits = _split(corpora, labels, settings)
    without_labels = unlabeled_splits(unlabeled, splits)
    if settings.vocabulary is not None:
        vocabulary = given_vocabulary(settings.vocabulary, [splits.train, *without_labels])
    else:
        vocabulary = build_vocabulary(
            splits.train, without_labels, min_freq=settings.min_freq, max_size=settings.max_size
        )
    word_ids = {
        str(corpus.path): vocabulary_ids(corpus.words, vocabulary)
        for corpus in (*corpora.values(), *unlabeled)
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
        fingerprints={
            "train": _fingerprint(splits.train, labels),
            "val": _fingerprint(splits.val, labels),
            "test": _fingerprint(splits.test, labels),
        },
    )
    shared = [facts.word_counts, *word_ids.values()]
    for split in (splits.train, splits.val, splits.test, *without_labels):
        shared += [split.reviews, split.classes]
    for array in shared:
        array.flags.writeable = False
    return PreparedData(splits, without_labels, word_ids, facts)


def _fingerprint(split: Split, labels: Sequence[str]) -> str:
    slices = (slice(first, first + 65536) for first in range(0, len(split), 65536))
    some = ((split.corpus.digests[split.reviews[each]], split.classes[each]) for each in slices)
    return reviews_fingerprint(some, labels)  # a slice at a time bounds the memory


def _display_names(labels: list[str], settings: PreparationSettings) -> list[str]:
    names = settings.label_names
    if names is None:
        return labels
    if len(names) != len(labels):
        raise InputError(
            f"data.label_names={list(names)}: {len(names)} names for {len(labels)} labels"
            f" ({', '.join(labels[:20])})"
        )
    return list(names)


def _split(
    corpora: Mapping[str, Corpus], labels: list[str], settings: PreparationSettings
) -> Splits:
    shares = {"test_size": settings.test_size, "val_size": settings.val_size}
    if "csv" in corpora:
        return split_one_file(corpora["csv"], labels, seed=settings.seed, **shares)
    return split_given_files(
        corpora["train_csv"],
        corpora.get("val_csv"),
        corpora.get("test_csv"),
        labels,
        labels_chosen=settings.labels is not None,
        seed=settings.seed,
        **shares,
    )
