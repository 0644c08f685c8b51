import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from conftest import write_reviews
from sentiment import Predictor
from sentiment.drift.command import main
from sentiment.export.run import export
from sentiment.predict.ensemble import save_predictor
from sentiment.runtime.program import FOUND

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"


def drift(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and the standard output of the command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0), capsys.readouterr().out


@pytest.fixture(params=["network", "baseline"])
def any_checkpoint(request: pytest.FixtureRequest, trained: Path, baselines: Path) -> Path:
    return trained if request.param == "network" else baselines / "tfidf"


def test_texts_of_the_same_kind_have_not_drifted(
    any_checkpoint: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = trained / "splits" / "test.csv"
    code, printed = drift(any_checkpoint, new, capsys=capsys)
    assert code == 0
    assert "No drift" in printed


def test_other_texts_have_drifted(
    any_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    texts = [f"the meal number {row} was lovely" for row in range(200)]
    pd.DataFrame({"text": texts}).to_csv(new, index=False)
    code, printed = drift(any_checkpoint, new, "--text-column", "text", "--json", capsys=capsys)
    found: dict[str, Any] = json.loads(printed)
    assert code == FOUND
    assert found["texts"]["new"] == 200
    drifted = {test["name"] for test in found["tests"] if test["drift"]}
    assert {"unknown tokens", "length"} <= drifted
    assert {"meal", "film"} <= {word["word"] for word in found["words"]}
    assert found["classes"]["lovely"]["new"] > 0.9
    code, printed = drift(any_checkpoint, new, "--text-column=text", capsys=capsys)
    assert code == FOUND
    assert ("estimated" in printed) == ("predicted classes" in drifted)
    assert "do not trust the estimates" in printed  # as lengths have changed, too


def test_a_summary_is_small_and_holds_no_text(any_checkpoint: Path) -> None:
    checkpoint = torch.load(any_checkpoint / "checkpoints" / "best.ckpt", weights_only=True)
    summary = checkpoint["validation"]
    file = io.BytesIO()
    torch.save(summary, file)
    assert len(file.getvalue()) < 100_000
    assert not any(isinstance(value, str | list) for value in summary.values())


@pytest.mark.parametrize("wrong", ["earlier", "onnx"])
def test_without_a_summary_an_error_says_what_to_do(
    wrong: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = GOLDEN / "runs" / "classifier" / "checkpoints" / "best.ckpt"
    if wrong == "onnx":
        path = tmp_path / "model.onnx"
        export(trained / "checkpoints" / "best.ckpt", path)
    with pytest.raises(SystemExit) as ended:
        main([str(path), str(write_reviews(tmp_path / "new.csv"))])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert "summary" in line


def test_a_damaged_summary_is_an_error(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["validation"]["confusion"] = torch.zeros(3, dtype=torch.int64)
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "best.ckpt"), str(write_reviews(tmp_path / "new.csv"))])
    assert ended.value.code == 2
    assert "damaged" in capsys.readouterr().err


def test_several_classifiers_have_no_summary(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    save_predictor(Predictor.load(checkpoint, checkpoint), tmp_path / "both.ckpt")
    save_predictor(Predictor.load(checkpoint), tmp_path / "one.ckpt")
    (tmp_path / "new.csv").write_text("review\nlovely\n")
    for name in ("both.ckpt", "one.ckpt"):
        with pytest.raises(SystemExit) as caught:
            main([str(tmp_path / name), str(tmp_path / "new.csv")])
        assert caught.value.code == 2
        assert "give one checkpoint" in capsys.readouterr().err


def test_few_texts_are_noted(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "new.csv").write_text("review\nlovely\nawful\n")
    with pytest.raises(SystemExit):
        main([str(checkpoint), str(tmp_path / "new.csv")])
    assert "note: 2 texts are few" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["a.ckpt", "b.ckpt", "new.csv"], "give one checkpoint, then one CSV file"),
        (["a.ckpt", "new.csv", "--label-column", "x"], "new texts need no labels"),
        (["a.ckpt", "new.csv", "--levle", "0.1"], "did you mean --level"),
        (["a.ckpt", "new.csv", "--level", "5%"], "'5%' is not a number between 0 and 1"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], fact: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert fact in line
