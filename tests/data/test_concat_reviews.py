import numpy as np
import pytest
import torch

from sentiment.data.dataset import ConcatReviews, TokenisedReviews
from sentiment.data.sampler import BucketBatchSampler


def reviews_of(texts: list[list[int]], classes: int) -> TokenisedReviews:
    return TokenisedReviews(
        token_ids=np.array([token for text in texts for token in text], np.int32),
        offsets=np.cumsum([0, *map(len, texts)]),
        reviews=np.arange(len(texts)),
        classes=np.full(len(texts), classes),
        word_to_id=np.arange(100),
    )


TEXTS = [[[7, 8, 9], [5]], [[4, 3, 2, 6]], [[], [9, 9], [8]]]


@pytest.fixture
def joined() -> ConcatReviews:
    return ConcatReviews([reviews_of(texts, number) for number, texts in enumerate(TEXTS)])


def test_a_batch_holds_reviews_of_all_parts_in_the_order_asked(joined: ConcatReviews) -> None:
    batch = joined[[4, 0, 2, 1, 3]]
    assert batch.token_ids.tolist() == [
        [9, 9, 0, 0], [7, 8, 9, 0], [4, 3, 2, 6], [5, 0, 0, 0], [1, 0, 0, 0],
    ]  # fmt: skip
    assert batch.lengths.tolist() == [2, 3, 4, 1, 1]
    assert batch.labels.tolist() == [2, 0, 1, 0, 2]
    alone = joined[[1]]
    assert (alone.token_ids.tolist(), alone.labels.tolist()) == ([[5]], [0])


def test_a_sampler_gives_each_review_once(joined: ConcatReviews) -> None:
    assert joined.lengths.tolist() == [3, 1, 4, 1, 2, 1]
    assert len(joined) == 6
    batches = [joined[batch] for batch in BucketBatchSampler(joined.lengths, batch_size=2)]
    lengths = torch.cat([batch.lengths for batch in batches])
    assert sorted(lengths.tolist()) == [1, 1, 1, 2, 3, 4]
    for batch in batches:
        assert batch.token_ids.shape[1] == batch.lengths.max()


def test_folds_are_told_where_all_parts_have_them(joined: ConcatReviews) -> None:
    parts = [reviews_of(texts, number) for number, texts in enumerate(TEXTS)]
    for number, part in enumerate(parts):
        part.folds = np.arange(len(part)) + 10 * number
    told = ConcatReviews(parts)[[4, 0, 2, 1, 3]].folds
    assert told is not None
    assert told.tolist() == [21, 0, 10, 1, 20]
    assert joined[[4, 0]].folds is None
