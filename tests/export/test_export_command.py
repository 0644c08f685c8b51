import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from sentiment import Predictor
from sentiment.export.command import main

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'sentiment[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments)])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_run_folder_is_exported_and_compared(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, reviews = tmp_path / "new" / "model.onnx", trained / "splits" / "test.csv"
    load = Mock(wraps=torch.load)
    monkeypatch.setattr(torch, "load", load)
    main([str(trained), str(target), "--int8", "--check", str(reviews)])
    assert load.call_count == 1
    printed = capsys.readouterr().out.splitlines()
    assert str(target) in printed[0]
    assert Predictor.load(target)("the film was lovely")["label"] == "lovely"
    rows = {line.split()[0]: line.split()[1:] for line in printed[1:] if line}
    assert rows["checkpoint"][1] == rows["float32"][1]  # the accuracy
    assert rows["checkpoint"][3] == rows["float32"][3] == "0"  # labels changed
    assert float(rows["int8"][0]) <= float(rows["float32"][0]) < float(rows["checkpoint"][0])
    assert [path.name for path in target.parent.iterdir()] == ["model.onnx"]


def test_rounding_makes_a_file_smaller(checkpoint: Path, tmp_path: Path) -> None:
    main([str(checkpoint), str(tmp_path / "whole.onnx")])
    main([str(checkpoint), str(tmp_path / "int8.onnx"), "--int8"])
    sizes = [(tmp_path / name).stat().st_size for name in ("whole.onnx", "int8.onnx")]
    assert sizes[1] < sizes[0]


def test_thresholds_go_along(abstaining: Path, tmp_path: Path) -> None:
    main([str(abstaining), str(tmp_path / "model.onnx")])
    answer = Predictor.load(tmp_path / "model.onnx")("the film was lovely")
    assert (answer["label"], answer["abstained"]) == (None, True)


def test_a_baseline_or_several_checkpoints_are_refused(
    checkpoint: Path, baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "model.onnx"
    assert "baseline" in refused(capsys, baselines / "tfidf", target)
    assert "several" in refused(capsys, checkpoint, checkpoint, target)
    assert not target.exists()


def test_arguments_in_each_others_position_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "model.onnx"
    assert ".onnx" in refused(capsys, checkpoint)
    assert ".onnx" in refused(capsys, target, checkpoint)
    assert ".onnx" in refused(capsys, checkpoint, tmp_path / "model.bin")
    assert "already" in refused(capsys, target, target)
    assert "nope.ckpt" in refused(capsys, tmp_path / "nope.ckpt", target)
    assert "nope.csv" in refused(capsys, checkpoint, target, "--check", tmp_path / "nope.csv")
    assert not target.exists()
    target.mkdir()
    assert "model.onnx" in refused(capsys, checkpoint, target)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("review\nlovely film\n", "no column 'sentiment'"),
        ("review,sentiment\nfilm,superb\n", "'superb'"),
    ],
)
def test_nothing_is_written_where_the_file_to_check_is_wrong(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, problem: str
) -> None:
    target, reviews = tmp_path / "model.onnx", tmp_path / "reviews.csv"
    reviews.write_text(content)
    assert problem in refused(capsys, checkpoint, target, "--check", reviews)
    assert not target.exists()


def test_a_package_that_is_missing_is_named(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "sentiment.export.graph", raising=False)
    line = refused(capsys, checkpoint, tmp_path / "model.onnx")
    assert "pip install 'sentiment[onnx]'" in line
