"""Find texts that repeat one another, exactly or nearly.

Near repeats are found by MinHash signatures of word 3-grams (Broder, 1997) in bands (Leskovec,
Rajaraman & Ullman, "Mining of Massive Datasets", section 3.4), and verified by their exact Jaccard
similarity.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sentiment.check.reviews import Floats, Ints, Reviews
from sentiment.runtime.errors import needing
from sentiment.runtime.progress_bar import progress_bar

_PERMUTATIONS = 126
_MISSED = 0.005  # largest fraction of pairs just at the asked similarity that are not found
_HASHES = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Repeats:
    """Which texts repeat one another.

    Attributes:
        exact: (reviews,) equal for texts that are equal when cleaned and in lower case.
        group: (reviews,) equal for texts that are linked by exact or near repeats.
        similarity: (reviews,) the largest similarity of a near repeat found for a text; 1 for one
            with an exact repeat, 0 without any.
    """

    exact: Ints
    group: Ints
    similarity: Floats

    def groups(self) -> Iterator[Ints]:
        """The reviews of each group of two or more, in order."""
        order = np.argsort(self.group, kind="stable")
        firsts = np.flatnonzero(np.diff(self.group[order], prepend=-1))
        for members in np.split(order, firsts[1:]):
            if len(members) > 1:
                yield members


def find_repeats(reviews: Reviews, similarity: float) -> Repeats:
    """Find exact and near repeats among all reviews.

    Args:
        reviews: the reviews.
        similarity: smallest Jaccard similarity of the word 3-grams of near repeats.
    """
    rows = np.concatenate([file.corpus.folded for file in reviews.files])
    digests = np.ascontiguousarray(rows).view([("high", np.uint64), ("low", np.uint64)]).ravel()
    _, distinct, exact = np.unique(digests, return_index=True, return_inverse=True)
    found = np.zeros(len(distinct), np.float32)
    one, other = _candidates(reviews, distinct, similarity)
    measured = np.fromiter(
        (_jaccard(reviews, *pair) for pair in zip(distinct[one], distinct[other], strict=True)),
        np.float32, len(one),
    )  # fmt: skip
    near = measured >= similarity
    for side in (one[near], other[near]):
        np.maximum.at(found, side, measured[near])
    links = sparse.coo_matrix((np.ones(near.sum()), (one[near], other[near])), [len(distinct)] * 2)
    _, group = connected_components(links, directed=False)
    found[np.bincount(exact) > 1] = 1
    return Repeats(exact.astype(np.int64), group[exact].astype(np.int64), found[exact])


def _candidates(reviews: Reviews, distinct: Ints, similarity: float) -> tuple[Ints, Ints]:
    """Pairs of indices into ``distinct`` whose signatures agree in a band."""
    with needing("check", "check: finding near repeats"):
        from rensa import RMinHash
    bands, width = _bands(similarity)
    keys = np.empty((len(distinct), bands), np.uint64)
    done = 0
    with progress_bar("Comparing texts", len(distinct), "text") as bar:
        for some in reviews.batches(distinct):
            hashes, counts = _shingles(*reviews.tokens(some))
            ends = np.cumsum(np.append(0, counts)).astype(np.uint64)
            matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, ends, bands * width, 1)
            signatures = np.array(matrix.to_rows(), np.uint64).reshape(len(some), bands, width)
            keys[done : done + len(some)] = _mixed(signatures)
            done += len(some)
            bar.update(len(some))
    pairs = [np.empty((0, 2), np.int64)]
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        ordered = band[order]
        new = np.append(True, ordered[1:] != ordered[:-1])
        first = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
        # Each with the first and the one before it, not with all: linear in the texts.
        again = np.flatnonzero(~new)
        pairs.append(np.column_stack([first[again], order[again]]))
        pairs.append(np.column_stack([order[again - 1], order[again]]))
    unique = np.unique(np.concatenate(pairs), axis=0)
    return unique[:, 0], unique[:, 1]


def _bands(similarity: float) -> tuple[int, int]:
    """How many bands of how many values find nearly all pairs of this similarity."""
    for width in range(12, 1, -1):
        bands = _PERMUTATIONS // width
        if (1 - similarity**width) ** bands <= _MISSED:
            return bands, width
    return _PERMUTATIONS, 1


def _shingles(token_ids: Ints, lengths: Ints) -> tuple[_HASHES, Ints]:
    """Hashes of the word 3-grams of texts, one text after the other, and how many each has.

    A text of one or two words has one, with nothing in place of the others.
    """
    counts = np.maximum(lengths - 2, 1)
    before = np.cumsum(lengths) - lengths
    starts = np.repeat(before - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    last = np.repeat(before + lengths, counts)
    words = np.append(token_ids, 0)
    parts = []
    for offset in range(3):
        at = starts + offset
        parts.append(np.where(at < last, words[np.minimum(at, len(token_ids))], 0))
    return _mixed(np.stack(parts, axis=-1).astype(np.uint64)), counts


def _mixed(values: _HASHES) -> _HASHES:
    """A hash over the last axis."""
    mixed = np.zeros(values.shape[:-1], np.uint64)
    for at in range(values.shape[-1]):
        mixed = (mixed ^ values[..., at]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _jaccard(reviews: Reviews, one: int, other: int) -> float:
    """The Jaccard similarity of the word 3-grams of two texts."""
    mine, others = (
        np.unique(_shingles(*reviews.tokens(np.array([each])))[0]) for each in (one, other)
    )
    both = len(np.intersect1d(mine, others, assume_unique=True))
    return both / (len(mine) + len(others) - both)
