from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sentiment.data.corpus import open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.splits import Split, whole_file
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.data.vocabulary import build_vocabulary, vocabulary_ids
from sentiment.runtime.errors import InputError


@pytest.fixture
def split(tmp_path: Path) -> Split:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\nb b b a a <pad> <unk>,x\nc a z,y\nonlytest b,x\n")
    settings = TokenizerSettings(strip_markup=False)
    corpus = open_corpus(path, CsvFormat(), settings, cache=tmp_path / "c", num_workers=1)
    return whole_file(corpus, ["x", "y"])


def test_words_are_those_of_the_training_split_by_frequency(split: Split) -> None:
    vocabulary = build_vocabulary(split.take(np.array([0, 1])))
    assert vocabulary.itos == ["<pad>", "<unk>", "a", "b", "<", ">", "c", "pad", "unk", "z"]
    size = len(vocabulary.stoi)
    assert vocabulary_ids(["b", "onlytest", "a"], vocabulary).tolist() == [3, 1, 2]
    assert len(vocabulary.stoi) == size
    assert "onlytest" not in vocabulary.stoi
    assert [vocabulary.freqs[word] for word in vocabulary.itos] == [0, 0, 3, 3, 2, 2, 1, 1, 1, 1]


def test_words_named_like_the_special_ones_do_not_stand_twice(split: Split) -> None:
    words = [f"<{word}>" if word in {"pad", "unk"} else word for word in split.corpus.words]
    named = replace(split, corpus=replace(split.corpus, words=words))
    vocabulary = build_vocabulary(named)
    assert vocabulary.itos == ["<pad>", "<unk>", "b", "a", "<", ">", "c", "onlytest", "z"]
    assert vocabulary.stoi["<pad>"] == 0
    assert vocabulary.stoi["<unk>"] == 1


def test_unlabeled_reviews_are_counted_too(split: Split) -> None:
    alone = build_vocabulary(split.take(np.array([0, 1])))
    assert (
        build_vocabulary(split.take(np.array([0])), [split.take(np.array([1]))]).itos == alone.itos
    )
    both = build_vocabulary(split.take(np.array([1])), [split.take(np.array([2]))] * 2, max_size=2)
    assert both.itos == ["<pad>", "<unk>", "b", "onlytest"]
    assert both.freqs["b"] == 2


def test_rare_words_and_all_beyond_the_size_are_unknown(split: Split) -> None:
    train = split.take(np.array([0, 1]))
    assert build_vocabulary(train, min_freq=3).itos == ["<pad>", "<unk>", "a", "b"]
    assert build_vocabulary(train, max_size=1).itos == ["<pad>", "<unk>", "a"]
    with pytest.raises(InputError, match="data.min_freq=9"):
        build_vocabulary(train, min_freq=9)
