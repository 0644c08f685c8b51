import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_reviews
from sentiment.data import corpus as corpus_module
from sentiment.data import workers as workers_module
from sentiment.data.corpus import Corpus, open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.tokenizer import Tokenizer, TokenizerSettings
from sentiment.runtime.errors import InputError


def opened(path: Path, cache: Path, **options: Any) -> Corpus:
    settings = TokenizerSettings(lowercase=options.pop("lowercase", True))
    workers = options.pop("num_workers", 1)
    return open_corpus(path, CsvFormat(**options), settings, cache=cache, num_workers=workers)


def texts_of(corpus: Corpus) -> list[list[str]]:
    bounds = zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    return [[corpus.words[i] for i in corpus.token_ids[start:end]] for start, end in bounds]


def kept(cache: Path) -> list[Path]:
    """The corpora in a cache, including half-written ones."""
    return [entry for entry in (cache / "corpora").iterdir() if entry.suffix != ".lock"]


def test_a_corpus_holds_what_the_tokenizer_gives(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text('review,sentiment\n"A b, a",x\n<br />,y\nb!,x\n')
    corpus = opened(path, tmp_path / "cache")
    assert texts_of(corpus) == [["a", "b", ",", "a"], [], ["b", "!"]]
    assert [corpus.label_names[i] for i in corpus.labels] == ["x", "y", "x"]
    assert corpus.lengths.tolist() == [4, 0, 2]
    counts = corpus.word_counts(np.array([0, 2]))
    assert dict(zip(corpus.words, counts.tolist(), strict=True)) == {"a": 2, "b": 2, ",": 1, "!": 1}
    assert corpus.word_counts(np.array([2])).sum() == 2


@pytest.mark.parametrize("at_a_time", [1, 3, 5, 1000])
def test_words_are_counted_some_tokens_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\na b a c,x\n<br />,y\nb,x\n<br />,x\na a,y\nc d,x\n")
    corpus = opened(path, tmp_path / "cache")
    monkeypatch.setattr(corpus_module, "TOKENS_AT_A_TIME", at_a_time)
    for chosen, counts in (([0, 1, 2, 3, 4, 5], "aaaabbccd"), ([5, 0], "aabccd")):
        counted = corpus.word_counts(np.array(chosen))
        assert dict(zip(corpus.words, counted, strict=True)) == Counter(counts)


def test_only_empty_texts_make_a_corpus_too(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\n<br />,x\n<p>,y\n")
    assert texts_of(opened(path, tmp_path / "cache")) == [[], []]


def test_a_second_opening_tokenises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_reviews(tmp_path / "r.csv", 30)
    first = opened(path, tmp_path / "cache")
    monkeypatch.setattr(workers_module, "Tokenizer", None)
    assert texts_of(opened(path, tmp_path / "cache")) == texts_of(first)
    with pytest.raises(TypeError):
        opened(path, tmp_path / "cache", lowercase=False)
    with pytest.raises(TypeError):
        opened(path, tmp_path / "cache", text_column="sentiment", label_column="review")
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(corpus_module, "spacy_version", lambda: "0.0")
        opened(path, tmp_path / "cache")
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(corpus_module, "RULES_VERSION", 0)
        opened(path, tmp_path / "cache")
    write_reviews(path, 31)
    with pytest.raises(TypeError):
        opened(path, tmp_path / "cache")


@pytest.mark.parametrize("hurt", ["facts.json", "rows.bin", "token_ids.bin"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, hurt: str, how: str) -> None:
    path = write_reviews(tmp_path / "r.csv", 30)
    whole = opened(path, tmp_path / "cache")
    (folder,) = kept(tmp_path / "cache")
    content = (folder / hurt).read_bytes()
    (folder / hurt).unlink()  # not cut in place, because it is mapped
    if how == "cut":
        (folder / hurt).write_bytes(content[:-8])
    assert texts_of(opened(path, tmp_path / "cache")) == texts_of(whole)
    assert (folder / hurt).read_bytes() == content


def test_worker_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_reviews(tmp_path / "r.csv", 4_000)
    alone = opened(path, tmp_path / "one")
    monkeypatch.setattr(Tokenizer, "encode", None)  # in this process; the workers have their own
    together = opened(path, tmp_path / "two", num_workers=2)
    assert alone.words == together.words
    for name in ("token_ids", "offsets", "labels", "digests", "folded", "rows"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name))


def test_a_file_that_is_refused_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "r.csv", 2_000)
    with path.open("a") as file:
        file.write("too,many,fields\n")
    with pytest.raises(InputError, match="line 2002"):
        opened(path, tmp_path / "cache")
    assert kept(tmp_path / "cache") == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_at_the_end_of_a_file_leaves_nothing(tmp_path: Path, workers: int) -> None:
    path = write_reviews(tmp_path / "r.csv", 5_000)
    with path.open("a") as file:
        file.write(",\n" * 700)
    with pytest.raises(InputError, match=r"700 of 5700 rows .* row 5001"):
        opened(path, tmp_path / "cache", num_workers=workers)
    assert kept(tmp_path / "cache") == []


def test_words_and_rows_add_up_over_chunks(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    texts = [f"w{n % 7} w{n % 3} w{n % 11} w1" for n in range(1_200)]
    rows = [f"{text},{n % 3}\n" for n, text in enumerate(texts)]
    rows[600] = ",1\n"
    path.write_text("review,sentiment\n" + "".join(rows))
    corpus = opened(path, tmp_path / "cache")
    assert corpus.missing == 1
    assert corpus.rows.tolist() == [n for n in range(1_200) if n != 600]
    assert corpus.label_names == ["0", "1", "2"]
    chosen = np.array([3, 700, 701, 1_198])
    naive = Counter(word for n in corpus.rows[chosen] for word in texts[n].split())
    counts = dict(zip(corpus.words, corpus.word_counts(chosen).tolist(), strict=True))
    assert counts == {word: naive[word] for word in corpus.words}
    same = corpus.digests[[0, 231, 1]].tolist()  # rows 0 and 231 hold the same text
    assert same[0] == same[1] != same[2]


def test_a_file_without_labels_has_none(tmp_path: Path) -> None:
    corpus = opened(write_reviews(tmp_path / "r.csv", 9), tmp_path / "c", label_column=None)
    assert (len(corpus), len(corpus.labels), corpus.label_names) == (9, 0, [])


def test_the_same_content_is_tokenised_once_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(write_reviews(tmp_path / "r.csv", 9), tmp_path / "cache")
    monkeypatch.setattr(workers_module, "Tokenizer", None)
    second = opened(write_reviews(tmp_path / "s.csv", 9), tmp_path / "cache")
    assert texts_of(first) == texts_of(second)
    assert second.path == tmp_path / "s.csv"


def test_an_error_names_the_cache_or_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_reviews(tmp_path / "r.csv", 9)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=re.escape(f"cache folder {tmp_path / 'file'} ")):
        opened(path, tmp_path / "file")
    with pytest.raises(InputError, match="no such file"):
        opened(tmp_path / "nope.csv", tmp_path / "cache")

    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputError, match=r"r\.csv: may not be read"):
        opened(path, tmp_path / "cache")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left in the cache folder"),
        (OSError(errno.EIO, "Input/output error"), "(Input/output error)"),
        (OSError("6 requested and 2 written"), "(6 requested and 2 written)"),
    ],
)
def test_a_write_that_fails_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    path, cache = write_reviews(tmp_path / "r.csv", 30), tmp_path / "cache"

    def refused(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
        patch.setattr(Path, "write_text", refused)  # of the facts, after all arrays
        opened(path, cache)
    for fact in (str(cache), reason, "data.cache_dir", "SENTIMENT_CACHE"):
        assert fact in str(caught.value)
    assert kept(cache) == []
    assert len(opened(path, cache)) == 30


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = write_reviews(tmp_path / "r.csv", 30), tmp_path / "cache"
    really_open = Path.open

    def on_full_disk(self: Path, *arguments: Any, **options: Any) -> Any:
        path = Path("/dev/full") if self.name == "token_ids.bin" else self
        return really_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", on_full_disk)
    with pytest.raises(InputError, match="no space left in the cache folder"):
        opened(path, cache)
    assert kept(cache) == []


@pytest.mark.parametrize("change", ["written", "appended", "replaced", "removed"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path, cache = write_reviews(tmp_path / "r.csv", 30), tmp_path / "cache"
    encode = Tokenizer.encode

    def slow(self: Tokenizer, texts: list[str]) -> Any:
        if change == "written":
            path.write_bytes(path.read_bytes().replace(b"lovely", b"LOVELY"))
        elif change == "appended":
            path.write_bytes(path.read_bytes() + b"more,lovely\n")
        elif change == "replaced":
            Path(shutil.copy(path, tmp_path / "new")).replace(path)
        else:
            path.unlink()
        return encode(self, texts)

    with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
        patch.setattr(Tokenizer, "encode", slow)
        opened(path, cache)
    assert f"{path}: the file changed" in str(caught.value)
    assert kept(cache) == []
    if change != "removed":
        assert len(opened(path, cache)) == (31 if change == "appended" else 30)


def test_tokenising_takes_the_cores_that_this_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def encoded(chunks: Any, settings: TokenizerSettings, num_workers: int) -> Any:
        taken.append(num_workers)
        return iter(())

    monkeypatch.setattr(corpus_module, "encode_chunks", encoded)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    opened(write_reviews(tmp_path / "r.csv", 30), tmp_path / "cache", num_workers=None)
    opened(write_reviews(tmp_path / "s.csv", 31), tmp_path / "cache", num_workers=7)
    assert taken == [1, 7]


# Opens a file's corpus on a sign from outside, slowly, and prints whether it tokenised, and what.
OPENING = """
import json, logging, os, sys, time
from pathlib import Path
from sentiment.runtime import files
from sentiment.data import corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.tokenizer import TokenizerSettings

path, cache, dies = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "dies"
logging.basicConfig(level=logging.INFO)
files.QUIET_WAIT = 0.1
encode, encoded = corpus.encode_chunks, []

def slowly(*arguments):
    encoded.append(path)
    yield from encode(*arguments)
    if dies:
        os._exit(9)
    time.sleep(1)

corpus.encode_chunks = slowly
print("ready", flush=True)
sys.stdin.readline()
opened = corpus.open_corpus(path, CsvFormat(), TokenizerSettings(), cache=cache, num_workers=1)
print(json.dumps([len(encoded), opened.words, opened.token_ids.tolist(), opened.rows.tolist()]))
"""


def opening(path: Path, cache: Path, end: str = "ends") -> "subprocess.Popen[str]":
    """A process that opens the corpus of a file once a line is written to it."""
    return subprocess.Popen(
        [sys.executable, "-c", OPENING, str(path), str(cache), end],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("damaged", [False, True])
def test_of_processes_that_open_at_once_one_tokenises(tmp_path: Path, damaged: bool) -> None:
    path, cache = write_reviews(tmp_path / "r.csv", 30), tmp_path / "cache"
    if damaged:
        opened(path, cache)
        (kept(cache)[0] / "rows.bin").unlink()
    processes = [opening(path, cache) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    found = [json.loads(out) for out, _ in outputs]
    assert sorted(times for times, *_ in found) == [0, 0, 1]
    assert found[0][1:] == found[1][1:] == found[2][1:]
    waits = f"another process tokenises {path}"
    assert [error.count(waits) for _, error in outputs] == [1 - times for times, *_ in found]
    assert len(kept(cache)) == 1


def test_a_process_that_dies_while_it_tokenises_blocks_nobody(tmp_path: Path) -> None:
    path, cache = write_reviews(tmp_path / "r.csv", 30), tmp_path / "cache"
    process = opening(path, cache, "dies")
    process.communicate("go\n", timeout=60)
    assert process.returncode == 9
    assert len(opened(path, cache)) == 30


def test_a_cache_that_cannot_be_written_to_still_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = write_reviews(tmp_path / "r.csv", 30), tmp_path / "cache"
    first = opened(path, cache)
    copy = shutil.copy(path, tmp_path / "s.csv")  # no digest of it is remembered

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(cache))

    for function in ("mkdir", "write_text", "replace", "unlink"):
        monkeypatch.setattr(Path, function, refused)
    assert texts_of(opened(path, cache)) == texts_of(first)
    assert texts_of(opened(Path(copy), cache)) == texts_of(first)
    with pytest.raises(InputError, match=r"\(Read-only file system\).*data\.cache_dir"):
        opened(path, cache, lowercase=False)


def test_weights_are_kept_only_of_a_file_with_their_column(tmp_path: Path) -> None:
    path, cache = tmp_path / "r.csv", tmp_path / "cache"
    path.write_text("review,sentiment,w\na,x,0.5\nb,y,3\n")
    assert opened(path, cache).weights is None
    (plain,) = kept(cache)
    weights = opened(path, cache, weight_column="w").weights
    assert weights is not None
    assert weights.tolist() == [0.5, 3]
    (weighted,) = {*kept(cache)} - {plain}
    assert [(each / "weights.bin").exists() for each in (plain, weighted)] == [False, True]
    (weighted / "weights.bin").unlink()
    again = opened(path, cache, weight_column="w").weights
    assert again is not None
    assert again.tolist() == [0.5, 3]
