import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from sentiment.data.batching import BucketBatchSampler, TokenisedReviews, pad_reviews

sequences = st.lists(st.lists(st.integers(2, 9), max_size=12), min_size=1, max_size=6)


def cut(ids: list[int], limit: int | None, keep: str) -> list[int]:
    if limit is None or len(ids) <= limit:
        return ids or [1]
    if keep == "head":
        return ids[:limit]
    if keep == "tail":
        return ids[-limit:]
    return ids[: (limit + 1) // 2] + ids[len(ids) - limit // 2 :]


@settings(max_examples=200, deadline=None)
@given(sequences, st.none() | st.integers(1, 9), st.sampled_from(["head", "tail", "both"]))
def test_padding_equals_a_loop(texts: list[list[int]], limit: int | None, keep: str) -> None:
    flat = np.array([99, *(i for text in texts for i in text)], np.int32)
    lengths = np.array([len(text) for text in texts])
    starts = 1 + np.cumsum(lengths) - lengths
    doubled = np.arange(100) * 2
    ids, kept = pad_reviews(flat, starts, lengths, max_length=limit, keep=keep, word_to_id=doubled)
    expected = [cut(text, limit, keep) for text in texts]
    assert kept.tolist() == [len(text) for text in expected]
    assert ids.shape == (len(texts), max(kept))
    for row, text, source in zip(ids.tolist(), expected, texts, strict=True):
        words = [2 * i for i in text] if source else [1]
        assert row == words + [0] * (len(row) - len(words))


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


def test_an_epoch_goes_on_from_a_batch_once() -> None:
    sampler = BucketBatchSampler(np.arange(1, 50), batch_size=4)
    sampler.set_epoch(3)
    whole = list(sampler)
    sampler.go_on_from(3, 5)
    rest = iter(sampler)
    assert next(rest) == whole[5]
    assert sampler.position == 6
    assert list(rest) == whole[6:]
    assert list(sampler) == whole
    sampler.go_on_from(2, 5)
    assert list(sampler) == whole
    assert sampler.position == len(sampler) == len(whole)
    sampler.go_on_from(3, len(whole))  # stopped at the end of an epoch
    assert list(sampler) == []
    sampler.set_epoch(4)
    following = list(sampler)
    sampler.set_epoch(3)
    sampler.go_on_from(3, len(whole))
    sampler.set_epoch(4)
    assert list(sampler) == following


@pytest.mark.parametrize("limits", [{}, {"batch_size": 0}, {"tokens_per_batch": -1}])
def test_limits_must_make_sense(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give one of them or both"):
        BucketBatchSampler(np.ones(3, np.int64), **limits)


def test_a_loader_takes_whole_batches() -> None:
    reviews = TokenisedReviews(
        token_ids=np.array([0, 1, 2, 3, 4], np.int32),
        offsets=np.array([0, 2, 2, 5]),
        reviews=np.array([2, 0, 1]),
        classes=np.array([1, 0, 1]),
        word_to_id=np.array([2, 3, 4, 5, 6]),
        max_length=2,
        keep="tail",
    )
    assert reviews.lengths.tolist() == [2, 2, 1]
    sampler = BucketBatchSampler(reviews.lengths, batch_size=3, shuffle=False)
    (batch,) = DataLoader(pickle.loads(pickle.dumps(reviews)), sampler=sampler, batch_size=None)
    assert batch.token_ids.tolist() == [[1, 0], [5, 6], [2, 3]]
    assert batch.full_lengths.tolist() == [0, 3, 2]  # in the order of their cut ones
    assert batch.lengths.tolist() == [1, 2, 2]
    assert batch.labels.tolist() == [1, 1, 0]
    assert batch.token_ids.dtype == batch.lengths.dtype == torch.int64


@settings(max_examples=100, deadline=None)
@given(sequences, st.none() | st.integers(1, 9))
def test_pieces_of_texts_make_the_texts(texts: list[list[int]], longest: int | None) -> None:
    lengths = [len(text) for text in texts]
    order = np.arange(len(texts))[::-1]
    whole = TokenisedReviews(
        token_ids=np.array([i for text in texts for i in text], np.int32),
        offsets=np.cumsum([0, *lengths]),
        reviews=order,
        classes=np.arange(len(texts)),
        word_to_id=np.arange(10),
        max_length=3,
    )
    pieces = whole.in_pieces(longest)
    of: dict[int, list[list[int]]] = {}
    for place in range(len(pieces)):
        batch = pieces[[place]]
        of.setdefault(int(batch.labels), []).append(batch.token_ids[0].tolist())
    for place, review in enumerate(order):
        text = texts[review]
        assert [i for piece in of[place] for i in piece] == (text or [1])
        sizes = [len(piece) for piece in of[place]]
        assert max(sizes) - min(sizes) <= 1
        assert longest is None or len(sizes) == max(1, -(-len(text) // longest))
    taken = pieces.take(np.array([len(pieces) - 1, 0]))
    assert taken.lengths.tolist() == pieces.lengths[[-1, 0]].tolist()
    assert taken.classes.tolist() == pieces.classes[[-1, 0]].tolist()
