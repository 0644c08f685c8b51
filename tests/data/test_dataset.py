import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from sentiment.data.dataset import ConcatReviews, TokenisedReviews
from sentiment.data.padding import pad_reviews
from sentiment.data.sampler import BucketBatchSampler

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
    for position in range(len(pieces)):
        batch = pieces[[position]]
        of.setdefault(int(batch.labels), []).append(batch.token_ids[0].tolist())
    for position, review in enumerate(order):
        text = texts[review]
        assert [i for piece in of[position] for i in piece] == (text or [1])
        sizes = [len(piece) for piece in of[position]]
        assert max(sizes) - min(sizes) <= 1
        assert longest is None or len(sizes) == max(1, -(-len(text) // longest))
    taken = pieces.take(np.array([len(pieces) - 1, 0]))
    assert taken.lengths.tolist() == pieces.lengths[[-1, 0]].tolist()
    assert taken.classes.tolist() == pieces.classes[[-1, 0]].tolist()


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


def test_batches_have_folds_if_all_parts_have(joined: ConcatReviews) -> None:
    parts = [
        reviews_of(texts, number).with_folds(np.arange(len(texts)) + 10 * number)
        for number, texts in enumerate(TEXTS)
    ]
    folds = ConcatReviews(parts)[[4, 0, 2, 1, 3]].folds
    assert folds is not None
    assert folds.tolist() == [21, 0, 10, 1, 20]
    assert joined[[4, 0]].folds is None
    assert ConcatReviews([*parts[:2], reviews_of(TEXTS[2], 2)])[[4, 0]].folds is None
    assert parts[0].take(np.array([1])).folds is None


def test_batches_have_weights_if_one_part_has(joined: ConcatReviews) -> None:
    parts = [reviews_of(texts, number) for number, texts in enumerate(TEXTS)]
    parts[2].weights = np.array([0.5, 2, 0], np.float32)
    weights = ConcatReviews(parts)[[4, 0, 5, 1, 3]].weights
    assert weights is not None
    assert weights.tolist() == [2, 1, 0, 1, 0.5]
    assert joined[[4, 0]].weights is None
    assert parts[2].take(np.array([1])).weights is None
