"""Find what gives a label away: another column, the order of the rows, or a word in the texts."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentiment.check.labels import Counted
from sentiment.check.reviews import Floats, Ints, Reviews
from sentiment.predict.ngram_classifier import presence
from sentiment.report.confidence import confidence_intervals

_MOST_ROWS = 5_000  # from which the order of the rows is judged
_FEWEST_ROWS = 50
_MOST_VALUES = 30  # of a column, each of which may be a feature
_PREDICTED = 0.8  # of what chance leaves, that a column predicts to be a giveaway
_FOLDS = 5
_LEAVES = 4  # of a tree, for each class
# An n-gram is a giveaway where at least this fraction of all reviews has it, and nearly all of
# these have one label: this fraction of them, by the lower end of a 99 % interval. Ordinary words
# have to be more frequent and purer than tags and ratings, such as #ad or 10/10. Of a tag that
# few reviews have, it is enough that this fraction of them has one label.
_FEWEST_REVIEWS, _ODDS = 20, 9.0
_OF_WORDS, _OF_TAGS = (0.01, 0.97), (0.003, 0.9)
_PURE, _LOWER_OF_PURE, _ODDS_OF_PURE = 0.98, 0.74, 2.5
_TAG = re.compile(r"[\d#@_/<>\[\]{}|=+~^\\:]")
_Z = 2.58


@dataclass(frozen=True)
class ColumnGiveaway:
    """A column that predicts the label nearly alone.

    Attributes:
        file: the index of its file.
        column: its name; "" for the order of the rows.
        accuracy: of a small decision tree on other rows, the mean over the classes.
        chance: the same without the column.
        examples: some of its values, and the label that most of their rows have.
    """

    file: int
    column: str
    accuracy: float
    chance: float
    examples: list[tuple[str, str]]


@dataclass(frozen=True)
class WordGiveaway:
    """A word, or several in a row, that nearly all its reviews have one label for.

    Attributes:
        words: the words.
        label: the class.
        reviews: number of reviews that have them.
        purity: fraction of those that have the label.
        examples: some of these reviews.
    """

    words: str
    label: int
    reviews: int
    purity: float
    examples: Ints


def column_giveaways(
    reviews: Reviews, cells: Sequence[Mapping[str, Sequence[str]]], sampled: Sequence[Ints]
) -> list[ColumnGiveaway]:
    """Find the columns that predict the labels nearly alone, and files in the order of labels.

    Args:
        reviews: the reviews.
        cells: for each file, cells of its other columns by name.
        sampled: for each file, the reviews whose cells these are.
    """
    found = []
    for at, file in enumerate(reviews.files):
        if file.trains:
            evenly = np.linspace(0, len(file.corpus) - 1, _MOST_ROWS).astype(np.int64)
            order = np.unique(evenly)
            rows = file.corpus.rows[order].astype(np.float64)
            scored = _predicted(rows[:, None], reviews.classes[order + reviews.firsts[at]])
            if scored is not None:
                found.append(ColumnGiveaway(at, "", *scored, []))
        for name, values in cells[at].items():
            classes = reviews.classes[sampled[at]]
            scored = _predicted(_features(values), classes)
            if scored is not None:
                examples = _examples(values, classes, reviews)
                found.append(ColumnGiveaway(at, name, *scored, examples))
    return found


def _predicted(
    features: Floats | npt.NDArray[np.float64], classes: Ints
) -> tuple[float, float] | None:
    """How well a small tree predicts the classes of held-out rows; None if not nearly alone."""
    from sklearn.metrics import recall_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    present, counts = np.unique(classes, return_counts=True)
    enough = np.isin(classes, present[counts >= _FOLDS])
    features, classes = features[enough], classes[enough]
    labels = len(np.unique(classes))
    if len(classes) < _FEWEST_ROWS or labels < 2 or not features.shape[1]:
        return None
    tree = DecisionTreeClassifier(
        max_leaf_nodes=_LEAVES * labels, min_samples_leaf=2, class_weight="balanced", random_state=0
    )
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(tree, features, classes, cv=folds)
    accuracy = float(recall_score(classes, predicted, average="macro"))
    chance = 1 / labels
    return (accuracy, chance) if accuracy - chance >= _PREDICTED * (1 - chance) else None


def _features(values: Sequence[str]) -> npt.NDArray[np.float64]:
    """Features of cells: as numbers, the numbers in them, lengths, and their frequent values.

    A frequent value counts whole and with its digits left out, so that ``pos_17`` is ``pos_``.
    """
    columns: list[Sequence[float]] = []
    numbers = [re.findall(r"-?\d+(?:\.\d+)?", value) for value in values]
    for end in (0, -1):
        columns.append([float(each[end]) if each else -1e9 for each in numbers])
    columns.append([float(len(value)) for value in values])
    columns.append([float(not value.strip()) for value in values])
    kinds = (
        [value.strip().casefold() for value in values],
        [re.sub(r"\d+", "", value).strip().casefold() for value in values],
    )
    for kind in kinds:
        for value, count in Counter(kind).most_common(_MOST_VALUES):
            if count < len(values):
                columns.append([float(each == value) for each in kind])
    return np.clip(np.array(columns, np.float64).T, -1e30, 1e30)


def _examples(values: Sequence[str], classes: Ints, reviews: Reviews) -> list[tuple[str, str]]:
    """Frequent values, with their digits left out if each occurs once, and their labels."""
    if Counter(values).most_common(1)[0][1] == 1:
        values = [re.sub(r"\d+", "…", value) for value in values]
    found = []
    for value, _ in Counter(values).most_common(3):
        own = [each for cell, each in zip(values, classes.tolist(), strict=True) if cell == value]
        found.append((value[:40], reviews.names[Counter(own).most_common(1)[0][0]]))
    return found


def word_giveaways(reviews: Reviews, counted: Counted) -> list[WordGiveaway]:
    """Find the n-grams that give a label away, the most frequent first."""
    classes = reviews.classes[counted.reviews]
    present, labels = presence(counted.counts), np.unique(classes)
    by_class = np.stack([np.asarray(present[classes == label].sum(0)).ravel() for label in labels])
    seen = by_class.sum(0)
    best = by_class.argmax(0)
    own = by_class.max(0)
    prior = (np.bincount(classes)[labels] / len(classes))[best]
    purity = own / np.maximum(seen, 1)
    lower, _ = confidence_intervals(purity, np.maximum(seen, 1), _Z)
    odds = (lower / np.maximum(1 - lower, 1e-9)) / (prior / np.maximum(1 - prior, 1e-9))
    fewest = max(_FEWEST_REVIEWS, _OF_TAGS[0] * len(classes))
    sure = (lower >= _OF_TAGS[1]) & (odds >= _ODDS)
    pure = (purity >= _PURE) & (lower >= _LOWER_OF_PURE) & (odds >= _ODDS_OF_PURE)
    hits = np.flatnonzero((seen >= fewest) & (sure | pure))
    hits = hits[np.argsort(-seen[hits], kind="stable")]
    found: list[WordGiveaway] = []
    words_of = _ngram_words(counted, reviews, hits)
    taken: set[str] = set()
    columns = counted.counts[:, hits].tocsc()
    for at, hit in enumerate(hits.tolist()):
        words = words_of[hit]
        frequent = sure[hit] and seen[hit] >= _OF_WORDS[0] * len(classes)
        if not (any(map(_TAG.search, words)) or (frequent and lower[hit] >= _OF_WORDS[1])):
            continue
        telling = {word for word in words if word.isalnum() or _TAG.search(word)}
        if telling & taken:  # as a longer n-gram with a word of one that was found
            continue
        taken |= telling
        rows = columns.indices[columns.indptr[at] : columns.indptr[at + 1]]
        rows = rows[classes[rows] == labels[best[hit]]][:3]
        found.append(
            WordGiveaway(
                " ".join(words), int(labels[best[hit]]), int(seen[hit]), float(purity[hit]),
                counted.reviews[rows],
            )
        )  # fmt: skip
    return found


def _ngram_words(counted: Counted, reviews: Reviews, features: Ints) -> dict[int, list[str]]:
    """The words of some n-grams."""
    keys = counted.ngrams.keys
    singles = len(keys[0])
    found = {}
    for feature in features.tolist():
        if feature < singles:
            ids = [int(keys[0][feature])]
        else:
            first, second = divmod(int(keys[1][feature - singles]), counted.ngrams.words)
            ids = [int(keys[0][first]), second]
        found[feature] = [reviews.words[each - 2] for each in ids]
    return found
