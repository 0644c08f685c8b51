"""Padded batches of reviews, made by array work from flat token ids.

Knows nothing of files, words or models. A batch is padded only to its own longest review.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

KEEP = ("head", "tail", "both")
NO_CLASS = -100
"""The class of a review without a label; torch's cross-entropy leaves it out."""


class Share(NamedTuple):
    """What a process knows of a batch of which it has a share; see ``data/shares.py``.

    Attributes:
        labels: (whole batch,) int64, class of each review.
        tokens: (processes,) int64, what each process has.
        places: (share,) int64, where the reviews of this process stand in the whole batch.
    """

    labels: Tensor
    tokens: Tensor
    places: Tensor


class Batch(NamedTuple):
    """Reviews padded to the longest among them.

    Attributes:
        token_ids: (batch, time) int64, ``padding`` after the end of each review.
        lengths: (batch,) int64, tokens of each review, at least 1.
        labels: (batch,) int64, class of each review.
        share: of which batch these are a part, where several processes train together.
        folds: (batch,) int64, in training with n-gram features the fold that each review is in.
        full_lengths: (batch,) int64, tokens of each review before it was cut; None if unknown.
    """

    token_ids: Tensor
    lengths: Tensor
    labels: Tensor
    share: Share | None = None
    folds: Tensor | None = None
    full_lengths: Tensor | None = None


def pad_reviews(
    flat_ids: npt.NDArray[np.integer],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    *,
    max_length: int | None = None,
    keep: str = "head",
    word_to_id: npt.NDArray[np.int64] | None = None,
    padding: int = 0,
    empty: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Gather reviews from flat ids into one padded array.

    Args:
        flat_ids: ids of all reviews, one after the other.
        starts: (batch,) where each review starts in ``flat_ids``.
        lengths: (batch,) how many tokens each has.
        max_length: longer reviews are cut to this many tokens.
        keep: what stays of a longer review: its ``head``, its ``tail``, or half of each (``both``).
        word_to_id: what each flat id becomes, where it is not yet the id of a vocabulary.
        padding: the id after the end of a review.
        empty: the one id that stands for a review without tokens.

    Returns:
        The ids, (batch, time), and the lengths after cutting, (batch,).

    >>> ids = np.array([7, 8, 9, 5])
    >>> pad_reviews(ids, np.array([0, 3]), np.array([3, 1]))
    (array([[7, 8, 9],
           [5, 0, 0]]), array([3, 1]))
    """
    kept = np.minimum(lengths, max_length) if max_length is not None else lengths
    places = np.arange(max(1, kept.max(initial=0)))[None, :]  # (1, time)
    inside = places < kept[:, None]  # (batch, time)
    if keep == "tail":
        places = places + (lengths - kept)[:, None]
    elif keep == "both":
        from_the_end = places >= (kept[:, None] + 1) // 2
        places = places + from_the_end * (lengths - kept)[:, None]
    ids = np.full(inside.shape, padding, np.int64)
    tokens = flat_ids[(starts[:, None] + places)[inside]]
    ids[inside] = tokens if word_to_id is None else word_to_id[tokens]
    ids[kept == 0, 0] = empty
    return ids, np.maximum(kept, 1)


def gather_reviews(
    flat_ids: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    reviews: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The tokens of some reviews, one review after the other, (tokens,), and their lengths, (n,).

    Review ``i`` is ``flat_ids[offsets[i]:offsets[i + 1]]``.
    """
    starts = offsets[reviews]
    lengths = offsets[reviews + 1] - starts
    before = np.cumsum(lengths) - lengths
    places = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
    return flat_ids[places], lengths


class TokenisedReviews(Dataset[Batch]):
    """A split as something a ``DataLoader`` can take whole batches from.

    An index is a list of positions in the split, and the item a padded ``Batch`` of them: use it
    with a batch sampler as ``sampler`` and ``batch_size=None``.

    Args:
        token_ids: (tokens,) ids of the corpus, memory-mapped or not.
        offsets: (corpus reviews + 1,) where each review of the corpus starts and ends.
        reviews: (n,) the reviews of this split.
        classes: (n,) their classes.
        word_to_id: (corpus words,) the vocabulary index of each corpus word.
        max_length: see ``pad_reviews``.
        keep: see ``pad_reviews``.

    Attributes:
        folds: (n,) the fold that each review is in, for batches to tell; None for no folds.
    """

    def __init__(
        self,
        *,
        token_ids: npt.NDArray[np.int32],
        offsets: npt.NDArray[np.int64],
        reviews: npt.NDArray[np.int64],
        classes: npt.NDArray[np.int64],
        word_to_id: npt.NDArray[np.int64],
        max_length: int | None = None,
        keep: str = "head",
    ) -> None:
        self._token_ids = np.asarray(token_ids)  # no copy: a memory map stays one
        self._offsets = np.asarray(offsets)
        self._reviews = reviews
        self._classes = classes
        self._word_to_id = word_to_id
        self._max_length = max_length
        self._keep = keep
        self.folds: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._reviews)

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """Class of each review, (n,)."""
        return self._classes

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each review as batches hold them: cut, and at least 1; (n,)."""
        lengths = self._offsets[self._reviews + 1]
        lengths -= self._offsets[self._reviews]
        return np.clip(lengths, 1, self._max_length).astype(np.int32)

    def take(self, places: npt.NDArray[np.integer]) -> "TokenisedReviews":
        """Only the reviews at these places, without their folds."""
        taken = copy.copy(self)
        taken.folds = None
        taken._reviews, taken._classes = self._reviews[places], self._classes[places]
        return taken

    def in_pieces(self, longest: int | None) -> "TokenisedReviews":
        """The same reviews uncut, each longer one in pieces of about equal length; no folds.

        Args:
            longest: tokens of a piece at most; None leaves all reviews whole.
        """
        starts = self._offsets[self._reviews]
        lengths = self._offsets[self._reviews + 1] - starts
        counts = np.maximum(1, -(-lengths // (longest or max(1, lengths.max(initial=1)))))
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts, lengths, of = (np.repeat(each, counts) for each in (starts, lengths, counts))
        ends = starts + (number + 1) * lengths // of
        pieces = copy.copy(self)
        pieces._offsets = np.column_stack([starts + number * lengths // of, ends]).ravel()
        pieces._reviews = 2 * np.arange(len(ends))
        pieces._classes = np.repeat(self._classes, counts)
        pieces._max_length = pieces.folds = None
        return pieces

    def flat(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """All tokens, uncut, of one review after the other, (tokens,), and how many each has, (n,).

        In memory, 8 bytes a token.
        """
        ids, lengths = gather_reviews(self._token_ids, self._offsets, self._reviews)
        return self._word_to_id[ids], lengths

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        chosen = np.asarray(positions)
        reviews = self._reviews[chosen]
        starts = self._offsets[reviews]
        full_lengths = self._offsets[reviews + 1] - starts
        ids, lengths = pad_reviews(
            self._token_ids,
            starts,
            full_lengths,
            max_length=self._max_length,
            keep=self._keep,
            word_to_id=self._word_to_id,
        )
        return Batch(
            token_ids=torch.from_numpy(ids),
            lengths=torch.from_numpy(lengths),
            labels=torch.from_numpy(self._classes[chosen]),
            folds=None if self.folds is None else torch.from_numpy(self.folds[chosen]),
            full_lengths=torch.from_numpy(full_lengths),
        )
