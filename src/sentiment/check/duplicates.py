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
from sentiment.data.corpus import TOKENS_AT_A_TIME
from sentiment.data.padding import gather_reviews
from sentiment.runtime.errors import needing
from sentiment.runtime.progress_bar import progress_bar

_PERMUTATIONS = 126
_MISSED = 0.005  # largest fraction of pairs just at the asked similarity that are not found
_MANY = 10  # texts of a group, whose similarities to one another are no longer measured
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
    group, nearest = _near(reviews, distinct, similarity)
    nearest[np.bincount(exact) > 1] = 1
    return Repeats(exact.astype(np.int64), group[exact].astype(np.int64), nearest[exact])


def _near(reviews: Reviews, distinct: Ints, similarity: float) -> tuple[Ints, Floats]:
    """The group of each of some different texts, and its largest similarity to another one."""
    size = len(distinct)
    keys = _band_keys(reviews, distinct, similarity)
    group, nearest = np.arange(size), np.zeros(size, np.float32)
    links = compared = np.empty(0, np.int64)  # pairs of indices, the first one times the size
    with progress_bar("Comparing texts", keys.shape[1], "pass") as bar:
        for band in keys.T:
            order = np.argsort(band, kind="stable")
            ordered = band[order]
            new = np.append(True, ordered[1:] != ordered[:-1])
            first = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
            # Each with the first and the one before it, not with all: linear in the texts.
            again = np.flatnonzero(~new)
            pairs = np.append(first[again], order[again - 1]) * size + np.tile(order[again], 2)
            pairs = np.setdiff1d(pairs, compared)
            one, other = np.divmod(pairs, size)
            # Of texts from a template, most pairs belong to one group already.
            left = (group[one] != group[other]) | (np.bincount(group)[group[one]] < _MANY)
            one, other = one[left], other[left]
            measured = _similarities(reviews, distinct, one, other)
            near = measured >= similarity
            for side in (one[near], other[near]):
                np.maximum.at(nearest, side, measured[near])
            compared = np.append(compared, pairs)
            links = np.append(links, pairs[left][near])
            matrix = sparse.coo_matrix((np.ones(len(links)), np.divmod(links, size)), [size] * 2)
            _, group = connected_components(matrix, directed=False)
            bar.update()
    return group, nearest


def _band_keys(reviews: Reviews, distinct: Ints, similarity: float) -> _HASHES:
    """(texts, bands) a hash of each band of the signatures: equal for most pairs of near texts."""
    with needing("check", "check: finding near repeats"):
        from rensa import RMinHash
    bands, width = _bands(similarity)
    keys = np.empty((len(distinct), bands), np.uint64)
    done = 0
    with progress_bar("Hashing texts", len(distinct), "text") as bar:
        for some in reviews.batches(distinct):
            hashes, counts = _shingles(*reviews.tokens(some))
            ends = np.cumsum(np.append(0, counts)).astype(np.uint64)
            matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, ends, bands * width, 1)
            signatures = np.array(matrix.to_rows(), np.uint64).reshape(len(some), bands, width)
            keys[done : done + len(some)] = _mixed(signatures)
            done += len(some)
            bar.update(len(some))
    return keys


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


def _similarities(reviews: Reviews, distinct: Ints, one: Ints, other: Ints) -> Floats:
    """The Jaccard similarities of the word 3-grams of pairs of texts."""
    ends = np.cumsum(reviews.lengths[distinct[one]] + reviews.lengths[distinct[other]])
    cuts = np.flatnonzero(np.diff(ends // TOKENS_AT_A_TIME)) + 1  # bounds the memory
    found = [np.empty(0, np.float32)]
    for some in np.split(np.column_stack([one, other]), cuts):
        texts, at = np.unique(some, return_inverse=True)
        mine, others = at.reshape(-1, 2).T
        hashes, counts = _shingles(*reviews.tokens(distinct[texts]))
        shingles, number = np.unique(hashes, return_inverse=True)
        # The distinct shingles of each text, sorted by text.
        owned = np.unique(np.repeat(np.arange(len(texts)), counts) * len(shingles) + number)
        text, number = np.divmod(owned, len(shingles))
        sizes = np.bincount(text)
        own, lengths = gather_reviews(number.astype(np.int32), np.cumsum(np.append(0, sizes)), mine)
        hit = np.isin(np.repeat(others, lengths) * len(shingles) + own, owned)
        pair = np.repeat(np.arange(len(some)), lengths)
        both = np.bincount(pair[hit], minlength=len(some))
        found.append((both / (sizes[mine] + sizes[others] - both)).astype(np.float32))
    return np.concatenate(found)
