from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import write_reviews
from sentiment.data.datamodule import SentimentDataModule
from sentiment.pretrain.datamodule import TextDataModule
from sentiment.runtime.errors import InputError


def texts_of(
    tmp_path: Path,
    *,
    max_length: int | None = None,
    held_out_tokens: int = 10**6,
    write: bool = True,
) -> TextDataModule:
    if write:
        write_reviews(tmp_path / "reviews.csv", 100)
        write_reviews(tmp_path / "more.csv", 160)
    reviews = SentimentDataModule(
        csv=str(tmp_path / "reviews.csv"),
        unlabeled_csv=str(tmp_path / "more.csv"),
        num_workers=1,
        batch_size=None,
        tokens_per_batch=100,
        max_length=max_length,
    )
    module = TextDataModule(reviews, held_out_tokens=held_out_tokens)
    module.prepare_data()
    module.setup()
    return module


def test_all_texts_but_those_held_out_are_learned_from(tmp_path: Path) -> None:
    module = texts_of(tmp_path)
    assert (module.facts.train_reviews, module.facts.val_reviews) == (72, 8)
    # The 60 unlabeled reviews that stand in no split, and the 72.
    assert len(module.texts) == 132
    words = module.facts.vocabulary
    numbers = {
        words[int(word)]
        for batch in module.train_dataloader()
        for word in batch.token_ids[:, 3]  # "the film number 17 was"
    }
    assert len(numbers) == 132
    held_out = {
        words[int(word)] for batch in module.val_dataloader() for word in batch.token_ids[:, 3]
    }
    assert len(module.held_out) == 8
    assert "<unk>" in held_out
    assert held_out <= {"<unk>", *"0123456"}  # their numbers stand nowhere else, but for the acts'


def test_long_texts_are_read_in_pieces(tmp_path: Path) -> None:
    whole, pieces = texts_of(tmp_path), texts_of(tmp_path, max_length=5)
    assert pieces.texts.lengths.sum() == whole.texts.lengths.sum()
    assert set(pieces.texts.lengths) == {4}  # of the 12 of each text
    assert len(pieces.texts) == 3 * len(whole.texts)


def test_as_much_is_held_out_as_asked_for(tmp_path: Path) -> None:
    module = texts_of(tmp_path, held_out_tokens=40)
    assert module.held_out.lengths.tolist() == [12, 12, 12]
    assert len(texts_of(tmp_path, held_out_tokens=1).held_out) == 1


def test_it_resumes_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    module = texts_of(tmp_path)
    batches = iter(module.train_dataloader())
    for _ in range(3):
        next(batches)
    state = module.state_dict()
    rest = [batch.token_ids.tolist() for batch in batches]
    again = texts_of(tmp_path)
    again.load_state_dict(state)
    assert [batch.token_ids.tolist() for batch in again.train_dataloader()] == rest


def test_other_unlabeled_texts_of_the_same_words_are_refused(tmp_path: Path) -> None:
    state = texts_of(tmp_path).state_dict()
    texts_of(tmp_path).load_state_dict(state)
    table = pd.read_csv(tmp_path / "more.csv")
    new = table.index >= 100  # of the others, those held out would be new too
    reversed_texts = [" ".join(reversed(text.split())) for text in table["review"][new]]
    table.loc[new, "review"] = reversed_texts
    table.to_csv(tmp_path / "more.csv", index=False)
    other = texts_of(tmp_path, write=False)
    assert other.facts.vocabulary == state["vocabulary"]
    with pytest.raises(InputError, match="ckpt_path: .*unlabeled texts"):
        other.load_state_dict(state)


def test_texts_of_single_words_are_refused(tmp_path: Path) -> None:
    rows = 60
    words = [f"w{row}" for row in range(rows)]
    table = pd.DataFrame({"review": words, "sentiment": np.arange(rows) % 2})
    table.to_csv(tmp_path / "words.csv", index=False)
    reviews = SentimentDataModule(csv=str(tmp_path / "words.csv"), num_workers=1)
    module = TextDataModule(reviews, held_out_tokens=100)
    module.prepare_data()
    with pytest.raises(InputError, match="training text.*data.text_column"):
        module.setup()
