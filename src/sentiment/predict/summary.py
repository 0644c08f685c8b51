"""Numbers about texts and the predictions for them, with which later texts can be compared.

A checkpoint keeps those of its validation reviews, which the training has not learned from.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment.batch import UNK_INDEX

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.floating]

MOST_REVIEWS, MOST_QUANTILES, MOST_WORDS = 2_500, 1_000, 4_000
SPECIAL_WORDS = UNK_INDEX + 1  # entries of a vocabulary before its first word


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is kept of validation reviews: no texts, and less than 100 kB.

    Attributes:
        reviews: how many the numbers about words and lengths are of, at most ``MOST_REVIEWS``.
        tokens: number of tokens.
        unknown_tokens: those that are not in the vocabulary.
        unknown_spread: the sum of squares of each review's unknown tokens minus those that it
            would have at the rate of all; the variance of the rate follows from it.
        lengths: quantiles of the tokens of a review, (at most ``MOST_QUANTILES``,) sorted.
        scores: quantiles of the score of the predicted label, likewise.
        probabilities: (classes,) their means.
        confusion: (classes, classes), the reviews of each class by their predicted class.
        texts_with_word: (at most ``MOST_WORDS``,) the reviews that have each of the first words of
            the vocabulary, which are the most frequent ones of the training.
        word_counts: how often these words occur.

    Raises:
        ValueError: the values do not fit together.
    """

    reviews: int
    tokens: int
    unknown_tokens: int
    unknown_spread: float
    lengths: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    confusion: npt.NDArray[np.int64]
    texts_with_word: npt.NDArray[np.int64]
    word_counts: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        classes = len(self.confusion)
        if not (
            self.confusion.shape == (classes, classes)
            and self.probabilities.shape == (classes,)
            and (self.probabilities > 0).all()
            and len(self.lengths) * len(self.scores) * len(self.word_counts) > 0
            and self.texts_with_word.shape == self.word_counts.shape
            and min(self.reviews, self.tokens, self.confusion.sum()) > 0
            and all(np.isfinite(each).all() for each in (self.lengths, self.scores))
        ):
            raise ValueError("the summary of the validation reviews is damaged")

    @classmethod
    def of(
        cls,
        token_ids: _Ints,
        lengths: _Ints,
        probabilities: _Floats,
        labels: _Ints,
        *,
        vocabulary_size: int,
    ) -> "Summary | None":
        """Summarise reviews; None if there are none, or a probability is not finite.

        Args:
            token_ids: (tokens,) of all reviews, one after the other, uncut.
            lengths: (reviews,) number of tokens of each.
            probabilities: (predicted reviews, classes) of some or all of them, in any order.
            labels: (predicted reviews,) the true classes of these.
            vocabulary_size: ids from this one on count as unknown.
        """
        if not (len(token_ids) and len(labels) and np.isfinite(probabilities).all()):
            return None
        known = (token_ids >= SPECIAL_WORDS) & (token_ids < vocabulary_size)
        starts = np.cumsum(lengths) - lengths
        unknown = np.add.reduceat(np.append(~known, False), starts, dtype=np.int64)
        unknown[lengths == 0] = 0
        words = max(1, min(MOST_WORDS, vocabulary_size - SPECIAL_WORDS))
        last = SPECIAL_WORDS + words
        counts = np.bincount(token_ids[token_ids < last], minlength=last)
        texts = texts_with(token_ids, lengths, max(last, int(token_ids.max()) + 1))[:last]
        classes = probabilities.shape[1]
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (labels, probabilities.argmax(1)), 1)
        return cls(
            reviews=len(lengths),
            tokens=len(token_ids),
            unknown_tokens=int(unknown.sum()),
            unknown_spread=spread(unknown, lengths),
            lengths=_quantiles(lengths),
            scores=_quantiles(probabilities.max(1)),
            probabilities=np.maximum(probabilities.mean(0), 1e-12).astype(np.float32),
            confusion=confusion,
            texts_with_word=texts[SPECIAL_WORDS:],
            word_counts=counts[SPECIAL_WORDS:],
        )

    def as_dict(self) -> dict[str, Any]:
        """The numbers and arrays by name."""
        return asdict(self)


def texts_with(token_ids: _Ints, lengths: _Ints, words: int) -> _Ints:
    """In how many texts each word occurs, (words,).

    Args:
        token_ids: (tokens,) of all texts, one after the other, below ``words``.
        lengths: (texts,) number of tokens of each.
        words: the number of words.
    """
    text = np.repeat(np.arange(len(lengths)), lengths)
    return np.bincount(np.unique(text * words + token_ids) % words, minlength=words)


def spread(counts: _Ints, lengths: _Ints) -> float:
    """The sum of squares of counts in texts minus those at the rate of all; both (texts,)."""
    rate = counts.sum() / max(1, lengths.sum())
    return float(((counts - rate * lengths) ** 2).sum())


def _quantiles(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The sorted values or, of many, some at equal distances."""
    ordered = np.sort(values).astype(np.float32)
    if len(ordered) <= MOST_QUANTILES:
        return ordered
    middles = (np.arange(MOST_QUANTILES) + 0.5) / MOST_QUANTILES
    return ordered[(middles * len(ordered)).astype(np.int64)]
