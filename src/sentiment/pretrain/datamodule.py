"""The data of a language model's training: texts without labels, long ones in pieces."""

from typing import Any

import numpy as np
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from sentiment.batch import Batch
from sentiment.data.datamodule import SentimentDataModule
from sentiment.data.dataset import ConcatReviews
from sentiment.data.pipeline import DataFacts
from sentiment.runtime.errors import InputError


class TextDataModule(LightningDataModule):
    """Batches of all training and unlabeled texts, and of some validation texts.

    A text longer than ``data.max_length`` is not cut, but split into pieces of about equal length.
    The texts of the test split are not used.

    Args:
        reviews: the data of a classifier on the same files.
        held_out_tokens: about how many tokens of the validation split to use, at least one piece,
            spread evenly over it.
    """

    def __init__(self, reviews: SentimentDataModule, *, held_out_tokens: int) -> None:
        super().__init__()
        self._reviews = reviews
        self._held_out_tokens = held_out_tokens

    @property
    def facts(self) -> DataFacts:
        """What was found in the data; available after ``setup``."""
        return self._reviews.facts

    def prepare_data(self) -> None:
        """Tokenise every file that is not in the cache yet."""
        self._reviews.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Open the tokenised files, split them and build the vocabulary (once)."""
        self._reviews.setup(stage)
        longest = self._reviews.max_length
        parts = [self._reviews.reviews("train"), *self._reviews.unlabeled()]
        self.texts = ConcatReviews([part.in_pieces(longest) for part in parts])
        held_out = self._reviews.reviews("val").in_pieces(longest)
        count = int(self._held_out_tokens / held_out.lengths.mean())
        count = min(max(1, count), len(held_out))
        self.held_out = held_out.take(np.linspace(0, len(held_out) - 1, count, dtype=int))
        for name, texts in (("training", self.texts), ("validation", self.held_out)):
            if texts.lengths.max() < 2:
                raise InputError(
                    f"data: no {name} text has two words, so there is no word to predict from"
                    " another; is data.text_column the right column, and data.max_length above 1?"
                )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training and unlabeled texts, shuffled anew in every epoch."""
        return self._reviews.loader(self.texts, train=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation texts, in order of length."""
        return self._reviews.loader(self.held_out)

    def state_dict(self) -> dict[str, Any]:
        """What a classifier that starts from the language model needs to know, as plain types."""
        unlabeled = [split.ordered_fingerprint for split in self._reviews.training_texts()[1:]]
        return {**self._reviews.state_dict(), "unlabeled": unlabeled, "train_digests": None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that a resumed training has the same data; continue at the next batch.

        Raises:
            InputError: the vocabulary or the texts are different.
        """
        own = self.state_dict()["unlabeled"]
        if state_dict.get("unlabeled", own) != own:  # earlier versions did not keep it
            raise InputError(
                "ckpt_path: the checkpoint was trained with other unlabeled texts than this data"
                " gives; resume with the same files, or start a new training"
            )
        self._reviews.load_state_dict(state_dict)
