import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sentiment.data.corpus import open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.splits import Split
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.data.vector_file import WordVectors
from sentiment.runtime.errors import InputError
from sentiment.vectors import skipgram
from sentiment.vectors.skipgram import (
    SkipGramSettings,
    frequent_words,
    neighbours,
    require_gensim,
    train_vectors,
    write_lines,
    write_vectors,
)

Topics = tuple[Path, int, list[str], np.ndarray]
SETTINGS = SkipGramSettings(size=16, window=5, sample=0.0, epochs=8)


def texts_of(path: Path, texts: list[str]) -> Split:
    pd.DataFrame({"review": texts}).to_csv(path, index=False)
    corpus = open_corpus(
        path, CsvFormat(label_column=None), TokenizerSettings(), cache=path.parent / "cache",
        num_workers=1,
    )  # fmt: skip
    return Split(corpus, np.arange(len(corpus)), np.zeros(len(corpus), np.int64))


@pytest.fixture
def texts(tmp_path: Path) -> list[Split]:
    one = texts_of(tmp_path / "one.csv", ["b a b", "rare", "never"])
    return [one.take(np.array([1, 0])), texts_of(tmp_path / "two.csv", ["a c b", "c x a"])]


def test_words_of_all_texts_are_counted_together(texts: list[Split]) -> None:
    listed = frequent_words(texts, 2)
    assert listed.words == ["a", "b", "c"]
    assert listed.counts.tolist() == [3, 3, 2]
    assert frequent_words(texts, 1).words == ["a", "b", "c", "rare", "x"]
    with pytest.raises(InputError, match="min_count=4: no word occurs so often in the 4 texts"):
        frequent_words(texts, 4)


def test_a_text_is_a_line_of_the_numbers_of_its_kept_words(
    tmp_path: Path, texts: list[Split]
) -> None:
    path = tmp_path / "lines"
    assert write_lines(texts, ["a", "b", "c"], path) == 3
    assert path.read_text() == "1 0 1\n0 2 1\n2 0\n"


def test_lines_do_not_depend_on_how_many_reviews_are_read_at_a_time(
    tmp_path: Path, texts: list[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*(f"other{number}" for number in range(300)), "a", "b", "c"]
    contents = []
    for block in (1, 100):
        monkeypatch.setattr(skipgram, "_REVIEWS_AT_A_TIME", block)
        assert write_lines(texts, words, tmp_path / "lines") == 3
        contents.append((tmp_path / "lines").read_text())
    assert contents[0] == contents[1] == "12d 12c 12d\n12c 12e 12d\n12e 12c\n"


@pytest.fixture
def topics(tmp_path: Path) -> Topics:
    """Lines of texts of two topics, which have no word in common."""
    chance = np.random.default_rng(0)
    sentences = []
    for number in range(600):
        first = 20 * (number % 2)
        sentences.append(" ".join(f"w{word}" for word in chance.integers(first, first + 20, 12)))
    split = texts_of(tmp_path / "topics.csv", sentences)
    listed = frequent_words([split], 1)
    path = tmp_path / "topics"
    return path, write_lines([split], listed.words, path), listed.words, listed.counts


@pytest.mark.parametrize("workers", [1, 3])
def test_words_of_a_topic_become_neighbours(topics: Topics, workers: int) -> None:
    path, lines, words, counts = topics
    vectors = train_vectors(path, lines, counts, replace(SETTINGS, workers=workers))
    assert vectors.shape == (40, 16)
    for index, word in enumerate(words):
        near = [words[other] for other in neighbours(vectors, index, 5)]
        assert word not in near
        assert {int(other[1:]) // 20 for other in near} == {int(word[1:]) // 20}


def test_a_stop_that_gensim_has_lost_ends_the_training(topics: Topics) -> None:
    path, lines, _, counts = topics
    asked: list[bool] = []

    def stopping() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    with pytest.raises(KeyboardInterrupt):
        train_vectors(path, lines, counts, replace(SETTINGS, epochs=9), stopping=stopping)
    assert asked == [False, False, True]


def test_one_worker_and_a_seed_give_the_same_vectors(topics: Topics) -> None:
    path, lines, _, counts = topics
    first, again, other = (
        train_vectors(path, lines, counts, replace(SETTINGS, seed=seed)) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert not (first == other).any()


def test_several_workers_lower_the_learning_rate_as_far_as_one(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lines, _, counts = topics
    from gensim.models import Word2Vec

    asked = []
    monkeypatch.setattr(Word2Vec, "train", lambda self, **options: asked.append(options))
    for workers in (1, 4):
        train_vectors(path, lines, counts, SkipGramSettings(workers=workers))
    assert [options["total_examples"] for options in asked] == [600, 150]
    assert [options["total_words"] for options in asked] == [7200, 7200]


@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz", "v.txt.xz"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    words = ["the", "a\u00a0b", "5", "\u2028", "\x85", "a\rb", "1e-05", "c\ufeff", "naïve", '"']
    broken = ["two words", "1 2", "a\nb", "", "\ufeffc"]
    vectors = np.random.default_rng(0).normal(0, 1e-3, (15, 7)).astype(np.float32)
    vectors[3, 2], vectors[4] = 1.5e-7, 0
    assert write_vectors(tmp_path / name, words + broken, vectors) == 5
    read = WordVectors(tmp_path / name, words + broken)
    assert read.itos == words
    np.testing.assert_allclose(read.vectors.numpy(), vectors[:10], rtol=1e-5)


def test_a_file_cut_short_is_not_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_vectors(tmp_path / "v.txt", ["a", "b"], np.zeros((1, 2), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_neighbours_go_by_direction_not_by_length() -> None:
    vectors = np.array([[1, 0], [9, 9], [0.1, 0.01], [0, 1], [-5, 0], [0, 0]], np.float32)
    assert neighbours(vectors, 0, 3) == [2, 1, 3]
    assert neighbours(vectors, 0, 9) == [2, 1, 3, 5, 4, 0]


def test_without_gensim_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(InputError, match=r"pip install 'sentiment\[vectors\]'"):
        require_gensim()
