import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from sentiment.checkpoint import DATA_KEY, load_classifier, read_checkpoint
from sentiment.errors import InputError
from sentiment.model.classifier import SentimentClassifier
from sentiment.ngram_classifier import NgramClassifier
from sentiment.predict import main


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_classifier(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def test_a_checkpoint_is_plain(trained: Path) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    assert checkpoint["run"]["seed"] == 42
    assert 0 <= checkpoint["run"]["val/accuracy"] <= 1
    saved = load_classifier(trained / "checkpoints" / "best.ckpt")
    assert isinstance(saved.classifier, SentimentClassifier)
    assert not saved.classifier.training
    assert saved.classifier.settings == checkpoint["hyper_parameters"]["classifier"]


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    path, target = tmp_path / "bomb.ckpt", tmp_path / "made"
    torch.save({"state_dict": {}, "hyper_parameters": Bomb(target)}, path)
    assert "code" in refusal(path)
    assert not target.exists()


def test_damaged_and_foreign_files_are_refused(trained: Path, tmp_path: Path) -> None:
    whole = (trained / "checkpoints" / "best.ckpt").read_bytes()
    path = tmp_path / "x.ckpt"
    damaged = "cut off or damaged; copy it again, or use another checkpoint of the run"
    way_out = "sentiment.train; sentiment.train writes checkpoints/best.ckpt into its run folder"
    for content, told in (
        (whole[: len(whole) // 2], damaged),
        (whole[:90], damaged),
        (whole[:2000] + bytes(500) + whole[2500:], damaged),
        (b"", f"an empty file, not a checkpoint of {way_out}"),
        (b"just text\n", f"not a checkpoint of {way_out}"),
        (b"review,sentiment\nq", f"not a checkpoint of {way_out}"),
    ):
        path.write_bytes(content)
        assert refusal(path) == f"{path}: {told}"
    torch.save({"weight": torch.ones(1)}, path)
    assert "not a checkpoint of sentiment.train" in refusal(path)
    assert "no such checkpoint" in refusal(tmp_path / "nope.ckpt")
    assert "folder" in refusal(tmp_path)


def test_weights_that_do_not_fit_are_refused(trained: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    checkpoint["hyper_parameters"]["classifier"]["hidden_size"] += 1
    path = tmp_path / "x.ckpt"
    torch.save(checkpoint, path)
    assert "do not fit" in refusal(path)


MISSING = object()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("vocabulary", MISSING, "lacks 'vocabulary'"),
        ("vocabulary", ["a", "b"], "'vocabulary' has 2 entries for vocabulary_size="),
        ("vocabulary", "words", "'vocabulary' is of type str, not list"),
        ("labels", ["awful", 1], "'labels' holds something that is no string"),
        ("labels", ["awful"], "'labels' has 1 entries for num_classes=2"),
        ("raw_labels", ["a", "b", "c"], "'raw_labels' has 3 entries for num_classes=2"),
        ("tokenizer", {"language": 1}, "setting 'language'"),
        ("tokenizer", {"stemmer": "porter"}, "setting 'stemmer'"),
        ("max_length", "long", "'max_length' is of type str"),
        ("max_length", 0, "'max_length' is 0"),
        ("keep", "middle", "'keep' is 'middle', none of head, tail, both"),
        ("text_column", None, "'text_column' is of type NoneType, not str"),
    ],
)
def test_a_data_state_that_does_not_fit_is_refused(
    trained: Path, tmp_path: Path, name: str, value: Any, told: str
) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    data = checkpoint["SentimentDataModule"]
    data[name] = value
    if value is MISSING:
        del data[name]
    path = tmp_path / "x.ckpt"
    torch.save(checkpoint, path)
    assert told in refusal(path)


def test_a_checkpoint_without_a_temperature_has_1(trained: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    saved = load_classifier(trained / "checkpoints" / "best.ckpt").classifier.temperature
    assert float(saved) == float(checkpoint["state_dict"].pop("classifier.temperature")) != 1
    torch.save(checkpoint, tmp_path / "old.ckpt")
    assert float(load_classifier(tmp_path / "old.ckpt").classifier.temperature) == 1


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_refused(trained: Path, tmp_path: Path, value: float) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    checkpoint["state_dict"]["classifier.temperature"] = torch.tensor(value)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    assert f"temperature is {value}, no number above 0" in refusal(tmp_path / "x.ckpt")


@pytest.mark.parametrize("part", ["SentimentDataModule", "run", "state_dict", "hyper_parameters"])
def test_a_part_of_another_type_is_refused(trained: Path, tmp_path: Path, part: str) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    path = tmp_path / "x.ckpt"
    for value in ([1], {1: 2}, None):
        torch.save({**checkpoint, part: value}, path)
        refusal(path)


def test_the_command_line_says_so_in_one_line(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "nope.ckpt"), "text"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("weighting", ["tfidf", "naive_bayes"])
def test_a_baseline_is_opened_like_a_training(baselines: Path, weighting: str) -> None:
    path = baselines / weighting / "checkpoints" / "best.ckpt"
    saved = load_classifier(path)
    assert isinstance(saved.classifier, NgramClassifier)
    assert saved.classifier.weighting == weighting
    assert saved.data["max_length"] is None  # whatever the networks' is
    results = json.loads((path.parents[1] / "results.json").read_text())
    assert saved.run["val/accuracy"] == results["val/accuracy"]
    assert saved.classifier.num_parameters == results["parameters"]
    assert saved.classifier.temperature == results["temperature"] != 1


def test_a_changed_baseline_is_refused(baselines: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(baselines / "tfidf" / "checkpoints" / "best.ckpt")
    settings = whole["hyper_parameters"]["ngrams"]
    path = tmp_path / "x.ckpt"
    for part, value, told in (
        ("state_dict", {**whole["state_dict"], "weights": torch.ones(3, 1)}, "weights do not fit"),
        ("state_dict", {}, "weights do not fit"),
        ("hyper_parameters", {"ngrams": {}}, "weights do not fit"),
        ("hyper_parameters", {"ngrams": {**settings, "temperature": "hot"}}, "do not fit"),
        ("hyper_parameters", {"ngrams": {**settings, "temperature": 0}}, "temperature is 0.0"),
        (DATA_KEY, {**whole[DATA_KEY], "vocabulary": ["a"]}, "'vocabulary' has 1 entries"),
    ):
        torch.save(whole | {part: value}, path)
        assert told in refusal(path)
