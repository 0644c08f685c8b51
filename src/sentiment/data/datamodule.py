"""The data of a training: from CSV files to batches, as one Lightning DataModule."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from sentiment.batch import Batch
from sentiment.data.cleaning import CURRENT_CLEANING
from sentiment.data.corpus import Corpus, open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.dataset import ConcatReviews, ShardedReviews, TokenisedReviews
from sentiment.data.ngrams import FOLDS, NgramStatistics, ngram_statistics, stratified_folds
from sentiment.data.padding import KEEP, LONGEST_TEXT
from sentiment.data.pipeline import (
    DataFacts,
    DataFiles,
    PreparationSettings,
    PreparedData,
    check_at_least_one,
    prepare,
)
from sentiment.data.sampler import BucketBatchSampler
from sentiment.data.scripts import joined
from sentiment.data.soft_labels import scores_format
from sentiment.data.splits import Split, write_splits
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.data.vocabulary import build_vocabulary, vocabulary_ids
from sentiment.runtime.cache import cache_directory
from sentiment.runtime.distributed import rank
from sentiment.runtime.errors import InputError

log = logging.getLogger(__name__)

USUAL_TEXT = 4_096  # tokens


class Origins(NamedTuple):
    """Where some reviews are from, and what they consist of.

    Attributes:
        rows: (n,) their rows in their file, from 1, the header not counted.
        tokens: (n,) tokens of each, uncut.
        known_tokens: (n,) how many of these are in the vocabulary.
    """

    rows: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    known_tokens: npt.NDArray[np.int64]


class SentimentDataModule(LightningDataModule):
    """Reads, splits, tokenises and batches reviews.

    Args:
        csv: one file that is split into training, validation and test.
        train_csv: instead of ``csv``, a file for training alone.
        val_csv: a file for validation; without it, ``val_size`` of the training file.
        test_csv: a file for testing; without it, ``test_size`` of the training file.
        unlabeled_csv: a file of texts without labels, or several; the vocabulary counts their words
            too. Texts that repeat one another or one of a split are left out.
        soft_csv: a file of texts with a teacher's probabilities, or several, in UTF-8 with a header
            as ``sentiment.predict --scores`` writes it. New texts train, too, and probabilities of
            training reviews count beside their labels; see ``sentiment.data.soft_labels``.
        score_columns: the column of each label in it; None takes ``score_LABEL``.
        teachers: the names of those whose probabilities they are; none are the files' names.
        text_column, label_column, weight_column, separator, quoting, escape, header, encoding,
            compression, file_format: see ``CsvFormat``. Only the file for training has weights.
        labels: the labels as written in the file, in the order of the classes; None sorts them.
        label_names: names of the labels in results, in the same order.
        test_size: fraction of the reviews for testing.
        val_size: fraction of the remaining reviews for validation.
        split_seed: ``random_state`` of the splits.
        splits_dir: a folder into which the splits are written as CSV files.
        language, lowercase, strip_markup, cleaning: see ``TokenizerSettings``.
        min_freq: words that occur less often are unknown.
        max_size: largest number of words in the vocabulary.
        max_length, keep: see ``pad_reviews``; without ``max_length``, a text is cut to
            ``LONGEST_TEXT`` tokens, with a warning.
        batch_size, tokens_per_batch: see ``BucketBatchSampler``; without ``tokens_per_batch``, a
            batch has at most as many positions as ``batch_size`` texts of ``USUAL_TEXT`` tokens.
        cache_dir: folder of tokenised files; None is ``$SENTIMENT_CACHE`` or the user's cache.
        num_workers: processes that tokenise; None is one for each core.
        seed: seed of the order of batches, and of the folds for n-gram features.
        vocabulary: the words to use, ``<pad>`` and ``<unk>`` first; None takes the words of the
            training texts, limited by ``min_freq`` and ``max_size``.
        unlabeled_ratio: number of unlabeled reviews, with the class ``NO_CLASS``, for each labeled
            review in the training batches.
        ngrams: length of the longest n-grams that the model has as features; 0 for none. With
            n-grams, training batches hold the folds of their reviews.

    Raises:
        InputError: the arguments contradict each other, or (later) the files cannot be used.
    """

    def __init__(
        self,
        *,
        csv: str | None = None,
        train_csv: str | None = None,
        val_csv: str | None = None,
        test_csv: str | None = None,
        unlabeled_csv: str | Sequence[str] | None = None,
        soft_csv: str | Sequence[str] | None = None,
        score_columns: Mapping[str, str] | None = None,
        text_column: str = "review",
        label_column: str = "sentiment",
        weight_column: str | None = None,
        labels: Sequence[str | None] | None = None,
        label_names: Sequence[str | None] | None = None,
        separator: str | None = None,
        quoting: str = "auto",
        escape: str | None = None,
        header: bool = True,
        encoding: str = "utf-8",
        compression: str = "infer",
        file_format: str = "auto",
        test_size: float = 0.2,
        val_size: float = 0.1,
        split_seed: int = 42,
        splits_dir: str | None = None,
        language: str = "en",
        lowercase: bool = True,
        strip_markup: bool = True,
        min_freq: int = 1,
        max_size: int | None = None,
        max_length: int | None = None,
        keep: str = "head",
        batch_size: int | None = 32,
        tokens_per_batch: int | None = None,
        cache_dir: str | None = None,
        num_workers: int | None = None,
        seed: int = 0,
        vocabulary: Sequence[str] | None = None,
        teachers: Sequence[str] = (),
        cleaning: int = CURRENT_CLEANING,
        unlabeled_ratio: float = 0.0,
        ngrams: int = 0,
    ) -> None:
        super().__init__()
        self._files = DataFiles(csv, train_csv, val_csv, test_csv, unlabeled_csv, soft_csv)
        self._score_columns = score_columns
        self.teachers = list(teachers) or [path.name for path in self._files.soft]
        if keep not in KEEP:
            raise InputError(f"data.keep={str(keep)!r}: choose one of {', '.join(KEEP)}")
        if batch_size is None and tokens_per_batch is None:
            raise InputError("data.batch_size and data.tokens_per_batch are both null: set one")
        check_at_least_one(
            max_length=max_length, batch_size=batch_size, tokens_per_batch=tokens_per_batch
        )
        self._csv_format = CsvFormat(
            text_column=text_column,
            label_column=label_column,
            weight_column=weight_column,
            separator=separator,
            header=header,
            encoding=encoding,
            compression=str(compression),
            file_format=str(file_format),
            quoting=str(quoting),
            escape=escape,
        )
        self._tokenizer = TokenizerSettings(
            language=language, lowercase=lowercase, strip_markup=strip_markup, cleaning=cleaning
        )
        self._preparation = PreparationSettings(
            labels=labels,
            label_names=label_names,
            test_size=test_size,
            val_size=val_size,
            seed=split_seed,
            min_freq=min_freq,
            max_size=max_size,
            vocabulary=vocabulary,
        )
        self._splits_dir = splits_dir
        self._cuts_unasked = max_length is None
        self.max_length, self._keep = max_length or LONGEST_TEXT, str(keep)
        self._batch_size = batch_size
        if batch_size is not None and tokens_per_batch is None:
            tokens_per_batch = USUAL_TEXT * batch_size
        self._tokens_per_batch = tokens_per_batch
        self._cache = cache_directory(cache_dir)
        self._num_workers = num_workers
        self._seed = seed
        self._unlabeled_ratio = unlabeled_ratio if self._files.unlabeled else 0.0
        self._ngrams = ngrams
        self._facts: DataFacts | None = None
        self._reviews: dict[str, TokenisedReviews] = {}
        self._train_sampler: BucketBatchSampler | None = None
        self._resumed_position = (0, 0)

    @property
    def facts(self) -> DataFacts:
        """What was found in the data; available after ``setup``."""
        if self._facts is None:
            raise RuntimeError("the facts are known after prepare_data() and setup()")
        return self._facts

    def prepare_data(self) -> None:
        """Tokenise every file that is not in the cache yet (one process does this for all)."""
        self._open_labeled()
        self._open_unlabeled()
        self._open_soft()

    def setup(self, stage: str | None = None) -> None:
        """Open the tokenised files, split them and build the vocabulary (once, for all stages)."""
        if self._facts is not None:
            return
        prepared = prepare(
            self._open_labeled(), self._open_unlabeled(), self._open_soft(), self._preparation
        )
        splits = prepared.splits
        if self._splits_dir is not None and rank() == 0:
            write_splits(splits, self._csv_format, Path(self._splits_dir), self._files.unlabeled)
        for name in ("train", "val", "test"):
            self._reviews[name] = self._tokenised(getattr(splits, name), prepared)
        self._unlabeled = [self._tokenised(split, prepared) for split in prepared.unlabeled]
        self._soft = [self._tokenised(split, prepared) for split in prepared.soft if len(split)]
        if self._ngrams:
            folds = stratified_folds(splits.train.classes, self._seed)
            self._reviews["train"] = self._reviews["train"].with_folds(folds)
            self._soft = [
                part.with_folds(stratified_folds(np.argmax(part.targets, axis=1), self._seed))
                for part in self._soft
                if part.targets is not None
            ]
            self._unlabeled = [
                part.with_folds(np.full(len(part), FOLDS)) for part in self._unlabeled
            ]
        self._ordered_fingerprints = {
            name: getattr(splits, name).ordered_fingerprint for name in ("train", "val")
        }
        digests = np.sort(splits.train.half_digests)[: 1 << 20]  # 8 MB of a checkpoint
        self._train_digests = torch.from_numpy(digests.view(np.int64))
        used = {"unlabeled": prepared.unlabeled if self._unlabeled_ratio else []}
        for name, others in {**used, "soft": prepared.soft}.items():
            if others:
                fingerprints = [split.ordered_fingerprint for split in others]
                self._ordered_fingerprints[name] = " ".join(fingerprints)
        self._prepared, self._facts = prepared, prepared.own_facts()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training batches, shuffled anew in every epoch; unlabeled reviews join them if asked."""
        beside = self._unlabeled if self._unlabeled_ratio else []
        if self._cuts_unasked and rank() == 0:
            self._warn_of_cut_texts()
        reviews: TokenisedReviews | ConcatReviews = self._reviews["train"]
        if self._soft:
            reviews = ConcatReviews([self._reviews["train"], *self._soft])
        return self.loader(reviews, train=True, beside=beside)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation split, in order of length."""
        return self.loader(self._reviews["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test split, in order of length."""
        return self.loader(self._reviews["test"])

    def reviews(self, name: str) -> TokenisedReviews:
        """The reviews of a split (``train``, ``val``, ``test``), for models other than networks."""
        return self._reviews[name]

    def origins(self, name: str, positions: Sequence[int] | None = None) -> Origins:
        """Where the reviews of a split are from.

        Args:
            name: ``train``, ``val`` or ``test``.
            positions: those of the reviews to choose; None is all, in the order of the split.
        """
        split, reviews = getattr(self._prepared.splits, name), self._reviews[name]
        chosen = np.arange(len(split)) if positions is None else np.asarray(positions, np.int64)
        split = split.take(chosen)
        return Origins(
            split.corpus.rows[split.reviews] + 1, split.lengths, reviews.known_tokens()[chosen]
        )

    def reviews_in_own_words(self) -> list[TokenisedReviews]:
        """The reviews of the three splits in the words of these files, whatever ``vocabulary`` has.

        Raises:
            InputError: no word is frequent enough.
        """
        prepared, limits = self._prepared, self._preparation
        splits = [getattr(prepared.splits, name) for name in self._reviews]
        if limits.vocabulary is not None:
            others = [*prepared.unlabeled, *prepared.soft]
            own = build_vocabulary(
                splits[0], others, min_freq=limits.min_freq, max_size=limits.max_size
            )
            ids = {
                each.corpus.fingerprint: vocabulary_ids(each.corpus.words, own) for each in splits
            }
            prepared = replace(prepared, word_ids=ids)
        return [self._tokenised(split, prepared) for split in splits]

    def example(self) -> str:
        """A short text of the validation split, of its tokens, for a command line that predicts."""
        val = self._prepared.splits.val
        short = val.reviews[np.argsort(abs(val.lengths - 12), kind="stable")[:20]]
        texts = [joined(val.corpus.tokens(each)[:16], self._tokenizer.language) for each in short]
        return min(texts, key=lambda text: len(re.findall(r"^-|[^\w\s.,]", text)))

    def unlabeled(self) -> list[TokenisedReviews]:
        """The reviews of each file without labels; their classes are ``NO_CLASS``."""
        return list(self._unlabeled)

    def training_texts(self) -> list[Split]:
        """The training split and other texts that may train, uncut, in words of their corpora."""
        prepared = self._prepared
        return [prepared.splits.train, *prepared.unlabeled, *prepared.soft]

    def ngram_statistics(self) -> NgramStatistics | None:
        """Count the n-grams of training reviews by class; None if ``ngrams`` is 0.

        A teacher's probabilities count as so many reviews of each class.
        """
        train = self._reviews["train"]
        if train.folds is None:
            return None
        parts = [train, *self._soft]
        token_ids, lengths = map(np.concatenate, zip(*(p.flat() for p in parts), strict=True))
        one_hot = np.eye(len(self.facts.labels), dtype=np.float32)[train.classes]
        shares = [one_hot, *(part.targets for part in self._soft if part.targets is not None)]
        return ngram_statistics(
            token_ids,
            lengths,
            np.concatenate(shares) if self._soft else train.classes,
            np.concatenate([part.folds for part in parts]),
            num_classes=len(self.facts.labels),
            vocabulary_size=len(self.facts.vocabulary),
            longest=self._ngrams,
        )

    def count_in(self, name: str, digests: npt.NDArray[np.int64]) -> int:
        """How many reviews of a split are among those with these ``train_digests``."""
        split: Split = getattr(self._prepared.splits, name)
        return int(np.isin(split.half_digests, digests.view(np.uint64)).sum())

    def single_reviews(self, name: str, count: int) -> list[Batch]:
        """Up to ``count`` reviews, evenly spread over a split, each as a batch of its own."""
        some = self.some_reviews(name, count)
        return [some[[position]] for position in range(len(some))]

    def some_reviews(self, name: str, count: int) -> TokenisedReviews:
        """Up to ``count`` reviews, evenly spread over a split."""
        reviews = self._reviews[name]
        positions = np.linspace(0, len(reviews) - 1, min(count, len(reviews)), dtype=int)
        return reviews.take(positions)

    def state_dict(self) -> dict[str, Any]:
        """All that prediction needs to know about the data, as plain Python types.

        ``held_out`` identifies the reviews that a language model has not read, for the classifier
        that starts from it; a resumed training may test on others. ``train_digests`` has half of
        each training text's digest, of at most a million texts, for ``sentiment.evaluate``.
        """
        facts = self.facts
        return {
            "vocabulary": facts.vocabulary,
            "labels": facts.labels,
            "raw_labels": list(self._prepared.splits.labels),
            "tokenizer": self._tokenizer.as_dict(),
            "max_length": self.max_length,
            "keep": self._keep,
            "text_column": self._csv_format.text_column,
            "label_column": self._csv_format.label_column,
            "header": self._csv_format.header,
            "train_reviews": facts.train_reviews,
            "val_reviews": facts.val_reviews,
            "dropped_duplicates": facts.dropped_duplicates,
            "fingerprints": self._ordered_fingerprints,
            "held_out": {name: facts.fingerprints[name] for name in ("val", "test")},
            "train_digests": self._train_digests,
            "teachers": self.teachers,
            "position": self._position(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that a resumed training has the same data; continue at the next batch.

        Raises:
            InputError: the vocabulary, the labels or the reviews are different.
        """
        own = self.state_dict()
        for name, difference in {
            "vocabulary": "another vocabulary",
            "labels": "other labels",
            "fingerprints": "other reviews, or other labels or weights of them,",
        }.items():
            if state_dict[name] != own[name]:
                raise InputError(
                    f"ckpt_path: the checkpoint was trained with {difference} than this data"
                    " gives; resume with the same files and data settings, or start a new training"
                )
        epoch, batches = state_dict["position"]
        self._resumed_position = int(epoch), int(batches)

    def _position(self) -> tuple[int, int]:
        """The current epoch, and how many of its training batches have been used."""
        if self._train_sampler is None:
            return self._resumed_position
        return self._train_sampler.epoch, self._train_sampler.position

    def _tokenised(self, split: Split, prepared: PreparedData) -> TokenisedReviews:
        return TokenisedReviews(
            token_ids=split.corpus.token_ids,
            offsets=split.corpus.offsets,
            reviews=split.reviews,
            classes=split.classes,
            word_to_id=prepared.word_ids[split.corpus.fingerprint],
            max_length=self.max_length,
            keep=self._keep,
            weights=split.weights,
            targets=split.targets,
        )

    def _warn_of_cut_texts(self) -> None:
        """Log how many texts are too long for a batch, and where the longest is."""
        splits = self._prepared.splits
        used = [splits.train, splits.val, splits.test]
        used += [*self._prepared.soft, *(self._prepared.unlabeled if self._unlabeled_ratio else [])]
        cut = sum(int((split.lengths > self.max_length).sum()) for split in used)
        if cut:
            longest = max(used, key=lambda split: split.lengths.max(initial=0))
            index = int(longest.lengths.argmax())
            log.warning(
                "texts cut to %s tokens (data.keep=%s): %s, the longest %s, row %s, which has %s;"
                " data.max_length sets another limit",
                f"{self.max_length:,}", self._keep, f"{cut:,}", longest.corpus.path,
                longest.corpus.rows[longest.reviews[index]] + 1, f"{longest.lengths[index]:,}",
            )  # fmt: skip

    def _open_labeled(self) -> dict[str, Corpus]:
        opened = {}
        for name, path in self._files.labeled.items():
            trains = name in ("csv", "train_csv")
            weight_column = self._csv_format.weight_column if trains else None
            csv_format = replace(self._csv_format, weight_column=weight_column)
            doubted = trains and self._preparation.labels is None
            opened[name] = self._open(path, csv_format, classes=doubted)
        return opened

    def _open_unlabeled(self) -> list[Corpus]:
        csv_format = replace(self._csv_format, label_column=None, weight_column=None)
        return [self._open(path, csv_format) for path in self._files.unlabeled]

    def _open_soft(self) -> list[Corpus]:
        text_column = self._csv_format.text_column
        return [
            self._open(path, scores_format(path, text_column, self._score_columns))
            for path in self._files.soft
        ]

    def _open(self, path: Path, csv_format: CsvFormat, *, classes: bool = False) -> Corpus:
        return open_corpus(
            path,
            csv_format,
            self._tokenizer,
            cache=self._cache,
            num_workers=self._num_workers,
            classes=classes,
        )

    def loader(
        self,
        reviews: TokenisedReviews | ConcatReviews,
        *,
        train: bool = False,
        beside: Sequence[TokenisedReviews] = (),
    ) -> DataLoader[Batch]:
        """Batches of reviews in order of length or, for training, shuffled.

        Args:
            reviews: the reviews of an epoch.
            train: whether they are for training.
            beside: further reviews, of which ``unlabeled_ratio`` join each one in a batch.
        """
        dataset: Dataset[Batch] = ConcatReviews([reviews, *beside]) if beside else reviews
        sampler = BucketBatchSampler(
            reviews.lengths,
            batch_size=self._batch_size,
            tokens_per_batch=self._tokens_per_batch,
            shuffle=train,
            seed=self._seed,
            beside=np.concatenate([part.lengths for part in beside]) if beside else None,
            ratio=self._unlabeled_ratio,
        )
        if train:
            sampler.resume_from(*self._position())
            self._train_sampler = sampler
        trainer = self.trainer
        if trainer is not None and trainer.world_size > 1 and isinstance(reviews, TokenisedReviews):
            dataset = ShardedReviews(
                reviews, rank=trainer.global_rank, world_size=trainer.world_size
            )
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,
            pin_memory=torch.cuda.is_available(),
            # A loader draws a seed for workers whenever it is iterated: not from the generator
            # that dropout uses, or a resumed training would draw other masks.
            generator=torch.Generator(),
        )
