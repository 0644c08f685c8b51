from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import write_reviews
from sentiment.data.datamodule import SentimentDataModule
from sentiment.model.classifier import SentimentClassifier
from sentiment.train.testing import median_latency, quick_baseline


def test_it_is_the_median_of_reviews_that_come_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = SentimentClassifier(
        vocabulary_size=5, embedding_size=3, hidden_size=2, num_classes=2, head_dropout=0.5
    )
    classifier.train()
    clock = {"now": 0.0}
    pauses = iter([9.0, 3.0, 2.0, 4.0])  # the first call is not counted
    seen: list[tuple[int, bool]] = []

    def forward(token_ids: Tensor, lengths: Tensor) -> Tensor:
        seen.append((token_ids.shape[1], classifier.training))
        clock["now"] += next(pauses)
        return torch.zeros(1, 2)

    monkeypatch.setattr(classifier, "forward", forward)
    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])
    reviews = [(torch.ones(1, size, dtype=torch.int64), torch.tensor([size])) for size in (3, 4, 5)]
    assert median_latency(classifier, reviews) == 3.0
    assert seen == [(3, False), (3, False), (4, False), (5, False)]
    assert classifier.training


def data_of(folder: Path, **settings: Any) -> SentimentDataModule:
    datamodule = SentimentDataModule(csv=str(write_reviews(folder / "reviews.csv")), **settings)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_a_baseline_is_fitted_to_the_training_reviews_and_tested_on_the_others(
    tmp_path: Path,
) -> None:
    baseline = quick_baseline(data_of(tmp_path))["baseline"]
    assert baseline["val/accuracy"] == baseline["test/accuracy"] == 1.0
    assert baseline["seconds"] > 0


def test_a_pretrained_vocabulary_does_not_change_the_baseline(tmp_path: Path) -> None:
    own = quick_baseline(data_of(tmp_path))["baseline"]
    words = ["<pad>", "<unk>", "film"]
    other = quick_baseline(data_of(tmp_path, vocabulary=words))["baseline"]
    assert own | {"seconds": 0} == other | {"seconds": 0}
    assert quick_baseline(data_of(tmp_path, vocabulary=words, min_freq=10_000)) == {}


def test_no_baseline_holds_a_training_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentiment.train.testing._QUICK_BASELINE", 100)
    assert quick_baseline(data_of(tmp_path)) == {}
