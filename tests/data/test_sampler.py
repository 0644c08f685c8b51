from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sentiment.data.sampler import BucketBatchSampler


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 60), max_size=200),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 100),
    st.integers(0, 3),
)
@example([0, 0], None, 5, 0)
def test_every_review_is_seen_once_within_the_limits(
    lengths: list[int], size: int | None, tokens: int | None, epoch: int
) -> None:
    assume(size is not None or tokens is not None)
    sampler = BucketBatchSampler(np.array(lengths), batch_size=size, tokens_per_batch=tokens)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    for batch in batches:
        assert size is None or len(batch) <= size
        longest = max(lengths[i] for i in batch)
        assert tokens is None or len(batch) == 1 or longest * len(batch) <= tokens


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 300)

    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = BucketBatchSampler(lengths, batch_size=8, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    still = BucketBatchSampler(lengths, batch_size=8, shuffle=False)
    first = list(still)
    still.set_epoch(1)
    assert list(still) == first
    assert [max(lengths[batch]) for batch in first] == sorted(max(lengths[b]) for b in first)


def test_reviews_change_their_neighbours_from_epoch_to_epoch() -> None:
    sampler = BucketBatchSampler(np.full(64, 10), batch_size=8)
    first = {frozenset(batch) for batch in sampler}
    sampler.set_epoch(1)
    assert not first & {frozenset(batch) for batch in sampler}


def test_little_is_padding() -> None:
    lengths = np.random.default_rng(0).lognormal(5.3, 0.6, 20_000).astype(int) + 1
    for limits in ({"batch_size": 32}, {"tokens_per_batch": 16_384}):
        sampler = BucketBatchSampler(lengths, **limits)  # type: ignore[arg-type]
        positions = sum(len(batch) * max(lengths[batch]) for batch in sampler)
        assert lengths.sum() / positions > 0.9


def test_an_epoch_resumes_from_a_batch_once() -> None:
    sampler = BucketBatchSampler(np.arange(1, 50), batch_size=4)
    sampler.set_epoch(3)
    whole = list(sampler)
    sampler.resume_from(3, 5)
    rest = iter(sampler)
    assert next(rest) == whole[5]
    assert sampler.position == 6
    assert list(rest) == whole[6:]
    assert list(sampler) == whole
    sampler.resume_from(2, 5)
    assert list(sampler) == whole
    assert sampler.position == len(sampler) == len(whole)
    sampler.resume_from(3, len(whole))  # stopped at the end of an epoch
    assert list(sampler) == []
    sampler.set_epoch(4)
    following = list(sampler)
    sampler.set_epoch(3)
    sampler.resume_from(3, len(whole))
    sampler.set_epoch(4)
    assert list(sampler) == following


@pytest.mark.parametrize("limits", [{}, {"batch_size": 0}, {"tokens_per_batch": -1}])
def test_limits_must_make_sense(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give one of them or both"):
        BucketBatchSampler(np.ones(3, np.int64), **limits)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=80),
    st.lists(st.integers(0, 60), min_size=1, max_size=40),
    st.floats(0.05, 6),
)
def test_further_reviews_join_the_batches(
    lengths: list[int], further: list[int], ratio: float
) -> None:
    alone = BucketBatchSampler(np.array(lengths), batch_size=4)
    sampler = BucketBatchSampler(
        np.array(lengths), batch_size=4, beside=np.array(further), ratio=ratio
    )
    assert len(sampler) == len(alone)
    sizes: dict[frozenset[int], int] = {}
    joined: list[int] = []
    for batch in sampler:
        own = frozenset(i for i in batch if i < len(lengths))
        sizes[own] = len(batch) - len(own)
        joined += [i - len(lengths) for i in batch if i >= len(lengths)]
    assert sizes.keys() == {frozenset(batch) for batch in alone}
    assert len(joined) == round(ratio * len(lengths))
    for own, size in sizes.items():
        assert abs(size - ratio * len(own)) <= 1
    times = np.bincount(joined, minlength=len(further))
    assert times.max() - times.min() <= 1


def test_further_reviews_are_of_like_length_and_others_in_each_epoch() -> None:
    generator = np.random.default_rng(0)
    lengths, further = (generator.lognormal(5, 0.6, n).astype(int) for n in (5_000, 20_000))
    sampler = BucketBatchSampler(lengths, batch_size=20, beside=further, ratio=1.0)
    both = np.concatenate([lengths, further])
    first = list(sampler)
    assert sum(both[batch].sum() for batch in first) > 0.85 * sum(
        len(batch) * both[batch].max() for batch in first
    )
    assert list(sampler) == first
    sampler.set_epoch(1)
    drawn, others = (
        {i for batch in each for i in batch if i >= 5_000} for each in (first, sampler)
    )
    assert len(drawn) == len(others) == 5_000
    assert len(drawn & others) < 1_500  # 1,250 by chance


def test_further_reviews_that_are_too_long_for_a_batch_stay_out() -> None:
    lengths, further = np.full(400, 20), np.arange(1, 401)
    sampler = BucketBatchSampler(lengths, tokens_per_batch=400, beside=further, ratio=1.0)
    both, joined = np.concatenate([lengths, further]), 0
    for batch in sampler:
        assert len(batch) * max(both[batch]) <= 800
        joined += len(batch) - 20
    assert 20 <= joined < 400  # all that are no longer than the others
