"""Padded batches of reviews of like length, made by array work from flat token ids.

Knows nothing of files, words or models. A batch is padded only to its own longest review, and
reviews of like length share one, so little of it is padding.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

KEEP = ("head", "tail", "both")
# Enough that a review meets other neighbours in every epoch, few enough that lengths within a
# bucket stay close.
_BATCHES_IN_BUCKET = 5


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


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of reviews of like length, shuffled within buckets and in their order.

    Reviews are sorted by length once and cut into buckets; an epoch shuffles each bucket, cuts it
    into batches (what is left over joins the next bucket), and shuffles the batches. How many
    batches there are does not depend on the shuffle, so a schedule can count on it; and the order
    depends on ``seed`` and epoch alone.

    Args:
        lengths: (n,) tokens of each review.
        batch_size: reviews in a batch at most, or None for no limit.
        tokens_per_batch: positions in a batch at most, padding included, or None for no limit; a
            longer review makes a batch of its own.
        shuffle: False gives every epoch the same batches, in order of length.
        seed: of the shuffles.

    Raises:
        ValueError: neither limit is given, or one is below 1.
    """

    def __init__(
        self,
        lengths: npt.NDArray[np.integer],
        *,
        batch_size: int | None = None,
        tokens_per_batch: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        limits = [limit for limit in (batch_size, tokens_per_batch) if limit is not None]
        if not limits or min(limits) < 1:
            raise ValueError(
                f"batch_size={batch_size} and tokens_per_batch={tokens_per_batch}: give one of them"
                " or both, 1 or more"
            )
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._tokens_per_batch = tokens_per_batch
        self._shuffle = shuffle
        self._seed = seed
        self.epoch = 0
        self._resumed = (0, 0)
        self.position = 0  # batches of the current epoch given out so far
        self._buckets = self._cut_buckets(np.argsort(self._lengths, kind="stable"))
        self._batch_count = sum(1 for _ in self._batches(self._buckets))

    def __len__(self) -> int:
        return self._batch_count

    def __iter__(self) -> Iterator[list[int]]:
        epoch, done = self._resumed
        self.position = done if epoch == self.epoch else 0
        self._resumed = (0, 0)
        for batch in self._epoch_batches()[self.position :]:
            self.position += 1
            yield batch.tolist()

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle; Lightning calls this before each epoch."""
        self.epoch = epoch

    def go_on_from(self, epoch: int, batches: int) -> None:
        """Leave out the first batches of this epoch, once, if it is the next that is begun."""
        self._resumed = (epoch, batches)

    def _epoch_batches(self) -> list[npt.NDArray[np.int64]]:
        if not self._shuffle:
            return list(self._batches(self._buckets))
        generator = np.random.default_rng([self._seed, self.epoch])
        batches = list(self._batches(generator.permutation(bucket) for bucket in self._buckets))
        return [batches[index] for index in generator.permutation(len(batches))]

    def _size_for(self, length: int) -> int:
        """How many reviews of at most this length make a batch."""
        size = len(self._lengths) if self._batch_size is None else self._batch_size
        if self._tokens_per_batch is not None:
            size = min(size, self._tokens_per_batch // max(1, length))
        return max(1, size)

    def _cut_buckets(self, order: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        sorted_lengths = self._lengths[order]
        buckets = []
        start = 0
        while start < len(order):
            shortest = int(sorted_lengths[start])
            end = min(len(order), start + _BATCHES_IN_BUCKET * self._size_for(shortest))
            buckets.append(order[start:end])
            start = end
        return buckets

    def _batches(self, buckets: Iterable[npt.NDArray[np.int64]]) -> Iterator[npt.NDArray[np.int64]]:
        rest: npt.NDArray[np.int64] = np.empty(0, np.int64)
        for bucket in buckets:
            reviews = np.concatenate([rest, bucket])
            size = self._size_for(int(self._lengths[bucket].max()))
            whole = len(reviews) // size * size
            yield from reviews[:whole].reshape(-1, size)
            rest = reviews[whole:]
        if len(rest):
            yield rest
