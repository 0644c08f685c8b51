"""A teacher's probabilities: read, checked, and given to the texts that they are of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sentiment.batch import NO_CLASS
from sentiment.data.datamodule import SentimentDataModule
from sentiment.runtime.errors import InputError

REVIEWS = [(f"text {number}", "good" if number % 3 else "bad") for number in range(60)]


def ready(
    tmp_path: Path, soft: "pd.DataFrame | str", others: Sequence[str] = (), **options: Any
) -> SentimentDataModule:
    pd.DataFrame(REVIEWS, columns=["review", "sentiment"]).to_csv(tmp_path / "r.csv", index=False)
    if isinstance(soft, str):
        (tmp_path / "soft.csv").write_text(soft)
    else:
        soft.to_csv(tmp_path / "soft.csv", index=False)
    module = SentimentDataModule(
        csv=str(tmp_path / "r.csv"),
        soft_csv=[str(tmp_path / name) for name in ("soft.csv", *others)],
        num_workers=1,
        **options,
    )
    module.prepare_data()
    module.setup()
    return module


def scored(rows: list[tuple[str, float]], good: str = "score_good") -> pd.DataFrame:
    bad = good.replace("good", "bad")
    return pd.DataFrame(
        [(text, round(1 - score, 4), score) for text, score in rows], columns=["review", bad, good]
    )


def training_reviews(module: SentimentDataModule) -> dict[str, tuple[int, list[float]]]:
    """The class and the targets of each text in the batches of an epoch."""
    words = module.facts.vocabulary
    found = {}
    for batch in module.train_dataloader():
        assert batch.targets is not None
        for ids, length, label, target in zip(
            batch.token_ids, batch.lengths, batch.labels, batch.targets, strict=True
        ):
            text = " ".join(words[each] for each in ids[:length])
            found[text] = int(label), target.tolist()
    return found


def test_texts_get_their_probabilities_and_held_out_ones_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without = SentimentDataModule(csv=str(tmp_path / "r.csv"), num_workers=1)
    rows = [(text, 0.25) for text, _ in REVIEWS]
    rows += [("new one", 0.9), ("New  one", 0.7), ("new two", 0.5)]
    with caplog.at_level("INFO"):
        module = ready(tmp_path, scored(rows))
    without.prepare_data()
    without.setup()
    found = training_reviews(module)
    assert (module.facts.train_reviews, module.facts.soft_reviews) == (43, 2)
    assert len(found) == 45
    assert found["new one"][0] == NO_CLASS
    assert found["new one"][1] == pytest.approx([0.2, 0.8])  # the mean of both
    assert found["new two"] == (NO_CLASS, [0.5, 0.5])
    labels = dict(REVIEWS)
    for text, (label, target) in found.items():
        if text in labels:
            assert label == ["bad", "good"].index(labels[text])
            assert target == [0.75, 0.25]
    assert (
        "63 rows read, with probabilities of 43 training reviews and 2 other texts; dropped: 12 in"
        " the test split, 5 in the validation split, 1 repeated" in caplog.text
    )
    assert module.state_dict()["fingerprints"] != without.state_dict()["fingerprints"]
    assert module.state_dict()["held_out"] == without.state_dict()["held_out"]
    assert module.state_dict()["teachers"] == ["soft.csv"]


def test_several_files_are_averaged(tmp_path: Path) -> None:
    rows = [(text, 0.5) for text, _ in REVIEWS]
    scored([*rows, ("new one", 0.5)]).to_csv(tmp_path / "other.csv", index=False)
    more = [(text, 0.9) for text, _ in REVIEWS] + [("new one", 0.9), ("new one", 0.9)]
    module = ready(tmp_path, scored(more), others=["other.csv"])
    found = training_reviews(module)
    assert found["new one"][1] == pytest.approx([0.3, 0.7])
    assert module.facts.soft_reviews == 1
    taught = {tuple(np.round(target, 3)) for _, target in found.values()}
    assert taught == {(0.3, 0.7)}


def test_a_review_that_no_teacher_knows_has_no_target(tmp_path: Path) -> None:
    found = training_reviews(ready(tmp_path, scored([("new one", 1.0)])))
    assert found["new one"] == (NO_CLASS, [0, 1])
    assert {tuple(target) for text, (_, target) in found.items() if text != "new one"} == {(0, 0)}


def test_labels_are_matched_by_name(tmp_path: Path) -> None:
    named = ready(
        tmp_path, scored([("new one", 0.9)]),
        label_names=["poor", "fine"], score_columns={"fine": "score_good", "poor": "score_bad"},
    )  # fmt: skip
    assert training_reviews(named)["new one"][1] == pytest.approx([0.1, 0.9])
    own = ready(
        tmp_path, scored([("new one", 0.9)], "p good"),
        score_columns={"good": "p good", "bad": "p bad"},
    )  # fmt: skip
    assert training_reviews(own)["new one"][1] == pytest.approx([0.1, 0.9])


def test_ngrams_count_as_the_teacher_says(tmp_path: Path) -> None:
    rows = [(f"splendid splendid {number}", 0.9) for number in range(30)]
    rows += [(f"plain {number}", 0.4) for number in range(30)]
    module = ready(tmp_path, scored(rows), ngrams=1)
    statistics = module.ngram_statistics()
    assert statistics is not None
    known = dict(zip(statistics.keys[0].tolist(), statistics.features[:, 0].tolist(), strict=True))
    splendid, plain = (known[module.facts.vocabulary.index(w)] for w in ("splendid", "plain"))
    bad, good = np.add(module.facts.class_counts, [30 * 0.7, 30 * 1.3])
    assert splendid == pytest.approx(np.log(28 / (good + 1)) - np.log(4 / (bad + 1)), abs=0.01)
    assert plain == pytest.approx(np.log(13 / (good + 1)) - np.log(19 / (bad + 1)), abs=0.01)


@pytest.mark.parametrize(
    ("soft", "facts"),
    [
        ("review,score_good,score_bad\na,0.5,0.5\nb,0.4,0.4\n", ["row 2", "0.8", "sum to 1"]),
        ("review,score_good,score_bad\na,x,0.5\n", ["row 1", "x, 0.5", "from 0 to 1"]),
        ("review,score_good,score_bad\na,-0.5,1.5\n", ["row 1", "-0.5, 1.5", "from 0 to 1"]),
        ("review,score_good,score_bad\na,nan,0.5\n", ["row 1", "nan", "from 0 to 1"]),
        ("review,good\na,0.5\n", ["score_positive", "'good'", "data.score_columns="]),
        ("review,score_good,score_ugly\na,0.5,0.5\n", ["'ugly'", "'bad'", "data.score_columns="]),
        ("text,score_good,score_bad\na,0.5,0.5\n", ["no column 'review'"]),
        ("review,score_good,score_bad\n", ["no rows"]),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, soft: str, facts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        ready(tmp_path, soft)
    for fact in ["soft.csv", *facts]:
        assert fact in str(caught.value)


def test_a_text_without_probabilities_is_counted_as_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(f"new {number}", 0.5) for number in range(20)]
    frame = scored(rows)
    frame.loc[3, ["score_good", "score_bad"]] = None
    with caplog.at_level("INFO"):
        module = ready(tmp_path, frame)
    assert module.facts.soft_reviews == 19
    assert "1 for a missing text or missing probabilities" in caplog.text


@pytest.mark.parametrize(
    ("given", "fact"),
    [({"good": "nope", "bad": "score_bad"}, "'nope'"), ("score_", "LABEL: COLUMN")],
)
def test_wrong_columns_are_refused(tmp_path: Path, given: Any, fact: str) -> None:
    with pytest.raises(InputError, match=r"data\.score_columns") as caught:
        ready(tmp_path, scored([("new one", 0.5)]), score_columns=given)
    assert fact in str(caught.value)


def test_only_held_out_texts_teach_nothing(tmp_path: Path) -> None:
    ready(tmp_path, scored([("new one", 0.5)]), splits_dir=str(tmp_path / "splits"))
    tested = pd.read_csv(tmp_path / "splits" / "test.csv")["review"]
    with pytest.raises(InputError, match="also in the validation or test split"):
        ready(tmp_path, scored([(text, 0.5) for text in tested]))
