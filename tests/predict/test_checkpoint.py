import json
import math
import os
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from sentiment.data.tokenizer import EncodedTexts
from sentiment.model.classifier import SentimentClassifier
from sentiment.predict.checkpoint import (
    CHECKPOINT_FORMAT,
    CLASSIFIER,
    DATA_KEY,
    LANGUAGE_MODEL,
    load_classifier,
    read_checkpoint,
)
from sentiment.predict.member import Member
from sentiment.predict.ngram_classifier import NgramClassifier
from sentiment.runtime.errors import InputError
from sentiment.train.pretrained import load_pretrained


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
    for content, fact in (
        (whole[: len(whole) // 2], "damaged"),
        (whole[:90], "damaged"),
        (whole[:2000] + bytes(500) + whole[2500:], "damaged"),
        (b"", "empty"),
        (b"just text\n", "not a checkpoint of sentiment.train"),
        (b"review,sentiment\nq", "not a checkpoint of sentiment.train"),
    ):
        path.write_bytes(content)
        assert fact in refusal(path)
    torch.save({"weight": torch.ones(1)}, path)
    assert "not a checkpoint of sentiment.train" in refusal(path)
    assert "no such checkpoint" in refusal(tmp_path / "nope.ckpt")
    assert "folder" in refusal(tmp_path)


def test_the_format_is_written_and_a_later_one_refused(
    trained: Path, baselines: Path, pretrained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.ckpt"
    for folder, kind in (
        (trained, CLASSIFIER),
        (baselines / "tfidf", CLASSIFIER),
        (pretrained, LANGUAGE_MODEL),
    ):
        checkpoint = read_checkpoint(folder / "checkpoints" / "best.ckpt", kind)
        assert checkpoint["format"] == CHECKPOINT_FORMAT
        torch.save({**checkpoint, "format": CHECKPOINT_FORMAT + 1}, path)
        with pytest.raises(InputError, match=r"x\.ckpt: .* later version .*newer"):
            read_checkpoint(path, kind)
        for value in ("3", None, True, 10**400):
            torch.save({**checkpoint, "format": value}, path)
            with pytest.raises(InputError, match=r"x\.ckpt: 'format'"):
                read_checkpoint(path, kind)


@pytest.mark.parametrize(
    ("name", "value", "fact"),
    [
        ("vocabulary", ["a", "b"], "'vocabulary' has 2 entries for vocabulary_size="),
        ("labels", ["awful"], "'labels' has 1 entries for num_classes=2"),
        ("raw_labels", ["a", "b", "c"], "'raw_labels' has 3 entries for num_classes=2"),
        ("keep", "middle", "'keep' is 'middle'"),  # more of these in test_saved.py
    ],
)
def test_a_data_state_that_does_not_fit_is_refused(
    trained: Path, tmp_path: Path, name: str, value: Any, fact: str
) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    checkpoint[DATA_KEY][name] = value
    path = tmp_path / "x.ckpt"
    torch.save(checkpoint, path)
    assert fact in refusal(path)


def test_a_checkpoint_without_a_temperature_has_1(trained: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    saved = load_classifier(trained / "checkpoints" / "best.ckpt").classifier.temperature
    assert float(saved) == float(checkpoint["state_dict"].pop("classifier.temperature")) != 1
    torch.save(checkpoint, tmp_path / "old.ckpt")
    assert float(load_classifier(tmp_path / "old.ckpt").classifier.temperature) == 1


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-30, 1e-3, 1e3, 1e30, math.nan, math.inf])
def test_a_temperature_that_no_calibration_gives_is_refused(
    trained: Path, baselines: Path, tmp_path: Path, value: float
) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    checkpoint["state_dict"]["classifier.temperature"] = torch.tensor(value)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    assert "temperature" in refusal(tmp_path / "x.ckpt")
    baseline = read_checkpoint(baselines / "tfidf" / "checkpoints" / "best.ckpt")
    baseline["hyper_parameters"]["ngrams"]["temperature"] = value
    torch.save(baseline, tmp_path / "x.ckpt")
    assert f"temperature is {value}" in refusal(tmp_path / "x.ckpt")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused(
    trained: Path, baselines: Path, pretrained: Path, tmp_path: Path, value: float
) -> None:
    path = tmp_path / "x.ckpt"
    for folder, kind, name in (
        (trained, CLASSIFIER, "classifier.embedding.weight"),
        (baselines / "tfidf", CLASSIFIER, "idf"),
        (pretrained, LANGUAGE_MODEL, "model.bias"),
    ):
        checkpoint = read_checkpoint(folder / "checkpoints" / "best.ckpt", kind)
        checkpoint["state_dict"][name].view(-1)[-1] = value
        torch.save(checkpoint, path)
        with pytest.raises(InputError, match=f"x.ckpt: .*{name}.* not finite"):
            read_checkpoint(path, kind)


def test_the_sums_of_a_training_may_be_anything(trained: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    checkpoint["state_dict"]["train_loss.total"].fill_(math.nan)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    load_classifier(tmp_path / "x.ckpt")


def logits_of(path: Path) -> list[list[float]]:
    """The logits of two texts, the second without a known word."""
    words, ids, digests = ["film", "was", "lovely", "?"], np.arange(4), np.zeros((2, 2), np.uint64)
    encoded = EncodedTexts(words, ids.astype(np.int32), np.array([3, 1]), digests, digests)
    logits = Member.load(path).logits(encoded)
    assert np.isfinite(logits).all()
    rows: list[list[float]] = logits.tolist()
    return rows


def damaged(whole: bytes, random: Random) -> bytes:
    """A file with some bits changed, with zeros in it, with a gap, or cut off."""
    content, first = bytearray(whole), random.randrange(len(whole))
    some = slice(first, first + random.randrange(1, 200))
    match random.choice(["bits", "bits", "zeros", "gap", "end"]):
        case "bits":
            for _ in range(random.choice([1, 1, 3])):
                content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        case "zeros":
            content[some] = bytes(len(content[some]))
        case "gap":
            del content[some]
        case "end":
            del content[first:]
    return bytes(content)


def test_damage_anywhere_is_refused_or_changes_nothing(
    trained: Path, baselines: Path, pretrained: Path, tmp_path: Path
) -> None:
    def language_model(path: Path) -> list[Any]:
        start = load_pretrained(path)
        weights = [value.tolist() for value in (start.weights or {}).values()]
        return [weights, start.settings, start.data]

    random, path = Random(0), tmp_path / "x.ckpt"
    refusals: list[str] = []
    for folder, opened in (
        (trained, logits_of),
        (baselines / "naive_bayes", logits_of),
        (pretrained, language_model),
    ):
        source = folder / "checkpoints" / "best.ckpt"
        whole, expected = source.read_bytes(), opened(source)
        for _ in range(100):
            path.write_bytes(damaged(whole, random))
            try:
                assert opened(path) == expected
            except InputError as error:
                refusals.append(str(error))
    assert len(refusals) > 200
    assert not any("\n" in message for message in refusals)


def test_each_bit_of_the_weights_is_guarded(trained: Path, tmp_path: Path) -> None:
    source, path = trained / "checkpoints" / "best.ckpt", tmp_path / "x.ckpt"
    weight = read_checkpoint(source)["state_dict"]["classifier.head.1.weight"]
    whole = bytearray(source.read_bytes())
    whole[whole.index(weight.numpy().tobytes())] ^= 1  # the lowest bit of the first number
    path.write_bytes(whole)
    assert "damaged" in refusal(path)


ABSURD: tuple[Any, ...] = (
    0, -1, 10**9, 10**30, 10**400, math.nan, math.inf, True, "x", "\ud800", None, [], [10**18], {},
    b"x", torch.ones(2),
)  # fmt: skip


@pytest.mark.parametrize("kind", ["network", "tfidf"])
def test_absurd_settings_are_refused_at_once(
    trained: Path, baselines: Path, tmp_path: Path, kind: str
) -> None:
    folder, key = (trained, "classifier") if kind == "network" else (baselines / kind, "ngrams")
    whole = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    whole = {name: whole[name] for name in ("state_dict", "hyper_parameters", DATA_KEY, "run")}
    random, path, slowest = Random(0), tmp_path / "x.ckpt", 0.0
    refusals: list[str] = []
    for node in (whole["hyper_parameters"][key], whole[DATA_KEY], whole["run"]):
        for name, before in node.items():
            for value in random.sample(ABSURD, 3):
                node[name] = value
                torch.save(whole, path)
                begun = time.perf_counter()
                try:
                    logits_of(path)
                except InputError as error:
                    refusals.append(str(error))
                slowest = max(slowest, time.perf_counter() - begun)
            node[name] = before
    assert len(refusals) > 40
    assert not any("\n" in message for message in refusals)
    assert slowest < 5


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_layers", 10**6), ("hidden_size", 10**9), ("embedding_size", 10**12), ("ngrams", 10**9)],
)
def test_settings_that_ask_for_more_than_there_is_cost_nothing(
    trained: Path, tmp_path: Path, name: str, value: int
) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    checkpoint["hyper_parameters"]["classifier"][name] = value
    torch.save(checkpoint, tmp_path / "x.ckpt")
    begun = time.perf_counter()
    assert "do not fit" in refusal(tmp_path / "x.ckpt")
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("part", ["SentimentDataModule", "run", "state_dict", "hyper_parameters"])
def test_a_part_of_another_type_is_refused(trained: Path, tmp_path: Path, part: str) -> None:
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    path = tmp_path / "x.ckpt"
    for value in ([1], {1: 2}, None):
        torch.save({**checkpoint, part: value}, path)
        refusal(path)


@pytest.mark.parametrize("weighting", ["tfidf", "naive_bayes"])
def test_a_baseline_is_opened_like_a_training(baselines: Path, weighting: str) -> None:
    path = baselines / weighting / "checkpoints" / "best.ckpt"
    saved = load_classifier(path)
    assert isinstance(saved.classifier, NgramClassifier)
    assert saved.classifier.weighting == weighting
    assert saved.data.max_length is None  # whatever the networks' is
    results = json.loads((path.parents[1] / "results.json").read_text())
    assert saved.run["val/accuracy"] == results["val/accuracy"]
    assert saved.classifier.num_parameters == results["parameters"]
    assert saved.classifier.temperature == results["temperature"] != 1


def test_a_changed_baseline_is_refused(baselines: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(baselines / "tfidf" / "checkpoints" / "best.ckpt")
    settings = whole["hyper_parameters"]["ngrams"]
    path = tmp_path / "x.ckpt"
    for part, value, fact in (
        ("state_dict", {**whole["state_dict"], "weights": torch.ones(3, 1)}, "weights"),
        ("state_dict", {}, "do not fit"),
        ("hyper_parameters", {"ngrams": {}}, "do not fit"),
        ("hyper_parameters", {"ngrams": {**settings, "temperature": "hot"}}, "do not fit"),
    ):
        torch.save(whole | {part: value}, path)
        assert fact in refusal(path)
