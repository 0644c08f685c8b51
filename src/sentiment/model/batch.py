"""What a batch must hold, whoever makes it."""

from typing import Protocol

from torch import Tensor, nn

# The label of a review that counts nowhere.
IGNORED = nn.CrossEntropyLoss().ignore_index


class ReviewBatch(Protocol):
    """What a batch must hold; see ``sentiment.data.batching.Batch``."""

    @property
    def token_ids(self) -> Tensor:
        """(batch, time) int64."""

    @property
    def lengths(self) -> Tensor:
        """(batch,) int64."""

    @property
    def labels(self) -> Tensor:
        """(batch,) int64; ``IGNORED`` for a review that only fills an empty share."""

    @property
    def folds(self) -> Tensor | None:
        """(batch,) int64, the fold of each review where n-grams are counted in folds."""

    @property
    def share(self) -> "BatchShare | None":
        """Of which batch these are a part, where several processes train together."""

    @property
    def full_lengths(self) -> Tensor | None:
        """(batch,) int64, tokens of each review before it was cut; None if unknown."""


class BatchShare(Protocol):
    """What a batch must know of the one that it is a part of; see ``sentiment.data.shares``."""

    @property
    def labels(self) -> Tensor:
        """(whole batch,) int64."""

    @property
    def tokens(self) -> Tensor:
        """(processes,) int64."""

    @property
    def places(self) -> Tensor:
        """(batch,) int64, where these reviews stand in the whole batch."""


def own_reviews(batch: ReviewBatch) -> int:
    """How many reviews of a batch count; none where it only fills an empty share."""
    return len(batch.labels) if batch.share is None else len(batch.share.places)
