"""How long a user waits for the label of one review."""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from sentiment.model.classifier import SentimentClassifier


def median_latency(
    classifier: SentimentClassifier, reviews: Sequence[tuple[Tensor, Tensor]]
) -> float:
    """Seconds in which a review that comes alone is classified, the median of several.

    Args:
        classifier: runs where its weights are, in their precision.
        reviews: token ids, (1, time) int64, and length, (1,) int64, of each.
    """
    device = classifier.embedding.weight.device
    training = classifier.training
    classifier.eval()
    seconds = []
    with torch.inference_mode():
        for token_ids, lengths in (reviews[0], *reviews):  # the first call prepares what it needs
            start = time.perf_counter()
            classifier(token_ids.to(device), lengths).argmax(1).tolist()
            seconds.append(time.perf_counter() - start)
    classifier.train(training)
    return statistics.median(seconds[1:])
