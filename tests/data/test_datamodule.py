import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import write_reviews
from sentiment.batch import NO_CLASS
from sentiment.data import datamodule
from sentiment.data.datamodule import SentimentDataModule
from sentiment.data.sampler import BucketBatchSampler
from sentiment.data.scripts import joined
from sentiment.runtime.errors import InputError


def ready(path: Path | None, **options: Any) -> SentimentDataModule:
    csv = None if path is None else str(path)
    module = SentimentDataModule(csv=csv, num_workers=1, **options)
    module.prepare_data()
    module.setup()
    return module


def test_facts_and_batches_agree(tmp_path: Path) -> None:
    module = ready(write_reviews(tmp_path / "r.csv", 100), batch_size=16, max_length=9)
    facts = module.facts
    assert (facts.train_reviews, facts.val_reviews, facts.test_reviews) == (72, 8, 20)
    assert facts.labels == ["awful", "lovely"]
    assert facts.class_counts == [36, 36]
    assert facts.word_counts[facts.vocabulary.index("awful")] == 36
    batches = list(module.train_dataloader())
    assert sum(len(batch.labels) for batch in batches) == 72
    for batch in batches:
        assert batch.token_ids.shape[1] <= 9
        for ids, label in zip(batch.token_ids, batch.labels, strict=True):
            words = {facts.vocabulary[i] for i in ids}
            assert facts.labels[label] in words
    assert sum(len(batch.labels) for batch in module.val_dataloader()) == 8
    assert sum(len(batch.labels) for batch in module.test_dataloader()) == 20


def test_labels_in_the_cache_are_checked_unless_they_are_chosen(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    ratings = [f"{1 + row % 40 / 10:.1f}" for row in range(1200)]
    frame = {"review": [f"film {row}" for row in range(1200)], "sentiment": ratings}
    pd.DataFrame(frame).to_csv(path, index=False)
    module = ready(path, labels=sorted(set(ratings)))
    assert len(module.facts.labels) == 40
    with pytest.raises(InputError, match=r"r\.csv: 40 different labels.*data\.labels"):
        ready(path)


def test_reviews_come_one_by_one_from_all_over_a_split(tmp_path: Path) -> None:
    module = ready(write_reviews(tmp_path / "r.csv", 100), batch_size=16)
    alone = module.single_reviews("val", 3)
    assert [len(review.labels) for review in alone] == [1, 1, 1]
    assert len(module.single_reviews("val", 50)) == 8
    assert len({tuple(review.token_ids[0].tolist()) for review in alone}) == 3


def test_given_files_are_used_as_they_are(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "train_csv": str(write_reviews(tmp_path / "train.csv", 100)),
        "test_csv": str(write_reviews(tmp_path / "test.csv", 30)),  # stands in training too
    }
    module = SentimentDataModule(num_workers=1, batch_size=None, tokens_per_batch=100, **files)
    module.prepare_data()
    module.setup()
    facts = module.facts
    assert (facts.train_reviews, facts.val_reviews, facts.test_reviews) == (63, 7, 30)
    assert facts.dropped_duplicates == 30
    sizes = []
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        batches = list(loader)
        assert len(loader) == len(batches)
        assert max(batch.token_ids.numel() for batch in batches) <= 100
        sizes.append(sum(len(batch.labels) for batch in batches))
    assert sizes == [63, 7, 30]


def test_a_second_setup_does_nothing(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "r.csv", 60)
    module = ready(path)
    facts = module.facts
    path.unlink()
    module.setup("test")
    assert module.facts is facts


def test_a_second_file_is_read_with_the_vocabulary_of_training(tmp_path: Path) -> None:
    train, test = write_reviews(tmp_path / "train.csv", 60), tmp_path / "test.csv"
    test.write_text("review,sentiment\nzounds lovely,lovely\nlovely awful,awful\n")
    module = SentimentDataModule(train_csv=str(train), test_csv=str(test), num_workers=1)
    module.setup()
    (batch,) = module.test_dataloader()
    words = [[module.facts.vocabulary[i] for i in ids] for ids in batch.token_ids]
    assert sorted(words) == [["<unk>", "lovely"], ["lovely", "awful"]]


def test_training_resumes_at_the_batch_where_it_stopped(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "r.csv", 100)

    def epoch(module: SentimentDataModule, number: int) -> Iterator[list[list[int]]]:
        loader = module.train_dataloader()
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        return (batch.token_ids.tolist() for batch in loader)

    whole = list(epoch(ready(path, batch_size=8), 1))
    stopped = ready(path, batch_size=8)
    first = list(itertools.islice(epoch(stopped, 1), 3))
    state = stopped.state_dict()
    assert tuple(state["position"]) == (1, 3)
    resumed = ready(path, batch_size=8)
    resumed.load_state_dict(state)
    assert tuple(resumed.state_dict()["position"]) == (1, 3)
    assert first + list(epoch(resumed, 1)) == whole


def test_names_replace_labels_in_their_order(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "r.csv", 60)
    module = ready(path, labels=["lovely", "awful"], label_names=["good", "bad"])
    assert module.facts.labels == ["good", "bad"]
    assert module.state_dict()["raw_labels"] == ["lovely", "awful"]
    with pytest.raises(InputError, match=r"data\.label_names.* 3 .* 2 "):
        ready(path, label_names=["a", "b", "c"])


def test_a_state_is_plain_and_guards_a_resumption(tmp_path: Path) -> None:
    module = ready(write_reviews(tmp_path / "r.csv", 60), splits_dir=str(tmp_path / "splits"))
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    again = module.state_dict()
    assert torch.equal(state.pop("train_digests"), again.pop("train_digests"))
    assert state == again
    assert state["vocabulary"][:2] == ["<pad>", "<unk>"]
    module.load_state_dict(state)
    with pytest.raises(InputError, match="another vocabulary"):
        ready(write_reviews(tmp_path / "s.csv", 80)).load_state_dict(state)
    other = ready(tmp_path / "r.csv", label_names=["bad", "good"])
    with pytest.raises(InputError, match="other labels"):
        other.load_state_dict(state)
    assert len(pd.read_csv(tmp_path / "splits" / "test.csv")) == 12


def test_other_validation_labels_are_other_data(tmp_path: Path) -> None:
    train_csv = write_reviews(tmp_path / "train.csv", 60)
    val_csv = write_reviews(tmp_path / "val.csv", 90)
    val_csv.write_text(val_csv.read_text().replace("film", "movie"))  # train has other texts
    given = {"train_csv": str(train_csv), "val_csv": str(val_csv)}
    state = ready(None, **given).state_dict()
    table = pd.read_csv(val_csv)
    table.loc[88:89, "sentiment"] = table.loc[88:89, "sentiment"].to_numpy()[::-1]
    table.to_csv(val_csv, index=False)
    with pytest.raises(InputError, match="ckpt_path.*other reviews"):
        ready(None, **given).load_state_dict(state)


def with_unlabeled(tmp_path: Path, rows: list[str], **options: Any) -> SentimentDataModule:
    extra = tmp_path / "extra.csv"
    extra.write_text("\n".join(["stars,review", *rows]) + "\n")
    return ready(write_reviews(tmp_path / "r.csv", 60), unlabeled_csv=str(extra), **options)


def test_unlabeled_reviews_join_the_training_texts_and_the_vocabulary(tmp_path: Path) -> None:
    rows = ["5,zounds zounds", ",a film of old", "1,zounds  zounds<br />", "9,the film"]
    module = with_unlabeled(tmp_path, rows)
    alone = ready(tmp_path / "r.csv")
    assert (module.facts.unlabeled_reviews, alone.facts.unlabeled_reviews) == (3, 0)
    (unlabeled,) = module.unlabeled()
    batch = unlabeled[[0, 1, 2]]
    texts = [" ".join(module.facts.vocabulary[i] for i in ids if i) for ids in batch.token_ids]
    assert texts == ["zounds zounds", "a film of old", "the film"]
    assert set(batch.labels.tolist()) == {NO_CLASS}
    before = dict(zip(alone.facts.vocabulary, alone.facts.word_counts, strict=True))
    counts = dict(zip(module.facts.vocabulary, module.facts.word_counts, strict=True))
    assert {word: counts[word] - before.get(word, 0) for word in ("zounds", "film", "was")} == {
        "zounds": 2, "film": 2, "was": 0,
    }  # fmt: skip
    assert [len(split) for split in module.training_texts()] == [alone.facts.train_reviews, 3]
    assert alone.unlabeled() == []
    labels = [batch.labels.tolist() for batch in module.train_dataloader()]
    assert labels == [batch.labels.tolist() for batch in alone.train_dataloader()]


def test_other_unlabeled_reviews_matter_only_by_their_words(tmp_path: Path) -> None:
    state = with_unlabeled(tmp_path, ["1,zounds gadzooks"]).state_dict()
    with_unlabeled(tmp_path, ["1,gadzooks zounds"]).load_state_dict(state)
    with pytest.raises(InputError, match="another vocabulary"):
        with_unlabeled(tmp_path, ["1,zounds"]).load_state_dict(state)


def test_batches_may_hold_unlabeled_reviews_too(tmp_path: Path) -> None:
    rows = [f"1,zounds was film {number}" for number in range(30)]
    module = with_unlabeled(tmp_path, rows, unlabeled_ratio=0.5)
    alone = with_unlabeled(tmp_path, rows)
    batches, others = list(module.train_dataloader()), list(alone.train_dataloader())
    assert len(batches) == len(others)
    labels = torch.cat([batch.labels for batch in batches])
    known = labels[labels != NO_CLASS]
    assert known.tolist() == torch.cat([batch.labels for batch in others]).tolist()
    assert len(labels) - len(known) == round(0.5 * len(known))
    assert not any((batch.labels == NO_CLASS).any() for batch in module.val_dataloader())
    none = ready(tmp_path / "r.csv", unlabeled_ratio=1.0)
    assert sum(len(batch.labels) for batch in none.train_dataloader()) == none.facts.train_reviews


def test_written_splits_do_not_replace_an_unlabeled_file(tmp_path: Path) -> None:
    (tmp_path / "sp").mkdir()
    extra = tmp_path / "sp" / "train.csv"
    extra.write_text("review\nzounds\n")
    reviews, folder = write_reviews(tmp_path / "r.csv", 60), str(tmp_path / "x" / ".." / "sp")
    with pytest.raises(InputError, match=r"data\.splits_dir=.*train\.csv"):
        ready(reviews, unlabeled_csv=[str(extra)], splits_dir=folder)
    assert extra.read_text() == "review\nzounds\n"
    assert list(extra.parent.iterdir()) == [extra]


def test_asking_for_ngram_statistics_changes_no_batch(tmp_path: Path) -> None:
    rows = [f"1,zounds was film {number}" for number in range(30)]
    asked, quiet, plain = (  # these share their splits
        with_unlabeled(tmp_path, rows, unlabeled_ratio=1.0, ngrams=ngrams) for ngrams in (2, 2, 0)
    )
    statistics, again = asked.ngram_statistics(), asked.ngram_statistics()
    assert statistics is not None
    assert again is not None
    np.testing.assert_array_equal(statistics.held_out, again.held_out)
    last = len(statistics.held_out) - 1  # from all reviews, for those without labels
    np.testing.assert_array_equal(statistics.held_out[last], statistics.features)
    loaders = (module.train_dataloader() for module in (asked, quiet, plain))
    for one, other, without in zip(*loaders, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist() == without.token_ids.tolist()
        assert one.folds.tolist() == other.folds.tolist()
        assert ((one.folds == last) == (one.labels == NO_CLASS)).all()
        assert without.folds is None
    assert plain.ngram_statistics() is None
    assert all(batch.folds is None for batch in asked.val_dataloader())


def test_where_unlabeled_reviews_train_others_are_other_data(tmp_path: Path) -> None:
    state = with_unlabeled(tmp_path, ["1,zounds gadzooks"], unlabeled_ratio=1.0).state_dict()
    same = with_unlabeled(tmp_path, ["1,zounds  gadzooks"], unlabeled_ratio=1.0)
    same.load_state_dict(state)
    other = with_unlabeled(tmp_path, ["1,gadzooks zounds"], unlabeled_ratio=1.0)
    with pytest.raises(InputError, match="other reviews"):
        other.load_state_dict(state)


@pytest.mark.parametrize(("header", "fact"), [("text", "'review'"), (None, "no such file")])
def test_unlabeled_files_that_cannot_be_read_are_refused(
    tmp_path: Path, header: str | None, fact: str
) -> None:
    extra = tmp_path / "extra.csv"
    if header:
        extra.write_text(f"{header}\nzounds\n")
    with pytest.raises(InputError, match=fact) as caught:
        ready(write_reviews(tmp_path / "r.csv", 60), unlabeled_csv=[str(extra)])
    assert str(extra) in str(caught.value)


def test_facts_need_a_setup(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="setup"):
        _ = SentimentDataModule(csv=str(tmp_path / "r.csv")).facts


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({}, "data.csv=null and data.train_csv=null"),
        ({"csv": "a", "train_csv": "b"}, "data.csv=a and data.train_csv=b"),
        ({"csv": "a", "test_csv": "b"}, "data.train_csv"),
        ({"train_csv": "a", "test_csv": "./a"}, "a: is given for two splits"),
        ({"csv": "a", "unlabeled_csv": ["b", "./b"]}, "b: .*data.unlabeled_csv"),
        ({"csv": "a", "unlabeled_csv": "a"}, "a: .*data.unlabeled_csv"),
        ({"csv": "a", "unlabeled_csv": 7}, "data.unlabeled_csv=7"),
        ({"csv": "a", "unlabeled_csv": {"b": "c"}}, "data.unlabeled_csv="),
        ({"csv": "a", "keep": "middle"}, "data.keep='middle'.* head, tail, both"),
        ({"csv": "a", "batch_size": None}, "data.batch_size and data.tokens_per_batch"),
        ({"csv": "a", "batch_size": 0}, "data.batch_size=0"),
        ({"csv": "a", "max_length": 0}, "data.max_length=0"),
        ({"csv": "a", "test_size": 1.5}, "data.test_size=1.5.* between 0 and 1"),
        ({"csv": "a", "val_size": 0.0}, "data.val_size=0.0"),
        ({"csv": "a", "min_freq": 0}, "data.min_freq=0"),
        ({"csv": "a", "max_size": -1}, "data.max_size=-1"),
        ({"csv": "a", "label_names": ["x", "x"]}, "data.label_names=.* twice"),
        ({"csv": "a", "label_names": ["x", None]}, 'data.label_names: .*"null"'),
        ({"csv": "a", "labels": ["x", ["y"]]}, r"data.labels=\[a,b\]"),
        ({"csv": "a", "compression": "rar"}, "data.compression='rar'"),
    ],
)
def test_arguments_are_checked_before_anything_is_read(options: dict[str, Any], facts: str) -> None:
    with pytest.raises(InputError, match=facts):
        SentimentDataModule(**options)


def test_an_example_is_a_short_text_of_the_validation_split(tmp_path: Path) -> None:
    texts = ["I didn't like it, really (not at all).", "Fine.", "word " * 300]
    for name in ("train", "val", "test"):
        table = pd.DataFrame({"review": texts, "sentiment": ["a", "b", "a"]})
        table["review"] += f" {name}"
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    paths = {f"{name}_csv": str(tmp_path / f"{name}.csv") for name in ("train", "val", "test")}
    assert ready(None, **paths).example() == "fine. val"


def test_tokens_are_joined_as_they_are_written() -> None:
    text = "I didn't like it, really (not at all)."
    tokens = ["I", "did", "n't", "like", "it", ",", "really", "(", "not", "at", "all", ")", "."]
    assert joined(tokens, "en") == text
    assert joined(["很", "好"], "zh") == "很好"


def test_batches_are_bounded_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(datamodule, "LONGEST_TEXT", 50)
    monkeypatch.setattr(datamodule, "USUAL_TEXT", 20)
    usual = [f"film {row} was {'bad' if row % 2 else 'fine'}" for row in range(60)]
    texts = [*usual, "what a bore " * 200, "what a joy " * 9]
    frame = {"review": texts, "sentiment": [f"{row % 2}" for row in range(62)]}
    pd.DataFrame(frame).to_csv(tmp_path / "r.csv", index=False)
    module = ready(tmp_path / "r.csv", batch_size=4, test_size=0.1)
    splits = [module.train_dataloader(), module.val_dataloader(), module.test_dataloader()]
    (message,) = [each.getMessage() for each in caplog.records if "cut to" in each.getMessage()]
    for fact in ("cut to 50 tokens", ": 1,", "r.csv, row 61, which has 600", "data.max_length"):
        assert fact in message
    batches = [batch for split in splits for batch in split]
    assert sum(len(batch.labels) for batch in batches) == 62
    assert max(batch.token_ids.numel() for batch in batches) <= 4 * 20
    assert max(batch.token_ids.shape[1] for batch in batches) == 50
    assert module.state_dict()["max_length"] == 50  # so predictions are cut, too

    caplog.clear()
    module = ready(tmp_path / "r.csv", batch_size=4, test_size=0.1, max_length=1000)
    batches = [*module.train_dataloader(), *module.val_dataloader(), *module.test_dataloader()]
    assert max(batch.token_ids.shape[1] for batch in batches) == 600
    assert "cut to" not in caplog.text


def test_usual_reviews_have_the_batches_of_their_number(tmp_path: Path) -> None:
    module = ready(write_reviews(tmp_path / "r.csv", 200), batch_size=8)
    lengths = module.reviews("train").lengths
    expected = list(BucketBatchSampler(lengths, batch_size=8))
    sampler: Any = module.train_dataloader().sampler
    assert list(sampler) == expected


def test_only_training_reviews_need_weights_and_others_are_other_data(tmp_path: Path) -> None:
    train_csv, other = write_reviews(tmp_path / "train.csv", 60), write_reviews(tmp_path / "o.csv")
    other.write_text(other.read_text().replace("film", "movie"))
    table = pd.read_csv(train_csv).assign(w=range(1, 61))
    table.to_csv(train_csv, index=False)
    given: dict[str, Any] = {"train_csv": str(train_csv), "test_csv": str(other)}
    module = ready(None, **given, weight_column="w", batch_size=8)
    batches = list(module.train_dataloader())
    assert sum(len(batch.weights) for batch in batches) == module.facts.train_reviews
    for batch in batches:
        for ids, weight in zip(batch.token_ids, batch.weights.tolist(), strict=True):
            assert f"{weight - 1:.0f}" in {module.facts.vocabulary[i] for i in ids}
    assert all(batch.weights is None for batch in module.test_dataloader())
    state = module.state_dict()
    ready(None, **given, weight_column="w").load_state_dict(state)
    table.assign(w=table["w"] * 2).to_csv(train_csv, index=False)
    with pytest.raises(InputError, match="other reviews, or other labels or weights"):
        ready(None, **given, weight_column="w").load_state_dict(state)
