import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from sentiment.batch import NO_CLASS
from sentiment.data.corpus import Corpus, open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.reviews import read_table
from sentiment.data.splits import (
    Split,
    Splits,
    split_reviews,
    unlabeled_splits,
    whole_file,
    write_splits,
)
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.runtime.errors import InputError

SIZES: dict[str, Any] = {"test_size": 0.2, "val_size": 0.1, "seed": 42}


def corpus_of(
    tmp_path: Path,
    texts: list[str],
    labels: list[str] | None,
    name: str = "r",
    *,
    lowercase: bool = True,
) -> Corpus:
    path = tmp_path / f"{name}.csv"
    columns = {"review": texts, "sentiment": labels or ""}
    pd.DataFrame({**columns, "extra": range(len(texts))}).to_csv(path, index=False)
    csv_format = CsvFormat(label_column=None if labels is None else "sentiment")
    tokens = TokenizerSettings(lowercase=lowercase)
    return open_corpus(path, csv_format, tokens, cache=tmp_path / "cache", num_workers=1)


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix} {number}" for number in range(count)]


def texts_of(split: Split) -> list[str]:
    frame = pd.read_csv(split.corpus.path)
    return [frame["review"][int(split.corpus.rows[review])] for review in split.reviews]


def test_the_test_split_is_that_of_scikit_learn(tmp_path: Path) -> None:
    labels = ["a" if number % 3 else "b" for number in range(200)]
    corpus = corpus_of(tmp_path, numbered("text", 200), labels)
    assert whole_file(corpus, ["b", "a"]).classes.tolist() == [int(each == "a") for each in labels]
    splits = split_reviews(corpus, ["a", "b"], **SIZES)
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
        splits = split_reviews(corpus, ["a", "b"], **SIZES)
    assert splits.dropped_duplicates == 3
    kept = [splits.train.reviews, splits.val.reviews, splits.test.reviews]
    assert sorted(np.concatenate(kept)) == list(range(60))  # of equal texts, the first
    assert "texts with different labels: 1" in caplog.text


def test_given_files_keep_test_whole_and_training_clean(tmp_path: Path) -> None:
    train = corpus_of(tmp_path, [*numbered("t", 40), "shared", "both"], ["a", "b"] * 21)
    val = corpus_of(tmp_path, [*numbered("v", 6), "shared", "both"], ["a", "b"] * 4, "v")
    test = corpus_of(tmp_path, ["both", "both", "x", "y"], ["b", "b", "a", "b"], "t")
    splits = split_reviews(train, ["a", "b"], val=val, test=test, **SIZES)
    assert texts_of(splits.test) == ["both", "both", "x", "y"]
    assert texts_of(splits.val) == [*numbered("v", 6), "shared"]
    assert texts_of(splits.train) == numbered("t", 40)
    assert splits.dropped_duplicates == 3


def test_overlaps_are_found_among_many_texts(tmp_path: Path) -> None:
    train = corpus_of(tmp_path, numbered("t", 900), ["a", "b"] * 450)
    test = corpus_of(tmp_path, numbered("t", 1200)[600:], ["a", "b"] * 300, "test")
    splits = split_reviews(train, ["a", "b"], test=test, **SIZES)
    assert sorted([*texts_of(splits.train), *texts_of(splits.val)]) == sorted(numbered("t", 600))
    assert (len(splits.val), len(splits.test), splits.dropped_duplicates) == (60, 600, 300)


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_text_in_other_case_is_a_repeat_where_tokens_are_lower_cased(
    tmp_path: Path, lowercase: bool
) -> None:
    texts, labels = numbered("a text", 60), ["a", "b"] * 30
    shouted = [text.upper() for text in texts[:10]]
    one = corpus_of(tmp_path, [*texts, *shouted], [*labels, *labels[:10]], lowercase=lowercase)
    test = corpus_of(tmp_path, shouted, labels[:10], "test", lowercase=lowercase)
    dropped = split_reviews(one, ["a", "b"], **SIZES).dropped_duplicates
    splits = split_reviews(one, ["a", "b"], test=test, labels_chosen=True, **SIZES)
    assert (dropped, splits.dropped_duplicates) == ((10, 20) if lowercase else (0, 10))
    training = {text.lower() for text in texts_of(splits.train) + texts_of(splits.val)}
    assert bool(training & {text.lower() for text in shouted}) is not lowercase


def test_texts_whose_digests_have_an_equal_half_are_different(tmp_path: Path) -> None:
    def sharing_halves(name: str) -> Corpus:
        corpus = corpus_of(tmp_path, numbered(name, 100), 50 * ["a", "b"], name)
        folded = np.array(corpus.folded)
        folded[:, 0] = 7  # the low halves differ
        folded[[3, 60]] = folded[[2, 2]]
        return replace(corpus, folded=folded)

    one, other = sharing_halves("x"), sharing_halves("y")
    splits = split_reviews(one, ["a", "b"], **SIZES)
    assert splits.dropped_duplicates == 2
    kept = np.concatenate([splits.train.reviews, splits.val.reviews, splits.test.reviews])
    assert sorted(kept) == [n for n in range(100) if n not in (3, 60)]
    folded = np.array(other.folded)
    folded[10] = one.folded[20]
    splits = split_reviews(
        one, ["a", "b"], test=replace(other, folded=folded), labels_chosen=True, **SIZES
    )
    assert splits.dropped_duplicates == 3
    assert 20 not in np.concatenate([splits.train.reviews, splits.val.reviews])


def test_what_has_no_file_comes_from_training(tmp_path: Path) -> None:
    train = corpus_of(tmp_path, numbered("t", 100), ["a", "b"] * 50)
    val = corpus_of(tmp_path, numbered("v", 10), ["a", "b"] * 5, "v")
    splits = split_reviews(train, ["a", "b"], val=val, **SIZES)
    assert texts_of(splits.val) == numbered("v", 10)
    assert sorted([*texts_of(splits.train), *texts_of(splits.test)]) == sorted(numbered("t", 100))
    assert np.bincount(splits.test.classes).tolist() == [10, 10]
    with pytest.raises(InputError, match=r"r\.csv: .*training"):
        split_reviews(train, ["a", "b"], val=val, test=train, **SIZES)


def test_labels_of_given_files_must_agree(tmp_path: Path) -> None:
    train = corpus_of(tmp_path, numbered("t", 60), ["a", "b", "c"] * 20)
    test = corpus_of(tmp_path, numbered("x", 10), ["a", "b"] * 5, "test")

    def split(*, labels_chosen: bool) -> Splits:
        labels = ["a", "b", "c"]
        return split_reviews(train, labels, test=test, labels_chosen=labels_chosen, **SIZES)

    with pytest.raises(InputError, match=r"test\.csv: .*'c'.*data\.labels"):
        split(labels_chosen=False)
    assert len(split(labels_chosen=True).test) == 10
    train, test = test, train
    with pytest.raises(InputError, match=r"test\.csv: .*'c'.*r\.csv"):
        split(labels_chosen=False)


@pytest.mark.parametrize("labels", [["a", "b", "b", "b"], ["a", "a", "b", "b"]])
def test_impossible_splits_are_refused(tmp_path: Path, labels: list[str]) -> None:
    corpus = corpus_of(tmp_path, numbered("t", len(labels)), labels)
    with pytest.raises(InputError, match=r"r\.csv: .*data\.(test|val)_size"):
        split_reviews(corpus, ["a", "b"], **SIZES)


def test_too_few_rows_say_which_label_is_short(tmp_path: Path) -> None:
    long = "a label that is as long as a review, as if the columns were swapped"
    corpus = corpus_of(tmp_path, [*numbered("t", 9), "t 0"], ["a", "b", "b"] * 3 + [long])
    with pytest.raises(InputError, match=r"classes, none .*'a label that .*\.\.\.'") as caught:
        split_reviews(corpus, ["a", "b", long], **SIZES)
    assert long not in str(caught.value)


def test_written_splits_make_up_the_file(tmp_path: Path) -> None:
    texts = [f'say "{number}",\nplease' for number in range(50)]
    corpus = corpus_of(tmp_path, texts, ["a", "b"] * 25)
    splits = split_reviews(corpus, ["a", "b"], **SIZES)
    write_splits(splits, CsvFormat(), tmp_path / "out")
    frames = [pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("train", "val", "test")]
    assert [len(frame) for frame in frames] == [36, 4, 10]
    together = pd.concat(frames).sort_values("extra").reset_index(drop=True)
    pd.testing.assert_frame_equal(together, pd.read_csv(corpus.path))


def test_written_splits_are_read_as_the_same_splits(tmp_path: Path) -> None:
    path = tmp_path / "r.tsv.gz"
    ends = ["\rreturn", "\r\nboth", ' "quoted"', "", "\té", "NA"]
    texts = [f"text {number}{ends[number % 6]}" for number in range(60)]
    frame = pd.DataFrame({0: texts, 1: [None, *"bc", *"abc" * 19], 2: ["NA", None] * 30})
    frame.to_csv(path, sep="\t", header=False, index=False, encoding="latin-1", quoting=1)
    old = CsvFormat(text_column="0", label_column="1", header=False, encoding="latin-1")
    new = CsvFormat(text_column="0", label_column="1")

    def opened(path: Path, csv_format: CsvFormat) -> Corpus:
        cache = tmp_path / "cache"
        return open_corpus(path, csv_format, TokenizerSettings(), cache=cache, num_workers=1)

    splits = split_reviews(opened(path, old), ["a", "b", "c"], **SIZES)
    write_splits(splits, old, tmp_path / "out")
    for name in ("train", "val", "test"):
        split = getattr(splits, name)
        again = opened(tmp_path / "out" / f"{name}.csv", new)
        assert again.digests.tolist() == split.corpus.digests[np.sort(split.reviews)].tolist()
        (written,) = read_table(again.path, new, 100)
        rows = np.sort(split.corpus.rows[split.reviews])  # not the reviews: row 0 has no label
        assert [cells[0] for cells in written.cells] == [texts[row] for row in rows]
        assert {cells[2] for cells in written.cells} == {"NA", ""}


def test_a_source_is_not_replaced_by_its_split(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, numbered("t", 60), ["a", "b"] * 30, "train")
    before = corpus.path.read_bytes()
    splits = split_reviews(corpus, ["a", "b"], **SIZES)
    with pytest.raises(InputError, match=r"data\.splits_dir=.*train\.csv"):
        write_splits(splits, CsvFormat(), tmp_path)
    assert corpus.path.read_bytes() == before


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    train, val, test = (
        corpus_of(tmp_path, numbered(name, count), ["a", "b"] * (count // 2), name)
        for name, count in {"train": 20, "val": 6, "test": 6}.items()
    )
    return split_reviews(train, ["a", "b"], val=val, test=test, labels_chosen=True, **SIZES)


def test_only_new_texts_are_kept_each_once(
    tmp_path: Path, splits: Splits, caplog: pytest.LogCaptureFixture
) -> None:
    known = ["test 1", "Test  2", "test 2", "VAL 3", "train 4"]
    one = corpus_of(tmp_path, [*known, "new 1", "new 2", "new  1<br />", "new 3"], None, "one")
    two = corpus_of(tmp_path, ["new 2", "test 5", "new 4", "new 4"], None, "two")
    with caplog.at_level("INFO"):
        kept = unlabeled_splits([one, two], splits)
    assert [texts_of(split) for split in kept] == [["new 1", "new 2", "new 3"], ["new 4"]]
    assert {int(label) for split in kept for label in split.classes} == {NO_CLASS}
    first, second = (record.getMessage() for record in caplog.records)
    assert str(one.path) in first
    assert re.findall(r"\d+", first.removeprefix(str(one.path))) == ["9", "3", "3", "1", "2", "0"]
    assert re.findall(r"\d+", second.removeprefix(str(two.path))) == ["4", "1", "1", "0", "2", "0"]


def test_a_file_without_new_texts_is_refused(tmp_path: Path, splits: Splits) -> None:
    copy = corpus_of(tmp_path, numbered("train", 20), None, "copy")
    with pytest.raises(InputError, match=r"copy\.csv: .*data\.unlabeled_csv"):
        unlabeled_splits([copy], splits)


def test_splits_with_few_reviews_or_without_a_class_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = ["a", "b"] * 100
    corpus = corpus_of(tmp_path, numbered("text", 200), labels)
    split_reviews(corpus, ["a", "b"], **SIZES)
    assert not caplog.records
    test = corpus_of(tmp_path, numbered("test", 30), ["a"] * 30, "test")
    val = corpus_of(tmp_path, numbered("val", 3), ["a", "b", "a"], "val")
    split_reviews(corpus, ["a", "b"], val=val, test=test, **SIZES, labels_chosen=True)
    (record,) = caplog.records
    for fact in ("r.csv", "3 reviews for validation", "30 reviews for test, none of them 'b'"):
        assert fact in record.getMessage()


def weighted(tmp_path: Path, texts: list[str], weights: list[float]) -> Corpus:
    path = tmp_path / "w.csv"
    labels = ["a" if number % 2 else "b" for number in range(len(texts))]
    pd.DataFrame({"review": texts, "sentiment": labels, "w": weights}).to_csv(path, index=False)
    csv_format, tokens = CsvFormat(weight_column="w"), TokenizerSettings()
    return open_corpus(path, csv_format, tokens, cache=tmp_path / "cache", num_workers=1)


def test_weights_follow_their_reviews_and_identify_a_split(tmp_path: Path) -> None:
    texts = [*numbered("text", 60), "text 0"]
    corpus = weighted(tmp_path, texts, [*map(float, range(1, 61)), 99.0])
    splits = split_reviews(corpus, ["a", "b"], **SIZES)
    weights = splits.train.weights
    assert weights is not None
    assert weights.tolist() == (splits.train.reviews + 1).tolist()
    assert splits.dropped_duplicates == 1
    assert 99.0 not in weights  # the first of repeated texts is kept, with its own weight
    prints = {
        split_reviews(
            weighted(tmp_path, texts, [value] * 61), ["a", "b"], **SIZES
        ).train.ordered_fingerprint
        for value in (1.0, 2.0)
    }
    prints |= {splits.train.ordered_fingerprint}
    assert len(prints) == 3


def test_training_reviews_that_all_weigh_nothing_are_refused(tmp_path: Path) -> None:
    corpus = weighted(tmp_path, numbered("text", 60), [0.0] * 60)
    with pytest.raises(InputError, match=r"w\.csv: all .* weight 0.*data\.weight_column"):
        split_reviews(corpus, ["a", "b"], **SIZES)
