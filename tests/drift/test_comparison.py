from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from sentiment.drift.comparison import NewTexts, compare
from sentiment.drift.proportions import estimated_proportions
from sentiment.predict.summary import Summary, texts_with

WORDS, VOCABULARY_SIZE = 300, 252
VOCABULARY = ["<pad>", "<unk>", *(f"w{index}" for index in range(VOCABULARY_SIZE - 2))]
LABELS = ["bad", "good"]


class Texts:
    """Made-up texts of words by Zipf's law, and calibrated predictions for them.

    Args:
        size: how many.
        seed: of the random numbers.
        good: the fraction of the second class.
        length: their mean length.
        shift: added to the index of each word.
    """

    def __init__(
        self, size: int, seed: int, good: float = 0.5, length: int = 30, shift: int = 0
    ) -> None:
        drawn = np.random.default_rng(seed)
        odds = 1 / np.arange(10, 10 + WORDS)
        self.lengths = 1 + drawn.poisson(length, size)
        words = drawn.choice(WORDS, self.lengths.sum(), p=odds / odds.sum())
        self.words = (words + shift) % WORDS + 2
        self.labels = (drawn.random(size) < good).astype(np.int64)
        logits = 3 * (2 * self.labels - 1) + 6**0.5 * drawn.standard_normal(size)
        positive = 1 / (1 + np.exp(-logits))  # the posterior of these two normal distributions
        self.probabilities = np.column_stack([1 - positive, positive]).astype(np.float32)

    def summary(self) -> Summary:
        summary = Summary.of(
            self.words, self.lengths, self.probabilities, self.labels,
            vocabulary_size=VOCABULARY_SIZE,
        )  # fmt: skip
        assert summary is not None
        return summary

    def as_new(self) -> NewTexts:
        names = [f"w{index}" for index in range(WORDS)]
        counts = np.bincount(self.words - 2, minlength=WORDS)
        with_word = texts_with(self.words - 2, self.lengths, WORDS)
        ends = np.cumsum(self.lengths)
        before = np.concatenate([[0], np.cumsum(self.words >= VOCABULARY_SIZE)])
        return NewTexts(
            [self.lengths],
            [before[ends] - before[ends - self.lengths]],
            [self.probabilities],
            Counter(dict(zip(names, with_word.tolist(), strict=True))),
            Counter(dict(zip(names, counts.tolist(), strict=True))),
        )


def drifted(before: Texts, new: Texts, level: float = 0.05) -> set[str]:
    found = compare(before.summary(), new.as_new(), VOCABULARY, LABELS, level)
    assert found["drift"] == any(test["drift"] for test in found["tests"])
    return {test["name"] for test in found["tests"] if test["drift"]}


def test_false_alarms_are_no_more_than_the_level() -> None:
    before = Texts(1500, 0)
    alarms = [bool(drifted(before, Texts(150, seed))) for seed in range(1, 101)]
    assert sum(alarms) <= 5


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (Texts(2000, 1, good=0.2), {"predicted classes"}),
        (Texts(2000, 1, length=45), {"length", "words"}),
        (Texts(2000, 1, shift=30), {"words"}),
        (Texts(20_000, 1, good=0.485), set()),  # significant, and too small to matter
    ],
    ids=["classes", "length", "words", "small"],
)
def test_each_change_is_found_where_it_is(new: Texts, expected: set[str]) -> None:
    found = drifted(Texts(3000, 0), new)
    assert expected <= found
    assert bool(expected) == bool(found)


def test_of_the_same_texts_the_estimates_are_the_same() -> None:
    """Even where the predicted classes have other proportions."""
    texts = Texts(2000, 0, good=0.1)
    found = compare(texts.summary(), texts.as_new(), VOCABULARY, LABELS, 0.01)
    for label, shown in found["classes"].items():
        assert shown["estimated"] == pytest.approx(shown["estimated_validation"], abs=1e-3)
        assert abs(shown["estimated"] - shown["validation"]) > 0.01, label


@pytest.mark.parametrize("good", [0.2, 0.35, 0.8])
def test_the_proportion_of_a_class_is_recovered(good: float) -> None:
    new = Texts(1000, 1, good=good)
    proportions = estimated_proportions(new.probabilities, Texts(2500, 0).summary().probabilities)
    assert proportions[1] == pytest.approx(good, abs=0.03)


def test_of_few_reviews_the_distance_is_that_of_scipy() -> None:
    before, new = Texts(900, 0), Texts(400, 1, length=33)
    found = compare(before.summary(), new.as_new(), VOCABULARY, LABELS, 0.01)
    (test,) = (test for test in found["tests"] if test["name"] == "length")
    expected = stats.ks_2samp(before.lengths, new.lengths, method="asymp")
    assert test["effect"] == pytest.approx(expected.statistic, abs=1e-6)


def test_words_are_ranked_by_their_change() -> None:
    new = Texts(500, 1)
    new.words[::10] = 2 + 280  # a frequent word that is in no vocabulary
    found = compare(Texts(2000, 0).summary(), new.as_new(), VOCABULARY, LABELS, 0.01)
    word = found["words"][0]
    assert word["word"] == "w280"
    assert word["new"] == pytest.approx(0.1, abs=0.01)


def test_a_single_text_can_be_compared() -> None:
    assert drifted(Texts(200, 0), Texts(1, 1)) == set()


@pytest.mark.parametrize("new", [Texts(40, 1), Texts(1000, 1, good=0.8)], ids=["few", "shifted"])
def test_each_test_has_the_numbers_that_decide_it(new: Texts) -> None:
    found = compare(Texts(2500, 0).summary(), new.as_new(), VOCABULARY, LABELS, 0.01)
    for test in found["tests"]:
        large, significant = abs(test["effect"]) >= test["threshold"], test["p_value"] < 0.01
        assert test["drift"] == (large and significant)
        if test["name"] not in ("length", "score"):
            assert test["new"] - test["validation"] == pytest.approx(test["effect"])
    predicted = {each["of"]: each["new"] for each in found["tests"]}
    assert any(shown["new"] == predicted.get(name) for name, shown in found["classes"].items())


def test_counts_of_a_summary() -> None:
    ids: npt.NDArray[np.int64] = np.array([2, 2, 3, 1, 9])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    summary = Summary.of(
        ids, np.array([3, 0, 2]), probabilities, np.array([0, 1, 1]), vocabulary_size=5
    )
    assert summary is not None
    assert (summary.tokens, summary.unknown_tokens) == (5, 2)
    assert summary.word_counts.tolist() == [2, 1, 0]
    assert summary.texts_with_word.tolist() == [1, 1, 0]
    assert summary.confusion.tolist() == [[1, 0], [1, 1]]
    assert summary.lengths.tolist() == [0, 2, 3]


def test_of_many_classes_some_of_which_are_rare_the_largest_change_is_named() -> None:
    labels = ["a", "b", "c", "never"]

    def texts(size: int, seed: int, odds: list[float]) -> Texts:
        made = Texts(size, seed)
        drawn = np.random.default_rng(seed)
        made.labels = drawn.choice(4, size, p=odds)
        logits = 4 * np.eye(4)[made.labels] + 2 * drawn.standard_normal((size, 4))
        logits += np.log([0.4, 0.4, 0.2, 1e-3])  # calibrated for the proportions before
        made.probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return made

    before = texts(2000, 0, [0.4, 0.4, 0.2, 0]).summary()
    for odds, changed in (([0.4, 0.4, 0.2, 0], None), ([0.1, 0.4, 0.5, 0], "c")):
        new = texts(1500, 1, odds).as_new()
        found = compare(before, new, VOCABULARY, labels, 0.01)
        (test,) = (test for test in found["tests"] if test["name"] == "predicted classes")
        assert test["drift"] == (changed is not None)
        if changed is not None:
            assert test["of"] in ("a", "c")
        for label, true in zip(labels, odds, strict=True):
            assert found["classes"][label]["estimated"] == pytest.approx(true, abs=0.04)
