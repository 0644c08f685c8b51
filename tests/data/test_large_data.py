"""A corpus larger than memory trains: its token ids stay in the file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY
from sentiment.data.corpus import open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.tokenizer import TokenizerSettings

WORDS = 2000
TOKENS = 400  # of each review
# Trains while a thread watches the memory that is not backed by files, and prints its peak.
CHILD = """
import threading, time
from sentiment.train.command import main

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.005)

peak = 0
threading.Thread(target=watch, daemon=True).start()
main()
print(peak * 1024)
"""


def write_corpus(folder: Path, reviews: int) -> Path:
    """A CSV whose corpus, in the cache, holds far more than the CSV: random tokens."""
    path = folder / "reviews.csv"
    path.write_text(
        "review,sentiment\n" + "".join(f"w{i},{('bad', 'good')[i % 2]}\n" for i in range(WORDS))
    )
    cache = folder / "cache"
    small = open_corpus(path, CsvFormat(), TokenizerSettings(), cache=cache, num_workers=1)
    arrays = cache / "corpora" / small.fingerprint
    chance = np.random.default_rng(0)
    block = chance.integers(0, WORDS, TOKENS * 1000, dtype=np.int32).tobytes()
    with (arrays / "token_ids.bin").open("wb") as file:
        for _ in range(reviews // 1000):
            file.write(block)
    offsets = TOKENS * np.arange(reviews + 1, dtype=np.int64)
    digests = chance.integers(0, 2**63, (reviews, 2), dtype=np.uint64)
    labels = np.arange(reviews, dtype=np.int32) % 2
    rows = np.arange(reviews, dtype=np.int64)
    for name, content in {
        "offsets": offsets.data, "digests": digests.data, "folded": digests.data,
        "labels": labels.data, "rows": rows.data,
    }.items():  # fmt: skip
        (arrays / f"{name}.bin").write_bytes(content)
    return path


def peak_memory(folder: Path, reviews: int) -> int:
    """Peak anonymous memory, in bytes, of a short training on this number of reviews."""
    folder.mkdir()
    path = write_corpus(folder, reviews)
    done = subprocess.run(
        [
            sys.executable, "-c", CHILD, *TINY, f"data.csv={path}", "data=csv",
            "data.text_column=review", "data.label_column=sentiment", "trainer.max_epochs=1",
            "trainer.limit_train_batches=10", "trainer.limit_val_batches=5",
            "trainer.limit_test_batches=5", "hydra.run.dir=run",
        ],
        cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SENTIMENT_CACHE": str(folder / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((folder / "run" / "results.json").read_text())
    counts = [results[f"{split}_reviews"] for split in ("train", "val", "test")]
    assert counts == [0.72 * reviews, 5 * 32, 5 * 32]  # those that validate and test are limited
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc")
def test_memory_does_not_grow_with_the_tokens(tmp_path: Path) -> None:
    few, many = 40_000, 320_000
    grown = peak_memory(tmp_path / "many", many) - peak_memory(tmp_path / "few", few)
    tokens = 4 * TOKENS * (many - few)  # bytes: 448 MB more
    assert grown < 150 * (many - few) < tokens / 10  # what is known of a review, but not its text
