"""Word vectors by skip-gram with negative sampling (Mikolov et al., 2013), trained by gensim.

Reads texts as token ids of a corpus and writes GloVe's text format; knows nothing of configs.
"""

import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sentiment.data.padding import gather_reviews
from sentiment.data.splits import Split
from sentiment.data.vocabulary import count_words
from sentiment.runtime.errors import InputError, needing
from sentiment.runtime.files import text_when_whole
from sentiment.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    from gensim.models import Word2Vec

_REVIEWS_AT_A_TIME = 2_000

_HEX_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)

# Separators of words, numbers and rows in a file, and a byte order mark at its start.
_UNWRITABLE = re.compile("[ \\n]|^\ufeff|^$")


@dataclass(frozen=True, kw_only=True)
class SkipGramSettings:
    """The settings of skip-gram training.

    Attributes:
        size: size of the vectors.
        window: the most words that a word predicts on either side; the number is drawn anew for
            each word.
        negatives: number of negative samples for each predicted word.
        epochs: number of passes over the texts.
        min_count: words that occur less often are left out of the texts.
        sample: words above this fraction of the tokens are subsampled; 0 keeps all.
        workers: number of threads; with more than one the vectors differ from run to run.
        seed: seed of the random generator.
    """

    size: int = 100
    window: int = 8
    negatives: int = 8
    epochs: int = 5
    min_count: int = 5
    sample: float = 1e-4
    workers: int = 1
    seed: int = 42


@dataclass(frozen=True)
class WordList:
    """The words that get a vector, the most frequent first; equally frequent ones by name.

    Attributes:
        words: the words.
        counts: how often each occurs in the texts, (words,).
    """

    words: list[str]
    counts: npt.NDArray[np.int64]


def require_gensim() -> None:
    """Raise InputError if gensim, which is an extra, cannot be imported."""
    with needing("vectors", "training word vectors"):
        import gensim.models  # noqa: F401


def frequent_words(texts: Sequence[Split], min_count: int) -> WordList:
    """The words that occur at least ``min_count`` times in the texts.

    Raises:
        InputError: there is no such word.
    """
    kept = [item for item in count_words(texts).items() if item[1] >= min_count]
    if not kept:
        raise InputError(
            f"min_count={min_count}: no word occurs so often in the {sum(map(len, texts)):,} texts;"
            " lower it"
        )
    kept.sort(key=lambda item: (-item[1], item[0]))
    return WordList([word for word, _ in kept], np.array([count for _, count in kept], np.int64))


def write_lines(texts: Sequence[Split], words: Sequence[str], path: Path) -> int:
    """Write each text as a line of its words' indices, in hexadecimal digits of one width.

    Indices, because a word may contain any character; of one width, because gensim gives each
    thread an equal fraction of the bytes, which is then an equal fraction of the words. Words not
    in ``words`` are left out.

    Returns:
        The number of lines; a text without any of the words makes none.
    """
    numbers = {word: number for number, word in enumerate(words)}
    width = max(1, math.ceil((len(words) - 1).bit_length() / 4))
    lines = 0
    with path.open("wb") as file:
        for split in texts:
            corpus = split.corpus
            to_number = np.array([numbers.get(word, -1) for word in corpus.words], np.int64)
            for first in range(0, len(split), _REVIEWS_AT_A_TIME):  # to bound the memory
                reviews = split.reviews[first : first + _REVIEWS_AT_A_TIME]
                ids, lengths = gather_reviews(corpus.token_ids, corpus.offsets, reviews)
                tokens = to_number[ids]
                line = np.repeat(np.arange(len(reviews)), lengths)[tokens >= 0]
                ends = np.flatnonzero(np.diff(line, append=-1))
                file.write(_line_bytes(tokens[tokens >= 0], ends, width).data)
                lines += len(ends)
    return lines


def _line_bytes(
    tokens: npt.NDArray[np.int64], ends: npt.NDArray[np.intp], width: int
) -> npt.NDArray[np.uint8]:
    """The bytes of some lines, (tokens, width + 1); ``ends`` index the last token of each."""
    text = np.full((len(tokens), width + 1), ord(" "), np.uint8)
    for column in range(width):
        text[:, column] = _HEX_DIGITS[tokens >> 4 * (width - 1 - column) & 15]
    text[ends, width] = ord("\n")
    return text


def train_vectors(
    lines: Path,
    line_count: int,
    counts: npt.NDArray[np.int64],
    settings: SkipGramSettings,
    *,
    stopping: Callable[[], bool] = bool,
) -> npt.NDArray[np.float32]:
    """Train vectors on the file that ``write_lines`` wrote.

    Args:
        lines: the file.
        line_count: the number of its lines.
        counts: how often each word occurs in it, (words,).
        settings: the settings of the training.
        stopping: called after each epoch, because gensim may lose an interrupt; returns whether to
            stop.

    Returns:
        The vectors, (words, size).

    Raises:
        KeyboardInterrupt: ``stopping`` returned true.
    """
    model = _untrained(counts, settings)
    # Each thread lowers its learning rate by the fraction of total_examples that it has seen, so it
    # needs the number of its own lines to lower it as far as a single thread does.
    model.train(
        corpus_file=str(lines),
        total_examples=math.ceil(line_count / settings.workers),
        total_words=int(counts.sum()),
        epochs=settings.epochs,
        callbacks=[_Progress(settings.epochs, stopping)],
    )
    return np.asarray(model.wv.vectors, np.float32)


def _untrained(counts: npt.NDArray[np.int64], settings: SkipGramSettings) -> "Word2Vec":
    from gensim.models import Word2Vec

    logging.getLogger("gensim").setLevel(logging.WARNING)
    model = Word2Vec(
        sg=1,
        vector_size=settings.size,
        window=settings.window,
        negative=settings.negatives,
        min_count=1,
        sample=settings.sample,
        workers=settings.workers,
        seed=settings.seed,
        sorted_vocab=0,  # they are
    )
    width = max(1, math.ceil((len(counts) - 1).bit_length() / 4))
    model.build_vocab_from_freq(
        {f"{number:0{width}x}": count for number, count in enumerate(counts.tolist())}
    )
    return model


class _Progress:
    """A progress bar over the epochs on a terminal; gensim calls its methods."""

    def __init__(self, epochs: int, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._bar = progress_bar("Training vectors", epochs, "epoch")

    def on_train_begin(self, model: Any) -> None:
        self._bar.refresh()

    def on_epoch_begin(self, model: Any) -> None:
        pass

    def on_epoch_end(self, model: Any) -> None:
        self._bar.update()
        if self._stopping():
            raise KeyboardInterrupt

    def on_train_end(self, model: Any) -> None:
        self._bar.close()


def write_vectors(path: Path, words: Sequence[str], vectors: npt.NDArray[np.float32]) -> int:
    """Write GloVe's text format, whole or not at all, compressed as the suffix says.

    Returns:
        The number of words left out, because a space or line break in them would break the file.
    """
    left_out = 0
    with text_when_whole(path) as file:
        row = " ".join(["%s", *["%.6g"] * vectors.shape[1]]) + "\n"
        for word, vector in zip(words, vectors, strict=True):
            if _UNWRITABLE.search(word):
                left_out += 1
            else:
                file.write(row % (word, *vector.tolist()))
    return left_out


def neighbours(vectors: npt.NDArray[np.float32], word: int, count: int) -> list[int]:
    """The indices of the vectors with the highest cosine to that of ``word``, nearest first."""
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ vectors[word] / np.maximum(lengths * lengths[word], 1e-12)
    cosines[word] = -np.inf
    return [int(row) for row in np.argsort(-cosines, kind="stable")[:count]]
