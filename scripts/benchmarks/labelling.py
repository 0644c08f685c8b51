"""Which texts to label next: do uncertain ones teach a classifier more than random ones?

    OMP_NUM_THREADS=1 python scripts/benchmarks/labelling.py train.csv test.csv

hides the labels of the training file, and shows those of 250 reviews and then of 250 more a round:
random ones, or those of which the baseline fitted so far is least certain. Prints the accuracy on
the test file for each number of labels, and how many random labels reach the last accuracy.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize

from sentiment.baseline.linear import KINDS
from sentiment.data.corpus import Corpus, open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.ngrams import NgramCounts
from sentiment.data.splits import Split, whole_file, without, without_repeats
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.data.vocabulary import build_vocabulary, vocabulary_ids
from sentiment.runtime.cache import cache_directory

AT_ONCE, CANDIDATES, LENGTH_GROUPS = 250, 4, 10

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]


class Pool:
    """Reviews whose labels can be asked for, and test reviews.

    Args:
        train: the training file.
        test: the test file.
        text_column: the column with the texts in both.
        label_column: the column with the labels; there are two.
        longest: words of the longest n-grams.
    """

    def __init__(
        self, train: Path, test: Path, text_column: str, label_column: str, longest: int
    ) -> None:
        csv_format = CsvFormat(text_column=text_column, label_column=label_column)
        files = [
            open_corpus(path, csv_format, TokenizerSettings(), cache=cache_directory(None))
            for path in (train, test)
        ]
        labels = sorted(files[0].label_names)
        tested = whole_file(files[1], labels)
        pool, _ = without_repeats(whole_file(files[0], labels))
        pool, _ = without(pool, tested)
        vocabulary = build_vocabulary(pool)
        ngrams = NgramCounts(longest=longest)

        def flat(split: Split) -> tuple[Ints, Ints]:
            corpus: Corpus = split.corpus
            ids = np.concatenate(
                [corpus.token_ids[corpus.offsets[i] : corpus.offsets[i + 1]] for i in split.reviews]
            )
            return vocabulary_ids(corpus.words, vocabulary)[ids], split.lengths

        self.counts = ngrams.fit(*flat(pool))
        self.test_counts = ngrams.count(*flat(tested))
        self.classes, self.test_classes, self.lengths = pool.classes, tested.classes, pool.lengths
        self.words = len(ngrams.keys[0])
        self._vectors: Floats | None = None

    @property
    def vectors(self) -> Floats:
        """TF-IDF of the words of each review, in 100 dimensions, of length 1."""
        if self._vectors is None:
            tfidf = TfidfTransformer(sublinear_tf=True).fit_transform(self.counts[:, : self.words])
            self._vectors = normalize(TruncatedSVD(100, random_state=0).fit_transform(tfidf))
        return self._vectors


class Learner:
    """A baseline fitted to the labelled reviews, nine tenths of them, as the project does it."""

    def __init__(self, weighting: str, pool: Pool, rows: Ints) -> None:
        counts = pool.counts[rows]
        features = np.flatnonzero(np.asarray(counts.sum(0)).ravel() >= 2)
        counts, val = counts[:, features], np.arange(len(rows)) % 10 == 0
        classes = pool.classes[rows]
        fitted = [
            KINDS[weighting].fit(counts[~val], classes[~val], strength)
            for strength in KINDS[weighting].strengths
        ]
        right = [(each.logits(counts[val]).argmax(1) == classes[val]).mean() for each in fitted]
        best = fitted[int(np.argmax(right))]
        # Weights for all n-grams of the pool, 0 for those that the learner does not know.
        weights = np.zeros((pool.counts.shape[1], best.weights.shape[1]), np.float32)
        weights[features] = best.weights
        idf = None
        if best.idf is not None:
            idf = np.full(len(weights), 1e-9, np.float32)  # of 0, a review could have no norm
            idf[features] = best.idf
        self.linear = replace(best, weights=weights, idf=idf)

    def margins(self, pool: Pool) -> Floats:
        """How far the logit of each review of the pool is from the decision, (reviews,)."""
        logits = self.linear.logits(pool.counts)
        margins: Floats = np.abs(logits[:, 1] - logits[:, 0])
        return margins

    def accuracy(self, pool: Pool) -> float:
        """The accuracy on the test reviews."""
        logits = self.linear.logits(pool.test_counts)
        return float((logits.argmax(1) == pool.test_classes).mean())


def least_certain(pool: Pool, left: Ints, margins: Floats) -> Ints:
    """The reviews with the smallest margins."""
    return left[np.argsort(margins, kind="stable")[:AT_ONCE]]


def by_root_of_length(pool: Pool, left: Ints, margins: Floats) -> Ints:
    """The smallest margins divided by the root of the length: those of long reviews are larger."""
    return least_certain(pool, left, margins / np.sqrt(pool.lengths[left]))


def by_length(pool: Pool, left: Ints, margins: Floats) -> Ints:
    """The smallest margins divided by the length."""
    return least_certain(pool, left, margins / pool.lengths[left])


def of_each_length(pool: Pool, left: Ints, margins: Floats) -> Ints:
    """The smallest margins among the reviews of each tenth by length."""
    ranks = np.empty(len(left))
    for group in np.array_split(np.argsort(pool.lengths[left], kind="stable"), LENGTH_GROUPS):
        ranks[group[np.argsort(margins[group], kind="stable")]] = np.arange(len(group))
    return least_certain(pool, left, ranks)


def of_each_cluster(pool: Pool, left: Ints, margins: Floats) -> Ints:
    """The smallest of each cluster, of four times as many reviews as ``by_root_of_length``."""
    order = np.argsort(margins / np.sqrt(pool.lengths[left]), kind="stable")
    likely = left[order[: CANDIDATES * AT_ONCE]]
    means = MiniBatchKMeans(AT_ONCE, random_state=0, n_init=1, batch_size=1024)
    _, first = np.unique(means.fit_predict(pool.vectors[likely]), return_index=True)
    others = np.setdiff1d(np.arange(len(likely)), first)
    chosen: Ints = likely[np.concatenate([first, others])[:AT_ONCE]]
    return chosen


CHOICES: dict[str, Callable[[Pool, Ints, Floats], Ints] | None] = {
    "random": None,
    "margin": least_certain,
    "margin / root of length": by_root_of_length,
    "margin / length": by_length,
    "margin in each length": of_each_length,
    "clusters": of_each_cluster,
}


def curve(weighting: str, pool: Pool, choice: str, labels: int, seed: int) -> list[float]:
    """The test accuracy for each number of labels."""
    drawn = np.random.default_rng(seed)
    rows = drawn.permutation(len(pool.classes))[:AT_ONCE]
    accuracies: list[float] = []
    while True:
        learner = Learner(weighting, pool, drawn.permutation(rows))
        accuracies.append(learner.accuracy(pool))
        if len(rows) >= labels:
            return accuracies
        left = np.setdiff1d(np.arange(len(pool.classes)), rows)
        choose = CHOICES[choice]
        if choose is None:
            new = drawn.choice(left, AT_ONCE, replace=False)
        else:
            new = choose(pool, left, learner.margins(pool)[left])
        rows = np.concatenate([rows, new])


def main() -> None:
    """Print a line for each choice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--text-column", default="review")
    parser.add_argument("--label-column", default="sentiment")
    parser.add_argument("--learner", choices=KINDS, default="naive_bayes")
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--labels", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    pool = Pool(
        given.train, given.test, given.text_column, given.label_column,
        KINDS[given.learner].longest,
    )  # fmt: skip
    counts = AT_ONCE * np.arange(1, 1 + -(-given.labels // AT_ONCE))
    sys.stdout.write(f"{'labels':24}{''.join(f'{count:7,}' for count in counts)}\n")
    of_random: Floats | None = None
    for choice in given.choices:
        curves = [
            curve(given.learner, pool, choice, given.labels, seed) for seed in range(given.seeds)
        ]
        mean = np.mean(curves, 0)
        of_random = mean if choice == "random" else of_random
        line = f"{choice:24}{''.join(f'{100 * accuracy:7.2f}' for accuracy in mean)}"
        if of_random is not None:
            rising = np.maximum.accumulate(of_random)
            line += f"  {np.interp(mean[-1], rising, counts):6,.0f} random ones"
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
