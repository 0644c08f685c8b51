"""Batches of reviews of similar length, so that little of them is padding.

Knows the lengths alone.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

# Many enough for other batches in every epoch, few enough for similar lengths within a bucket.
_BATCHES_IN_BUCKET = 5


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of reviews of similar length, in another order in every epoch.

    Reviews are sorted by length once and cut into buckets. An epoch shuffles each bucket, cuts it
    into batches (the remainder joins the next bucket), and shuffles the batches. The number of
    batches does not depend on the shuffle, so schedules can rely on it, and the order depends only
    on ``seed`` and epoch.

    Args:
        lengths: (n,) tokens of each review.
        batch_size: most reviews in a batch, or None for no limit.
        tokens_per_batch: most tokens in a batch, including padding, or None for no limit; a longer
            review makes a batch of its own.
        shuffle: False gives every epoch the same batches, in order of length.
        seed: seed of the shuffling.
        beside: (m,) tokens of further reviews, with indices from n on. They join shuffled batches
            of reviews of similar length, without changing the number of batches. The limits become
            ``1 + ratio`` times as high; a batch that would exceed them gets fewer.
        ratio: number of further reviews for each of the others. Every epoch draws them anew, and
            none twice before all have been drawn.

    Raises:
        ValueError: neither limit is given, or a limit is below 1.
    """

    def __init__(
        self,
        lengths: npt.NDArray[np.integer],
        *,
        batch_size: int | None = None,
        tokens_per_batch: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        beside: npt.NDArray[np.integer] | None = None,
        ratio: float = 1.0,
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
        self._beside, self._ratio = beside, ratio
        self.epoch = 0
        self._resumed = (0, 0)
        self.position = 0  # how many batches of the current epoch have been used
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

    def resume_from(self, epoch: int, batches: int) -> None:
        """Skip the first batches of this epoch, once, if it is the next one to begin."""
        self._resumed = (epoch, batches)

    def _epoch_batches(self) -> list[npt.NDArray[np.int64]]:
        if not self._shuffle:
            return list(self._batches(self._buckets))
        generator = np.random.default_rng([self._seed, self.epoch])
        batches = list(self._batches(generator.permutation(bucket) for bucket in self._buckets))
        if self._beside is not None:
            batches = self._accompanied(batches, self._beside)
        return [batches[index] for index in generator.permutation(len(batches))]

    def _accompanied(
        self,
        batches: Sequence[npt.NDArray[np.int64]],
        beside: npt.NDArray[np.integer],
    ) -> list[npt.NDArray[np.int64]]:
        """Add further reviews to batches, which are in order of length, in proportion to size."""
        generator = np.random.default_rng([self._seed, self.epoch, 1])
        ends = np.rint(np.cumsum([len(batch) for batch in batches]) * self._ratio).astype(int)
        turns = 1 + int(ends[-1]) // len(beside)
        drawn = np.concatenate([generator.permutation(len(beside)) for _ in range(turns)])
        drawn = drawn[: ends[-1]]
        by_length = drawn[np.argsort(beside[drawn], kind="stable")]
        accompanied = []
        for batch, joining in zip(batches, np.split(by_length, ends[:-1]), strict=True):
            fitting = joining
            if self._tokens_per_batch is not None:  # each further review adds positions
                longest = np.maximum(beside[joining], self._lengths[batch].max())
                positions = longest * (len(batch) + 1 + np.arange(len(joining)))
                fitting = joining[positions <= self._tokens_per_batch * (1 + self._ratio)]
            accompanied.append(np.concatenate([batch, fitting + len(self._lengths)]))
        return accompanied

    def _size_for(self, length: int) -> int:
        """The number of reviews of at most this length in a batch."""
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
