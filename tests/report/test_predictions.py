import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sentiment.model.metrics import Outcome
from sentiment.report.predictions import FILE, read_predictions, write_predictions
from sentiment.runtime.errors import InputError

LABELS = ["a,b", 'say "hi"\n<b>', "ć"]


@pytest.fixture
def outcome() -> Outcome:
    torch.manual_seed(0)
    return Outcome.of(torch.randn(20, 3), torch.randint(0, 3, (20,)), torch.arange(20) + 1)


def write(folder: Path, outcome: Outcome) -> None:
    rows = np.arange(20)
    write_predictions(folder, outcome, LABELS, rows + 1, rows + 5, rows)


def test_what_is_written_is_read(outcome: Outcome, tmp_path: Path) -> None:
    write(tmp_path, outcome)
    found = read_predictions(tmp_path, LABELS)
    assert found is not None
    assert found.rows.tolist() == list(range(1, 21))
    assert found.true.tolist() == outcome.labels.tolist()
    assert found.predicted.tolist() == outcome.logits.argmax(1).tolist()
    assert found.right.sum() == outcome.confusion.trace()
    scores = outcome.logits.double().softmax(1).numpy()
    assert found.scores is not None
    np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
    np.testing.assert_allclose(found.score, scores.max(1), rtol=1e-6)
    assert (found.tokens - found.known_tokens).tolist() == [5] * 20


def test_of_very_many_scores_only_the_highest_is_written(
    outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentiment.report.predictions._MOST_SCORES", 59)
    write(tmp_path, outcome)
    found = read_predictions(tmp_path, LABELS)
    assert found is not None
    assert (found.scores, len(found.score)) == (None, 20)


def test_a_folder_without_predictions(tmp_path: Path) -> None:
    assert read_predictions(tmp_path, LABELS) is None


@pytest.mark.parametrize("damage", ["", "row,label\n1,a\n", "row,label,predicted,score\n1\n"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(damage)
    with pytest.raises(InputError, match=FILE):
        read_predictions(tmp_path, ["a"])


def test_a_training_writes_them(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    found = read_predictions(trained, results["labels"])
    assert found is not None
    assert found.right.mean() == results["test/accuracy"]
    assert len(found) == results["test_reviews"]
    with (trained / "reviews.csv").open(newline="") as file:
        reviews = [*csv.DictReader(file)]
    own = [reviews[row - 1] for row in found.rows]
    assert [each["sentiment"] for each in own] == [found.labels[each] for each in found.true]
    assert [len(each["review"].split()) for each in own] == found.tokens.tolist()
    assert (found.known_tokens <= found.tokens).all()
    assert (found.known_tokens > 0).all()


def test_a_baseline_writes_them(baselines: Path, trained: Path) -> None:
    results = json.loads((baselines / "tfidf" / "results.json").read_text())
    found = read_predictions(baselines / "tfidf", results["labels"])
    network = read_predictions(trained, results["labels"])
    assert found is not None
    assert network is not None
    assert found.right.mean() == results["test/accuracy"]
    assert sorted(found.rows) == sorted(network.rows)  # the same split
