"""Report a training: its data and model, ``results.json``, plots, and the final table."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from math import isinf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.data.labels import as_number
from sentiment.data.pipeline import DataFacts
from sentiment.model.abstention import Answered, Goal, stored_answers, stored_thresholds
from sentiment.model.classifier import SentimentClassifier
from sentiment.model.metrics import Outcome, by_class, mean_absolute_error
from sentiment.report.confidence import confidence_interval, needed_reviews
from sentiment.report.metric_table import IMBALANCED
from sentiment.report.plots import confusion_matrix, learning_curves, reliability_diagram
from sentiment.report.result_table import class_tables, result_table
from sentiment.report.tables import (
    format_count,
    format_percent,
    is_number,
    new_table,
    print_table,
    write_json,
)
from sentiment.runtime.environment import program_command
from sentiment.runtime.errors import listed

log = logging.getLogger(__name__)

_FEW = 500  # training reviews, with which no setting makes a network useful


class Limit(NamedTuple):
    """A setting that leaves reviews of a split out.

    Attributes:
        setting: the setting, as a user types it.
        reviews: indices of the reviews that remain. Empty for the training split, whose sampler
            does not know them when resumed.
    """

    setting: str
    reviews: list[int]


def log_data(
    program: str, facts: DataFacts, vector_coverage: float, *, sample: bool, pretrained: bool
) -> None:
    """Log a summary of the data of a program, such as ``train``."""
    if sample:
        command = f"sentiment.{program}"
        log.info(
            "This is the bundled sample, for a first look: its metrics mean nothing for real"
            " reviews."
            "\n  Your own:  %s data=csv data.csv=FILE data.text_column=NAME data.label_column=NAME"
            "\n  IMDB:      %s && %s",
            program_command(command),
            program_command("sentiment.download", "imdb"),
            program_command(command, f"{'experiment' if program == 'train' else 'data'}=imdb"),
        )
    read = facts.train_reviews + facts.val_reviews + facts.test_reviews
    log.info(
        "%s rows read: %s training reviews (%s), %s validation and %s test reviews; dropped: %s for"
        " a repeated text, %s for a missing value%s%s",
        f"{read + facts.dropped_duplicates + facts.dropped_missing:,}",
        f"{facts.train_reviews:,}",
        listed([f"{label} {facts.class_counts[i]:,}" for i, label in enumerate(facts.labels)]),
        f"{facts.val_reviews:,}",
        f"{facts.test_reviews:,}",
        f"{facts.dropped_duplicates:,}",
        f"{facts.dropped_missing:,}",
        f"; {facts.unlabeled_reviews:,} unlabeled reviews" * bool(facts.unlabeled_reviews),
        f"; {facts.soft_reviews:,} reviews with a teacher's answer" * bool(facts.soft_reviews),
    )
    covered = f"; {format_percent(vector_coverage)} of the tokens have a pre-trained vector"
    log.info("%s words in the vocabulary%s", f"{len(facts.vocabulary):,}", covered * pretrained)


def log_model(classifier: SentimentClassifier) -> None:
    """Log the layers of the model and their numbers of parameters."""
    settings = classifier.settings
    directions = "both directions" if settings["bidirectional"] else "one direction"
    layers = f"{settings['num_layers']} x " if settings["num_layers"] != 1 else ""
    table = new_table(show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(justify="right")
    descriptions = {
        "embedding": f"{settings['vocabulary_size']:,} words x {settings['embedding_size']}",
        "encoder": f"{layers}{str(settings['cell']).upper()} of {settings['hidden_size']},"
        f" {directions}",
        "pooling": f"{settings['pooling']} over time",
        "head": f"{settings['num_classes']} classes"
        + (f", hidden layer of {settings['head_size']}" if settings["head_size"] else ""),
    }
    for name, description in descriptions.items():
        weights = list(classifier.get_submodule(name).parameters())
        table.add_row(name, description, f"{sum(weight.numel() for weight in weights):,}")
        if name == "embedding" and classifier.ngrams is not None:  # beside a token's vector
            words = "1 word" if settings["ngrams"] == 1 else f"1 to {settings['ngrams']} words"
            table.add_row("n-grams", f"{sum(settings['ngram_sizes']):,} known, of {words}", "0")
    total = sum(weight.numel() for weight in classifier.parameters())
    table.add_row("parameters", "", f"{total:,}")
    print_table(table)


def data_results(facts: DataFacts, limited: Mapping[str, Limit] | None = None) -> dict[str, Any]:
    """The keys of ``results.json`` about the data.

    Args:
        facts: the facts found in the data.
        limited: the splits that were not used in full. Validation and test splits among them are
            counted as used, and get a fingerprint of their own; as batches come in order of
            length, the shortest reviews were used.
    """
    limited = limited or {}
    counts = {split: getattr(facts, f"{split}_reviews") for split in ("train", "val", "test")}
    fingerprints = dict(facts.fingerprints)
    for split in limited.keys() - {"train"}:
        counts[split] = len(limited[split].reviews)
        fingerprints[split] += f":{counts[split]}"
    others = {name: getattr(facts, name) for name in ("unlabeled_reviews", "soft_reviews")}
    return {
        "labels": facts.labels,
        "vocabulary_size": len(facts.vocabulary),
        **{f"{split}_reviews": count for split, count in counts.items()},
        **limited_results(limited),
        **{name: count for name, count in others.items() if count},
        "dropped_duplicates": facts.dropped_duplicates,
        "dropped_missing": facts.dropped_missing,
        "fingerprints": fingerprints,
    }


def outcome_results(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """The keys of ``results.json`` about a test that are more than one metric of all reviews.

    Where there are more than two labels and all are numbers, such as stars, ``test/mae`` is the
    mean absolute error.
    """
    confusion, rows = outcome.confusion, by_class(outcome.confusion)
    reviews = int(confusion.sum())
    numbers = [float(number) for label in labels if (number := as_number(label)) is not None]
    values = [number for number in numbers if is_number(number)]
    ordered = len(labels) > 2 and len(values) == len(labels)
    accuracy = int(confusion.trace()) / reviews
    return {
        "test/accuracy": accuracy,  # exact, where torch has 32 bits
        "test/accuracy_interval": confidence_interval(accuracy, reviews),
        "test/largest_class": max(row["reviews"] for row in rows) / reviews,
        **({"test/mae": mean_absolute_error(confusion, values)} if ordered else {}),
        "test/by_class": [{"label": label, **row} for label, row in zip(labels, rows, strict=True)],
        "test/confusion": confusion.tolist(),
        "test/by_length": outcome.by_length,
        **_answered_results("test", outcome.answered),
    }


def _answered_results(split: str, answered: Answered | None) -> dict[str, Any]:
    """The coverage of a classifier that abstains, and its accuracy where it does not."""
    if answered is None:
        return {}
    accuracy = answered.accuracy
    return {
        f"abstain/{split}_coverage": answered.coverage,
        f"abstain/{split}_accuracy": accuracy,
        f"abstain/{split}_accuracy_interval": None
        if accuracy is None
        else confidence_interval(accuracy, answered.answered),
    }


def abstain_results(
    run: Mapping[str, float | None], labels: Sequence[str], val_reviews: int
) -> dict[str, Any]:
    """The keys of ``results.json`` about the thresholds of scores, below which there is no label.

    Args:
        run: the numbers of the run that a checkpoint keeps.
        labels: the labels.
        val_reviews: the number of validation reviews.
    """
    thresholds = stored_thresholds(run, len(labels))
    if thresholds is None:
        return {}
    coverage, accuracy = run["abstain/val_coverage"] or 0.0, run["abstain/val_accuracy"] or 0.0
    counts = coverage * val_reviews, coverage * accuracy * val_reviews
    answers = stored_answers(run, len(labels))
    return {
        "abstain/thresholds": named_thresholds(thresholds, labels),
        **({"abstain/val_answered": dict(zip(labels, answers, strict=True))} if answers else {}),
        **_answered_results("val", Answered(val_reviews, *map(round, counts))),
    }


def named_thresholds(
    thresholds: npt.NDArray[np.float64], labels: Sequence[str]
) -> dict[str, float | None]:
    """The threshold of each label; None of one that is never given."""
    finite = [None if isinf(each) else each for each in thresholds.tolist()]
    return dict(zip(labels, finite, strict=True))


def answered_scores(thresholds: Mapping[str, float | None], shown: Callable[[float], str]) -> str:
    """Say which scores get a label.

    Args:
        thresholds: of each label, as ``named_thresholds`` returns them.
        shown: formats a score.
    """
    found = {label: value for label, value in thresholds.items() if value is not None}
    never = f" for {listed([*found])}" if len(found) < len(thresholds) else ""
    if not any(found.values()):
        return f"Every score{never} gets a label"
    if len({*thresholds.values()}) == 1:
        return f"Scores below {shown(max(found.values()))} get no label"
    each = listed([f"{shown(value)} for {label}" for label, value in found.items()])
    return f"Scores below {each} get no label"


def log_abstention(results: Mapping[str, Any], goal: Goal) -> None:
    """Log which scores get no label.

    Args:
        results: the keys of ``abstain_results``, and ``val_reviews``.
        goal: what the thresholds were chosen for.
    """
    thresholds: dict[str, float | None] = results.get("abstain/thresholds", {})
    never = [label for label, threshold in thresholds.items() if threshold is None]
    if never or (goal.accuracy is not None and not thresholds):
        log.warning(
            "abstain.accuracy=%g: no score reaches it on the validation reviews%s; lower it, or"
            " give abstain.coverage",
            goal.accuracy,
            f" for {listed(never)}, which is never answered"
            if never
            else ": no threshold is kept, and every review gets a label",
        )
    if not thresholds:
        return
    if goal.accuracy is not None and goal.accuracy < 1:
        _warn_about_few(results, goal.accuracy, per_class=goal.per_class)
    low, high = results["abstain/val_accuracy_interval"]
    log.info(
        "%s: %s of the validation reviews get one, of which %s are right"
        " (95 %% interval %.1f - %.1f %%)",
        answered_scores(thresholds, "{:.3f}".format),
        format_percent(results["abstain/val_coverage"]),
        format_percent(results["abstain/val_accuracy"]),
        100 * low,
        100 * high,
    )


def _warn_about_few(results: Mapping[str, Any], accuracy: float, *, per_class: bool) -> None:
    """Warn if too few validation reviews get a label, or one of the labels, to show an accuracy."""
    needed = needed_reviews(accuracy)
    answered = results.get("abstain/val_answered", {})
    thresholds = results["abstain/thresholds"]
    if per_class:
        few = [
            f"{label} {count:,}"
            for label, count in answered.items()
            if count < needed and thresholds[label] is not None
        ]
    else:
        total = sum(answered.values())
        few = [f"{total:,}"] if answered and total < needed else []
    if few:
        log.warning(
            "abstain.accuracy=%g: too few validation reviews get %s to show it (%s): at least %d"
            " are needed%s, all of them right; give more (data.val_size or data.val_csv)",
            accuracy,
            "the labels" if per_class else "a label",
            listed(few),
            needed,
            " for each label" if per_class else "",
        )


def metric_warnings(
    results: Mapping[str, Any], *, training: bool, balanced: bool = False, unsplit: str = ""
) -> list[str]:
    """Warnings about the test metrics of a classifier; empty if there are none.

    Args:
        results: the metrics, as in ``results.json``.
        training: whether to add which settings of a training may help.
        balanced: whether the training has ``loss.balanced``.
        unsplit: see ``DataFacts``; it replaces all other advice.
    """
    found = []
    rows, accuracy = results["test/by_class"], results["test/accuracy"]
    largest = results["test/largest_class"]
    metric, name = ("f1", "a macro F1 of ") if largest > IMBALANCED else ("accuracy", "")
    own, baseline = results.get(f"test/{metric}", 1.0), results.get("baseline", {})
    # Differences that the table does not show are those of rounding.
    ahead = round(baseline.get(f"test/{metric}", -1.0) - own, 4)
    advice = ""
    training = training and not unsplit
    if training and largest > IMBALANCED and not balanced:
        advice = "; loss.balanced=true weighs rare labels up"
    elif training and ahead < 0 and largest <= IMBALANCED:
        advice = "; more epochs (trainer.max_epochs) or another optimizer.lr may help"
    if never := [row for row in rows if row["reviews"] and not row["predicted"]]:
        names = listed([f"{row['label']} ({row['reviews']:,})" for row in never])
        found.append(f"No test review was classified as {names}{advice}.")
    if round(accuracy - largest, 4) <= 0 and largest < 1:
        most = max(rows, key=lambda row: row["reviews"])
        found.append(
            f"The test accuracy of {format_percent(accuracy)} is no better than that of always"
            f" answering {most['label']}, {format_percent(largest)}"
            f"{'' if never or largest > IMBALANCED else advice}."
        )
    if (ahead > 0 or (ahead == 0 and metric == "accuracy")) and own < 1:
        found.append(
            f"TF-IDF with logistic regression is {'better' if ahead else 'as good'}: {name}"
            f"{format_percent(baseline[f'test/{metric}'])} on the test reviews, after"
            f" {baseline['seconds']:.1f} s; sentiment.baseline saves such a classifier."
            f"{'' if unsplit else _small_data(results['train_reviews'])}"
        )
    if found and unsplit:
        found.append(f"{unsplit}.")
    return found


def _small_data(reviews: int) -> str:
    """What helps a network with so many training reviews, as measured in docs/small_data.md."""
    helps = (
        "a network gains by model.ngrams=3 and pre-trained vectors, by more reviews, and by texts"
        " without labels with sentiment.distill"
    )
    if reviews < _FEW:
        helps = "a network can only guess: label more, or try sentiment.distill on many texts"
    return f" With {format_count(reviews)} training reviews {helps} (docs/small_data.md)."


def limited_results(limited: Mapping[str, Limit]) -> dict[str, Any]:
    """The key ``limited`` of ``results.json``: for each limited split, its setting."""
    settings = {split: limit.setting for split, limit in limited.items()}
    return {"limited": settings} if settings else {}


def best_metrics(
    rows: Sequence[Mapping[str, float]], best_epochs: int | None
) -> dict[str, float | None]:
    """The metrics of the best epoch, and its number.

    Args:
        rows: the metrics of each epoch.
        best_epochs: how many epochs the best checkpoint had; None takes the last epoch.
    """
    epochs = len(rows) if best_epochs is None else best_epochs
    best = next((row for row in rows if row["epoch"] + 1 == epochs), {})
    metrics = {name: value for name, value in best.items() if name.startswith(("train/", "val/"))}
    return {**metrics, "best_epoch": best.get("epoch")}


def write_results(
    folder: Path,
    results: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    outcome: Outcome | None,
    best: Path | None,
    example: str,
    *,
    balanced: bool = False,
    unsplit: str = "",
) -> None:
    """Write results and plots; print the final tables and the command that predicts.

    Args:
        folder: the run folder.
        results: the content of ``results.json``.
        rows: the metrics of each epoch.
        outcome: the outcome of the test, if there was one.
        best: the checkpoint to predict with, if there is one.
        example: a text for it.
        balanced: whether the training has ``loss.balanced``.
        unsplit: see ``DataFacts``.
    """
    write_json(folder / "results.json", results)
    learning_curves(rows, folder / "learning_curves.png", best_epoch=results.get("best_epoch"))
    if outcome is not None:
        plot_outcome(folder, results, outcome)
    print_table(result_table(results))
    if outcome is not None:
        for table in class_tables(results["test/by_class"], results["test/confusion"]):
            sys.stdout.write("\n")
            print_table(table)
        sys.stdout.write("\n")
        for warning in metric_warnings(results, training=True, balanced=balanced, unsplit=unsplit):
            log.info(warning)
    if limited := results.get("limited"):
        settings = ", ".join(dict.fromkeys(limited.values()))
        log.info("Reviews were left out (%s): the metrics do not compare with others.", settings)
    if best is None:
        log.info("Everything is in %s. No checkpoint was kept.", folder)
        return
    command = program_command("sentiment.predict", str(best), example)
    log.info("Everything is in %s. Predict with:\n  %s", folder, command)


def plot_outcome(folder: Path, results: Mapping[str, Any], outcome: Outcome) -> None:
    """Plot the outcome of a test into a run folder: confusion matrix and reliability diagram.

    Args:
        folder: the run folder.
        results: the content of its ``results.json``.
        outcome: the outcome of the test.
    """
    confusion_matrix(outcome.confusion.numpy(), results["labels"], folder / "confusion_matrix.png")
    bins = outcome.reliability
    reliability_diagram(
        bins.reviews.numpy(),
        bins.scores.numpy(),
        bins.accuracies.numpy(),
        folder / "reliability.png",
        temperature=results["temperature"],
        classes=len(results["labels"]),
    )
