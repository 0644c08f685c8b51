import numpy as np
import pytest
from scipy import sparse

from sentiment.linear import CLASSIFIERS, NaiveBayesRegression


def separable(classes: int, reviews: int = 60) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Each class has a word of its own, beside two that all share."""
    labels = np.arange(reviews) % classes
    counts = np.zeros((reviews, classes + 2), np.float32)
    counts[np.arange(reviews), labels] = 1 + np.arange(reviews) % 3
    counts[:, classes:] = 1
    return sparse.csr_matrix(counts), labels


@pytest.mark.parametrize("weighting", CLASSIFIERS)
@pytest.mark.parametrize("classes", [2, 3])
def test_words_of_a_class_tell_it(weighting: str, classes: int) -> None:
    counts, labels = separable(classes)
    classifier = CLASSIFIERS[weighting](strength=10.0)
    classifier.fit(counts, labels)
    logits = classifier.logits(counts)
    assert logits.shape == (60, classes)
    np.testing.assert_array_equal(logits.argmax(1), labels)
    none = classifier.logits(sparse.csr_matrix((1, classes + 2), dtype=np.float32))
    assert np.ptp(none) < np.ptp(logits[0])  # nothing said, little known


def test_naive_bayes_weights_are_log_count_ratios() -> None:
    counts = sparse.csr_matrix(np.array([[2, 0, 1], [1, 0, 0], [0, 1, 1], [0, 3, 0]], np.float32))
    classifier = NaiveBayesRegression(strength=1.0)
    classifier.fit(counts, np.array([1, 1, 0, 0]))
    ((ratios, _),) = classifier._against_rest
    # Each word stands in 2, 0, 1 of the reviews of class 1 and in 0, 2, 1 of the others; one more
    # of each, so of six in all.
    np.testing.assert_allclose(ratios, np.log([3 / 1, 1 / 3, 2 / 2]), rtol=1e-6)


def test_how_often_a_word_stands_in_a_review_is_nothing_to_naive_bayes() -> None:
    counts, labels = separable(2)
    classifier = NaiveBayesRegression(strength=1.0)
    classifier.fit(counts, labels)
    np.testing.assert_array_equal(classifier.logits(counts), classifier.logits(3 * counts))
