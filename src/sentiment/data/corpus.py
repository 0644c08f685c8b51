"""A file of reviews as flat token ids on disk: tokenised once, then memory-mapped.

Knows nothing of the vocabulary: ids number the words of the file in their order of appearance, so
``min_freq`` and ``max_size`` may change without tokenising again.
"""

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment.data.csv_format import CsvFormat, ScoresFormat
from sentiment.data.labels import check_classes, labels_of_classes
from sentiment.data.reviews import ReviewChunk, read_reviews
from sentiment.data.tokenizer import RULES_VERSION, EncodedTexts, TokenizerSettings, spacy_version
from sentiment.data.workers import encode_chunks
from sentiment.runtime.cache import content_digest, file_state, fingerprint
from sentiment.runtime.environment import available_cores
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import folder_when_whole, one_at_a_time, remove_leftovers
from sentiment.runtime.progress_bar import progress_bar

log = logging.getLogger(__name__)

_FORMAT = 3  # to be increased when the files below change their meaning
TOKENS_AT_A_TIME = 1 << 20
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
        path: the CSV file of the reviews.
        fingerprint: depends on the content of the file and on how it was read and tokenised.
        words: the distinct words; a token id is an index into them.
        label_names: the labels as written in the file, in their order of appearance; of a file of
            probabilities, those that its columns name.
        token_ids: (tokens,) int32, all reviews one after the other.
        offsets: (reviews + 1,) int64; review ``i`` is ``token_ids[offsets[i]:offsets[i + 1]]``.
        labels: (reviews,) int32, indices into ``label_names``; empty without a label column.
        digests: (reviews, 2) uint64, equal if the cleaned texts are equal.
        folded: (reviews, 2) uint64, digests of the texts in lower case if tokens are lower-cased:
            equal if one text repeats another.
        rows: (reviews,) int64, the 0-based row of the file that each review is from.
        missing: rows of the file that were left out because a text or label was missing.
        weights: (reviews,) float32, of each review in the training loss; None without a weight
            column.
        scores: (reviews, labels) float32, a teacher's probabilities; None without their columns.
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
    weights: npt.NDArray[np.float32] | None = None
    scores: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each review, (reviews,)."""
        return np.diff(self.offsets)

    def tokens(self, review: int) -> list[str]:
        """The tokens of a review."""
        ids = self.token_ids[self.offsets[review] : self.offsets[review + 1]]
        return [self.words[word] for word in ids.tolist()]

    def word_counts(self, reviews: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How often each word occurs in the given reviews, (words,)."""
        counts = np.zeros(len(self.words), np.int64)
        chosen = np.zeros(len(self), bool)
        chosen[reviews] = True
        first = 0
        while first < len(self):  # some tokens at a time, which bounds the memory
            end = np.searchsorted(self.offsets, self.offsets[first] + TOKENS_AT_A_TIME)
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
    classes: bool = False,
) -> Corpus:
    """Open the corpus of a CSV file in the cache; if it is missing, tokenise the file first.

    Of several processes that ask at the same time one tokenises, and the others wait for it.

    Args:
        path: the CSV file.
        csv_format: how it is read.
        tokenizer: how its texts are split into tokens.
        cache: the folder of tokenised files.
        num_workers: processes that tokenise; None is one for each core that this process may use.
        classes: whether to check that its labels may be classes; see ``check_classes``.

    Raises:
        InputError: see ``read_reviews`` and ``check_classes``; or the file changes while it is
            read, or the cache folder cannot be used.
    """
    path = Path(path)
    if not (path.is_file() and os.access(path, os.R_OK)):
        next(read_reviews(path, csv_format))  # raises InputError with the reason

    def make(folder: Path, state: list[int]) -> None:
        workers = num_workers
        if workers is None:
            workers = available_cores()
        remove_leftovers(folder.parent)
        if folder.exists():  # but damaged
            shutil.rmtree(folder)
        reviews = read_reviews(path, csv_format)
        if classes:  # stops early
            reviews = labels_of_classes(reviews, path, csv_format)
        chunks = encode_chunks(reviews, tokenizer, workers)
        with folder_when_whole(folder) as temporary:
            _write_corpus(chunks, temporary, path.name, arrays, known_labels)
            if not path.exists() or file_state(path) != state:
                raise InputError(f"{path}: the file changed while it was being read; start again")

    settings, arrays = asdict(csv_format), _ARRAYS | {"weights": np.dtype(np.float32)}
    if csv_format.weight_column is None:  # as in caches from before there were weights
        del settings["weight_column"], arrays["weights"]
    known_labels: list[str] = []
    if isinstance(csv_format, ScoresFormat):
        arrays["scores"] = np.dtype(np.float32)
        known_labels = [label for label, _ in csv_format.score_columns]
    key = {
        "format": _FORMAT,
        "csv": settings,
        "suffixes": path.suffixes,
        "tokenizer": tokenizer.as_dict(),
        "rules": RULES_VERSION,
        "spacy": spacy_version(),
    }
    try:
        state = file_state(path)
        key["content"] = content_digest(path, cache)
        folder = cache / "corpora" / fingerprint(key)
        corpus = _read_corpus(folder, path, arrays)
        if corpus is None:
            with one_at_a_time(folder, f"tokenises {path}"):
                corpus = _read_corpus(folder, path, arrays)  # another may have written it
                if corpus is None:
                    make(folder, state)
                    corpus = _read_corpus(folder, path, arrays)
    except OSError as error:
        raise InputError(_why_unusable(cache, error)) from error
    if corpus is None:
        raise InputError(f"{folder}: another process removed what was just written; start again")
    if classes:  # of a corpus that was in the cache, too
        check_classes(corpus.label_names, len(corpus), path, csv_format)
    return corpus


def _why_unusable(cache: Path, error: OSError) -> str:
    settings = "data.cache_dir or the environment variable SENTIMENT_CACHE"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{cache}: no space left in the cache folder; free some, or change {settings}"
    file = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or error
    return f"{file}the cache folder {cache} cannot be used ({reason}); change {settings}"


def _write_corpus(
    chunks: Iterable[tuple[ReviewChunk, EncodedTexts]],
    folder: Path,
    name: str,
    arrays: Iterable[str],
    known_labels: Iterable[str],
) -> None:
    """Write tokenised chunks into a folder.

    Args:
        chunks: the chunks.
        folder: the folder.
        name: that of their file, for the progress bar.
        arrays: the names of the arrays.
        known_labels: the labels that are known before; others are added as they appear.
    """
    word_index: dict[str, int] = {}
    label_index = {label: index for index, label in enumerate(known_labels)}
    missing = end = 0
    form = "{l_bar}{bar}| {elapsed}<{remaining}"
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(f"Tokenising {name}", 100, "%", bar_format=form))
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in arrays}
        # Not ndarray.tofile, whose errors lack the reason.
        files["offsets"].write(np.zeros(1, np.int64).data)
        for chunk, encoded in chunks:
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
            if "weights" in files:
                files["weights"].write(np.array(chunk.weights, np.float32).data)
            if "scores" in files:
                files["scores"].write(np.array(chunk.scores, np.float32).data)
            missing += chunk.missing
            bar.update(round(100 * chunk.progress) - bar.n)
    facts = {"words": list(word_index), "label_names": list(label_index), "missing": missing}
    (folder / "facts.json").write_text(json.dumps(facts))


def _read_corpus(folder: Path, path: Path, dtypes: Mapping[str, np.dtype[Any]]) -> Corpus | None:
    """Open the files of ``_write_corpus``; None if one is missing or incomplete."""
    arrays: dict[str, Any] = {}
    try:
        facts = json.loads((folder / "facts.json").read_text())
        for name, dtype in dtypes.items():
            file = folder / f"{name}.bin"
            # An empty file cannot be mapped.
            arrays[name] = (
                np.memmap(file, dtype, mode="r") if file.stat().st_size else np.empty(0, dtype)
            )
        for name in ("digests", "folded"):
            arrays[name] = arrays[name].reshape(-1, 2)
        if "scores" in arrays:
            arrays["scores"] = arrays["scores"].reshape(-1, len(facts["label_names"]))
        corpus = Corpus(path=path, fingerprint=folder.name, **arrays, **facts)
        sizes = {len(corpus), len(corpus.digests), len(corpus.folded), len(corpus.rows)}
        sizes |= {len(arrays.get(name, corpus.rows)) for name in ("weights", "scores")}
        whole = len(sizes) == 1 and corpus.offsets[-1] == len(corpus.token_ids)
    except (FileNotFoundError, ValueError, TypeError, LookupError):
        return None
    return corpus if whole else None
