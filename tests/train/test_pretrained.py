import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from conftest import TINY, write_reviews
from sentiment import Predictor
from sentiment.config.overrides import CommandLine
from sentiment.model.classifier import SentimentClassifier
from sentiment.predict.checkpoint import load_classifier, read_checkpoint
from sentiment.runtime.errors import InputError
from sentiment.train.pretrained import (
    find_pretrained,
    load_pretrained,
    log_pretrained,
    warn_about_vectors,
    with_pretrained_sizes,
)
from sentiment.train.run import train

Compose = Callable[..., DictConfig]

SIZELESS = tuple(item for item in TINY if not item.startswith(("model.", "embeddings.")))


@pytest.fixture
def model(pretrained: Path) -> Path:
    return pretrained / "checkpoints" / "best.ckpt"


def data_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = read_checkpoint(path)["SentimentDataModule"]
    return state


def test_a_classifier_starts_from_its_weights_and_words(
    tmp_path: Path, composed: Compose, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = composed(
        *SIZELESS, f"data.csv={model.parents[1] / 'reviews.csv'}", f"pretrained.path={model}",
        "pretrained.frozen_epochs=9", "optimizer.lr=0.05", "data.batch_size=8",
    )  # fmt: skip
    with caplog.at_level("INFO"):
        results = train(cfg, tmp_path / "run")
    assert "Starts from the language model of" in caplog.text
    assert "LSTM of 8, both directions; vectors of 16" in caplog.text
    assert "another validation split" not in caplog.text
    assert "pretrained.frozen_epochs=9: the encoder is never trained" in caplog.text
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    start, saved = load_pretrained(model), load_classifier(best)
    assert saved.data.vocabulary == start.data["vocabulary"]
    assert "160" in saved.data.vocabulary  # of the unlabeled reviews alone
    assert isinstance(saved.classifier, SentimentClassifier)
    weights = saved.classifier.state_dict()
    shared = start.weights_for(saved.classifier.settings, saved.data.labels)
    assert {name.partition(".")[0] for name in shared} == {"embedding", "encoder"}
    for name, value in shared.items():
        assert torch.equal(weights[name], value), name
    assert results["vocabulary_coverage"] > 0.95
    assert Predictor.load(best)("the film was lovely")["label"] in ("awful", "lovely")


def test_a_classifier_goes_on_from_another_with_the_same_labels(
    tmp_path: Path, composed: Compose, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = composed(
        *SIZELESS, f"data.csv={trained / 'reviews.csv'}", f"pretrained.path={trained}",
        "trainer.max_epochs=1", "optimizer.lr=1e-9",
    )  # fmt: skip
    with caplog.at_level("INFO"):
        results = train(cfg, tmp_path / "run")
    best = trained / "checkpoints" / "best.ckpt"
    assert f"Starts from the classifier of {best}: LSTM of 8, both directions" in caplog.text
    assert "its own head" in caplog.text
    assert "may have read" not in caplog.text  # the splits are the same
    before = json.loads((trained / "results.json").read_text())
    assert results["test/accuracy"] == before["test/accuracy"] == 1
    assert results["val/loss"] == pytest.approx(before["val/loss"], rel=1e-4)
    assert (results["vocabulary_size"], results["parameters"]) == (
        before["vocabulary_size"],
        before["parameters"],
    )


def test_other_labels_get_a_new_head(
    tmp_path: Path, composed: Compose, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 90, classes=3)
    start = load_pretrained(trained)
    cfg = composed(*SIZELESS, f"data.csv={reviews}", f"pretrained.path={trained}",
                   "pretrained.frozen_epochs=9")  # fmt: skip
    with caplog.at_level("INFO"):
        train(cfg, tmp_path / "run")
    assert "a new head, as its labels are awful, lovely" in caplog.text
    assert "with another validation and test split" in caplog.text
    saved = load_classifier(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert saved.data.labels == ["awful", "lovely", "plain"]
    assert saved.data.vocabulary == start.data["vocabulary"]
    assert isinstance(saved.classifier, SentimentClassifier)
    weights = saved.classifier.state_dict()
    assert start.weights is not None
    for name in ("embedding.weight", "encoder.rnn.weight_hh_l0_reverse"):
        assert torch.equal(weights[name], start.weights[name]), name


def test_a_head_that_reads_other_inputs_is_not_kept(trained: Path) -> None:
    start, labels = load_pretrained(trained), ["awful", "lovely"]
    assert "head.1.weight" in start.weights_for(start.settings, labels)
    for name, value, there in (("pooling", "max", "max\\+mean"), ("head_size", 9, "null")):
        settings = {**start.settings, name: value}
        reason = start.new_head_because(settings, labels)
        assert reason is not None
        assert re.search(f"model.{name}={there}", reason)
        assert not any("head" in each for each in start.weights_for(settings, labels))


def test_weights_of_other_n_grams_are_left_out(trained: Path) -> None:
    start, wide = load_pretrained(trained), torch.ones(32, 16 + 2)  # two n-gram features
    taken = replace(start, weights={"encoder.rnn.weight_ih_l0_reverse": wide})
    (weight,) = taken.weights_for(start.settings, []).values()
    assert weight.shape == (32, 16)


def test_words_that_the_language_model_lacks_are_counted(
    tmp_path: Path, composed: Compose, model: Path
) -> None:
    table = pd.read_csv(write_reviews(tmp_path / "reviews.csv", 64))
    table["review"] += " quixotic quixotic unheard"  # 3 of 15 tokens
    table.to_csv(tmp_path / "reviews.csv", index=False)
    cfg = composed(*SIZELESS, f"data.csv={tmp_path / 'reviews.csv'}", f"pretrained.path={model}",
                   "trainer.max_epochs=1")  # fmt: skip
    results = train(cfg, tmp_path / "run")
    assert 12 / 15 - 0.03 < results["vocabulary_coverage"] <= 12 / 15  # some numbers were held out


def test_texts_are_cleaned_as_the_language_model_had_them(
    tmp_path: Path, composed: Compose, model: Path
) -> None:
    """A model from before cleanings had numbers uses the first; a later number is refused."""
    saved = torch.load(model, weights_only=True)
    state = saved["TextDataModule"]
    assert state["tokenizer"].pop("cleaning") == 2
    state["vocabulary"][state["vocabulary"].index("was")] = "\u200bhidden\u200b"
    old = tmp_path / "old.ckpt"
    torch.save(saved, old)
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    reviews.write_text(reviews.read_text().replace("was", "\u200bhidden\u200b"))
    base = [*SIZELESS, f"data.csv={reviews}", f"pretrained.path={old}", "trainer.max_epochs=1"]
    results = train(composed(*base), tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert data_state(last)["tokenizer"]["cleaning"] == 1
    assert results["vocabulary_coverage"] > 0.95
    state["tokenizer"]["cleaning"] = 3
    torch.save(saved, old)
    with pytest.raises(InputError, match="cleaning=3"):
        train(composed(*base), tmp_path / "other")


def test_a_training_resumes_without_the_language_model(
    tmp_path: Path, composed: Compose, model: Path
) -> None:
    mine = shutil.copy(model, tmp_path / "mine.ckpt")
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    base = [*SIZELESS, f"data.csv={reviews}", f"pretrained.path={mine}", "scheduler=none",
            "data.batch_size=8"]  # fmt: skip
    whole = train(composed(*base, "trainer.max_epochs=3"), tmp_path / "whole")
    train(composed(*base, "trainer.max_epochs=1"), tmp_path / "run")
    Path(mine).unlink()
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    go_on = [*base, "trainer.max_epochs=3", f"ckpt_path={last}"]
    resumed = train(composed(*go_on), tmp_path / "run")
    assert resumed["val/loss"] == whole["val/loss"]
    with pytest.raises(InputError, match=r"began with pretrained.lr_scale=0.3, not 0.5"):
        train(composed(*go_on, "pretrained.lr_scale=0.5"), tmp_path / "run")
    without = [item for item in go_on if not item.startswith("pretrained")]
    with pytest.raises(InputError, match="began with pretrained=a checkpoint, not without"):
        train(composed(*without), tmp_path / "run")


def test_warns_of_other_splits_than_the_language_model_had(
    tmp_path: Path, composed: Compose, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reviews = model.parents[1] / "reviews.csv"
    cfg = composed(*SIZELESS, "trainer.max_epochs=1", f"data.csv={reviews}",
                   f"pretrained.path={model}", "data.split_seed=7")  # fmt: skip
    train(cfg, tmp_path / "run")
    assert "with another validation and test split, and may have read texts" in caplog.text


def test_warns_of_vectors_that_were_trained_beside_other_splits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, own = tmp_path / "v.txt.gz", {"val": "v", "test": "t"}

    def warnings(note: str) -> list[str]:
        (tmp_path / "v.txt.json").write_text(note)
        caplog.clear()
        warn_about_vectors(path, own)
        return [record.getMessage() for record in caplog.records]

    warn_about_vectors(path, own)
    warn_about_vectors(tmp_path / "v.txt.json" / "in a zip.txt", own)
    assert not caplog.records
    for silent in (json.dumps({"held_out": own}), "{}", "[]", "no JSON", '{"held_out": 5}'):
        assert warnings(silent) == []
    (line,) = warnings(json.dumps({"held_out": {**own, "test": "another"}}))
    assert line.startswith(f"The vectors of {path} were trained with another test split, and may")
    assert "validation and test" in warnings('{"held_out": {}}')[0]


@pytest.mark.parametrize(("split", "name"), [("val", "validation"), ("test", "test")])
def test_one_other_split_is_named(
    model: Path, caplog: pytest.LogCaptureFixture, split: str, name: str
) -> None:
    start = load_pretrained(model)
    own = dict(start.data["held_out"])
    log_pretrained(start, own, None)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    log_pretrained(start, {**own, split: "another"}, None)
    assert f"with another {name} split" in caplog.text


def test_warns_of_a_language_model_without_a_record_of_held_out_texts(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = load_pretrained(model)
    data = {name: value for name, value in start.data.items() if name != "held_out"}
    log_pretrained(replace(start, data=data), {"val": "v", "test": "t"}, None)
    assert "held out" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.hidden_size=9"], "model.hidden_size=9: the language model of"),
        (["model=gru"], "model.cell=gru"),
        (["model=stacked_bilstm"], "model.num_layers=2"),
        (["embeddings.size=50"], "embeddings.size=50"),
        (
            ["data.lowercase=false"],
            "config: data.lowercase=false: the language model of {model} was trained with"
            " data.lowercase=true; give that here too",
        ),
        (["embeddings=glove_6b_50d"], "add embeddings=learned"),
        (["embeddings.lr_scale=0.1"], "give pretrained.embedding_lr_scale"),
    ],
)
def test_what_cannot_be_had_is_refused(
    composed: Compose, model: Path, overrides: list[str], expected: str
) -> None:
    cfg = composed(f"pretrained.path={model}", *overrides)
    with pytest.raises(InputError) as refused:
        with_pretrained_sizes(cfg, find_pretrained(cfg, None), CommandLine.of_hydra().task)
    assert expected.format(model=model) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "expected"), [("nope.ckpt", "no such checkpoint"), ("r.csv", "not a checkpoint of")]
)
def test_a_path_of_no_language_model_is_refused_by_its_setting(
    composed: Compose, tmp_path: Path, name: str, expected: str
) -> None:
    (tmp_path / "r.csv").write_text("review,sentiment\na,b\n")
    with pytest.raises(InputError) as refused:
        find_pretrained(composed(f"pretrained.path={tmp_path / name}"), None)
    message = str(refused.value)
    assert message.startswith(f"pretrained.path: {tmp_path / name}: {expected}")
    assert "writes checkpoints/best.ckpt" in message


def test_a_stack_needs_the_merge_that_its_upper_layers_read(
    composed: Compose, trained: Path
) -> None:
    cfg = composed(f"pretrained.path={trained}", "model.merge=sum")
    single = load_pretrained(trained)
    assert with_pretrained_sizes(cfg, single).model.hidden_size == 8
    stack = replace(single, settings={**single.settings, "num_layers": 2})
    with pytest.raises(InputError, match="model.merge=sum: the classifier of .*merge=concat"):
        with_pretrained_sizes(cfg, stack)


def test_sizes_are_taken_over_where_the_command_line_leaves_them(
    composed: Compose, model: Path
) -> None:
    cfg = composed(f"pretrained.path={model}", "model=bilstm", "model.merge=sum")
    taken = with_pretrained_sizes(cfg, find_pretrained(cfg, None), CommandLine.of_hydra().task)
    assert (taken.model.hidden_size, taken.embeddings.size, str(taken.model.merge)) == (
        8,
        16,
        "sum",
    )
    assert cfg.model.hidden_size == 128
    assert HydraConfig.initialized()


@pytest.mark.parametrize(
    ("overrides", "used", "logged"),
    [
        ([], (7, "tail"), ""),
        (["data.keep=both"], (7, "both"), "data.keep=both; .* data.max_length=7 data.keep=tail"),
        (["data.max_length=5"], (5, "head"), "data.max_length=5 .* data.max_length=7"),
        (["data.max_length=null"], (None, "head"), "data.max_length=null .* data.max_length=7"),
        (["experiment=imdb_fast", "embeddings=learned"], (300, "both"), "data.max_length=300"),
    ],
)
def test_texts_are_cut_as_those_of_the_classifier_unless_set(
    composed: Compose,
    trained: Path,
    caplog: pytest.LogCaptureFixture,
    overrides: list[str],
    used: tuple[int | None, str],
    logged: str,
) -> None:
    caplog.set_level("INFO")
    cfg, start = composed(f"pretrained.path={trained}", *overrides), load_pretrained(trained)
    before = with_pretrained_sizes(cfg, start, overrides).data
    assert (before.max_length, str(before.keep)) == (cfg.data.max_length, str(cfg.data.keep))
    caplog.clear()
    cut = replace(start, data={**start.data, "max_length": 7, "keep": "tail"})
    taken = with_pretrained_sizes(cfg, cut, overrides).data
    assert (taken.max_length, str(taken.keep)) == used
    assert re.search(logged, caplog.text)
    assert bool(logged) == bool(caplog.records)  # nothing is logged where they are cut alike
    by_file = with_pretrained_sizes(composed(f"pretrained.path={trained}", "data.keep=both"), cut)
    assert by_file.data.keep == "both"
    caplog.clear()
    with_pretrained_sizes(cfg, replace(cut, weights=None), overrides)  # a resumed training
    assert not caplog.records


def test_other_files_are_refused(
    baselines: Path, model: Path, tmp_path: Path, composed: Compose
) -> None:
    with pytest.raises(InputError, match="a baseline, which has no encoder"):
        load_pretrained(baselines / "tfidf")
    with pytest.raises(InputError, match="no such checkpoint"):
        load_pretrained(tmp_path / "nope.ckpt")
    with pytest.raises(InputError, match=r"not a classifier; train a classifier from it: .*path="):
        load_classifier(model)
    with pytest.raises(InputError, match="not a classifier"):
        Predictor.load(model)
    checkpoint = torch.load(model, weights_only=True)
    checkpoint["TextDataModule"]["vocabulary"] = ["one"]
    torch.save(checkpoint, tmp_path / "changed.ckpt")
    with pytest.raises(InputError, match="its parts do not fit together"):
        load_pretrained(tmp_path / "changed.ckpt")
    checkpoint["hyper_parameters"]["language_model"]["hidden_size"] = 9
    torch.save(checkpoint, tmp_path / "changed.ckpt")
    with pytest.raises(InputError, match="written by another version"):
        load_pretrained(tmp_path / "changed.ckpt")
