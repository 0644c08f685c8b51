from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sentiment.batch import NO_CLASS, Batch
from sentiment.data.dataset import ShardedReviews, TokenisedReviews, split_batch
from sentiment.data.sampler import BucketBatchSampler
from sentiment.model.classifier import SentimentClassifier
from sentiment.train.module import SentimentModule


def reviews_of(lengths: list[int], weights: list[float] | None = None) -> TokenisedReviews:
    """Reviews whose class is their number, so that batches show which reviews they have."""
    return TokenisedReviews(
        token_ids=np.arange(2, 2 + sum(lengths), dtype=np.int32) % 9 + 2,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        reviews=np.arange(len(lengths)),
        classes=np.arange(len(lengths)),
        word_to_id=np.arange(11),
        weights=None if weights is None else np.array(weights, np.float32),
    )


@given(st.lists(st.integers(1, 500), min_size=1, max_size=70), st.integers(1, 9))
def test_a_batch_is_dealt_out_whole_and_evenly(lengths: list[int], processes: int) -> None:
    shards = split_batch(np.array(lengths), processes)
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(lengths)))
    counts = [len(shard) for shard in shards]
    assert max(counts) - min(counts) <= 1
    tokens = [sum(lengths[position] for position in shard) for shard in shards]
    assert max(tokens) - min(tokens) <= max(lengths)


def test_shards_of_similar_reviews_have_equal_tokens() -> None:
    lengths = np.random.default_rng(0).integers(180, 220, 64)
    for processes in (2, 4, 8):
        tokens = [lengths[shard].sum() for shard in split_batch(lengths, processes)]
        assert max(tokens) / np.mean(tokens) < 1.01


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("limits", [{"batch_size": 2}, {"batch_size": 8, "tokens_per_batch": 40}])
def test_an_epoch_holds_each_review_once_in_as_many_steps_as_one_process_makes(
    processes: int, limits: dict[str, int]
) -> None:
    reviews = reviews_of([3, 9, 4, 4, 7, 1, 12, 5, 5, 30, 2, 2, 8])
    seen: list[int] = []
    for process in range(processes):
        sampler = BucketBatchSampler(reviews.lengths, seed=1, **limits)  # type: ignore[arg-type]
        shared = ShardedReviews(reviews, rank=process, world_size=processes)
        batches = [shared[positions] for positions in sampler]
        assert len(batches) == len(sampler) == sampler.position
        for batch in batches:
            assert batch.shard is not None
            own = batch.labels[: batch.counted_reviews]
            assert batch.shard.labels[batch.shard.positions].tolist() == own.tolist()
            if batch.counted_reviews:
                assert int(batch.lengths.sum()) == batch.shard.tokens[process]
            seen += own.tolist()
    assert sorted(seen) == list(range(len(reviews)))


def test_an_empty_shard_gets_a_filler_that_does_not_count() -> None:
    shared = ShardedReviews(reviews_of([5, 3]), rank=2, world_size=3)
    batch = shared[[0, 1]]
    assert batch.labels.tolist() == [NO_CLASS]
    assert batch.lengths.tolist() == [3]  # the shortest
    assert batch.counted_reviews == 0
    assert batch.shard is not None
    assert (batch.shard.labels.tolist(), batch.shard.tokens.tolist()) == ([0, 1], [5, 3, 0])


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1, "class_weights": [1.0, 2.0, 5.0, 0.5, 3.0]}]
)
@pytest.mark.parametrize("weights", [None, [1, 2, 0, 0, 2.5], [0] * 5])
def test_gradients_of_the_shards_average_to_that_of_the_batch(
    processes: int, options: dict[str, Any], weights: list[float] | None
) -> None:
    torch.manual_seed(0)
    classifier = SentimentClassifier(
        vocabulary_size=12, num_classes=5, embedding_size=4, hidden_size=5
    )
    module = SentimentModule(classifier=classifier, **options).eval()
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    reviews = reviews_of([6, 2, 9, 4, 4], weights)

    def gradient_of(batch: Batch) -> tuple[float, torch.Tensor]:
        module.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()), classifier.embedding.weight.grad.clone()  # type: ignore[union-attr]

    def epoch_of(batches: list[Batch]) -> tuple[float, torch.Tensor, float, float]:
        module.train_loss.reset()
        module.train_accuracy.reset()
        losses, gradients = zip(*map(gradient_of, batches), strict=True)
        metrics = float(module.train_loss.compute()), float(module.train_accuracy.compute())
        return sum(losses) / len(losses), torch.stack(gradients).mean(0), *metrics

    whole = epoch_of([reviews[list(range(5))]])
    shards = [ShardedReviews(reviews, rank=p, world_size=processes) for p in range(processes)]
    parts = epoch_of([shard[list(range(5))] for shard in shards])
    torch.testing.assert_close(parts[1], whole[1])
    expected = pytest.approx((whole[0], *whole[2:]), rel=1e-6, nan_ok=True)
    assert (parts[0], *parts[2:]) == expected
