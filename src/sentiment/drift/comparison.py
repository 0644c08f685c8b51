"""Two-sample tests between the validation reviews of a training and new texts.

Small differences are significant among many texts, so each test has a threshold. Those of unknown
tokens, lengths and scores ask whether the change is larger than it. Those of predicted classes and
words ask whether there is any change, which counts if it reaches the threshold. All p-values are
multiplied by the number of tests (Bonferroni), as in Rabanser, Günnemann & Lipton (2019), "Failing
Loudly": the level is that of all together.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from sentiment.drift.proportions import estimated_proportions
from sentiment.predict.logits import Floats
from sentiment.predict.summary import SPECIAL_WORDS, Summary, spread

_Ints = npt.NDArray[np.int64]

# The smallest effects that count as drift.
UNKNOWN, DISTANCE, CLASS_PROPORTION, WORD_PROPORTION = 0.02, 0.1, 0.05, 0.05
TESTS = 5
_FEW = 5  # expected texts of a class, below which the chi-squared distribution is far off
SHOWN = 8  # words


@dataclass
class NewTexts:
    """What is counted of new texts.

    Attributes:
        lengths: (texts,) number of tokens of each, in parts.
        unknown: (texts,) those that are not in the vocabulary, in parts.
        probabilities: (texts, classes), in parts.
        texts_with: in how many texts each word occurs.
        counts: how often each word occurs.
    """

    lengths: list[_Ints] = field(default_factory=list)
    unknown: list[_Ints] = field(default_factory=list)
    probabilities: list[Floats] = field(default_factory=list)
    texts_with: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


class Test(NamedTuple):
    """The result of one test.

    Attributes:
        name: what is compared.
        of: the class or the word that changed most; None for other tests.
        validation: its value among the validation reviews.
        new: its value among the new texts.
        effect: how different both are: the Kolmogorov-Smirnov distance of lengths or scores, else
            the difference of the two values.
        threshold: the smallest effect that counts.
        p_value: multiplied by the number of tests, at most 1.
        drift: whether the effect is significant and reaches the threshold.
    """

    name: str
    of: str | None
    validation: float
    new: float
    effect: float
    threshold: float
    p_value: float
    drift: bool


def compare(
    summary: Summary,
    texts: NewTexts,
    vocabulary: Sequence[str],
    labels: Sequence[str],
    level: float,
) -> dict[str, Any]:
    """Compare new texts with validation reviews.

    Args:
        summary: of the validation reviews.
        texts: the new texts, at least one.
        vocabulary: of the classifier.
        labels: names of its classes.
        level: the probability of a false alarm where nothing has changed, at most.

    Returns:
        What ``sentiment.drift --json`` prints.
    """
    lengths, unknown = np.concatenate(texts.lengths), np.concatenate(texts.unknown)
    probabilities = np.concatenate(texts.probabilities)
    scores = probabilities.max(1)
    counts = summary.confusion.sum(0), np.bincount(probabilities.argmax(1), minlength=len(labels))
    before, predicted = (each / each.sum() for each in counts)
    means = summary.probabilities / summary.probabilities.sum()
    estimated = estimated_proportions(probabilities, means)
    class_ = int(np.abs(predicted - before).argmax())
    words = _words(summary, texts, vocabulary, len(lengths))
    word = max(words, key=lambda each: (each.p_value < level, abs(each.effect)))
    tests = [
        _test("unknown tokens", None, *_rates(summary, unknown, lengths), UNKNOWN, level),
        _test(
            "length", None, float(np.median(summary.lengths)), float(np.median(lengths)),
            *_distance(summary.lengths, summary.reviews, lengths), DISTANCE, level,
        ),
        _test(
            "score", None, float(summary.scores.mean()), float(scores.mean()),
            *_distance(summary.scores, int(summary.confusion.sum()), scores), DISTANCE, level,
        ),
        _test(
            "predicted classes", labels[class_], before[class_], predicted[class_],
            predicted[class_] - before[class_], _p_of_counts(*counts), CLASS_PROPORTION, level,
        ),
        _test(
            "words", word.word, word.validation_texts, word.new_texts, word.effect,
            word.p_value / TESTS, WORD_PROPORTION, level,
        ),
    ]  # fmt: skip
    return {
        "drift": any(test.drift for test in tests),
        "level": level,
        "texts": {"validation": summary.reviews, "new": len(lengths)},
        "tests": [test._asdict() for test in tests],
        "classes": {
            label: {"validation": before[index], "new": predicted[index],
                    "estimated_validation": float(means[index]), "estimated": estimated[index]}
            for index, label in enumerate(labels)
        },
        "words": [each._asdict() for each in words if each.p_value < level][:SHOWN],
    }  # fmt: skip


def _test(
    name: str, of: str | None, validation: float, new: float, effect: float, p_value: float,
    threshold: float, level: float,
) -> Test:  # fmt: skip
    """A result, whose p-value counts for all tests."""
    p = min(1.0, TESTS * p_value)
    drift = bool(p < level and abs(effect) >= threshold)
    return Test(name, of, float(validation), float(new), float(effect), threshold, p, drift)


def _rates(summary: Summary, unknown: _Ints, lengths: _Ints) -> tuple[float, float, float, float]:
    """The rate of unknown tokens before and now, the difference, and the p-value of less of it.

    The tokens of a text are not independent, but the texts are; the variance is that of a ratio of
    sums over texts, of all texts together.
    """
    tokens = max(1, int(lengths.sum()))
    before, now = summary.unknown_tokens / summary.tokens, float(unknown.sum() / tokens)
    spread_of_all = summary.unknown_spread + spread(unknown, lengths)
    variance = spread_of_all / (summary.tokens + tokens) * (1 / summary.tokens + 1 / tokens)
    z = (abs(now - before) - UNKNOWN) / max(variance, 1e-30) ** 0.5
    return before, now, now - before, float(min(1, 2 * stats.norm.sf(z)))


def _distance(
    quantiles: npt.NDArray[np.float32], reviews: int, values: npt.NDArray[Any]
) -> tuple[float, float]:
    """The largest distance between both distribution functions, and the p-value of less of it.

    The p-value is that of Kolmogorov and Smirnov for what is beyond the threshold.

    Args:
        quantiles: sorted values of the validation reviews, each for equally many of them.
        reviews: the number of validation reviews.
        values: of the new texts.
    """
    values = np.sort(values)
    at = np.concatenate([quantiles, values])
    below = [np.searchsorted(each, at, "right") / len(each) for each in (quantiles, values)]
    distance = float(np.abs(below[0] - below[1]).max())
    pairs = reviews * len(values) / (reviews + len(values))
    beyond = max(0.0, distance - DISTANCE)
    return distance, float(stats.kstwo.sf(beyond, max(1, round(pairs))))


def _p_of_counts(before: _Ints, now: _Ints) -> float:
    """The p-value of two samples of class counts, by the chi-squared test; rare ones together."""
    table = np.stack([before, now]).astype(float)
    rare = stats.contingency.expected_freq(table).min(0) < _FEW
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(1)])
    table = table[:, table.sum(0) > 0]
    return float(stats.chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0


class Word(NamedTuple):
    """How often a word occurs in both.

    Attributes:
        word: the word.
        validation: occurrences per token of the validation reviews.
        new: of the new texts.
        validation_texts: the fraction of the validation reviews that have it.
        new_texts: of the new texts.
        effect: the difference of these fractions.
        p_value: multiplied by the number of words and of tests, at most 1.
    """

    word: str
    validation: float
    new: float
    validation_texts: float
    new_texts: float
    effect: float
    p_value: float


def _words(summary: Summary, texts: NewTexts, vocabulary: Sequence[str], size: int) -> list[Word]:
    """The words of both, those whose frequency changed most first.

    They are ranked by the change of their frequency among all tokens, which the length of texts
    does not change: by (q - p)^2 / (q + p). For a word that the summary does not have, the
    numbers of the most frequent among the last twentieth of its words stand: it is rarer.
    """
    kept = vocabulary[SPECIAL_WORDS : SPECIAL_WORDS + len(summary.word_counts)]
    words = [*kept, *(texts.counts.keys() - set(kept))]
    last = -(-len(kept) // 20)
    counts, with_word = (
        np.concatenate([known, np.full(len(words) - len(kept), known[-last:].max())])
        for known in (summary.word_counts, summary.texts_with_word)
    )
    new_counts, new_with_word = (
        np.array([counter[word] for word in words], np.int64)
        for counter in (texts.counts, texts.texts_with)
    )
    validation, new = counts / summary.tokens, new_counts / max(1, texts.counts.total())
    validation_texts, new_texts = with_word / summary.reviews, new_with_word / size
    effect = new_texts - validation_texts
    tails = summary.reviews + size, with_word + new_with_word, size
    p_values = 2 * np.minimum(
        stats.hypergeom.cdf(new_with_word, *tails), stats.hypergeom.sf(new_with_word - 1, *tails)
    )
    change = (new - validation) ** 2 / np.maximum(new + validation, 1e-30)
    rarer = (np.arange(len(words)) >= len(kept)) & (new_texts <= validation_texts)
    order = np.argsort(-np.where(rarer, -1, change), kind="stable")
    order = order[: len(words) - int(rarer.sum())]
    p_values = np.minimum(1, p_values * len(words) * TESTS)
    columns = (validation, new, validation_texts, new_texts, effect, p_values)
    return [Word(words[index], *(float(column[index]) for column in columns)) for index in order]
