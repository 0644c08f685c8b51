import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sentiment.model.abstention import Goal
from sentiment.model.classifier import SentimentClassifier
from sentiment.model.metrics import Outcome, summarise_predictions
from sentiment.report.results import (
    best_metrics,
    log_abstention,
    log_data,
    log_model,
    metric_warnings,
    outcome_results,
)


def rows_of(*metrics: tuple[float, float]) -> list[dict[str, float]]:
    """Epochs with the accuracies and losses given."""
    return [
        {"epoch": epoch, "train/loss": 10.0 + epoch, "val/accuracy": accuracy, "val/loss": loss}
        for epoch, (accuracy, loss) in enumerate(metrics)
    ]


@pytest.mark.parametrize(("epochs", "best"), [(2, 1), (3, 2), (None, 3)])
def test_the_metrics_are_those_of_the_tested_epoch(epochs: int | None, best: int) -> None:
    rows = rows_of((0.6, 0.9), (0.8, 0.7), (0.7, 0.5), (0.7, 0.6))
    results = best_metrics(rows, epochs)
    assert results["best_epoch"] == best
    for name in ("train/loss", "val/accuracy", "val/loss"):
        assert results[name] == rows[best][name]


def test_without_an_epoch_there_is_no_best() -> None:
    assert best_metrics([], None) == {"best_epoch": None}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([20, 1_500, 0], "1,520 known, of 1 to 3 words"), ([20], "20 known, of 1 word")],
)
def test_the_log_of_the_model_has_its_ngrams(sizes: list[int], expected: str, capsys: Any) -> None:
    settings: dict[str, Any] = {"embedding_size": 4, "cell": "gru", "hidden_size": 3}
    settings |= {"vocabulary_size": 30, "num_classes": 2}
    log_model(SentimentClassifier(**settings))
    assert "n-grams" not in capsys.readouterr().out
    log_model(SentimentClassifier(**settings, ngrams=len(sizes), ngram_sizes=sizes))
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["embedding", "n-grams", "encoder", "pooling", "head", "parameters"]
    assert expected in lines[1]


def test_coverage_is_logged_as_in_the_table(
    caplog: pytest.LogCaptureFixture,
) -> None:
    facts: Any = SimpleNamespace(
        train_reviews=8, val_reviews=1, test_reviews=1, labels=["a", "b"], class_counts=[5, 3],
        dropped_duplicates=3, dropped_missing=2, unlabeled_reviews=0, soft_reviews=0,
        vocabulary=["a"],
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        log_data("train", facts, 0.96084, sample=False, pretrained=True)
    assert "15 rows read" in caplog.text
    assert "8 training reviews (a 5, b 3)" in caplog.text
    assert "; 96.08 % of the tokens have a pre-trained vector" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        log_data("vectors", facts, 0.0, sample=True, pretrained=False)
    assert "sentiment.vectors data=imdb" in caplog.text
    assert "sentiment.train" not in caplog.text


def results_of(true: list[int], predicted: list[int], labels: list[str]) -> dict[str, Any]:
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), len(labels)).float()
    outcome = Outcome.of(logits, torch.tensor(true), torch.ones(len(true), dtype=torch.int64))
    right = sum(a == b for a, b in zip(true, predicted, strict=True))
    own = {"test/accuracy": right / len(true), "train_reviews": 700}
    own |= summarise_predictions(logits, torch.tensor(true), "test/")
    return own | outcome_results(outcome, labels)


def test_stars_have_a_mean_absolute_error_and_names_have_none() -> None:
    stars = ["1", "2", "3.5"]
    assert results_of([0, 1, 2, 2], [0, 1, 0, 1], stars)["test/mae"] == (2.5 + 1.5) / 4
    assert "test/mae" not in results_of([0, 1, 2], [0, 1, 0], ["1", "2", "many"])
    assert "test/mae" not in results_of([0, 1], [0, 1], ["0", "1"])


def test_each_class_has_its_own_metrics() -> None:
    results = results_of([0, 0, 0, 1], [0, 0, 1, 1], ["no", "yes"])
    no, yes = results["test/by_class"]
    assert (no["label"], no["precision"], no["recall"], no["reviews"]) == ("no", 1.0, 2 / 3, 3)
    assert (yes["label"], yes["precision"], yes["recall"], yes["reviews"]) == ("yes", 0.5, 1.0, 1)
    assert results["test/confusion"] == [[2, 1], [0, 1]]
    assert results["test/largest_class"] == 0.75


def test_a_class_that_is_never_predicted_is_reported() -> None:
    results = results_of([0] * 99 + [1], [0] * 100, ["good", "bad"])
    never, no_better = metric_warnings(results, training=True)
    assert "bad (1)" in never
    assert "loss.balanced=true" in never
    assert "always answering good, 99.00 %" in no_better
    assert "loss" not in " ".join(metric_warnings(results, training=False))
    never, _ = metric_warnings(results_of([0, 1], [0, 0], ["good", "bad"]), training=True)
    assert "trainer.max_epochs" in never
    assert "balanced" not in never


def test_texts_that_are_not_split_replace_other_advice() -> None:
    results = results_of([0, 1], [0, 0], ["good", "bad"])
    results["baseline"] = {"test/accuracy": 0.95, "test/f1": 0.49, "seconds": 1.0}
    finding = "zh.csv: Chinese texts are not split: set data.language=zh"
    *warnings, last = metric_warnings(results, training=True, unsplit=finding)
    assert finding in last
    assert len(warnings) == 3
    assert not re.search(r"trainer\.|model\.|optimizer\.", " ".join(warnings))
    perfect = results_of([0, 1], [0, 1], ["good", "bad"])
    assert metric_warnings(perfect, training=True, unsplit=finding) == []


def test_where_one_label_dominates_macro_f1_is_compared() -> None:
    results = results_of([0] * 9 + [1], [0] * 8 + [1, 1], ["good", "bad"])
    results["baseline"] = {"test/accuracy": 0.95, "test/f1": 0.49, "seconds": 1.0}
    assert not any("TF-IDF" in each for each in metric_warnings(results, training=True))


def test_a_better_baseline_is_reported() -> None:
    results = results_of([0, 1, 0, 1], [0, 1, 0, 0], ["good", "bad"])
    better, worse = ({"baseline": {"test/accuracy": each, "seconds": 1.0}} for each in (0.8, 0.7))
    assert metric_warnings(results, training=True) == []
    assert metric_warnings(results | worse, training=True) == []
    (warning,) = metric_warnings(results | better, training=True)
    assert "80.00 %" in warning
    page = re.search(r"docs/\w+\.md", warning)
    assert page is not None
    assert (Path(__file__).parents[2] / page[0]).is_file()


def abstaining(*thresholds: float | None, answered: tuple[int, int] = (4, 4)) -> dict[str, Any]:
    """What a training on ten validation reviews that abstains reports, all answers right."""
    return {
        "abstain/thresholds": dict(zip(["bad", "good"], thresholds, strict=True)),
        "abstain/val_answered": dict(zip(["bad", "good"], answered, strict=True)),
        "abstain/val_coverage": sum(answered) / 10, "abstain/val_accuracy": 1.0,
        "abstain/val_accuracy_interval": (0.7, 1.0), "val_reviews": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("thresholds", "beginning"),
    [
        ((0.7, 0.6), "Scores below 0.700 for bad, 0.600 for good get no label"),
        ((0.8, 0.8), "Scores below 0.800 get no label"),
        ((0.8, 0.0), "Scores below 0.800 for bad, 0.000 for good get no label"),
        ((0.8, None), "Scores below 0.800 for bad get no label"),
        ((0.0, None), "Every score for bad gets a label"),
        ((0.0, 0.0), "Every score gets a label"),
    ],
)
def test_each_threshold_is_named_with_its_label(
    thresholds: tuple[float | None, ...], beginning: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        log_abstention(abstaining(*thresholds), Goal(accuracy=0.5))
    *warnings, line = caplog.messages
    assert line.startswith(f"{beginning}: 80.00 % of the validation reviews")
    assert len(warnings) == thresholds.count(None)
    assert all("good, which is never answered" in warning for warning in warnings)


def test_few_reviews_cannot_show_a_high_accuracy(caplog: pytest.LogCaptureFixture) -> None:
    def warned(accuracy: float, answered: tuple[int, int], *, per_class: bool = False) -> str:
        caplog.clear()
        log_abstention(abstaining(0.8, 0.8, answered=answered), Goal(None, accuracy, per_class))
        return caplog.text

    few = warned(0.97, (3, 5))
    assert "(8)" in few
    assert "at least 125" in few  # whose interval begins at 97 %
    assert "data.val_csv" in few
    assert not warned(0.6, (2, 6))
    few = warned(0.6, (8, 2), per_class=True)  # enough in all, and equal thresholds
    assert "(good 2)" in few
    assert "at least 6 are needed for each label" in few
    assert "bad" not in few
    assert not warned(0.6, (6, 6), per_class=True)
