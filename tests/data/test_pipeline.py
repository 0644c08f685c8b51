from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_reviews
from sentiment.data.datamodule import SentimentDataModule
from sentiment.runtime.errors import InputError


def module(path: Path, **settings: Any) -> SentimentDataModule:
    made = SentimentDataModule(csv=str(path), **settings)
    made.prepare_data()
    made.setup()
    return made


def share_splits(one: SentimentDataModule, other: SentimentDataModule) -> bool:
    return np.shares_memory(one.reviews("train").classes, other.reviews("train").classes)


def test_the_same_data_is_prepared_once(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv")
    first = module(reviews)
    again = module(reviews, batch_size=4, seed=7, max_length=5)
    assert share_splits(first, again)
    assert again.facts.vocabulary == first.facts.vocabulary
    for settings in ({"max_size": 10}, {"split_seed": 1}, {"lowercase": False}):
        assert not share_splits(first, module(reviews, **settings))
    assert not share_splits(first, module(reviews))  # only the last is kept


def test_a_changed_file_is_prepared_anew(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv")
    assert "lovely" in module(reviews).facts.vocabulary
    reviews.write_text(reviews.read_text().replace("lovely", "superb"))  # of the same size
    assert "lovely" not in module(reviews).facts.vocabulary


def test_what_one_training_changes_reaches_no_other(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv")
    first = module(reviews)
    words, labels = list(first.facts.vocabulary), list(first.facts.labels)
    first.facts.vocabulary.append("new")
    first.facts.labels.reverse()
    first.facts.word_counts[:] = 0
    first.state_dict()["raw_labels"].clear()
    second = module(reviews)
    assert second.facts.vocabulary == words
    assert second.facts.labels == second.state_dict()["raw_labels"] == labels
    assert second.facts.word_counts.any()


def test_what_is_shared_cannot_be_changed(tmp_path: Path) -> None:
    first = module(write_reviews(tmp_path / "reviews.csv"))
    for array in (first.reviews("train").classes, first.training_texts()[0].reviews):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_fingerprint_is_of_the_reviews_in_any_order(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "reviews.csv")
    header, *rows = path.read_text().splitlines()

    def fingerprint(lines: list[str], **settings: Any) -> str:
        other = tmp_path / "other.csv"
        other.write_text("\n".join([header, *lines]))
        made = SentimentDataModule(train_csv=str(path), test_csv=str(other), **settings)
        made.prepare_data()
        made.setup()
        return made.facts.fingerprints["test"]

    some = rows[:50]
    plain = fingerprint(some)
    assert fingerprint(some[::-1]) == plain
    assert fingerprint(some, labels=["lovely", "awful"]) == plain
    assert fingerprint(some, label_names=["-", "+"], lowercase=False, max_length=5) == plain
    assert fingerprint(rows[1:51]) != plain
    assert fingerprint([*some, some[0]]) != plain
    swapped = [row.replace(",lovely", ",?").replace(",awful", ",lovely") for row in some]
    assert fingerprint([row.replace(",?", ",awful") for row in swapped]) != plain


def test_a_message_about_a_label_names_its_first_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", rows=80)
    with reviews.open("a") as file:
        file.writelines(f"text {row},{'Lovely' if row % 2 else 'NA'}\n" for row in range(40))
    module(reviews)
    one, other = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    for message, facts in ((one, ("81", "'NA'")), (other, ("82: label 'Lovely'", "2: label 'lo"))):
        for fact in (f"{reviews}, row ", *facts):
            assert fact in message
    with pytest.raises(InputError, match=r"reviews\.csv, row 81: .*'NA'.*data\.labels"):
        module(reviews, labels=["awful", "lovely", "Lovely"])


def test_texts_that_the_tokenizer_does_not_split_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"这部电影很{'好' if row % 2 else '坏'}看第{row}集" for row in range(60)]
    for name in ("train", "test"):
        text = "".join(f"{each}{name},{row % 2}\n" for row, each in enumerate(rows))
        (tmp_path / f"{name}.csv").write_text(f"review,sentiment\n{text}")
    train, test = str(tmp_path / "train.csv"), str(tmp_path / "test.csv")
    for language, messages in (("en", 1), ("zh", 0)):
        caplog.clear()
        data = SentimentDataModule(train_csv=train, test_csv=test, num_workers=1, language=language)
        data.prepare_data()
        data.setup()
        found = [each for each in caplog.records if "data.language=zh" in each.getMessage()]
        assert len(found) == messages
        assert [data.facts.unsplit] == ([each.getMessage() for each in found] or [""])
        assert all("train.csv: Chinese" in each.getMessage() for each in found)
