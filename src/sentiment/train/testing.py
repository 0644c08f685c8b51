"""Measure a trained classifier: on test reviews, beside a baseline, and its speed."""

import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor

from sentiment.data.datamodule import Origins, SentimentDataModule
from sentiment.model.classifier import SentimentClassifier
from sentiment.report.results import outcome_results
from sentiment.runtime.errors import InputError
from sentiment.train.fit import translate_lightning_errors
from sentiment.train.module import SentimentModule

_REVIEWS_TO_TIME = 30
_QUICK_BASELINE = 3_000_000  # tokens times classes


def test(
    trainer: Trainer, module: SentimentModule, datamodule: SentimentDataModule
) -> dict[str, Any]:
    """The metrics of the module on the test split.

    Raises:
        InputError: a metric is not finite, or Lightning refuses a setting.
    """
    with translate_lightning_errors():
        trainer.test(module, datamodule, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    tested = {name: value for name, value in metrics.items() if name.startswith("test/")}
    if module.outcome is None:
        return tested
    return tested | outcome_results(module.outcome, datamodule.facts.labels)


def tested_origins(datamodule: SentimentDataModule, reviews: int) -> Origins:
    """Where the first reviews of a test are from, in its order."""
    batches = datamodule.test_dataloader().sampler
    positions = [position for batch in batches for position in batch]
    return datamodule.origins("test", positions[:reviews])


def quick_baseline(datamodule: SentimentDataModule) -> dict[str, Any]:
    """The key ``baseline`` of ``results.json``: TF-IDF as ``sentiment.baseline`` fits it.

    Empty where that would take more than a few seconds.
    """
    classes = len(datamodule.facts.labels)
    size = classes * int(datamodule.training_texts()[0].lengths.sum())
    if size > _QUICK_BASELINE or 0 in datamodule.facts.class_counts:
        return {}
    from sentiment.baseline.linear import baseline_results  # slow to import, and not for all data

    with suppress(InputError):  # no word is frequent enough
        return {"baseline": baseline_results(*datamodule.reviews_in_own_words(), classes=classes)}
    return {}


def latency_ms(classifier: SentimentClassifier, datamodule: SentimentDataModule) -> float:
    """Median time to classify a single validation review, in milliseconds."""
    reviews = datamodule.single_reviews("val", _REVIEWS_TO_TIME)
    batches = [(review.token_ids, review.lengths) for review in reviews]
    return 1000 * median_latency(classifier, batches)


def median_latency(
    classifier: SentimentClassifier, reviews: Sequence[tuple[Tensor, Tensor]]
) -> float:
    """Median time to classify a single review, in seconds.

    Args:
        classifier: the classifier, which runs on its device in its precision.
        reviews: (1, time) int64 token ids and (1,) int64 length of each.
    """
    device = classifier.embedding.weight.device
    training = classifier.training
    classifier.eval()
    seconds = []
    with torch.inference_mode():
        for token_ids, lengths in (reviews[0], *reviews):  # the first call is a warm-up
            start = time.perf_counter()
            classifier(token_ids.to(device), lengths).argmax(1).tolist()
            seconds.append(time.perf_counter() - start)
    classifier.train(training)
    return statistics.median(seconds[1:])
