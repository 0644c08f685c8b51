"""Tokenise in several processes, which import neither torch nor code of a training."""

import itertools
import signal
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from sentiment.data.tokenizer import EncodedTexts, Tokenizer, TokenizerSettings, without_torch

# With fewer chunks, starting worker processes costs more time than it saves.
_CHUNKS_WORTH_WORKERS = 6


class HasTexts(Protocol):
    """Anything that has texts, such as a ``ReviewChunk``."""

    @property
    def texts(self) -> list[str]:
        """The texts."""


Chunk = TypeVar("Chunk", bound=HasTexts)


def encode_chunks(
    chunks: Iterable[Chunk], settings: TokenizerSettings, num_workers: int
) -> Generator[tuple[Chunk, EncodedTexts]]:
    """Yield each chunk with its tokens, in order; many chunks are tokenised by worker processes.

    At most a few chunks for each worker are in memory at a time.
    """
    stream = iter(chunks)
    head = list(itertools.islice(stream, _CHUNKS_WORTH_WORKERS))
    if num_workers <= 1 or len(head) < _CHUNKS_WORTH_WORKERS:
        tokenizer = Tokenizer(settings)
        for chunk in itertools.chain(head, stream):
            yield chunk, tokenizer.encode(chunk.texts)
        return
    from joblib import Parallel, delayed

    # joblib's workers do not run the user's main module again, as multiprocessing's would.
    parallel = Parallel(
        n_jobs=num_workers,
        return_as="generator",
        pre_dispatch=2 * num_workers,  # closing joblib's pool fails while it holds more
        batch_size=1,
        initializer=_ignore_interrupts,
    )
    waiting: deque[Chunk] = deque()

    def jobs() -> Iterator[Any]:
        for chunk in itertools.chain(head, stream):
            waiting.append(chunk)
            yield delayed(encode_in_worker)(chunk.texts, settings)

    with _without_interrupts():
        results = parallel(jobs())
    try:
        for encoded in results:
            yield waiting.popleft(), encoded
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"\d+ tasks ")  # how many were left
            results.close()


def end_workers() -> None:
    """End the worker processes, which wait for more work; for a process that is about to exit."""
    from multiprocessing import util

    from joblib.externals.loky import reusable_executor

    if reusable_executor._executor is not None:
        reusable_executor._executor.terminate(kill_workers=True)
        util._run_finalizers()  # type: ignore[attr-defined]  # else semaphores are reported as leaks


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C back while processes start: they inherit that until they ignore it themselves."""
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    from multiprocessing import resource_tracker as of_python

    from joblib.externals.loky.backend import resource_tracker

    for tracker in (of_python, resource_tracker):  # starting one lets Ctrl-C through again
        tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


_tokenizers: dict[TokenizerSettings, Tokenizer] = {}


def encode_in_worker(texts: list[str], settings: TokenizerSettings) -> EncodedTexts:
    """Tokenise in a worker process, which keeps its tokenizer from one chunk to the next."""
    if settings not in _tokenizers:
        with without_torch():
            _tokenizers[settings] = Tokenizer(settings)
    return _tokenizers[settings].encode(texts)
