"""Report a training: its data and model, ``results.json``, plots, and the final table."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sentiment.data.pipeline import DataFacts
from sentiment.model.classifier import SentimentClassifier
from sentiment.model.metrics import Outcome
from sentiment.report.plots import confusion_matrix, learning_curves, reliability_diagram
from sentiment.report.tables import format_percent, new_table, print_table, result_table, write_json
from sentiment.runtime.environment import python_command

log = logging.getLogger(__name__)


class Limit(NamedTuple):
    """A setting that leaves reviews of a split out.

    Attributes:
        setting: the setting, as a user types it.
        reviews: indices of the reviews that remain. Empty for the training split, whose sampler
            does not know them when resumed.
    """

    setting: str
    reviews: list[int]


def log_data(facts: DataFacts, vector_coverage: float, *, sample: bool, pretrained: bool) -> None:
    """Log a summary of the data."""
    if sample:
        log.info(
            "This is the bundled sample, for a first look: its metrics mean nothing for real"
            " reviews."
            "\n  Your own:  %s -m sentiment.train data=csv data.csv=FILE"
            " data.text_column=NAME data.label_column=NAME"
            "\n  IMDB:      %s scripts/download_imdb.py && %s -m sentiment.train experiment=imdb",
            *3 * [python_command()],
        )
    read = facts.train_reviews + facts.val_reviews + facts.test_reviews
    log.info(
        "%s rows read: %s training, %s validation and %s test reviews of %s; dropped: %s for a"
        " repeated text, %s for a missing value%s",
        f"{read + facts.dropped_duplicates + facts.dropped_missing:,}",
        f"{facts.train_reviews:,}",
        f"{facts.val_reviews:,}",
        f"{facts.test_reviews:,}",
        ", ".join(facts.labels[:20]),
        f"{facts.dropped_duplicates:,}",
        f"{facts.dropped_missing:,}",
        f"; {facts.unlabeled_reviews:,} unlabeled reviews" * bool(facts.unlabeled_reviews),
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
    unlabeled = {"unlabeled_reviews": facts.unlabeled_reviews} if facts.unlabeled_reviews else {}
    return {
        "labels": facts.labels,
        "vocabulary_size": len(facts.vocabulary),
        **{f"{split}_reviews": count for split, count in counts.items()},
        **limited_results(limited),
        **unlabeled,
        "dropped_duplicates": facts.dropped_duplicates,
        "dropped_missing": facts.dropped_missing,
        "fingerprints": fingerprints,
    }


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
) -> None:
    """Write results and plots; print the final table and the command that predicts."""
    write_json(folder / "results.json", results)
    learning_curves(rows, folder / "learning_curves.png", best_epoch=results.get("best_epoch"))
    if outcome is not None:
        plot_outcome(folder, results, outcome)
    print_table(result_table(results))
    if limited := results.get("limited"):
        settings = ", ".join(dict.fromkeys(limited.values()))
        log.info("Reviews were left out (%s): the metrics do not compare with others.", settings)
    if best is None:
        log.info("Everything is in %s. No checkpoint was kept.", folder)
        return
    command = shlex.join([python_command(), "-m", "sentiment.predict", str(best)])
    log.info("Everything is in %s. Predict with:", folder)
    log.info('  %s "This movie was fantastic! I really enjoyed it."', command)


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
    )
