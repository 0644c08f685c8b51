import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from programs import error_line
from sentiment import Predictor, train
from sentiment.data.csv_format import CsvFormat
from sentiment.evaluate import calibrate, evaluate, main
from sentiment.export.run import export
from sentiment.predict.ensemble import save_predictor
from sentiment.predict.member import Member
from sentiment.publish.command import publish
from sentiment.runtime.errors import InputError

TEXTS = ["the film number 3 was lovely , and so was act 1", "awful", "unheard of", ""]


@pytest.fixture(scope="module")
def members(abstaining: Path, baselines: Path) -> list[Path]:
    """A network that abstains, and a baseline."""
    return [abstaining, baselines / "tfidf"]


@pytest.fixture(scope="module")
def ensemble(members: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of them."""
    predictor = Predictor.load(*members, weights=[2, 1])
    predictor.temperature = 0.5
    save_predictor(predictor, path := tmp_path_factory.mktemp("ensemble") / "new" / "ensemble.ckpt")
    return path


def test_it_predicts_as_its_members_together(members: list[Path], ensemble: Path) -> None:
    together, again = Predictor.load(*members, weights=[2, 1]), Predictor.load(ensemble)
    np.testing.assert_array_equal(again.logits(TEXTS), together.logits(TEXTS) / 0.5)
    assert [member.path.name for member in again.members] == ["abstaining.ckpt", "tfidf"]
    assert (again.weights, again.text_column) == ([2, 1], "review")
    assert again.thresholds is None
    odds = [predictor.explain(TEXTS[0]).tokens[0].weight for predictor in (together, again)]
    assert odds[1] == pytest.approx(odds[0] / 0.5)


def test_it_is_plain_and_names_no_folders(ensemble: Path, tmp_path: Path) -> None:
    torch.load(ensemble, weights_only=True)
    assert str(ensemble.parents[2]).encode() not in ensemble.read_bytes()
    again = Predictor.load(ensemble)
    save_predictor(again, tmp_path / "again.ckpt")
    logits = Predictor.load(tmp_path / "again.ckpt").logits(TEXTS)
    np.testing.assert_array_equal(logits, again.logits(TEXTS))


def test_what_takes_one_classifier_refuses_it(
    ensemble: Path, checkpoint: Path, trained: Path, tmp_path: Path
) -> None:
    attempts: list[Any] = [
        lambda: Predictor.load(ensemble, checkpoint),
        lambda: Predictor.load(ensemble, weights=[1, 2]),
        lambda: Member.load(ensemble),
        lambda: export(ensemble, tmp_path / "model.onnx"),
        lambda: publish(ensemble, tmp_path / "published"),
        lambda: train(f"data.csv={trained / 'reviews.csv'}", f"pretrained.path={ensemble}",
                      folder=tmp_path / "run", quiet=True),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(InputError, match=r"ensemble.ckpt: an ensemble.* give"):
            attempt()


def test_damaged_parts_are_refused(ensemble: Path, tmp_path: Path) -> None:
    def changed(**parts: Any) -> str:
        saved = torch.load(ensemble, weights_only=True)
        saved["ensemble"] |= parts
        torch.save(saved, tmp_path / "x.ckpt")
        with pytest.raises(InputError) as caught:
            Predictor.load(tmp_path / "x.ckpt")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    member = torch.load(ensemble, weights_only=True)["ensemble"]["members"][0]
    infinite = {**member, "state_dict": {"classifier.x": torch.tensor(float("inf"))}}
    assert "one weight for each" in changed(weights=[1.0])
    assert "weights are" in changed(weights=[1.0, -1.0])
    assert "temperature" in changed(temperature=0.0)
    assert "members" in changed(members=[1, 2])
    assert "not finite" in changed(members=[infinite, infinite])
    assert "missing" in changed(members=[{}, {}])


def test_an_onnx_file_cannot_be_a_member(checkpoint: Path, baselines: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export(checkpoint, tmp_path / "model.onnx")
    together = Predictor.load(tmp_path / "model.onnx", baselines / "tfidf")
    with pytest.raises(InputError, match=r"model.onnx: an ONNX file.* exported"):
        save_predictor(together, tmp_path / "ensemble.ckpt")
    assert not (tmp_path / "ensemble.ckpt").exists()


def test_a_temperature_is_fitted_and_kept(
    members: list[Path], trained: Path, tmp_path: Path, capsys: Any
) -> None:
    paths, reviews = [*map(str, members)], str(trained / "splits" / "test.csv")
    target = str(tmp_path / "ensemble.ckpt")
    main([*paths, "--calibrate", reviews, "--save", target, "--json"])
    calibration = json.loads(capsys.readouterr().out)["calibration"]
    assert calibration["after"]["loss"] < calibration["before"]["loss"]
    assert calibration["temperature"] != 1
    main([target, reviews, "--json"])
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["temperature"] == calibration["temperature"]
    assert evaluated["test/loss"] == pytest.approx(calibration["after"]["loss"])
    assert len(evaluated["members"]) == 2
    main([*paths, reviews, "--calibrate", reviews])  # measures with the new temperature, too
    printed, noted = capsys.readouterr()
    assert f"divided by {calibration['temperature']:.3f}" in printed
    assert "class" in printed
    assert f"fitted to {calibration['reviews']} of these reviews" in noted
    main([*paths, "--save", target, "--json"])  # in place of the earlier one
    printed, noted = capsys.readouterr()
    saved = json.loads(printed)["saved"]
    assert (saved["path"], saved["temperature"]) == (target, 1)
    assert [member["weight"] for member in saved["members"]] == [1, 1]
    assert f"the thresholds of {paths[0]} are for other scores" in noted
    assert Predictor.load(target).temperature == 1


def test_it_is_not_calibrated_on_reviews_of_the_training(
    members: list[Path], trained: Path, tmp_path: Path, capsys: Any
) -> None:
    new = pd.read_csv(trained / "splits" / "val.csv")
    seen = pd.read_csv(trained / "splits" / "train.csv")
    pd.concat([new, seen]).to_csv(tmp_path / "mixed.csv", index=False)
    found = []
    for path in (trained / "splits" / "val.csv", tmp_path / "mixed.csv"):
        main([*map(str, members), "--calibrate", str(path), "--json"])
        printed, noted = capsys.readouterr()
        found.append(json.loads(printed)["calibration"])
        assert f"{len(new)} reviews are few" in noted
    assert f"{len(seen)} of {len(new) + len(seen)} reviews were in training" in noted
    assert found[0]["after"] == pytest.approx(found[1]["after"])
    with pytest.raises(SystemExit):
        main([str(members[0]), "--calibrate", str(trained / "splits" / "train.csv")])
    assert "give others, such as val.csv" in capsys.readouterr().err


def test_a_single_checkpoint_is_calibrated_anew(
    members: list[Path], trained: Path, tmp_path: Path, capsys: Any
) -> None:
    target, reviews = str(tmp_path / "again.ckpt"), str(trained / "splits" / "val.csv")
    main([str(members[0]), "--calibrate", reviews, "--save", target, reviews, "--json"])
    printed, noted = capsys.readouterr()
    again = Predictor.load(target)
    own = again.members[0].classifier.temperature
    results = json.loads(printed)
    assert results["temperature"] == pytest.approx(own * again.temperature)
    assert results["saved"]["temperature"] == again.temperature
    assert noted.count("are for other scores") == 1
    assert "fitted to" in noted  # its reviews are measured, too
    assert again.thresholds is None
    main([str(members[0]), "--calibrate", reviews, str(trained / "splits" / "test.csv"),
          "--threshold", "1"])  # fmt: skip
    printed, noted = capsys.readouterr()
    assert "coverage" in printed
    assert "fitted to" not in noted
    assert "for other scores" not in noted


def test_thresholds_go_with_the_scores_that_they_were_chosen_for(
    members: list[Path], trained: Path, tmp_path: Path, capsys: Any
) -> None:
    target = tmp_path / "same.ckpt"
    main([str(members[0]), "--save", str(target)])
    assert "thresholds of" not in capsys.readouterr().err
    kept, own = Predictor.load(target), Predictor.load(members[0])
    assert kept.thresholds is not None
    assert own.thresholds is not None
    assert kept.thresholds.tolist() == own.thresholds.tolist()
    calibrate(own, trained / "splits" / "val.csv", CsvFormat())
    assert own.thresholds is None


def test_a_member_that_may_have_learned_from_the_reviews_is_named(
    members: list[Path], trained: Path, capsys: Any
) -> None:
    predictor = Predictor.load(*members)
    predictor.members[0].data = replace(predictor.members[0].data, train_digests=None)
    for name, known in (("train", True), ("test", False)):
        evaluate(predictor, trained / "splits" / f"{name}.csv", CsvFormat())
        noted = capsys.readouterr().err
        (line,) = [line for line in noted.splitlines() if "may have learned" in line]
        assert str(members[0]) in line
        assert str(members[1]) not in line
        assert ("were in training" in noted) == known  # of the other member


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["--save", "e.ckpt"], "give at least one file"),
        (["a.ckpt", "--save", "e.csv"], "--save e.csv: give a file that ends in .ckpt"),
        (["a.csv", "--save", "e.ckpt"], "a.csv stands where a checkpoint belongs"),
        (["a.onnx", "b.ckpt", "--save", "e.ckpt"], "a.onnx is an ONNX file"),
        (["a.ckpt", "b.ckpt", "--save", "b.ckpt"], "--save b.ckpt: is one of the checkpoints"),
        (["a.ckpt", "--save", "e.ckpt", "--errors", "x.csv"], "--errors goes with a CSV file"),
        (["a.ckpt", "--calibrate", "none.csv"], "none.csv: no such file"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], fact: str, capsys: Any) -> None:
    assert error_line(main, arguments, capsys).startswith(f"error: {fact}")
