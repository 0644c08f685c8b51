"""One thread that predicts the texts of many callers together, and also runs single functions.

Knows nothing of HTTP, and of a predictor only that it takes a list of texts.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
Answers = list[dict[str, Any]]

_MOST_CALLS = 32  # that may wait; each may take as long as hundreds of texts
_CHARACTERS_PER_BATCH = 200_000  # so that a few long texts do not delay all others


class QueueFull(Exception):  # noqa: N818 (short for its kind)
    """The queue is full."""


class Closed(Exception):  # noqa: N818 (short for its kind)
    """The batcher accepts no more texts."""


@dataclass(eq=False)
class _Job:
    """The texts of one caller, and the answers so far."""

    texts: Sequence[str]
    accepted: float
    answers: Answers = field(default_factory=list)
    future: "Future[Answers]" = field(default_factory=Future)

    def take(self, most: int) -> Sequence[str]:
        """The next texts without an answer."""
        start = len(self.answers)
        return self.texts[start : start + most]


class Batcher:
    """Predicts in one thread, behind a bounded queue.

    A batch is what waits when the thread is free, in the order of arrival, and what then comes
    without a pause. A caller with many texts may be answered by several batches.

    Args:
        predict: returns an answer for each text of a list.
        max_queue: how many texts may wait.
        max_batch: how many texts are predicted together.
        pause: seconds without a further text that end the waiting for more of them.
        max_wait: seconds that a text at most waits for others.
    """

    def __init__(
        self,
        predict: Callable[[list[str]], Answers],
        *,
        max_queue: int = 2048,
        max_batch: int = 64,
        pause: float = 0.002,
        max_wait: float = 0.02,
    ) -> None:
        self._predict = predict
        self.max_queue, self._max_batch = max_queue, max_batch
        self._pause, self._max_wait = pause, max_wait
        self._jobs: deque[_Job] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many texts and calls have been accepted, and have no answer yet."""
        return self._waiting + len(self._calls)

    def submit(self, texts: Sequence[str]) -> "Future[Answers]":
        """Put texts into the queue, all or none.

        Returns:
            Their answers in the same order, or the exception that predicting them raised.

        Raises:
            QueueFull: there is no room for them.
            Closed: ``close`` was called.
        """
        job = _Job(texts, time.monotonic())
        with self._changed:
            if self._closed:
                raise Closed
            if self._waiting + len(texts) > self.max_queue:
                raise QueueFull
            if texts:
                self._waiting += len(texts)
                self._jobs.append(job)
                self._changed.notify()
            else:
                job.future.set_result([])
        return job.future

    def call(self, function: Callable[[], T]) -> "Future[T]":
        """Run a function in the thread; functions take turns with batches of texts.

        Raises:
            QueueFull: as many calls are waiting as may.
            Closed: ``close`` was called.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise Closed
            self._calls = deque(each for each in self._calls if not each[1].cancelled())
            if len(self._calls) == _MOST_CALLS:
                raise QueueFull
            self._calls.append((function, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Accept no more texts, answer those accepted, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._has_work():
            with self._changed:
                call = self._calls.popleft() if self._calls else None
            if call is not None:
                self._compute(*call)
            if self._jobs:
                self._predict_batch(self._next_batch())

    def _has_work(self) -> bool:
        """Wait for texts or calls; False once closed and empty."""
        with self._changed:
            while not (self._jobs or self._calls or self._closed):
                self._changed.wait()
            return bool(self._jobs or self._calls)

    def _compute(self, function: Callable[[], T], future: "Future[T]") -> None:
        if future.set_running_or_notify_cancel():  # else the caller has left
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

    def _predict_batch(self, batch: list[tuple[_Job, list[str]]]) -> None:
        try:
            answers = self._predict([text for _, texts in batch for text in texts])
        except Exception:
            # One caller's text may be the cause: it shall not fail the others.
            for job, texts in batch:
                self._answer_alone(job, texts)
            return
        start = 0
        for job, texts in batch:
            self._answer(job, answers[start : start + len(texts)])
            start += len(texts)

    def _next_batch(self) -> list[tuple[_Job, list[str]]]:
        """What waits, by caller, once no further text comes."""
        with self._changed:
            while (
                self._jobs
                and not self._calls
                and self._waiting < self._max_batch
                and not self._closed
            ):
                first, last = self._jobs[0].accepted, self._jobs[-1].accepted
                left = min(first + self._max_wait, last + self._pause) - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            batch: list[tuple[_Job, list[str]]] = []
            room, characters = self._max_batch, 0
            for job in list(self._jobs):
                if job.future.cancelled():
                    self._end(job)
                    continue
                texts: list[str] = []
                for text in job.take(room):
                    characters += len(text)
                    if characters > _CHARACTERS_PER_BATCH and (batch or texts):
                        break
                    texts.append(text)
                if not texts:
                    break
                batch.append((job, texts))
                room -= len(texts)
            return batch

    def _answer_alone(self, job: _Job, texts: list[str]) -> None:
        try:
            self._answer(job, self._predict(texts))
        except Exception as error:
            self._end(job, error)

    def _answer(self, job: _Job, answers: Answers) -> None:
        job.answers += answers
        with self._changed:
            self._waiting -= len(answers)
        if len(job.answers) == len(job.texts):
            self._end(job)

    def _end(self, job: _Job, error: Exception | None = None) -> None:
        with self._changed:
            self._jobs.remove(job)
            self._waiting -= len(job.texts) - len(job.answers)
        if not job.future.set_running_or_notify_cancel():
            return  # the caller has left
        if error is None:
            job.future.set_result(job.answers)
        else:
            job.future.set_exception(error)
