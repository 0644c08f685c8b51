"""Padded batches of reviews, made by array work from flat token ids.

Knows nothing of files, words or models. A batch is padded only to its own longest review.
"""

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from sentiment.batch import NO_CLASS, Batch, Shard

KEEP = ("head", "tail", "both")


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


class ConcatReviews(Dataset[Batch]):
    """Several sets of reviews, one after the other; an item is as of ``TokenisedReviews``.

    Batches tell the folds of their reviews where all sets have folds.

    Args:
        parts: the sets, whose ids are of one vocabulary.
    """

    def __init__(self, parts: Sequence["TokenisedReviews | ConcatReviews"]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each review as batches hold them, (n,)."""
        return np.concatenate([part.lengths for part in self._parts])

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        chosen = np.asarray(positions)
        origin = np.searchsorted(self._ends, chosen, side="right")
        places, batches = [], []
        for number in np.unique(origin).tolist():
            part = self._parts[number]
            places.append(np.flatnonzero(origin == number))
            batches.append(part[(chosen[places[-1]] - self._ends[number] + len(part)).tolist()])
        order = torch.from_numpy(np.argsort(np.concatenate(places)))
        time = max(batch.token_ids.shape[1] for batch in batches)
        padded = [
            torch.nn.functional.pad(batch.token_ids, (0, time - batch.token_ids.shape[1]))
            for batch in batches
        ]
        folds = [batch.folds for batch in batches if batch.folds is not None]
        return Batch(
            token_ids=torch.cat(padded)[order],
            lengths=torch.cat([batch.lengths for batch in batches])[order],
            labels=torch.cat([batch.labels for batch in batches])[order],
            folds=torch.cat(folds)[order] if len(folds) == len(batches) else None,
        )


def split_batch(lengths: npt.NDArray[np.int64], processes: int) -> list[npt.NDArray[np.int64]]:
    """Deal the reviews of a batch out, the longest first, there and back again.

    On batches of like length this comes within half a percent of equal tokens.

    Args:
        lengths: (batch,) tokens of each review.
        processes: that share the batch.

    Returns:
        The places in the batch that each process takes; their numbers differ by one at most.

    >>> split_batch(np.array([9, 1, 5, 4]), 2)
    [array([0, 1]), array([2, 3])]
    """
    order = np.argsort(-lengths, kind="stable")
    turn, seat = np.divmod(np.arange(len(order)), processes)
    taker = np.where(turn % 2, processes - 1 - seat, seat)
    return [order[taker == process] for process in range(processes)]


class ShardedReviews(Dataset[Batch]):
    """A split of which this process takes its share of every batch.

    Where a batch has fewer reviews than there are processes, some take its shortest review as a
    filler that counts nowhere: all make every step.

    Args:
        reviews: the split.
        process: the number of this process, from 0.
        processes: that share every batch.
    """

    def __init__(self, reviews: TokenisedReviews, *, process: int, processes: int) -> None:
        self._reviews = reviews
        self._lengths = reviews.lengths
        self._process = process
        self._processes = processes

    def __len__(self) -> int:
        return len(self._reviews)

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        whole = np.asarray(positions)
        lengths = self._lengths[whole]
        shards = split_batch(lengths, self._processes)
        own = shards[self._process]
        shard = Shard(
            labels=torch.from_numpy(self._reviews.classes[whole]),
            tokens=torch.tensor([int(lengths[taken].sum()) for taken in shards]),
            positions=torch.from_numpy(own),
        )
        if len(own):
            return self._reviews[whole[own].tolist()]._replace(shard=shard)
        filler = self._reviews[[int(whole[lengths.argmin()])]]
        return filler._replace(labels=torch.tensor([NO_CLASS]), shard=shard)
