"""Counts of a server in the text format that Prometheus reads.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


class Metrics:
    """Counts requests, texts and seconds. Its methods are called in one thread.

    Attributes:
        texts: how many texts were predicted.
    """

    def __init__(self) -> None:
        self.texts = 0
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds = 0.0
        self._buckets = [0] * (len(BUCKETS) + 1)  # the last one is of those above all others

    def count(self, path: str, status: int) -> None:
        """Count an answered request."""
        self._requests[path, status] += 1

    def time(self, seconds: float) -> None:
        """Count a request that got its predictions after so many seconds."""
        self._seconds += seconds
        self._buckets[bisect_left(BUCKETS, seconds)] += 1

    def text(self, waiting: int) -> str:
        """All counts.

        Args:
            waiting: how many texts have no answer yet.
        """
        return "\n".join([*self._lines(waiting), ""])

    def _lines(self, waiting: int) -> Iterator[str]:
        yield "# HELP sentiment_requests_total Answered requests."
        yield "# TYPE sentiment_requests_total counter"
        for (path, status), count in sorted(self._requests.items()):
            yield f'sentiment_requests_total{{path="{path}",status="{status}"}} {count}'
        yield "# HELP sentiment_texts_total Predicted texts."
        yield "# TYPE sentiment_texts_total counter"
        yield f"sentiment_texts_total {self.texts}"
        yield "# HELP sentiment_queue_texts Accepted texts without an answer."
        yield "# TYPE sentiment_queue_texts gauge"
        yield f"sentiment_queue_texts {waiting}"
        yield "# HELP sentiment_request_seconds Time from a request for predictions to its answer."
        yield "# TYPE sentiment_request_seconds histogram"
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._buckets, strict=True):
            total += count
            yield f'sentiment_request_seconds_bucket{{le="{bound}"}} {total}'
        yield f"sentiment_request_seconds_sum {self._seconds:.6f}"
        yield f"sentiment_request_seconds_count {total}"
