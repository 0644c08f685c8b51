from pathlib import Path

import pandas as pd
import pytest

from sentiment.batch import NO_CLASS
from sentiment.data.corpus import Corpus, open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.splits import Split, Splits, split_given_files, unlabeled_splits
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.runtime.errors import InputError


def corpus_of(path: Path, texts: list[str], labels: list[str] | None = None) -> Corpus:
    columns = {"review": texts} if labels is None else {"review": texts, "sentiment": labels}
    pd.DataFrame(columns).to_csv(path, index=False)
    csv_format = CsvFormat(label_column=None if labels is None else "sentiment")
    return open_corpus(
        path, csv_format, TokenizerSettings(), cache=path.parent / "cache", num_workers=1
    )


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix} {number}" for number in range(count)]


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    train, val, test = (
        corpus_of(tmp_path / f"{name}.csv", numbered(name, count), ["a", "b"] * (count // 2))
        for name, count in {"train": 20, "val": 6, "test": 6}.items()
    )
    return split_given_files(
        train, val, test, ["a", "b"], test_size=0.2, val_size=0.1, seed=1, labels_chosen=True
    )


def texts_of(split: Split) -> list[str]:
    frame = pd.read_csv(split.corpus.path)
    return [frame["review"][int(split.corpus.rows[review])] for review in split.reviews]


def test_only_new_texts_are_kept_each_once(
    tmp_path: Path, splits: Splits, caplog: pytest.LogCaptureFixture
) -> None:
    known = ["test 1", "Test  2", "test 2", "VAL 3", "train 4"]
    one = corpus_of(tmp_path / "one.csv", [*known, "new 1", "new 2", "new  1<br />", "new 3"])
    two = corpus_of(tmp_path / "two.csv", ["new 2", "test 5", "new 4", "new 4"])
    with caplog.at_level("INFO"):
        kept = unlabeled_splits([one, two], splits)
    assert [texts_of(split) for split in kept] == [["new 1", "new 2", "new 3"], ["new 4"]]
    assert {int(label) for split in kept for label in split.classes} == {NO_CLASS}
    first, second = (record.getMessage() for record in caplog.records)
    assert first == (
        f"{one.path}: 9 rows read, 3 unlabeled reviews; dropped: 3 in the test split, 1 in the"
        " validation split, 2 repeated, 0 for a missing text"
    )
    assert "1 unlabeled reviews; dropped: 1 in the test split, 0 in the val" in second
    assert "2 repeated" in second


def test_a_file_without_new_texts_is_refused(tmp_path: Path, splits: Splits) -> None:
    copy = corpus_of(tmp_path / "copy.csv", numbered("train", 20))
    with pytest.raises(InputError, match=r"copy\.csv: every text of this unlabeled file"):
        unlabeled_splits([copy], splits)
