from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_reviews
from sentiment.data import corpus as corpus_module
from sentiment.data.cache import cache_directory, content_digest
from sentiment.data.corpus import Corpus, open_corpus
from sentiment.data.reviews import CsvFormat, ReviewChunk
from sentiment.data.tokenizer import Tokenizer, TokenizerSettings
from sentiment.errors import InputError


def opened(path: Path, cache: Path, **options: Any) -> Corpus:
    settings = TokenizerSettings(lowercase=options.pop("lowercase", True))
    workers = options.pop("num_workers", 1)
    return open_corpus(path, CsvFormat(**options), settings, cache=cache, num_workers=workers)


def texts_of(corpus: Corpus) -> list[list[str]]:
    bounds = zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    return [[corpus.words[i] for i in corpus.token_ids[start:end]] for start, end in bounds]


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


def test_only_empty_texts_make_a_corpus_too(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\n<br />,x\n<p>,y\n")
    assert texts_of(opened(path, tmp_path / "cache")) == [[], []]


def test_a_second_opening_tokenises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_reviews(tmp_path / "r.csv", 30)
    first = opened(path, tmp_path / "cache")
    monkeypatch.setattr(corpus_module, "Tokenizer", None)
    assert texts_of(opened(path, tmp_path / "cache")) == texts_of(first)
    with pytest.raises(TypeError):
        opened(path, tmp_path / "cache", lowercase=False)
    with pytest.raises(TypeError):
        opened(path, tmp_path / "cache", text_column="sentiment", label_column="review")
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(corpus_module, "spacy_version", lambda: "0.0")
        opened(path, tmp_path / "cache")
    write_reviews(path, 31)
    with pytest.raises(TypeError):
        opened(path, tmp_path / "cache")


def test_worker_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_reviews(tmp_path / "r.csv", 4_000)
    alone = opened(path, tmp_path / "one")
    monkeypatch.setattr(Tokenizer, "encode", None)  # in this process; the workers have their own
    together = opened(path, tmp_path / "two", num_workers=2)
    assert alone.words == together.words
    for name in ("token_ids", "offsets", "labels", "digests", "rows"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name))


def test_a_file_that_is_refused_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "r.csv", 2_000)
    with path.open("a") as file:
        file.write("too,many,fields\n")
    with pytest.raises(InputError, match="line 2002"):
        opened(path, tmp_path / "cache")
    assert list((tmp_path / "cache" / "corpora").iterdir()) == []


def test_encoded_chunks_come_in_order() -> None:
    chunks = [ReviewChunk([f"w{n}"], [], [n], 0, 0.0) for n in range(9)]
    encoded = corpus_module.encode_chunks(chunks, TokenizerSettings(), 2)
    assert [(chunk.rows[0], words.words) for chunk, words in encoded] == [
        (n, [f"w{n}"]) for n in range(9)
    ]


def test_the_cache_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "env"))
    assert cache_directory() == tmp_path / "env"
    assert cache_directory(tmp_path / "set") == tmp_path / "set"


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    first = content_digest(path, tmp_path / "cache")
    assert content_digest(path, tmp_path / "cache") == first
    path.write_text("two")
    assert content_digest(path, tmp_path / "cache") != first
