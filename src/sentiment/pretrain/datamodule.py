"""The data side of a pretraining: texts without labels, long ones in pieces."""

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
    """Batches of all training and unlabeled texts, and some of the validation texts to measure by.

    A text longer than ``data.max_length`` is not cut off: it is read in pieces of about equal
    length. No text of the test split is seen.

    Args:
        reviews: the data of a classifier on the same files.
        held_out_tokens: how much of the validation split measures: about this many tokens (one
            piece at least), spread evenly over it.
    """

    def __init__(self, reviews: SentimentDataModule, *, held_out_tokens: int) -> None:
        super().__init__()
        self._reviews = reviews
        self._held_out_tokens = held_out_tokens

    @property
    def facts(self) -> DataFacts:
        """What was found in the data; known after ``setup``."""
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
        places = np.linspace(0, len(held_out) - 1, min(max(1, count), len(held_out)), dtype=int)
        self.held_out = held_out.take(places)
        for told, lengths in (("train", self.texts.lengths), ("validation", self.held_out.lengths)):
            if lengths.max() < 2:
                raise InputError(
                    f"data: no {told} text has two words, so there is no word to predict from"
                    " another; is data.text_column the right column, and data.max_length above 1?"
                )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training and unlabeled texts, shuffled anew in every epoch."""
        return self._reviews.loader(self.texts, train=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation texts, in order of length."""
        return self._reviews.loader(self.held_out)

    def state_dict(self) -> dict[str, Any]:
        """All that a classifier which starts from the model needs to know, as plain types."""
        unlabeled = [split.ordered_fingerprint for split in self._reviews.training_texts()[1:]]
        return {**self._reviews.state_dict(), "unlabeled": unlabeled}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that a resumed training has the data that it began with, and find its place.

        Raises:
            InputError: the vocabulary or the texts are others.
        """
        own = self.state_dict()["unlabeled"]
        if state_dict.get("unlabeled", own) != own:  # earlier versions did not keep it
            raise InputError(
                "ckpt_path: the checkpoint was trained with other unlabeled texts than this data"
                " gives; go on with the same files, or start anew"
            )
        self._reviews.load_state_dict(state_dict)
