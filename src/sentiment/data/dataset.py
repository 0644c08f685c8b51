"""Padded batches of reviews, made by array operations from flat token ids.

Knows nothing of files, words or models. A batch is padded only to its own longest review.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from sentiment.batch import NO_CLASS, UNK_INDEX, Batch, Shard
from sentiment.data.padding import gather_reviews, pad_reviews


class TokenisedReviews(Dataset[Batch]):
    """A split as a dataset of whole batches.

    An index is a list of positions in the split, and the item a padded ``Batch`` of these reviews:
    give a ``DataLoader`` a batch sampler as ``sampler``, and ``batch_size=None``.

    Args:
        token_ids: (tokens,) ids of the corpus, memory-mapped or not.
        offsets: (corpus reviews + 1,) where each review of the corpus starts and ends.
        reviews: (n,) the reviews of this split.
        classes: (n,) their classes.
        word_to_id: (corpus words,) the vocabulary index of each corpus word.
        max_length: see ``pad_reviews``.
        keep: see ``pad_reviews``.
        weights: (n,) their weights in the training loss; None if all count the same.
        targets: (n, labels) a teacher's probabilities; see ``Split``.

    Attributes:
        classes: (n,) class of each review.
        weights, targets: as given.
        folds: (n,) the fold of each review, for batches; None without n-gram features.
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
        weights: npt.NDArray[np.float32] | None = None,
        targets: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self._token_ids = np.asarray(token_ids)  # no copy: a memory map stays one
        self._offsets = np.asarray(offsets)
        self._reviews = reviews
        self.classes = classes
        self._word_to_id = word_to_id
        self._max_length = max_length
        self._keep = keep
        self.weights, self.targets = weights, targets
        self.folds: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._reviews)

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each review in batches: cut, and at least 1; (n,)."""
        lengths = self._offsets[self._reviews + 1]
        lengths -= self._offsets[self._reviews]
        return np.clip(lengths, 1, self._max_length).astype(np.int32)

    def with_folds(self, folds: npt.NDArray[np.int64]) -> "TokenisedReviews":
        """The same reviews, with the fold that each is in, (n,)."""
        folded = copy.copy(self)
        folded.folds = folds
        return folded

    def take(self, positions: npt.NDArray[np.integer]) -> "TokenisedReviews":
        """Only the reviews at these positions, without folds, weights and targets."""
        taken = copy.copy(self)
        taken.folds = taken.weights = taken.targets = None
        taken._reviews, taken.classes = self._reviews[positions], self.classes[positions]
        return taken

    def in_pieces(self, longest: int | None) -> "TokenisedReviews":
        """The same reviews uncut, longer ones in equal pieces; without folds, weights, targets.

        Args:
            longest: most tokens of a piece; None leaves all reviews whole.
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
        pieces.classes = np.repeat(self.classes, counts)
        pieces._max_length = pieces.folds = pieces.weights = pieces.targets = None
        return pieces

    def flat(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The tokens of all reviews, uncut, (tokens,), and how many each review has, (n,).

        Takes 8 bytes of memory a token.
        """
        ids, lengths = gather_reviews(self._token_ids, self._offsets, self._reviews)
        return self._word_to_id[ids], lengths

    def known_tokens(self) -> npt.NDArray[np.int64]:
        """How many tokens of each review, uncut, are in the vocabulary, (n,)."""
        counts = np.zeros(len(self), np.int64)
        for first in range(0, len(self), 4096):  # some reviews at a time, which bounds the memory
            reviews = self._reviews[first : first + 4096]
            ids, lengths = gather_reviews(self._token_ids, self._offsets, reviews)
            before = np.append(0, np.cumsum(self._word_to_id[ids] != UNK_INDEX))
            ends = np.cumsum(lengths)
            counts[first : first + 4096] = before[ends] - before[ends - lengths]
        return counts

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
            labels=torch.from_numpy(self.classes[chosen]),
            folds=_chosen(self.folds, chosen),
            full_lengths=torch.from_numpy(full_lengths),
            weights=_chosen(self.weights, chosen),
            targets=_chosen(self.targets, chosen),
        )


def _chosen(
    values: npt.NDArray[Any] | None, positions: npt.NDArray[np.integer]
) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values[positions])


class ConcatReviews(Dataset[Batch]):
    """Several sets of reviews, one after the other; items are like those of ``TokenisedReviews``.

    Batches have folds if all sets do, and weights or targets if one does: 1 and zeros for the
    reviews of the others.

    Args:
        parts: the sets, with ids of the same vocabulary.
    """

    def __init__(self, parts: Sequence["TokenisedReviews | ConcatReviews"]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each review in batches, (n,)."""
        return np.concatenate([part.lengths for part in self._parts])

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        chosen = np.asarray(positions)
        origin = np.searchsorted(self._ends, chosen, side="right")
        rows, batches = [], []
        for number in np.unique(origin).tolist():
            part = self._parts[number]
            rows.append(np.flatnonzero(origin == number))
            batches.append(part[(chosen[rows[-1]] - self._ends[number] + len(part)).tolist()])
        order = torch.from_numpy(np.argsort(np.concatenate(rows)))
        time = max(batch.token_ids.shape[1] for batch in batches)
        padded = [
            torch.nn.functional.pad(batch.token_ids, (0, time - batch.token_ids.shape[1]))
            for batch in batches
        ]
        folds = [batch.folds for batch in batches if batch.folds is not None]
        weights, targets = _joined(batches, "weights", 1), _joined(batches, "targets", 0)
        return Batch(
            token_ids=torch.cat(padded)[order],
            lengths=torch.cat([batch.lengths for batch in batches])[order],
            labels=torch.cat([batch.labels for batch in batches])[order],
            folds=torch.cat(folds)[order] if len(folds) == len(batches) else None,
            weights=None if weights is None else weights[order],
            targets=None if targets is None else targets[order],
        )


def _joined(batches: Sequence[Batch], name: str, missing: float) -> torch.Tensor | None:
    """The rows of one part of several batches; ``missing`` where a batch lacks it."""
    parts = [getattr(batch, name) for batch in batches]
    known = next((part for part in parts if part is not None), None)
    if known is None:
        return None
    rows = [(len(batch.labels), *known.shape[1:]) for batch in batches]
    return torch.cat(
        [
            known.new_full(shape, missing) if part is None else part
            for part, shape in zip(parts, rows, strict=True)
        ]
    )


def split_batch(lengths: npt.NDArray[np.int64], world_size: int) -> list[npt.NDArray[np.int64]]:
    """Deal the reviews of a batch to processes, the longest first, forwards and backwards in turn.

    For reviews of similar length, the numbers of tokens are equal to within half a percent.

    Args:
        lengths: (batch,) tokens of each review.
        world_size: number of processes.

    Returns:
        For each process, the positions in the batch; their numbers differ by one at most.

    >>> split_batch(np.array([9, 1, 5, 4]), 2)
    [array([0, 1]), array([2, 3])]
    """
    order = np.argsort(-lengths, kind="stable")
    turn, column = np.divmod(np.arange(len(order)), world_size)
    ranks = np.where(turn % 2, world_size - 1 - column, column)
    return [order[ranks == rank] for rank in range(world_size)]


class ShardedReviews(Dataset[Batch]):
    """A split as a dataset of this process's shards of batches.

    Every process goes through the batches that one process alone would make, so that a step and a
    position in an epoch mean the same in all, whatever their number. All must make every step: if
    a batch has fewer reviews than there are processes, some get its shortest review as a filler,
    which counts in no loss or metric.

    Args:
        reviews: the split.
        rank: rank of this process.
        world_size: number of processes.
    """

    def __init__(self, reviews: TokenisedReviews, *, rank: int, world_size: int) -> None:
        self._reviews = reviews
        self._lengths = reviews.lengths
        self._rank = rank
        self._world_size = world_size

    def __len__(self) -> int:
        return len(self._reviews)

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        whole = np.asarray(positions)
        lengths = self._lengths[whole]
        shards = split_batch(lengths, self._world_size)
        own = shards[self._rank]
        shard = Shard(
            labels=torch.from_numpy(self._reviews.classes[whole]),
            tokens=torch.tensor([int(lengths[each].sum()) for each in shards]),
            positions=torch.from_numpy(own),
            weights=_chosen(self._reviews.weights, whole),
        )
        if len(own):
            return self._reviews[whole[own].tolist()]._replace(shard=shard)
        filler = self._reviews[[int(whole[lengths.argmin()])]]
        return filler._replace(labels=torch.tensor([NO_CLASS]), shard=shard)
