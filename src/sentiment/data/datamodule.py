"""The data side of a training: from CSV files to batches, as one Lightning DataModule."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from sentiment.batch import Batch
from sentiment.data.cleaning import CURRENT_CLEANING
from sentiment.data.corpus import Corpus, open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.dataset import ConcatReviews, ShardedReviews, TokenisedReviews
from sentiment.data.ngrams import NgramStatistics, ngram_statistics
from sentiment.data.pipeline import DataFacts, PreparationSettings, PreparedData, prepare
from sentiment.data.refusals import check_choices, check_files, check_shares, check_sizes
from sentiment.data.sampler import BucketBatchSampler
from sentiment.data.splits import Split, write_splits
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.runtime.cache import cache_directory
from sentiment.runtime.distributed import rank
from sentiment.runtime.errors import InputError


class SentimentDataModule(LightningDataModule):
    """Reads, splits, tokenises and batches reviews.

    Args:
        csv: one file that is split into training, validation and test.
        train_csv: instead of ``csv``, a file for training alone.
        val_csv: a file for validation; without it, ``val_size`` of the training file.
        test_csv: a file for testing; without it, ``test_size`` of the training file.
        unlabeled_csv: a file of texts without labels, or several, whose words the vocabulary counts
            too; texts that stand in a split or repeat are left out.
        text_column: column with the texts (its number as a string if there is no header).
        label_column: column with the labels.
        labels: the labels as they stand in the file, in the order of the classes; None sorts them.
        label_names: what the labels are called in results, in the same order.
        separator: of the columns; None takes a tab for ``.tsv`` and a comma for other files.
        quoting: whether quotation marks enclose cells (``minimal``) or are a part of the texts
            (``none``); ``auto`` finds out.
        escape: the character before quotation marks within quotes that are not doubled.
        header: whether the first row names the columns.
        encoding: of the files.
        compression: of the files; ``infer`` goes by the suffix.
        test_size: share of the reviews that test.
        val_size: share of the remaining reviews that validate.
        split_seed: ``random_state`` of the splits.
        splits_dir: a folder into which the splits are written as CSV files.
        language: of the texts, as spaCy codes it.
        lowercase: whether tokens are lower-cased.
        strip_markup: whether HTML markup is removed.
        min_freq: words seen less often are unknown.
        max_size: words in the vocabulary at most.
        max_length: tokens of a review at most.
        keep: what stays of a longer one: ``head``, ``tail``, or half of each (``both``).
        batch_size: reviews in a batch at most.
        tokens_per_batch: positions in a batch at most, padding included.
        cache_dir: where tokenised files are kept; None is ``$SENTIMENT_CACHE`` or the user's cache.
        num_workers: processes that tokenise; None is one for each core.
        seed: of the order of batches.
        vocabulary: the words to use, ``<pad>`` and ``<unk>`` first; None takes those of the texts
            that train, as ``min_freq`` and ``max_size`` say.
        cleaning: how texts are cleaned, as ``cleaning.clean`` has it.
        unlabeled_ratio: how many unlabeled reviews, as ``NO_CLASS``, a training batch holds beside
            each of the others.

    Raises:
        InputError: when the arguments contradict each other, or (later) the files are no good.
    """

    def __init__(
        self,
        *,
        csv: str | None = None,
        train_csv: str | None = None,
        val_csv: str | None = None,
        test_csv: str | None = None,
        unlabeled_csv: str | Sequence[str] | None = None,
        text_column: str = "review",
        label_column: str = "sentiment",
        labels: Sequence[str | None] | None = None,
        label_names: Sequence[str | None] | None = None,
        separator: str | None = None,
        quoting: str = "auto",
        escape: str | None = None,
        header: bool = True,
        encoding: str = "utf-8",
        compression: str = "infer",
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
        cleaning: int = CURRENT_CLEANING,
        unlabeled_ratio: float = 0.0,
    ) -> None:
        super().__init__()
        self._files = {"csv": csv, "train_csv": train_csv, "val_csv": val_csv, "test_csv": test_csv}
        self._unlabeled_files = check_files(self._files, unlabeled_csv)
        names = check_choices(keep=str(keep), labels=labels, label_names=label_names)
        check_sizes(
            min_freq=min_freq,
            max_size=max_size,
            max_length=max_length,
            batch_size=batch_size,
            tokens_per_batch=tokens_per_batch,
        )
        check_shares(test_size=test_size, val_size=val_size)
        self._csv_format = CsvFormat(
            text_column=text_column,
            label_column=label_column,
            separator=separator,
            header=header,
            encoding=encoding,
            compression=str(compression),
            quoting=str(quoting),
            escape=escape,
        )
        self._tokenizer = TokenizerSettings(
            language=language, lowercase=lowercase, strip_markup=strip_markup, cleaning=cleaning
        )
        self._preparation = PreparationSettings(
            labels=None if labels is None else tuple(labels),
            label_names=names,
            test_size=test_size,
            val_size=val_size,
            seed=split_seed,
            min_freq=min_freq,
            max_size=max_size,
            vocabulary=None if vocabulary is None else tuple(vocabulary),
        )
        self._splits_dir = splits_dir
        self._max_length, self._keep = max_length, str(keep)
        self._batch_size, self._tokens_per_batch = batch_size, tokens_per_batch
        self._cache = cache_directory(cache_dir)
        self._num_workers = num_workers
        self._seed = seed
        self._unlabeled_ratio = unlabeled_ratio if self._unlabeled_files else 0.0
        self._facts: DataFacts | None = None
        self._reviews: dict[str, TokenisedReviews] = {}
        self._train_sampler: BucketBatchSampler | None = None
        self._resumed_position = (0, 0)

    @property
    def facts(self) -> DataFacts:
        """What was found in the data; known after ``setup``."""
        if self._facts is None:
            raise RuntimeError("the facts are known after prepare_data() and setup()")
        return self._facts

    @property
    def max_length(self) -> int | None:
        """Tokens of a review at most."""
        return self._max_length

    def prepare_data(self) -> None:
        """Tokenise every file that is not in the cache yet (one process does this for all)."""
        for path in filter(None, self._files.values()):
            self._open(path, self._csv_format)
        self._open_unlabeled()

    def setup(self, stage: str | None = None) -> None:
        """Open the tokenised files, split them and build the vocabulary (once, for all stages)."""
        if self._facts is not None:
            return
        corpora = {
            name: self._open(path, self._csv_format)
            for name, path in self._files.items()
            if path is not None
        }
        prepared = prepare(corpora, self._open_unlabeled(), self._preparation)
        splits = prepared.splits
        if self._splits_dir is not None and rank() == 0:
            unlabeled = [Path(path) for path in self._unlabeled_files]
            write_splits(splits, self._csv_format, Path(self._splits_dir), unlabeled)
        for name in ("train", "val", "test"):
            self._reviews[name] = self._tokenised(getattr(splits, name), prepared)
        self._unlabeled = [self._tokenised(split, prepared) for split in prepared.unlabeled]
        self._training_texts = [splits.train, *prepared.unlabeled]
        self._ordered_fingerprints = {
            name: getattr(splits, name).ordered_fingerprint for name in ("train", "val")
        }
        if self._unlabeled_ratio:
            fingerprints = [split.ordered_fingerprint for split in prepared.unlabeled]
            self._ordered_fingerprints["unlabeled"] = " ".join(fingerprints)
        self._raw_labels = list(splits.labels)
        self._facts = prepared.own_facts()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training split and what stands beside it, shuffled anew in every epoch."""
        beside = self._unlabeled if self._unlabeled_ratio else []
        return self.loader(self._reviews["train"], train=True, beside=beside)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation split, in order of length."""
        return self.loader(self._reviews["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test split, in order of length."""
        return self.loader(self._reviews["test"])

    def reviews(self, name: str) -> TokenisedReviews:
        """A split (``train``, ``val``, ``test``) as it is, for other models than networks."""
        return self._reviews[name]

    def unlabeled(self) -> list[TokenisedReviews]:
        """The reviews of each file without labels; their classes are ``NO_CLASS``."""
        return list(self._unlabeled)

    def training_texts(self) -> list[Split]:
        """The same, uncut, as they stand in their corpora: for what needs words rather than ids."""
        return list(self._training_texts)

    def ngram_statistics(self, longest: int) -> NgramStatistics:
        """Count the training split's n-grams by class; its batches tell the folds from then on.

        Args:
            longest: words in the longest n-grams.
        """
        train = self._reviews["train"]
        evidence = ngram_statistics(
            *train.flat(),
            train.classes,
            num_classes=len(self.facts.labels),
            vocabulary_size=len(self.facts.vocabulary),
            longest=longest,
            seed=self._seed,
        )
        train.folds = evidence.folds
        for unlabeled in self._unlabeled:  # of no fold
            unlabeled.folds = np.full(len(unlabeled), len(evidence.held_out) - 1)
        return evidence

    def single_reviews(self, name: str, count: int) -> list[Batch]:
        """Up to so many reviews of a split (``train``, ``val``, ``test``), each by itself."""
        reviews = self._reviews[name]
        places = np.linspace(0, len(reviews) - 1, min(count, len(reviews)), dtype=int)
        return [reviews[[place]] for place in places.tolist()]

    def state_dict(self) -> dict[str, Any]:
        """All that prediction needs to know of the data, as plain Python types.

        ``held_out`` tells a classifier that starts from a language model which reviews that has not
        read; a resumed training may test on others.
        """
        facts = self.facts
        return {
            "vocabulary": facts.vocabulary,
            "labels": facts.labels,
            "raw_labels": self._raw_labels,
            "tokenizer": self._tokenizer.as_dict(),
            "max_length": self._max_length,
            "keep": self._keep,
            "text_column": self._csv_format.text_column,
            "label_column": self._csv_format.label_column,
            "header": self._csv_format.header,
            "train_reviews": facts.train_reviews,
            "val_reviews": facts.val_reviews,
            "dropped_duplicates": facts.dropped_duplicates,
            "fingerprints": self._ordered_fingerprints,
            "held_out": {name: facts.fingerprints[name] for name in ("val", "test")},
            "position": self._position(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that a resumed training has the data that it began with, and find its place.

        Raises:
            InputError: the vocabulary, the labels or the reviews are others.
        """
        own = self.state_dict()
        for name, difference in {
            "vocabulary": "another vocabulary",
            "labels": "other labels",
            "fingerprints": "other reviews or labels of theirs",
        }.items():
            if state_dict[name] != own[name]:
                raise InputError(
                    f"ckpt_path: the checkpoint was trained with {difference} than this data"
                    " gives; go on with the same files and data settings, or start anew"
                )
        epoch, batches = state_dict["position"]
        self._resumed_position = int(epoch), int(batches)

    def _position(self) -> tuple[int, int]:
        """The epoch that is trained, and how many of its batches were given out."""
        if self._train_sampler is None:
            return self._resumed_position
        return self._train_sampler.epoch, self._train_sampler.position

    def _tokenised(self, split: Split, prepared: PreparedData) -> TokenisedReviews:
        return TokenisedReviews(
            token_ids=split.corpus.token_ids,
            offsets=split.corpus.offsets,
            reviews=split.reviews,
            classes=split.classes,
            word_to_id=prepared.word_ids[str(split.corpus.path)],
            max_length=self._max_length,
            keep=self._keep,
        )

    def _open_unlabeled(self) -> list[Corpus]:
        csv_format = replace(self._csv_format, label_column=None)
        return [self._open(path, csv_format) for path in self._unlabeled_files]

    def _open(self, path: str, csv_format: CsvFormat) -> Corpus:
        return open_corpus(
            Path(path),
            csv_format,
            self._tokenizer,
            cache=self._cache,
            num_workers=self._num_workers,
        )

    def loader(
        self,
        reviews: TokenisedReviews | ConcatReviews,
        *,
        train: bool = False,
        beside: Sequence[TokenisedReviews] = (),
    ) -> DataLoader[Batch]:
        """Batches of some reviews, in order of length; those that train are shuffled instead.

        Args:
            reviews: that an epoch goes through.
            train: whether they train.
            beside: ``unlabeled_ratio`` reviews of these join each of the others in a batch.
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
            sampler.go_on_from(*self._position())
            self._train_sampler = sampler
        processes = 1 if self.trainer is None else self.trainer.world_size
        if self.trainer is not None and processes > 1 and isinstance(reviews, TokenisedReviews):
            dataset = ShardedReviews(reviews, process=self.trainer.global_rank, processes=processes)
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,
            pin_memory=torch.cuda.is_available(),
            # A loader draws a seed for workers whenever it is iterated: not from the generator
            # that dropout uses, or a resumed training would see other masks.
            generator=torch.Generator(),
        )
