"""Fit linear classifiers of n-grams, the baselines that a network has to beat.

``tfidf``: logistic regression over sublinear TF-IDF of single words and pairs. ``naive_bayes``:
over the presence of 1 to 3 words, each weighted by its log-count ratio between classes (Wang &
Manning, 2012, "Baselines and Bigrams", equation 1).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from sentiment.data.ngrams import NgramCounts
from sentiment.predict.ngram_classifier import (
    LinearWeights,
    NgramClassifier,
    classifier_of,
    presence,
)
from sentiment.runtime.errors import InputError
from sentiment.runtime.progress_bar import progress_bar

if TYPE_CHECKING:
    from sentiment.data.dataset import TokenisedReviews

_Ints = npt.NDArray[np.int64]


def fit_tfidf(counts: sparse.csr_matrix, classes: _Ints, strength: float) -> LinearWeights:
    """Logistic regression over TF-IDF.

    Args:
        counts: (reviews, features).
        classes: (reviews,).
        strength: inverse of the L2 penalty.
    """
    frequencies = TfidfTransformer(sublinear_tf=True)
    regression = LogisticRegression(C=strength, max_iter=1000)
    regression.fit(frequencies.fit_transform(counts), classes)
    idf = np.asarray(frequencies.idf_, np.float32)
    return LinearWeights(*_weights(regression.coef_, regression.intercept_), idf)


def fit_naive_bayes(counts: sparse.csr_matrix, classes: _Ints, strength: float) -> LinearWeights:
    """Logistic regression over the presence of n-grams, weighted by naive Bayes; one-vs-rest.

    Arguments as for ``fit_tfidf``.
    """
    present = presence(counts)
    labels = range(int(classes.max()) + 1)
    weights, bias = [], []
    for label in [1] if len(labels) == 2 else labels:
        mine = classes == label
        ratios = log_count_ratios(present, mine)
        regression = LogisticRegression(
            C=strength, solver="liblinear", dual=True, max_iter=1000, random_state=0
        )
        values = present.data * ratios[present.indices]
        weighted = sparse.csr_matrix((values, present.indices, present.indptr), present.shape)
        regression.fit(weighted, mine)
        weights.append(ratios * regression.coef_[0])
        bias.append(regression.intercept_[0])
    return LinearWeights(*_weights(np.stack(weights), np.array(bias)), against_rest=True)


@dataclass(frozen=True)
class Kind:
    """How one weighting is fitted.

    Attributes:
        fit: fits the weights to counts, classes and strength.
        longest: words in its longest n-grams.
        strengths: inverse penalties to choose from.
    """

    fit: Callable[[sparse.csr_matrix, _Ints, float], LinearWeights]
    longest: int
    strengths: Sequence[float]


KINDS: Mapping[str, Kind] = {
    "tfidf": Kind(fit_tfidf, 2, (3.0, 10.0, 30.0)),
    "naive_bayes": Kind(fit_naive_bayes, 3, (0.03, 0.1, 0.3, 1.0)),
}


def fit_best(
    weighting: str, train: "TokenisedReviews", val: "TokenisedReviews", *, classes: int
) -> tuple[NgramClassifier, float]:
    """Fit one classifier for each strength, and choose by accuracy on validation reviews.

    Args:
        weighting: a key of ``KINDS``.
        train: the reviews to learn from.
        val: the reviews to choose by.
        classes: the number of classes.

    Returns:
        The best classifier and its strength.

    Raises:
        InputError: no word occurs twice.
    """
    kind = KINDS[weighting]
    fitted = []
    with progress_bar(f"Fitting the baseline {weighting}", len(kind.strengths), "fit") as bar:
        ngrams = NgramCounts(longest=kind.longest)
        counts, val_counts = ngrams.fit(*train.flat()), ngrams.count(*val.flat())
        if not ngrams.features:
            raise InputError(
                "data: no word occurs in two training reviews, so a baseline has nothing to count;"
                " is data.language right? Or add reviews"
            )
        for strength in kind.strengths:
            fitted.append(kind.fit(counts, train.classes, strength))
            bar.update()
    accuracies = [(each.logits(val_counts).argmax(1) == val.classes).mean() for each in fitted]
    best = int(np.argmax(accuracies))
    classifier = classifier_of(weighting, ngrams, fitted[best], classes=classes)
    return classifier, kind.strengths[best]


def baseline_results(
    train: "TokenisedReviews", val: "TokenisedReviews", test: "TokenisedReviews", *, classes: int
) -> dict[str, Any]:
    """Fit TF-IDF with logistic regression beside a network, to compare.

    Args:
        train: the reviews to learn from.
        val: the reviews to choose its strength by.
        test: the reviews to test it on.
        classes: the number of classes.

    Returns:
        Its accuracy and macro F1 on ``val`` and ``test``, and the seconds that fitting it took.
    """
    start = time.perf_counter()
    classifier, _ = fit_best("tfidf", train, val, classes=classes)
    seconds = time.perf_counter() - start
    results: dict[str, Any] = {"model": "tfidf", "seconds": seconds}
    for name, split in (("val", val), ("test", test)):
        predicted = classifier.logits(*split.flat()).argmax(1)
        results[f"{name}/accuracy"] = float((predicted == split.classes).mean())
        results[f"{name}/f1"] = float(f1_score(split.classes, predicted, average="macro"))
    return results


def _weights(coefficients: Any, bias: Any) -> tuple[Any, Any]:
    """(features, decisions) weights and bias in float32, as ``LinearWeights`` keeps them."""
    return np.ascontiguousarray(coefficients.T, np.float32), np.asarray(bias, np.float32)


def log_count_ratios(
    present: sparse.csr_matrix, mine: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Log-count ratio of each n-gram between the reviews of a class and others; (features,)."""
    inside = np.asarray(present[mine].sum(0)).ravel() + 1.0
    outside = np.asarray(present[~mine].sum(0)).ravel() + 1.0
    ratios = np.log((inside / inside.sum()) / (outside / outside.sum()))
    return np.asarray(ratios, np.float32)
