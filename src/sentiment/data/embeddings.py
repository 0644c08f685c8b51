"""Embedding sources: what turns a vocabulary into the first weights of an embedding layer.

Hydra builds them from ``conf/embeddings``. They know nothing of models or batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment.data.download import check_glove, fetch_glove
from sentiment.data.glove_archives import GLOVE_MIRRORS
from sentiment.data.vector_file import WordVectors, read_vectors
from sentiment.runtime.errors import InputError

__all__ = [
    "EmbeddingTable",
    "FileEmbeddings",
    "GloveEmbeddings",
    "LearnedEmbeddings",
    "WordVectors",
    "coverage",
]


@dataclass(frozen=True)
class EmbeddingTable:
    """First weights of an embedding layer, a row for each word of a vocabulary.

    Attributes:
        weights: float32, (vocabulary, size).
        found: bool, (vocabulary,): the rows that are pre-trained vectors.
    """

    weights: torch.Tensor
    found: NDArray[np.bool_]


def coverage(found: NDArray[np.bool_], counts: NDArray[np.integer]) -> tuple[float, float]:
    """Return the share of words, and of the running text by `counts`, that have a vector."""
    total = counts.sum()
    return float(found.mean()), float(counts[found].sum() / total) if total else 0.0


def _check(frozen_epochs: int, lr_scale: float, size: int | None) -> None:
    if frozen_epochs < 0:
        raise InputError(f"frozen_epochs must be 0 or more, not {frozen_epochs}")
    if not 0 < lr_scale < float("inf"):
        raise InputError(f"lr_scale must be a number above 0, not {lr_scale}")
    if size is not None and size < 1:
        raise InputError(f"size must be 1 or more, not {size}")


class Embeddings(Protocol):
    """What every source of embeddings offers; see ``FileEmbeddings``."""

    frozen: bool
    frozen_epochs: int
    lr_scale: float
    lazy: bool | None

    def table(self, words: Sequence[str], *, seed: int) -> EmbeddingTable:
        """The first weights for a vocabulary."""


class LearnedEmbeddings:
    """Embeddings that start at random; attributes as those of ``FileEmbeddings``."""

    frozen = False
    frozen_epochs = 0

    def __init__(self, *, size: int = 100, lr_scale: float = 1.0, lazy: bool | None = None) -> None:
        _check(self.frozen_epochs, lr_scale, size)
        self.size = size
        self.lr_scale = lr_scale
        self.lazy = lazy

    def table(self, words: Sequence[str], *, seed: int) -> EmbeddingTable:
        """Draw from N(0, 1 / size): rows of length about 1, which a rare word soon outgrows.

        (torch's own N(0, 1) gives rows of length 10 at size 100, against steps of an Adam
        optimizer of about its learning rate: a rare word would stay the noise it was drawn as.)
        """
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn(len(words), self.size, generator=generator) * self.size**-0.5
        weights[0] = 0.0
        return EmbeddingTable(weights, np.zeros(len(words), np.bool_))


class FileEmbeddings:
    """Embeddings that start as the vectors of a file; see ``WordVectors`` for its format.

    Attributes:
        size: size of a vector, if it was given: the file must then have it.
        frozen: never train the embeddings.
        frozen_epochs: train them only after so many epochs.
        lr_scale: factor on the learning rate of the embeddings.
        lazy: on a CPU, step only the words that are in a batch; None does so for many words.
    """

    def __init__(
        self,
        *,
        path: str | Path,
        size: int | None = None,
        frozen: bool = False,
        frozen_epochs: int = 0,
        lr_scale: float = 1.0,
        lazy: bool | None = None,
    ) -> None:
        _check(frozen_epochs, lr_scale, size)
        self.path = Path(path)
        if not any(place.is_file() for place in (self.path, *self.path.parents)):  # or in a zip
            raise InputError(f"no word vectors at {path}: there is no such file")
        self.size = size
        self.frozen = frozen
        self.frozen_epochs = frozen_epochs
        self.lr_scale = lr_scale
        self.lazy = lazy

    def table(self, words: Sequence[str], *, seed: int) -> EmbeddingTable:
        """Look up the words; ``words[0]`` is the padding (zeros), ``words[1]`` the unknown word.

        Raises:
            InputError: the file cannot be used, or has none of the words.
        """
        return _table_from(read_vectors(self.path, words[2:], self.size), words, seed)


class GloveEmbeddings:
    """Embeddings that start as Stanford's GloVe vectors (Pennington et al., 2014), fetched once.

    Attributes as those of ``FileEmbeddings``; the other arguments as those of ``fetch_glove``.
    """

    def __init__(
        self,
        *,
        archive: str = "6B",
        size: int = 100,
        cache_dir: str | Path | None = None,
        mirrors: Sequence[str] = GLOVE_MIRRORS,
        sha256: str | None = None,
        frozen: bool = False,
        frozen_epochs: int = 0,
        lr_scale: float = 1.0,
        lazy: bool | None = None,
    ) -> None:
        _check(frozen_epochs, lr_scale, size)
        check_glove(archive, size)
        self.archive = archive
        self.size = size
        self.cache_dir = cache_dir
        self.mirrors = tuple(mirrors)
        self.sha256 = sha256
        self.frozen = frozen
        self.frozen_epochs = frozen_epochs
        self.lr_scale = lr_scale
        self.lazy = lazy

    def table(self, words: Sequence[str], *, seed: int) -> EmbeddingTable:
        """Fetch the vectors if they are not in the cache, then as ``FileEmbeddings.table``."""
        path = fetch_glove(
            archive=self.archive,
            size=self.size,
            cache_dir=self.cache_dir,
            mirrors=self.mirrors,
            sha256=self.sha256,
        )
        return _table_from(read_vectors(path, words[2:], self.size), words, seed)


def _table_from(vectors: WordVectors, words: Sequence[str], seed: int) -> EmbeddingTable:
    """Draw the words without a vector like the others: same mean and deviation per dimension."""
    found = np.array([i > 1 and word in vectors.stoi for i, word in enumerate(words)])
    if not found.any():
        raise InputError(
            f"{vectors.path} has none of the {len(words) - 2} words of the vocabulary: are they "
            f"of another language, or is lower-casing off where the file is lower-cased?"
        )
    rows = vectors.vectors[[vectors.stoi[words[i]] for i in found.nonzero()[0].tolist()]]
    mean, deviation = rows.mean(dim=0), rows.std(dim=0, correction=0)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(len(words), vectors.dim, generator=generator) * deviation + mean
    weights[torch.from_numpy(found)] = rows
    weights[0] = 0.0
    weights[1] = mean
    if not weights.isfinite().all():  # words without a vector are drawn by mean and deviation
        raise InputError(
            f"{vectors.path}: its numbers, up to {float(rows.abs().max()):g}, are too large to add"
            " up; is it a file of word vectors, whose numbers are seldom above 10?"
        )
    return EmbeddingTable(weights, found)
