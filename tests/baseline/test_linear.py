import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from sentiment.baseline.linear import KINDS, fit_naive_bayes, fit_tfidf, log_count_ratios


def separable(classes: int, reviews: int = 60) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Each class has a word of its own, and two words occur in all classes."""
    labels = np.arange(reviews) % classes
    counts = np.zeros((reviews, classes + 2), np.float32)
    counts[np.arange(reviews), labels] = 1 + np.arange(reviews) % 3
    counts[:, classes:] = 1
    return sparse.csr_matrix(counts), labels


def noise(classes: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Counts that hardly depend on the class; one review has none."""
    drawn = np.random.default_rng(1)
    counts = drawn.poisson(0.5, (90, 12)).astype(np.float32)
    counts[5] = 0
    return sparse.csr_matrix(counts), np.arange(90) % classes


@pytest.mark.parametrize("weighting", KINDS)
@pytest.mark.parametrize("classes", [2, 3])
def test_words_of_a_class_predict_it(weighting: str, classes: int) -> None:
    counts, labels = separable(classes)
    fitted = KINDS[weighting].fit(counts, labels, 10.0)
    logits = fitted.logits(counts)
    assert logits.shape == (60, classes)
    np.testing.assert_array_equal(logits.argmax(1), labels)
    none = fitted.logits(sparse.csr_matrix((1, classes + 2), dtype=np.float32))
    assert np.ptp(none) < np.ptp(logits[0])  # nothing said, little known


@pytest.mark.parametrize("classes", [2, 3])
def test_tfidf_gives_the_probabilities_of_scikit_learn(classes: int) -> None:
    counts, labels = noise(classes)
    frequencies = TfidfTransformer(sublinear_tf=True)
    inputs = frequencies.fit_transform(counts)
    expected = LogisticRegression(C=3.0, max_iter=1000).fit(inputs, labels).predict_proba(inputs)
    logits = fit_tfidf(counts, labels, 3.0).logits(counts).astype(np.float64)
    found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_naive_bayes_weights_are_log_count_ratios() -> None:
    counts = sparse.csr_matrix(np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0]], np.float32))
    # Each word stands in 2, 0, 1 of the reviews of class 1 and in 0, 2, 1 of the others; one more
    # of each, so of six in all.
    ratios = log_count_ratios(counts, np.array([True, True, False, False]))
    np.testing.assert_allclose(ratios, np.log([3 / 1, 1 / 3, 2 / 2]), rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_naive_bayes_is_a_regression_for_each_class(classes: int) -> None:
    counts, labels = noise(classes)
    present = sparse.csr_matrix((counts > 0).astype(np.float32))
    logits = fit_naive_bayes(counts, labels, 0.3).logits(counts)
    for label in [1] if classes == 2 else range(classes):
        mine = labels == label
        inputs = present.multiply(log_count_ratios(present, mine)).tocsr()
        regression = LogisticRegression(
            C=0.3, solver="liblinear", dual=True, max_iter=1000, random_state=0
        ).fit(inputs, mine)
        own = regression.decision_function(inputs)
        expected = own if classes == 2 else -np.logaddexp(0, -own)
        np.testing.assert_allclose(logits[:, label], expected, atol=1e-5)


def test_how_often_a_word_stands_in_a_review_is_nothing_to_naive_bayes() -> None:
    counts, labels = separable(2)
    fitted = fit_naive_bayes(counts, labels, 1.0)
    np.testing.assert_array_equal(fitted.logits(counts), fitted.logits(3 * counts))
