import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest

from sentiment.serve.batcher import Answers, Batcher, Closed, QueueFull


class Recorder:
    """A predictor that answers with its texts, notes its batches, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.entered, self.may_go = threading.Event(), threading.Event()
        self.may_go.set()

    def __call__(self, texts: list[str]) -> Answers:
        self.batches.append(texts)
        self.entered.set()
        assert self.may_go.wait(10)
        if "bad" in texts:
            raise ValueError("a bad text")
        return [{"text": text} for text in texts]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def started(recorder: Recorder) -> Iterator[Callable[..., Batcher]]:
    batchers: list[Batcher] = []

    def start(**options: Any) -> Batcher:
        batchers.append(Batcher(recorder, **options))
        return batchers[-1]

    yield start
    recorder.may_go.set()
    for batcher in batchers:
        batcher.close()


def held_up(recorder: Recorder, batcher: Batcher) -> "Future[Answers]":
    """A text whose prediction lasts until ``recorder.may_go`` is set."""
    recorder.may_go.clear()
    first = batcher.submit(["first"])
    assert recorder.entered.wait(10)
    return first


def texts_of(future: "Future[Answers]") -> list[str]:
    return [answer["text"] for answer in future.result(10)]


def test_what_waits_is_predicted_together_in_order(
    recorder: Recorder, started: Callable[..., Batcher]
) -> None:
    batcher = started(max_batch=4)
    first = held_up(recorder, batcher)
    others = [batcher.submit(texts) for texts in (["a", "b"], ["c"], ["d", "e", "f"], [], ["g"])]
    recorder.may_go.set()
    assert [texts_of(each) for each in others] == [["a", "b"], ["c"], ["d", "e", "f"], [], ["g"]]
    assert texts_of(first) == ["first"]
    assert recorder.batches == [["first"], ["a", "b", "c", "d"], ["e", "f", "g"]]
    assert batcher.waiting == 0


def test_a_text_waits_for_others_only_briefly(
    recorder: Recorder, started: Callable[..., Batcher]
) -> None:
    batcher = started(max_batch=3, pause=0.3, max_wait=5)
    start = time.monotonic()
    assert texts_of(batcher.submit(["alone"])) == ["alone"]
    assert time.monotonic() - start >= 0.3
    pair, third = batcher.submit(["a", "b"]), batcher.submit(["c"])
    start = time.monotonic()
    wait([pair, third], 10)
    assert time.monotonic() - start < 0.3  # the batch was full
    assert recorder.batches == [["alone"], ["a", "b", "c"]]


def test_texts_that_keep_coming_do_not_hold_up_the_first(
    recorder: Recorder, started: Callable[..., Batcher]
) -> None:
    batcher = started(pause=5, max_wait=0.2)
    first = batcher.submit(["first"])
    time.sleep(0.1)
    second = batcher.submit(["second"])
    start = time.monotonic()
    wait([first, second], 10)
    assert time.monotonic() - start < 2
    assert recorder.batches == [["first", "second"]]


def test_long_texts_do_not_share_a_batch(
    recorder: Recorder, started: Callable[..., Batcher]
) -> None:
    batcher = started(pause=0.1)
    long = ["a" * 150_000, "b" * 150_000, "c" * 300_000]
    assert texts_of(batcher.submit(long)) == long
    assert recorder.batches == [[text] for text in long]


def test_a_full_queue_takes_all_texts_of_a_caller_or_none(
    recorder: Recorder, started: Callable[..., Batcher]
) -> None:
    batcher = started(max_queue=3)
    first = held_up(recorder, batcher)
    with pytest.raises(QueueFull):
        batcher.submit(["a", "b", "c"])
    second = batcher.submit(["a", "b"])
    assert batcher.waiting == 3
    with pytest.raises(QueueFull):
        batcher.submit(["d"])
    recorder.may_go.set()
    assert (texts_of(first), texts_of(second)) == (["first"], ["a", "b"])
    assert texts_of(batcher.submit(["a", "b", "c"])) == ["a", "b", "c"]


def test_an_exception_reaches_its_caller_alone(
    recorder: Recorder, started: Callable[..., Batcher]
) -> None:
    batcher = started()
    held_up(recorder, batcher)
    before, bad, after = (batcher.submit(texts) for texts in (["a"], ["b", "bad"], ["c"]))
    recorder.may_go.set()
    with pytest.raises(ValueError, match="a bad text"):
        bad.result(10)
    assert (texts_of(before), texts_of(after)) == (["a"], ["c"])
    assert batcher.waiting == 0


def test_texts_whose_caller_has_left_are_not_predicted(
    recorder: Recorder, started: Callable[..., Batcher]
) -> None:
    batcher = started()
    held_up(recorder, batcher)
    left, stayed = batcher.submit(["left"]), batcher.submit(["stayed"])
    assert left.cancel()
    recorder.may_go.set()
    assert texts_of(stayed) == ["stayed"]
    assert recorder.batches == [["first"], ["stayed"]]
    assert batcher.waiting == 0


def test_closing_finishes_what_was_accepted(
    recorder: Recorder, started: Callable[..., Batcher]
) -> None:
    batcher = started(max_batch=2)
    futures = [held_up(recorder, batcher), *(batcher.submit([text] * 3) for text in "abc")]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    time.sleep(0.05)
    with pytest.raises(Closed):
        batcher.submit(["late"])
    recorder.may_go.set()
    closing.join(10)
    assert [future.done() for future in futures] == [True] * 4
    assert [len(texts_of(future)) for future in futures] == [1, 3, 3, 3]


def test_many_threads_get_their_own_answers(started: Callable[..., Batcher]) -> None:
    batcher = started(max_batch=8)
    wrong = []

    def ask(caller: int) -> None:
        for turn in range(50):
            texts = [f"{caller} {turn} {index}" for index in range(turn % 4)]
            if texts_of(batcher.submit(texts)) != texts:
                wrong.append(texts)

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong
    assert batcher.waiting == 0


def test_calls_take_turns_with_batches(recorder: Recorder, started: Callable[..., Batcher]) -> None:
    batcher = started(max_batch=1)
    first = held_up(recorder, batcher)
    texts = batcher.submit(["a", "b"])
    calls = [batcher.call(lambda: list(recorder.batches)) for _ in range(2)]
    fails = batcher.call(lambda: 1 // 0)
    assert batcher.waiting == 6
    recorder.may_go.set()
    assert [each.result(10) for each in calls] == [[["first"]], [["first"], ["a"]]]
    with pytest.raises(ZeroDivisionError):
        fails.result(10)
    assert texts_of(texts) == ["a", "b"]
    assert texts_of(first) == ["first"]
    assert batcher.waiting == 0


def test_calls_too_many_or_too_late_are_refused(
    recorder: Recorder, started: Callable[..., Batcher]
) -> None:
    batcher = started()
    held_up(recorder, batcher)
    last = [batcher.call(lambda: 1) for _ in range(32)][-1]
    with pytest.raises(QueueFull):
        batcher.call(lambda: 1)
    recorder.may_go.set()
    batcher.close()
    assert last.result(0) == 1
    with pytest.raises(Closed):
        batcher.call(lambda: 1)
