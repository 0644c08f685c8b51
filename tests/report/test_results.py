import logging
from types import SimpleNamespace
from typing import Any

import pytest

from sentiment.model.classifier import SentimentClassifier
from sentiment.report.results import best_metrics, log_data, log_model


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
        train_reviews=8, val_reviews=1, test_reviews=1, labels=["a", "b"], dropped_duplicates=3,
        dropped_missing=2, unlabeled_reviews=0, vocabulary=["a"],
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        log_data(facts, 0.96084, sample=False, pretrained=True)
    assert "15 rows read: 8 training" in caplog.text
    assert "; 96.08 % of the tokens have a pre-trained vector" in caplog.text
