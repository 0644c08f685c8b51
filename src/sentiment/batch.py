"""A batch of reviews, which the data side makes and the models read.

Knows nothing of files, words or models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the constants are used where torch is not needed, and slow to import
    from torch import Tensor

PAD_INDEX, UNK_INDEX = 0, 1  # of padding and of unknown words, in every vocabulary
NO_CLASS = -100  # the class of a review without a label, which torch's cross-entropy ignores


class Shard(NamedTuple):
    """The whole batch, for a process that has only a part of its reviews.

    Attributes:
        labels: (whole batch,) int64, class of each review.
        tokens: (processes,) int64, how many tokens each process has.
        positions: (batch,) int64, positions of this process's reviews in the whole batch.
        weights: (whole batch,) float32, as in ``Batch``.
    """

    labels: Tensor
    tokens: Tensor
    positions: Tensor
    weights: Tensor | None = None


class Batch(NamedTuple):
    """Reviews padded to the longest among them.

    Attributes:
        token_ids: (batch, time) int64, ``PAD_INDEX`` after the end of each review.
        lengths: (batch,) int64, tokens of each review, at least 1.
        labels: (batch,) int64, class of each review, or ``NO_CLASS``.
        shard: the whole batch, if several processes train together.
        folds: (batch,) int64, the fold of each review, in training with n-gram features.
        full_lengths: (batch,) int64, tokens of each review before it was cut; None if unknown.
        weights: (batch,) float32, of each review in the training loss; None if all count the same.
        targets: (batch, classes) float32, a teacher's probabilities, or zeros where there are none;
            None if no training review has any.
    """

    token_ids: Tensor
    lengths: Tensor
    labels: Tensor
    shard: Shard | None = None
    folds: Tensor | None = None
    full_lengths: Tensor | None = None
    weights: Tensor | None = None
    targets: Tensor | None = None

    @property
    def counted_reviews(self) -> int:
        """How many reviews count in metrics: none if the only one fills an empty shard."""
        return len(self.labels) if self.shard is None else len(self.shard.positions)
