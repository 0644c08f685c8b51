from typing import Any

import numpy as np
import pytest

from sentiment.baseline.linear import KINDS
from sentiment.data.ngrams import NgramCounts
from sentiment.predict.ngram_classifier import NgramClassifier, classifier_of

LENGTHS = np.array([4, 0, 6, 3, 5, 2])


def fitted(weighting: str, classes: int) -> tuple[NgramClassifier, np.ndarray, np.ndarray]:
    """A classifier, and tokens with their lengths; the second review has none."""
    drawn = np.random.default_rng(0)
    lengths = np.tile(LENGTHS, 10)
    token_ids = drawn.integers(1, 7, lengths.sum())
    ngrams = NgramCounts(longest=KINDS[weighting].longest)
    counts = ngrams.fit(token_ids, lengths)
    linear = KINDS[weighting].fit(counts, np.arange(len(lengths)) % classes, 1.0)
    return classifier_of(weighting, ngrams, linear, classes=classes), token_ids, lengths


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighting", KINDS)
def test_a_review_is_the_same_alone_and_among_others(weighting: str, classes: int) -> None:
    classifier, token_ids, lengths = fitted(weighting, classes)
    together = classifier.logits(token_ids, lengths)
    assert together.shape == (60, classes)
    assert np.isfinite(together).all()
    starts = np.cumsum(lengths) - lengths
    for review in (0, 1, 2, 59):
        own = token_ids[starts[review] : starts[review] + lengths[review]]
        alone = classifier.logits(own, lengths[review : review + 1])
        np.testing.assert_array_equal(alone[0], together[review])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighting", KINDS)
def test_arrays_and_settings_are_all_of_it(weighting: str, classes: int) -> None:
    classifier, token_ids, lengths = fitted(weighting, classes)
    again = NgramClassifier.from_arrays(classifier.arrays(), classifier.settings)
    unseen = np.append(token_ids, [8, 8, 3])  # a word that no fit has seen
    more = np.append(lengths, 3)
    np.testing.assert_array_equal(again.logits(unseen, more), classifier.logits(unseen, more))
    features = sum(len(keys) for keys in classifier.ngrams.keys)
    decisions = 1 if classes == 2 else classes
    assert again.num_parameters == (features + 1) * decisions


@pytest.mark.parametrize(
    ("part", "change", "fact"),
    [
        ("weights", lambda array: array[1:], "weights is not of shape"),
        ("idf", lambda array: array[1:], "idf is not of shape"),
        ("bias", lambda array: array.astype(np.float64), "bias is not of shape"),
        ("keys.1", lambda array: array[::-1], "not sorted"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(part: str, change: Any, fact: str) -> None:
    classifier, _, _ = fitted("tfidf", 2)
    arrays = classifier.arrays()
    with pytest.raises(ValueError, match=fact):
        NgramClassifier.from_arrays(arrays | {part: change(arrays[part])}, classifier.settings)


def test_an_unknown_weighting_is_refused() -> None:
    classifier, _, _ = fitted("tfidf", 2)
    with pytest.raises(ValueError, match="'bm25' is none of tfidf, naive_bayes"):
        NgramClassifier.from_arrays(
            classifier.arrays(), classifier.settings | {"weighting": "bm25"}
        )


@pytest.mark.parametrize("classes", [2, 3])
def test_a_temperature_divides_logits_and_is_saved(classes: int) -> None:
    classifier, token_ids, lengths = fitted("naive_bayes", classes)
    assert classifier.temperature == 1
    raw = classifier.logits(token_ids, lengths)
    divided = classifier.with_temperature(2.5)
    again = NgramClassifier.from_arrays(divided.arrays(), divided.settings)
    assert again.temperature == 2.5
    np.testing.assert_allclose(again.logits(token_ids, lengths), raw / 2.5, rtol=1e-6)
    assert "temperature" not in classifier.settings
