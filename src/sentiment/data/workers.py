"""Tokenising in several processes. They import neither torch nor anything of a training."""

import itertools
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

from sentiment.data.tokenizer import EncodedTexts, Tokenizer, TokenizerSettings, without_torch

# Below this many chunks, starting worker processes costs more than it saves.
_CHUNKS_WORTH_WORKERS = 6


def available_cores() -> int:
    """How many cores this process may use, by its CPU affinity and the limits of its container."""
    from joblib import cpu_count  # Python's own would count all cores of the machine

    return int(cpu_count())


class HasTexts(Protocol):
    """Anything that carries some texts, such as a ``ReviewChunk``."""

    @property
    def texts(self) -> list[str]:
        """The texts."""


Chunk = TypeVar("Chunk", bound=HasTexts)


def encode_chunks(
    chunks: Iterable[Chunk], settings: TokenizerSettings, num_workers: int
) -> Iterator[tuple[Chunk, EncodedTexts]]:
    """Tokenise chunks in order, in worker processes when there are enough of them to be worth it.

    Each chunk comes back with its tokens. At most a few chunks for each worker are held at a time.
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
        pre_dispatch=3 * num_workers,
        batch_size=1,
        initializer=_ignore_interrupts,
    )
    waiting: deque[Chunk] = deque()

    def jobs() -> Iterator[Any]:
        for chunk in itertools.chain(head, stream):
            waiting.append(chunk)
            yield delayed(_encode)(chunk.texts, settings)

    for encoded in parallel(jobs()):
        yield waiting.popleft(), encoded


def end_workers() -> None:
    """End the processes that tokenise, which wait for more; for one that is about to leave them."""
    from joblib.externals.loky import reusable_executor

    if reusable_executor._executor is not None:
        reusable_executor._executor.terminate(kill_workers=True)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


_tokenizers: dict[TokenizerSettings, Tokenizer] = {}


def _encode(texts: list[str], settings: TokenizerSettings) -> EncodedTexts:
    """Tokenise in a worker process, which keeps its tokenizer from one chunk to the next."""
    if settings not in _tokenizers:
        with without_torch():
            _tokenizers[settings] = Tokenizer(settings)
    return _tokenizers[settings].encode(texts)
