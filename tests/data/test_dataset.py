import pickle

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from sentiment.data.dataset import TokenisedReviews, pad_reviews
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
