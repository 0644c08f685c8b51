"""The model of a baseline: a fitted linear classifier on n-gram counts.

Depends on numpy and scipy; ``sentiment.baseline.linear`` fits it.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sentiment.batch import UNK_INDEX
from sentiment.data.ngrams import NgramCounts

_Ints = npt.NDArray[np.int64]

_Floats = npt.NDArray[np.float32]

WEIGHTINGS = ("tfidf", "naive_bayes")

_SIZES = ("words", "vocabulary_size", "num_classes", "unknown_index")

_MOST_WORDS = 1 << 31  # so that the index of an n-gram times this fits an int64


@dataclass(frozen=True)
class LinearWeights:
    """The weights that turn counts of n-grams into logits.

    Attributes:
        weights: (features, decisions) float32. There is one decision for each class; with two
            classes, only that for the second.
        bias: (decisions,) float32.
        idf: (features,) float32, the inverse document frequencies of TF-IDF; with None the inputs
            are 1 where a review has an n-gram, else 0.
        against_rest: whether the decisions of three or more classes were fitted one class against
            the rest.
    """

    weights: _Floats
    bias: _Floats
    idf: _Floats | None = None
    against_rest: bool = False

    def logits(self, counts: sparse.csr_matrix) -> _Floats:
        """The (reviews, classes) logits of (reviews, features) counts."""
        decisions = np.asarray(self._inputs(counts) @ self.weights + self.bias, np.float32)
        if decisions.shape[1] == 1:
            return np.concatenate([np.zeros_like(decisions), decisions], 1)
        # Log-sigmoids: their softmax is the probability of each class, divided by their sum.
        return -np.logaddexp(0, -decisions) if self.against_rest else decisions

    def contributions(self, features: _Ints, counts: _Ints, label: int) -> _Floats:
        """How much each n-gram of a review adds to the decision for a class, (n-grams,).

        With decisions of all classes together, their mean is subtracted.

        Args:
            features: (n-grams,) the distinct ones of the review, sorted.
            counts: (n-grams,) how often each occurs.
            label: index of the class.
        """
        shape = (1, len(self.weights))
        row = sparse.csr_matrix((counts.astype(np.float32), features, [0, len(features)]), shape)
        weights = self.weights[features]
        if weights.shape[1] == 1:
            toward = weights[:, 0] if label == 1 else -weights[:, 0]
        else:
            toward = weights[:, label] - (0 if self.against_rest else weights.mean(1))
        return np.asarray(self._inputs(row).data * toward, np.float32)

    def _inputs(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        return presence(counts) if self.idf is None else _tfidf(counts, self.idf)


@dataclass(frozen=True)
class NgramClassifier:
    """A baseline that can be saved and can predict.

    Attributes:
        weighting: one of ``WEIGHTINGS``.
        ngrams: the n-grams that are counted.
        linear: the weights of the counts.
        settings: what a checkpoint holds beside the arrays: weighting, sizes (named as those of a
            network) and temperature.
        padded, device, threads: as in ``Network``.
    """

    padded: ClassVar[Literal[False]] = False
    device: ClassVar[str] = "cpu"
    threads: ClassVar[int] = 1
    weighting: str
    ngrams: NgramCounts
    linear: LinearWeights
    settings: dict[str, Any]

    def logits(self, token_ids: _Ints, lengths: _Ints) -> _Floats:
        """The logits of reviews, (reviews, classes), divided by the temperature.

        The logits of a review do not depend on the other reviews.

        Args:
            token_ids: (tokens,), all reviews one after the other.
            lengths: (reviews,), the number of tokens of each.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # the caller checks logits
            return self.linear.logits(self.ngrams.count(token_ids, lengths)) / self.temperature

    def attributions(self, token_ids: _Ints, label: int) -> _Floats:
        """How much each token of a review adds to the decision for a class, (tokens,).

        The contribution of an n-gram is divided equally among its occurrences and their tokens.

        Args:
            token_ids: (tokens,) of the review.
            label: index of the class.
        """
        weights = np.zeros(len(token_ids), np.float32)
        found = list(self.ngrams.occurrences(token_ids))
        features, own, counts = np.unique(
            np.concatenate([each for each, _ in found]), return_inverse=True, return_counts=True
        )
        each = self.linear.contributions(features, counts, label) / counts / self.temperature
        first = 0
        for length, (_, starts) in enumerate(found, start=1):
            share = each[own[first : first + len(starts)]] / length
            for offset in range(length):
                np.add.at(weights, starts + offset, share)
            first += len(starts)
        return weights

    @property
    def temperature(self) -> float:
        """The divisor of the logits; see ``sentiment.model.calibration``."""
        return float(self.settings.get("temperature", 1.0))

    def with_temperature(self, temperature: float) -> "NgramClassifier":
        """A copy with another temperature."""
        return replace(self, settings={**self.settings, "temperature": temperature})

    @property
    def unknown_index(self) -> int:
        """The token id of unknown words."""
        return int(self.settings["unknown_index"])

    @property
    def num_parameters(self) -> int:
        """The number of learned weights."""
        return int(self.linear.weights.size + self.linear.bias.size)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays from which ``from_arrays`` rebuilds the classifier."""
        arrays: dict[str, npt.NDArray[Any]] = {
            f"keys.{length}": keys for length, keys in enumerate(self.ngrams.keys, start=1)
        }
        arrays |= {"weights": self.linear.weights, "bias": self.linear.bias}
        return arrays if self.linear.idf is None else arrays | {"idf": self.linear.idf}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, npt.NDArray[Any]], settings: dict[str, Any]
    ) -> "NgramClassifier":
        """Rebuild a classifier from its saved ``arrays()`` and ``settings``.

        Raises:
            ValueError, LookupError: arrays and settings do not fit together.
        """
        weighting = settings["weighting"]
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting {weighting!r} is none of {', '.join(WEIGHTINGS)}")
        for name in _SIZES:
            if type(settings[name]) is not int or not 0 <= settings[name] <= _MOST_WORDS:
                raise ValueError(f"{name} is {settings[name]!r}, not a whole number from 0 on")
        if settings["vocabulary_size"] > settings["words"]:
            raise ValueError(f"words is {settings['words']}, below vocabulary_size")
        lengths = range(1, 1 + sum(name.startswith("keys.") for name in arrays))
        keys = [arrays[f"keys.{length}"] for length in lengths]
        features = sum(map(len, keys))
        classes = settings["num_classes"]
        decisions = 1 if classes == 2 else classes
        shapes = {"weights": (features, decisions), "bias": (decisions,)}
        if weighting == "tfidf":
            shapes["idf"] = (features,)
        for name, shape in shapes.items():
            if arrays[name].shape != shape or arrays[name].dtype != np.float32:
                raise ValueError(f"{name} is not of shape {shape} and float32")
        for each in keys:
            if each.ndim != 1 or each.dtype != np.int64 or (np.diff(each, prepend=-1) <= 0).any():
                raise ValueError("n-grams are not sorted")
        return cls(
            weighting=weighting,
            ngrams=NgramCounts.of_keys(keys, words=settings["words"]),
            linear=LinearWeights(
                weights=arrays["weights"],
                bias=arrays["bias"],
                idf=arrays["idf"] if weighting == "tfidf" else None,
                against_rest=weighting == "naive_bayes",
            ),
            settings=settings,
        )


def classifier_of(
    weighting: str, ngrams: NgramCounts, linear: LinearWeights, *, classes: int
) -> NgramClassifier:
    """Build a classifier from its fitted parts.

    Its ``vocabulary_size`` includes the last counted word: the rarer words after it are not needed.
    """
    settings = {
        "weighting": weighting,
        "words": ngrams.words,
        "vocabulary_size": int(ngrams.keys[0].max(initial=UNK_INDEX)) + 1,
        "num_classes": classes,
        "unknown_index": UNK_INDEX,
    }
    return NgramClassifier(weighting, ngrams, linear, settings)


def presence(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Replace all counts by 1."""
    return _with_values(counts, np.ones_like(counts.data))


def _tfidf(counts: sparse.csr_matrix, idf: _Floats) -> sparse.csr_matrix:
    """Sublinear term frequency times inverse document frequency; each row has L2 norm 1."""
    values = (1 + np.log(counts.data)) * idf[counts.indices]
    reviews = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    squares = np.bincount(reviews, values.astype(np.float64) ** 2, minlength=counts.shape[0])
    values /= np.sqrt(squares)[reviews]
    return _with_values(counts, values)


def _with_values(counts: sparse.csr_matrix, values: _Floats) -> sparse.csr_matrix:
    return sparse.csr_matrix((values, counts.indices, counts.indptr), counts.shape)
