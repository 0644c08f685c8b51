"""A file of reviews as flat token ids on disk: tokenised once, then memory-mapped.

Does not know the vocabulary: ids count the words of this file in the order they were met, so
``min_freq`` and ``max_size`` may change without tokenising again.
"""

import errno
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sentiment.data.csv_format import CsvFormat
from sentiment.data.reviews import ReviewChunk, read_reviews
from sentiment.data.tokenizer import RULES_VERSION, TokenizerSettings, spacy_version
from sentiment.data.workers import available_cores, encode_chunks
from sentiment.runtime.cache import content_digest, file_state, fingerprint
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import folder_when_whole, one_at_a_time, remove_leftovers

log = logging.getLogger(__name__)

_FORMAT = 3  # counts up when the files below change their meaning
_TOKENS_AT_A_TIME = 1 << 20
_ARRAYS: dict[str, np.dtype[Any]] = {
    "token_ids": np.dtype(np.int32),
    "offsets": np.dtype(np.int64),
    "labels": np.dtype(np.int32),
    "digests": np.dtype(np.uint64),
    "folded": np.dtype(np.uint64),
    "rows": np.dtype(np.int64),
}


@dataclass(frozen=True)
class Corpus:
    """The reviews of one file, tokenised.

    Attributes:
        path: the CSV file they came from.
        fingerprint: changes with the content of the file and with how it was read and tokenised.
        words: the distinct words; a token id is an index into them.
        label_names: the labels as they stand in the file, in the order they were met.
        token_ids: (tokens,) int32, all reviews one after the other.
        offsets: (reviews + 1,) int64; review ``i`` is ``token_ids[offsets[i]:offsets[i + 1]]``.
        labels: (reviews,) int32, indices into ``label_names``; empty without a label column.
        digests: (reviews, 2) uint64, equal where the cleaned texts are equal.
        folded: (reviews, 2) uint64, the same of texts lower-cased, if tokens are: equal where one
            text repeats another.
        rows: (reviews,) int64, the 0-based row of the file that each review came from.
        missing: rows of the file that were left out because a text or label was missing.
    """

    path: Path
    fingerprint: str
    words: list[str]
    label_names: list[str]
    token_ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    digests: npt.NDArray[np.uint64]
    folded: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.int64]
    missing: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each review, (reviews,)."""
        return np.diff(self.offsets)

    def word_counts(self, reviews: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How often each word stands in the given reviews, (words,)."""
        counts = np.zeros(len(self.words), np.int64)
        chosen = np.zeros(len(self), bool)
        chosen[reviews] = True
        first = 0
        while first < len(self):  # some tokens at a time, which bounds the memory
            end = np.searchsorted(self.offsets, self.offsets[first] + _TOKENS_AT_A_TIME)
            last = max(first + 1, int(end) - 1)
            tokens = self.token_ids[self.offsets[first] : self.offsets[last]]
            kept = np.repeat(chosen[first:last], np.diff(self.offsets[first : last + 1]))
            counts += np.bincount(tokens[kept], minlength=len(self.words))
            first = last
        return counts


def open_corpus(
    path: Path,
    csv_format: CsvFormat,
    tokenizer: TokenizerSettings,
    *,
    cache: Path,
    num_workers: int | None = None,
    progress: bool = True,
) -> Corpus:
    """The corpus of a CSV file: from the cache if it is there, else tokenised into it first.

    Of several processes that ask at the same time one tokenises, and the others wait for it.

    Args:
        path: the CSV file.
        csv_format: how it is read.
        tokenizer: how its texts fall into tokens.
        cache: the folder that keeps tokenised files.
        num_workers: processes that tokenise; None takes one for each core that this process may
            use.
        progress: whether a terminal shows a progress bar.

    Raises:
        InputError: as ``read_reviews``; the file changes while it is read; or the cache folder
            cannot be used.
    """
    path = Path(path)
    if not (path.is_file() and os.access(path, os.R_OK)):
        next(read_reviews(path, csv_format))  # says what is wrong with it
    key = {
        "format": _FORMAT,
        "csv": asdict(csv_format),
        "suffixes": path.suffixes,
        "tokenizer": tokenizer.as_dict(),
        "rules": RULES_VERSION,
        "spacy": spacy_version(),
    }
    try:
        state = file_state(path)
        key["content"] = content_digest(path, cache)
        folder = cache / "corpora" / fingerprint(key)
        corpus = _read_corpus(folder, path)
        if corpus is None:
            with one_at_a_time(folder, f"tokenises {path}"):
                corpus = _read_corpus(folder, path)  # another process may have written it
                if corpus is None:
                    remove_leftovers(folder.parent)
                    _make_corpus(folder, path, state, csv_format, tokenizer, num_workers, progress)
                    corpus = _read_corpus(folder, path)
    except OSError as error:
        raise InputError(_why_unusable(cache, error)) from error
    if corpus is None:
        raise InputError(f"{folder}: another process removed what was just written; start again")
    return corpus


def _why_unusable(cache: Path, error: OSError) -> str:
    """What a user reads where the cache folder fails."""
    ways = "data.cache_dir or the environment variable SENTIMENT_CACHE"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{cache}: no space left in the cache folder; free some, or set {ways} to another"
    place = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or error
    return f"{place}the cache folder {cache} cannot be used ({reason}); set {ways} to one that can"


def _make_corpus(
    folder: Path,
    path: Path,
    state: list[int],
    csv_format: CsvFormat,
    settings: TokenizerSettings,
    num_workers: int | None,
    progress: bool,
) -> None:
    """Tokenise a file into a folder, in place of a damaged one; for the holder of its lock.

    ``state`` is that of the file before its content was hashed: the folder is named after the hash.
    """
    if num_workers is None:
        num_workers = available_cores()
    if folder.exists():
        shutil.rmtree(folder)
    with folder_when_whole(folder) as temporary:
        chunks = read_reviews(path, csv_format)
        _write_corpus(chunks, settings, temporary, path, num_workers, progress)
        if not path.exists() or file_state(path) != state:
            raise InputError(f"{path}: the file changed while it was being read; start again")


def _write_corpus(
    chunks: Iterable[ReviewChunk],
    settings: TokenizerSettings,
    folder: Path,
    path: Path,
    num_workers: int,
    progress: bool,
) -> None:
    word_index: dict[str, int] = {}
    label_index: dict[str, int] = {}
    missing = end = 0
    bar = tqdm(
        desc=f"Tokenising {path.name}",
        total=100,
        bar_format="{l_bar}{bar}| {elapsed}<{remaining}",
        disable=not (progress and sys.stderr.isatty()),
        leave=False,
    )
    with ExitStack() as stack:
        stack.enter_context(bar)
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in _ARRAYS}
        # Not ndarray.tofile, which does not say why it fails.
        files["offsets"].write(np.zeros(1, np.int64).data)
        for chunk, encoded in encode_chunks(chunks, settings, num_workers):
            ids = [word_index.setdefault(word, len(word_index)) for word in encoded.words]
            labels = [label_index.setdefault(label, len(label_index)) for label in chunk.labels]
            offsets = end + np.cumsum(encoded.lengths)
            end = int(offsets[-1]) if len(offsets) else end
            files["token_ids"].write(np.array(ids, np.int32)[encoded.token_ids].data)
            files["offsets"].write(offsets.data)
            files["labels"].write(np.array(labels, np.int32).data)
            files["digests"].write(encoded.digests.data)
            files["folded"].write(encoded.folded.data)
            files["rows"].write(np.array(chunk.rows, np.int64).data)
            missing += chunk.missing
            bar.update(round(100 * chunk.progress) - bar.n)
    facts = {"words": list(word_index), "label_names": list(label_index), "missing": missing}
    (folder / "facts.json").write_text(json.dumps(facts))


def _read_corpus(folder: Path, path: Path) -> Corpus | None:
    """Open what ``_write_corpus`` wrote; None where it is not there, or not whole any more."""
    arrays: dict[str, Any] = {}
    try:
        facts = json.loads((folder / "facts.json").read_text())
        for name, dtype in _ARRAYS.items():
            file = folder / f"{name}.bin"
            # An empty file cannot be mapped.
            arrays[name] = (
                np.memmap(file, dtype, mode="r") if file.stat().st_size else np.empty(0, dtype)
            )
        for name in ("digests", "folded"):
            arrays[name] = arrays[name].reshape(-1, 2)
        corpus = Corpus(path=path, fingerprint=folder.name, **arrays, **facts)
        sizes = {len(corpus), len(corpus.digests), len(corpus.folded), len(corpus.rows)}
        whole = len(sizes) == 1 and corpus.offsets[-1] == len(corpus.token_ids)
    except (FileNotFoundError, ValueError, TypeError, LookupError):
        return None
    return corpus if whole else None
