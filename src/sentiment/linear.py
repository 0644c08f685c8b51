"""Linear classifiers of n-grams: what a network has to beat.

``tfidf``: logistic regression over sublinear TF-IDF of single words and pairs. ``naive_bayes``:
over the presence of 1 to 3 words, each weighted by its log-count ratio between classes (Wang &
Manning, 2012, "Baselines and Bigrams", equation 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from sentiment.data.ngrams import NgramCounts

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


class LinearClassifier(Protocol):
    """A classifier of n-gram counts."""

    def fit(self, counts: sparse.csr_matrix, classes: _Ints) -> None:
        """Learn from counts, (reviews, features), and classes, (reviews,)."""

    def logits(self, counts: sparse.csr_matrix) -> _Floats:
        """Logits, (reviews, classes)."""


class TfidfRegression:
    """Logistic regression over TF-IDF.

    Args:
        strength: inverse of the L2 penalty.
    """

    longest = 2
    strengths: Sequence[float] = (3.0, 10.0, 30.0)

    def __init__(self, *, strength: float) -> None:
        self._weights = TfidfTransformer(sublinear_tf=True)
        self._regression = LogisticRegression(C=strength, max_iter=1000)

    def fit(self, counts: sparse.csr_matrix, classes: _Ints) -> None:
        """Learn from counts, (reviews, features), and classes, (reviews,)."""
        self._regression.fit(self._weights.fit_transform(counts), classes)

    def logits(self, counts: sparse.csr_matrix) -> _Floats:
        """Logits, (reviews, classes)."""
        decisions = self._regression.decision_function(self._weights.transform(counts))
        return decisions if decisions.ndim == 2 else np.stack([0 * decisions, decisions], 1)


class NaiveBayesRegression:
    """Logistic regression over n-grams that are there, weighted by naive Bayes; one class each.

    Args:
        strength: inverse of the L2 penalty.
    """

    longest = 3
    strengths: Sequence[float] = (0.03, 0.1, 0.3, 1.0)

    def __init__(self, *, strength: float) -> None:
        self._strength = strength
        self._against_rest: list[tuple[npt.NDArray[np.float32], LogisticRegression]] = []

    def fit(self, counts: sparse.csr_matrix, classes: _Ints) -> None:
        """Learn from counts, (reviews, features), and classes, (reviews,)."""
        present = _presence(counts)
        labels = range(int(classes.max()) + 1)
        self._against_rest = []
        for label in [1] if len(labels) == 2 else labels:
            mine = classes == label
            ratios = _log_count_ratios(present, mine)
            regression = LogisticRegression(
                C=self._strength, solver="liblinear", dual=True, max_iter=1000, random_state=0
            )
            regression.fit(present.multiply(ratios).tocsr(), mine)
            self._against_rest.append((ratios, regression))

    def logits(self, counts: sparse.csr_matrix) -> _Floats:
        """Logits, (reviews, classes)."""
        present = _presence(counts)
        decisions = [
            regression.decision_function(present.multiply(ratios).tocsr())
            for ratios, regression in self._against_rest
        ]
        if len(decisions) == 1:
            return np.stack([0 * decisions[0], decisions[0]], 1)
        # Their softmax is each class's own probability, over the sum of all.
        probabilities: _Floats = -np.logaddexp(0, -np.stack(decisions, 1))
        return probabilities


CLASSIFIERS: Mapping[str, type[TfidfRegression] | type[NaiveBayesRegression]] = {
    "tfidf": TfidfRegression,
    "naive_bayes": NaiveBayesRegression,
}


@dataclass(frozen=True)
class Chosen:
    """The classifier that is best on validation reviews.

    Attributes:
        classifier: fitted on training reviews.
        strength: its inverse penalty.
        ngrams: what it counts.
    """

    classifier: LinearClassifier
    strength: float
    ngrams: NgramCounts


def fit_best(weighting: str, train: Any, val: Any) -> Chosen:
    """Fit one classifier for each strength, and choose by accuracy on validation reviews.

    Args:
        weighting: of ``CLASSIFIERS``.
        train: ``TokenisedReviews`` to learn from.
        val: those to choose by.
    """
    kind = CLASSIFIERS[weighting]
    ngrams = NgramCounts(longest=kind.longest)
    counts, val_counts = ngrams.fit(*train.flat()), ngrams.count(*val.flat())
    accuracies: list[float] = []
    fitted: list[Chosen] = []
    for strength in kind.strengths:
        classifier = kind(strength=strength)
        classifier.fit(counts, train.classes)
        accuracies.append((classifier.logits(val_counts).argmax(1) == val.classes).mean())
        fitted.append(Chosen(classifier, strength, ngrams))
    return fitted[int(np.argmax(accuracies))]


def _presence(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    present = counts.copy()
    present.data[:] = 1
    return present


def _log_count_ratios(
    present: sparse.csr_matrix, mine: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """How much more often each n-gram stands in reviews of a class than in others; (features,)."""
    inside = np.asarray(present[mine].sum(0)).ravel() + 1.0
    outside = np.asarray(present[~mine].sum(0)).ravel() + 1.0
    ratios = np.log((inside / inside.sum()) / (outside / outside.sum()))
    return np.asarray(ratios, np.float32)
