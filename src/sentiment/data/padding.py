"""Pad reviews to one array. Knows nothing of files, words or models, nor of torch."""

import numpy as np
import numpy.typing as npt

KEEP = ("head", "tail", "both")
LONGEST_TEXT = 16_384  # tokens of a text that are read, unless a length is set


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
    positions = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
    return flat_ids[positions], lengths


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
        keep: which part of a longer review is kept: its ``head``, its ``tail``, or half of each
            (``both``).
        word_to_id: the vocabulary index of each flat id; None if flat ids are these indices.
        padding: the id after the end of a review.
        empty: the single id of a review without tokens.

    Returns:
        The ids, (batch, time), and the lengths after cutting, (batch,).

    >>> ids = np.array([7, 8, 9, 5])
    >>> pad_reviews(ids, np.array([0, 3]), np.array([3, 1]))
    (array([[7, 8, 9],
           [5, 0, 0]]), array([3, 1]))
    """
    kept = np.minimum(lengths, max_length) if max_length is not None else lengths
    positions = np.arange(max(1, kept.max(initial=0)))[None, :]  # (1, time)
    inside = positions < kept[:, None]  # (batch, time)
    if keep == "tail":
        positions = positions + (lengths - kept)[:, None]
    elif keep == "both":
        from_the_end = positions >= (kept[:, None] + 1) // 2
        positions = positions + from_the_end * (lengths - kept)[:, None]
    ids = np.full(inside.shape, padding, np.int64)
    tokens = flat_ids[(starts[:, None] + positions)[inside]]
    ids[inside] = tokens if word_to_id is None else word_to_id[tokens]
    ids[kept == 0, 0] = empty
    return ids, np.maximum(kept, 1)
