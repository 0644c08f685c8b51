"""Tokenising, the cache, batches and vector files."""

import csv
import lzma
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import spacy
from joblib import Parallel, delayed

from benchmarks.rows import Row, Scale, medians, peak_memory_of_all, process, seconds
from sentiment.config.resolvers import sample_path
from sentiment.data.corpus import Corpus, open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.dataset import TokenisedReviews
from sentiment.data.reviews import ReviewChunk
from sentiment.data.sampler import BucketBatchSampler
from sentiment.data.tokenizer import Tokenizer, TokenizerSettings
from sentiment.data.vector_file import WordVectors
from sentiment.data.workers import encode_chunks
from sentiment.runtime.environment import available_cores

SETTINGS = TokenizerSettings()


def reviews(scale: Scale, count: int) -> list[str]:
    """IMDB's unlabeled reviews where they are at hand, else as long ones from the sample."""
    texts = []
    if scale.data is not None:
        with lzma.open(Path(scale.data) / "imdb_unlabeled.csv.xz", "rt", newline="") as file:
            for row in csv.DictReader(file):
                texts.append(row["review"])
                if len(texts) == count:
                    return texts
    else:
        with Path(sample_path()).open(newline="") as file:
            short = [row["review"] for row in csv.DictReader(file)]
        rng = random.Random(0)
        sizes = (max(1, int(rng.lognormvariate(2.8, 0.6))) for _ in range(min(count, 5_000)))
        texts = [" ".join(rng.choices(short, k=size)) for size in sizes]
    return (texts * (count // len(texts) + 1))[:count]


def measure(scale: Scale) -> list[Row]:
    """Tokenising over all cores, in constant memory; the cache; the making of batches."""
    count, cores = scale.pick(40_000, 8_000), available_cores()
    texts = reviews(scale, count)
    bare = spacy.blank("en").tokenizer
    few = texts[: count // 10]
    tokens = sum(len(bare(text)) for text in few)
    alone = tokens / medians({"bare": lambda: [bare(text) for text in few]}, rounds=3)["bare"]
    per_text = len(Tokenizer(SETTINGS).encode(few).token_ids) / len(few)
    chunks = [
        ReviewChunk(texts[first : first + 500], [], [], 0, 0.0) for first in range(0, count, 500)
    ]

    def encode() -> None:
        for _ in encode_chunks(chunks, SETTINGS, cores):
            pass

    parallel = Parallel(n_jobs=cores, batch_size=1)

    def bare_at_once() -> None:
        sum(parallel(delayed(_bare_tokens)(chunk.texts) for chunk in chunks))

    times = medians({"ours": encode, "bare": bare_at_once}, rounds=3)  # the workers stay
    together, at_once = (per_text * count / times[name] for name in ("ours", "bare"))
    rows = [
        Row(
            f"tokenising on {cores} cores", together / (cores * alone), "x",
            f"cores x bare spaCy on one: {alone:,.0f} tokens/s", ">= 0.85",
            "token ids that differ from those of bare spaCy on the cleaned texts",
        ),
        Row(
            "the same against bare spaCy on all cores at once", together / at_once, "x",
            f"its tokens counted and dropped: {at_once / (cores * alone):.2f} x cores x one",
            falsified="bare processes that scale better",
        ),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        rows += _large_file(Path(folder), texts[:20_000], scale)
    return rows


_bare: list[Any] = []


def _bare_tokens(texts: list[str]) -> int:
    """Tokenise in a worker process, which keeps its tokenizer."""
    if not _bare:
        _bare.append(spacy.blank("en").tokenizer)
    return sum(len(_bare[0](text)) for text in texts)


def _large_file(folder: Path, texts: list[str], scale: Scale) -> Iterator[Row]:
    path, size = folder / "large.csv", scale.pick(1.5e9, 2e7)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "sentiment"])
        while file.tell() < size:
            writer.writerows((text, "ab"[number % 2]) for number, text in enumerate(texts))

    def opened() -> Corpus:
        return open_corpus(path, CsvFormat(), SETTINGS, cache=folder / "cache")

    start = time.perf_counter()
    peak = peak_memory_of_all(
        "from pathlib import Path; from sentiment.data.corpus import open_corpus;"
        "from sentiment.data.csv_format import CsvFormat;"
        "from sentiment.data.tokenizer import TokenizerSettings;"
        f"open_corpus(Path({str(path)!r}), CsvFormat(), TokenizerSettings(),"
        f" cache=Path({str(folder / 'cache')!r}))"
    )
    took = time.perf_counter() - start
    yield Row(
        f"memory to tokenise {path.stat().st_size / 1e9:.2f} GB of CSV", peak, "MB",
        f"the main process and {available_cores()} workers together; {took:,.0f} s", "<= 1000",
        "a larger peak for a file twice as long",
    )  # fmt: skip
    yield Row(
        "opening a cached corpus", medians({"open": opened}, rounds=5)["open"], "s",
        f"of {len(opened().token_ids) / 1e6:,.0f} M tokens", "<= 0.2",
        "a changed file, setting or spaCy version that still opens the old corpus",
    )  # fmt: skip
    yield _batches(opened())


def _batches(corpus: Corpus) -> Row:
    data = TokenisedReviews(
        token_ids=corpus.token_ids,
        offsets=corpus.offsets,
        reviews=np.arange(min(len(corpus), 50_000)),
        classes=np.zeros(len(corpus), np.int64),
        word_to_id=np.arange(len(corpus.words)),
        max_length=500,
        keep="both",
    )
    sampler = BucketBatchSampler(data.lengths, batch_size=32, shuffle=True, seed=0)

    def epoch() -> None:
        for positions in sampler:
            data[positions]

    rate = data.lengths.sum() / medians({"epoch": epoch}, rounds=3)["epoch"]
    return Row(
        "making batches", rate / 1e6, "M tokens/s", "20 x a training at 0.15 M tokens/s is 3",
        ">= 3", "ids in a batch that differ from the review's",
    )  # fmt: skip


def measure_vectors(scale: Scale) -> list[Row]:
    """A GloVe-format file, read by ours and by torchtext 0.6.0."""
    from torchtext.vocab import Vectors

    words, size = scale.pick(400_000, 40_000), 100
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.txt"
        rng = np.random.default_rng(0)
        with path.open("w") as file:
            for first in range(0, words, 10_000):
                block = rng.normal(size=(10_000, size)).round(5)
                file.writelines(
                    f"word{first + number} {' '.join(map(str, row))}\n"
                    for number, row in enumerate(block.tolist())
                )
        vocabulary = [f"word{number}" for number in range(0, words, 13)]
        ours = medians({"ours": lambda: WordVectors(path, vocabulary)}, rounds=3, warm=0)["ours"]
        imports = "from sentiment.data.vector_file import WordVectors; from pathlib import Path; "
        read = f"WordVectors(Path({str(path)!r}), [f'word{{n}}' for n in range(0, {words}, 13)])"
        memory = process("-c", imports + read) - process("-c", imports)
        theirs = seconds(lambda: Vectors(path.name, cache=folder))
    against = f"torchtext 0.6.0: {theirs:,.1f} s; ours {ours:,.2f} s"
    return [
        Row(
            f"reading {words:,} vectors of {size}", theirs / ours, "x", against, ">= 15",
            "a row that differs from the file's",
        ),
        Row("memory for it", memory, "MB", "beyond the imports", "<= 200", "a larger peak"),
    ]  # fmt: skip
