from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from sentiment.data.corpus import Corpus, open_corpus
from sentiment.data.reviews import CsvFormat
from sentiment.data.splits import (
    Split,
    Splits,
    order_labels,
    split_given_files,
    split_one_file,
    whole_file,
    write_splits,
)
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.errors import InputError

SIZES = {"test_size": 0.2, "val_size": 0.1, "seed": 42}


def corpus_of(tmp_path: Path, texts: list[str], labels: list[str], name: str = "r") -> Corpus:
    path = tmp_path / f"{name}.csv"
    pd.DataFrame({"review": texts, "sentiment": labels, "extra": range(len(texts))}).to_csv(
        path, index=False
    )
    return open_corpus(
        path, CsvFormat(), TokenizerSettings(), cache=tmp_path / "cache", num_workers=1
    )


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix} {number}" for number in range(count)]


def texts_of(split: Split) -> list[str]:
    frame = pd.read_csv(split.corpus.path)
    return [frame["review"][int(split.corpus.rows[review])] for review in split.reviews]


def test_the_test_split_is_that_of_scikit_learn(tmp_path: Path) -> None:
    labels = ["a" if number % 3 else "b" for number in range(200)]
    corpus = corpus_of(tmp_path, numbered("text", 200), labels)
    splits = split_one_file(corpus, ["a", "b"], test_size=0.2, val_size=0.1, seed=42)
    rest, test = train_test_split(np.arange(200), test_size=0.2, random_state=42, stratify=labels)
    assert splits.test.reviews.tolist() == test.tolist()
    everything = np.concatenate([splits.train.reviews, splits.val.reviews, splits.test.reviews])
    assert sorted(everything) == list(range(200))
    assert len(splits.val) == 16
    assert set(splits.val.reviews) <= set(rest)
    for split in (splits.train, splits.val, splits.test):
        assert split.classes.mean() == pytest.approx(67 / 200, abs=0.05)


def test_repeated_texts_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [*numbered("text", 60), "text 3", "text  3<br />", "text 4"]
    labels = [*["a", "b"] * 30, "b", "b", "b"]
    corpus = corpus_of(tmp_path, texts, labels)
    with caplog.at_level("INFO"):
        splits = split_one_file(corpus, ["a", "b"], test_size=0.2, val_size=0.1, seed=42)
    assert splits.dropped_duplicates == 3
    assert len(splits.train) + len(splits.val) + len(splits.test) == 60
    assert "1 of these texts carry different labels" in caplog.text


def test_given_files_keep_test_whole_and_training_clean(tmp_path: Path) -> None:
    train = corpus_of(tmp_path, [*numbered("t", 40), "shared", "both"], ["a", "b"] * 21)
    val = corpus_of(tmp_path, [*numbered("v", 6), "shared", "both"], ["a", "b"] * 4, "v")
    test = corpus_of(tmp_path, ["both", "both", "x", "y"], ["b", "b", "a", "b"], "t")
    splits = split_given_files(
        train, val, test, ["a", "b"], labels_chosen=False, test_size=0.2, val_size=0.1, seed=42
    )
    assert texts_of(splits.test) == ["both", "both", "x", "y"]
    assert texts_of(splits.val) == [*numbered("v", 6), "shared"]
    assert texts_of(splits.train) == numbered("t", 40)
    assert splits.dropped_duplicates == 3


def test_labels_of_given_files_must_agree(tmp_path: Path) -> None:
    train = corpus_of(tmp_path, numbered("t", 60), ["a", "b", "c"] * 20)
    test = corpus_of(tmp_path, numbered("x", 10), ["a", "b"] * 5, "test")

    def split(*, labels_chosen: bool) -> Splits:
        return split_given_files(
            train, None, test, ["a", "b", "c"], labels_chosen=labels_chosen,
            test_size=0.2, val_size=0.1, seed=42,
        )  # fmt: skip

    with pytest.raises(InputError, match=r"test\.csv: no row has the label 'c'"):
        split(labels_chosen=False)
    assert len(split(labels_chosen=True).test) == 10


def test_labels_are_ordered_by_number_then_name(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, numbered("t", 4), ["10", "9", "x", "2"])
    assert order_labels([corpus]) == ["2", "9", "10", "x"]
    assert order_labels([corpus], ["x", "10", "9", "2"]) == ["x", "10", "9", "2"]
    assert whole_file(corpus, ["x", "10", "9", "2"]).classes.tolist() == [1, 2, 0, 3]
    with pytest.raises(InputError, match="label 'x' is not among"):
        order_labels([corpus], ["2", "9", "10"])
    with pytest.raises(InputError, match="no row has the label 'y'"):
        order_labels([corpus], ["2", "9", "10", "x", "y"])
    with pytest.raises(InputError, match="twice"):
        order_labels([corpus], ["2", "2"])


def test_one_label_or_far_too_many_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every row has the label 'a'"):
        order_labels([corpus_of(tmp_path, ["x", "y"], ["a", "a"])])
    many = corpus_of(tmp_path, numbered("t", 1001), numbered("l", 1001), "many")
    with pytest.raises(InputError, match="1,001 different labels"):
        order_labels([many])


@pytest.mark.parametrize(
    ("labels", "size", "told"),
    [
        (["a", "b", "b", "b"], 0.2, "too few rows"),
        (["a", "a", "b", "b"], 0.2, "too few rows"),
        (["a", "b"] * 20, 1.5, "between 0 and 1"),
    ],
)
def test_impossible_splits_are_refused(
    tmp_path: Path, labels: list[str], size: float, told: str
) -> None:
    corpus = corpus_of(tmp_path, numbered("t", len(labels)), labels)
    with pytest.raises(InputError, match=told):
        split_one_file(corpus, ["a", "b"], test_size=size, val_size=0.1, seed=42)


def test_written_splits_part_the_file(tmp_path: Path) -> None:
    texts = [f'say "{number}",\nplease' for number in range(50)]
    corpus = corpus_of(tmp_path, texts, ["a", "b"] * 25)
    splits = split_one_file(corpus, ["a", "b"], test_size=0.2, val_size=0.1, seed=42)
    write_splits(splits, CsvFormat(), tmp_path / "out")
    frames = [pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("train", "val", "test")]
    assert [len(frame) for frame in frames] == [36, 4, 10]
    together = pd.concat(frames).sort_values("extra").reset_index(drop=True)
    pd.testing.assert_frame_equal(together, pd.read_csv(corpus.path))
