"""Find labels that are likely wrong, by probabilities of a classifier that has not seen them.

Northcutt, Jiang & Chuang (2021), "Confident Learning: Estimating Uncertainty in Dataset Labels".
"""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sentiment.baseline.linear import fit_naive_bayes
from sentiment.batch import NO_CLASS
from sentiment.check.duplicates import Repeats
from sentiment.check.reviews import Floats, Ints, Reviews
from sentiment.data.labels import equal_labels
from sentiment.data.ngrams import FOLDS, NgramCounts, stratified_folds
from sentiment.data.tokenizer import EncodedTexts
from sentiment.predict.logits import softmax
from sentiment.predict.member import Member
from sentiment.runtime.errors import InputError, listed, needing
from sentiment.runtime.progress_bar import progress_bar

log = logging.getLogger(__name__)

Bools = npt.NDArray[np.bool_]
_LONGEST, _STRENGTH = 2, 0.03  # of the baseline: as precise as 3 words, in half the time
_SAMPLE = 8_000_000  # tokens that it learns from, which bounds its memory
_OF_EACH_CLASS = 50  # reviews that the sample has at least, if there are as many


@dataclass(frozen=True)
class Counted:
    """A sample of the labelled reviews and their n-grams.

    Attributes:
        reviews: (n,) the sample.
        ngrams: the counter, which knows the n-grams.
        counts: (n, n-grams) how often each occurs.
    """

    reviews: Ints
    ngrams: NgramCounts
    counts: sparse.csr_matrix


@dataclass(frozen=True)
class LabelErrors:
    """Labels that are likely wrong, the likeliest first.

    Attributes:
        checked: number of reviews whose labels were checked.
        unseen: number of those that the classifier was not trained on.
        accuracy: fraction of the labels of those that it predicts; NaN without any.
        reviews: (n,) the reviews.
        likely: (n,) the class that each likely has.
        scores: (n,) probability of the given label, by a classifier that has not seen it.
    """

    checked: int
    unseen: int
    accuracy: float
    reviews: Ints
    likely: Ints
    scores: Floats


def classes_to_check(reviews: Reviews, repeats: Repeats) -> Ints:
    """The classes that have a text for each fold at least."""
    pairs = np.unique(np.column_stack([reviews.compared, repeats.group]), axis=0)
    classes, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.asarray(classes[(counts >= FOLDS) & (classes != NO_CLASS)], np.int64)


def count_ngrams(reviews: Reviews, chosen: Ints, seed: int) -> Counted:
    """Count the n-grams of a sample of some labelled reviews."""
    shuffled = np.random.default_rng(seed).permutation(chosen)
    kept = np.cumsum(reviews.lengths[shuffled]) <= _SAMPLE
    for label in np.unique(reviews.classes[chosen]):
        kept[np.flatnonzero(reviews.classes[shuffled] == label)[:_OF_EACH_CLASS]] = True
    sample = np.sort(shuffled[kept])
    ngrams = NgramCounts(longest=_LONGEST, words=len(reviews.words) + 2)
    return Counted(sample, ngrams, ngrams.fit(*reviews.tokens(sample)))


def held_out_probabilities(
    reviews: Reviews, repeats: Repeats, chosen: Ints, counted: Counted, seed: int
) -> Floats:
    """Probabilities of reviews by naive Bayes baselines that were fitted without them.

    Texts that repeat one another are in the same fold.

    Args:
        reviews: all reviews.
        repeats: which repeat one another.
        chosen: (n,) the labelled reviews to predict, in order.
        counted: the n-grams of a sample of them.
        seed: of the folds.

    Returns:
        (n, classes), with a column for each class that is among them, in order.
    """
    _, first, group = np.unique(repeats.group[chosen], return_index=True, return_inverse=True)
    folds = stratified_folds(reviews.classes[chosen][first], seed)[group]
    present, dense = np.unique(reviews.classes[chosen], return_inverse=True)
    in_sample = np.isin(chosen, counted.reviews, assume_unique=True)
    sample_folds, sample_classes = folds[in_sample], dense[in_sample]
    probabilities = np.empty((len(chosen), len(present)), np.float32)
    outside = np.flatnonzero(~in_sample)

    with progress_bar("Checking labels", FOLDS, "fit") as bar:
        for fold in range(FOLDS):  # not in threads, which would share the random state of liblinear
            own = sample_folds == fold
            weights = fit_naive_bayes(counted.counts[~own], sample_classes[~own], _STRENGTH)
            at = np.flatnonzero(in_sample)[own]
            probabilities[at] = softmax(weights.logits(counted.counts[own]))
            rest = outside[folds[outside] == fold]
            done = 0
            for some in reviews.batches(chosen[rest]):
                counts = counted.ngrams.count(*reviews.tokens(some))
                probabilities[rest[done : done + len(some)]] = softmax(weights.logits(counts))
                done += len(some)
            bar.update()
    return probabilities


def probabilities_of(member: Member, reviews: Reviews, chosen: Ints) -> Floats:
    """Probabilities of labelled reviews by a trained classifier; as ``held_out_probabilities``.

    The reviews were tokenised as the classifier needs it.
    """
    present = np.unique(reviews.classes[chosen])
    columns = [_class_of(member, reviews.labels[each]) for each in present]
    found = []
    for some in reviews.batches(chosen):
        ids, lengths = reviews.tokens(some)
        words, token_ids = np.unique(ids, return_inverse=True)
        none = np.empty((0, 2), np.uint64)
        names = [reviews.words[word - 2] for word in words.tolist()]
        encoded = EncodedTexts(names, token_ids.astype(np.int32), lengths, none, none)
        found.append(softmax(member.logits(encoded)[:, columns]))
    return np.concatenate(found)


def _class_of(member: Member, label: str) -> int:
    """The class of a checkpoint that a label of the files is."""
    for names in (member.data.raw_labels, member.labels):
        if label in names:
            return names.index(label)
        if len(equal := equal_labels(label, names)) == 1:
            return names.index(equal[0])
    raise InputError(
        f"check.checkpoint={member.path}: knows no label {label!r}, but {listed(member.labels)};"
        " give a checkpoint with the labels of these files, or null"
    )


def seen_in_training(member: Member, reviews: Reviews, chosen: Ints) -> Bools:
    """Which reviews a trained classifier was trained on, (n,), as far as it says; logs how many."""
    known = member.data.train_digests
    if known is None:
        log.warning(
            "%s: does not say what it was trained on; it finds few wrong labels of reviews of its"
            " training",
            member.path,
        )
        return np.zeros(len(chosen), bool)
    digests = np.concatenate([file.corpus.folded[:, 0] for file in reviews.files])
    seen = np.isin(digests[chosen].view(np.int64), known)
    if seen.any():
        log.warning(
            "%s: %s of these reviews were in its training, and it may have learned their wrong"
            " labels by heart; check.checkpoint=null fits classifiers without them",
            member.path, f"{seen.sum():,}",
        )  # fmt: skip
    return seen


def find_label_errors(
    reviews: Reviews, chosen: Ints, probabilities: Floats, seen: Bools
) -> LabelErrors:
    """Find the labels that are likely wrong by confident learning.

    Args:
        reviews: all reviews.
        chosen: (n,) the reviews whose labels are checked.
        probabilities: (n, classes) of the classes among them; see ``held_out_probabilities``.
        seen: (n,) which of them the classifier was trained on.
    """
    with needing("check", "check: finding label errors"):
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    present, dense = np.unique(reviews.classes[chosen], return_inverse=True)
    issues = find_label_issues(dense, probabilities, filter_by="confident_learning", n_jobs=1)
    scores = get_label_quality_scores(dense, probabilities, method="self_confidence")
    wrong = np.flatnonzero(issues)
    wrong = wrong[np.argsort(scores[wrong], kind="stable")]
    likely = present[probabilities[wrong].argmax(1)]
    right = (probabilities.argmax(1) == dense)[~seen]
    accuracy = float(right.mean()) if len(right) else float("nan")
    return LabelErrors(
        len(chosen), len(right), accuracy, chosen[wrong], likely, scores[wrong].astype(np.float32)
    )
