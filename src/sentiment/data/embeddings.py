"""Sources of embeddings: each makes the initial weights of an embedding layer for a vocabulary.

Hydra builds them from ``conf/embeddings``. They know nothing about models or batches.
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
from sentiment.runtime.files import is_there


@dataclass(frozen=True)
class EmbeddingTable:
    """Initial weights of an embedding layer, one row for each word of a vocabulary.

    Attributes:
        weights: float32, (vocabulary, size).
        found: bool, (vocabulary,), true for rows that are pre-trained vectors.
    """

    weights: torch.Tensor
    found: NDArray[np.bool_]


def coverage(found: NDArray[np.bool_], counts: NDArray[np.integer]) -> tuple[float, float]:
    """The fraction of words, and of tokens by the words' ``counts``, that have a vector."""
    total = counts.sum()
    return float(found.mean()), float(counts[found].sum() / total) if total else 0.0


class Embeddings(Protocol):
    """The interface of every source of embeddings; see ``FileEmbeddings``."""

    frozen: bool
    frozen_epochs: int
    lr_scale: float
    lazy: bool | None

    def table(self, words: Sequence[str], *, seed: int) -> EmbeddingTable:
        """The initial weights for a vocabulary."""


@dataclass(kw_only=True)
class LearnedEmbeddings:
    """Embeddings with random initial weights; attributes as those of ``FileEmbeddings``."""

    frozen = False
    frozen_epochs = 0
    size: int = 100
    lr_scale: float = 1.0
    lazy: bool | None = None

    def __post_init__(self) -> None:
        _check(self)

    def table(self, words: Sequence[str], *, seed: int) -> EmbeddingTable:
        """Draw from N(0, 1 / size), which gives rows of length about 1.

        torch's own N(0, 1) gives rows of length 10 at size 100. Adam's steps are about as large as
        its learning rate, so the row of a rare word would remain noise.
        """
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn(len(words), self.size, generator=generator) * self.size**-0.5
        weights[0] = 0.0
        return EmbeddingTable(weights, np.zeros(len(words), np.bool_))


@dataclass(kw_only=True)
class FileEmbeddings:
    """Embeddings whose initial weights are the vectors of a file; see ``WordVectors``.

    Attributes:
        size: size of a vector; None takes that of the file.
        frozen: whether the embeddings are never trained.
        frozen_epochs: number of epochs in which they are frozen at first.
        lr_scale: factor of their learning rate.
        lazy: whether a step on a CPU updates only the words of its batch; None does so for large
            vocabularies.
    """

    path: str | Path
    size: int | None = None
    frozen: bool = False
    frozen_epochs: int = 0
    lr_scale: float = 1.0
    lazy: bool | None = None

    def __post_init__(self) -> None:
        _check(self)
        if not is_there(Path(self.path)):
            raise InputError(f"no word vectors at {self.path}: there is no such file")

    def table(self, words: Sequence[str], *, seed: int) -> EmbeddingTable:
        """Look up the words; ``words[0]`` is the padding (zeros), ``words[1]`` the unknown word.

        Raises:
            InputError: the file cannot be used, or has none of the words.
        """
        return _table_from(read_vectors(Path(self.path), words[2:], self.size), words, seed)


@dataclass(kw_only=True)
class GloveEmbeddings:
    """Embeddings whose initial weights are Stanford's GloVe vectors (Pennington et al., 2014).

    Attributes as those of ``FileEmbeddings`` and the arguments of ``fetch_glove``.
    """

    archive: str = "6B"
    size: int = 100
    cache_dir: str | Path | None = None
    mirrors: Sequence[str] = GLOVE_MIRRORS
    sha256: str | None = None
    frozen: bool = False
    frozen_epochs: int = 0
    lr_scale: float = 1.0
    lazy: bool | None = None

    def __post_init__(self) -> None:
        _check(self)
        check_glove(self.archive, self.size)

    def table(self, words: Sequence[str], *, seed: int) -> EmbeddingTable:
        """Download the vectors unless they are in the cache; see ``FileEmbeddings.table``."""
        path = fetch_glove(
            archive=self.archive,
            size=self.size,
            cache_dir=self.cache_dir,
            mirrors=self.mirrors,
            sha256=self.sha256,
        )
        return _table_from(read_vectors(path, words[2:], self.size), words, seed)


def _check(source: LearnedEmbeddings | FileEmbeddings | GloveEmbeddings) -> None:
    """Raise InputError if a number of a source's attributes cannot be used."""
    if source.frozen_epochs < 0:
        raise InputError(f"frozen_epochs must be 0 or more, not {source.frozen_epochs}")
    if not 0 < source.lr_scale < float("inf"):
        raise InputError(f"lr_scale must be a number above 0, not {source.lr_scale}")
    if source.size is not None and source.size < 1:
        raise InputError(f"size must be 1 or more, not {source.size}")


def _table_from(vectors: WordVectors, words: Sequence[str], seed: int) -> EmbeddingTable:
    """Draw words without a vector with the mean and deviation of the others in each dimension."""
    found = np.array([i > 1 and word in vectors.stoi for i, word in enumerate(words)])
    if not found.any():
        raise InputError(
            f"{vectors.path} has none of the {len(words) - 2} words of the vocabulary: are they "
            f"of another language, or are tokens not lower-cased while the file is?"
        )
    rows = vectors.vectors[[vectors.stoi[words[i]] for i in found.nonzero()[0].tolist()]]
    mean, deviation = rows.mean(dim=0), rows.std(dim=0, correction=0)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(len(words), vectors.dim, generator=generator) * deviation + mean
    weights[torch.from_numpy(found)] = rows
    weights[0] = 0.0
    weights[1] = mean
    if not weights.isfinite().all():
        raise InputError(
            f"{vectors.path}: its numbers, up to {float(rows.abs().max()):g}, are too large to add"
            " up; is it a file of word vectors, whose numbers are seldom above 10?"
        )
    return EmbeddingTable(weights, found)
