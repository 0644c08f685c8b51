import multiprocessing
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sentiment
from programs import run_program
from sentiment import Predictor
from sentiment.evaluate import main as evaluate
from sentiment.predict.onnx_network import sealed
from sentiment.runtime.errors import InputError

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'sentiment[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SOURCE = Path(sentiment.__file__).parents[1]
GOOD = "the film number 1 was lovely , and so was act 1"
BAD = "the film number 2 was awful , and so was act 2"
TEXTS = [GOOD, BAD, "", BAD * 50, "qwertyuiop", GOOD * 9]


@pytest.fixture(scope="module", params=["float32", "int8"])
def either(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: Any) -> Path:
    """An ONNX file of the checkpoint."""
    from sentiment.export.run import export

    path: Path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    export(checkpoint, path, int8=request.param == "int8")
    return path


@pytest.fixture(scope="module")
def model(checkpoint: Path, tmp_path_factory: Any) -> Path:
    """An ONNX file of the checkpoint in float32."""
    from sentiment.export.run import export

    path: Path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(checkpoint, path)
    return path


def test_it_predicts_as_its_checkpoint(model: Path, predictor: Predictor) -> None:
    again = Predictor.load(model)
    np.testing.assert_allclose(again.logits(TEXTS), predictor.logits(TEXTS), atol=1e-5)
    assert (again.labels, again.text_column) == (predictor.labels, predictor.text_column)
    for found, expected in zip(again(TEXTS), predictor(TEXTS), strict=True):
        assert found["label"] == expected["label"]
        assert (found["tokens"], found["known_tokens"]) == (
            expected["tokens"], expected["known_tokens"],
        )  # fmt: skip


def test_rounded_weights_give_nearly_the_same(either: Path, predictor: Predictor) -> None:
    found, expected = Predictor.load(either).logits(TEXTS), predictor.logits(TEXTS)
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_a_result_never_depends_on_the_texts_beside_it(either: Path) -> None:
    predictor = Predictor.load(either)
    together = predictor.logits(TEXTS)
    alone = [predictor.logits([text]) for text in TEXTS]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)


def test_predicting_imports_no_torch(model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from sentiment import Predictor;"
        f" print(Predictor.load({str(model)!r})({GOOD!r})['label']);"
        " from sentiment.predict.command import main;"
        f" main([{str(model)!r}, {BAD!r}]); main([{str(model)!r}, '--csv', 'in.csv', '--out',"
        " 'out.csv']);"
        " print(sorted({'torch', 'onnx', 'lightning', 'hydra', 'scipy'} & sys.modules.keys()))"
    )
    (tmp_path / "in.csv").write_text(f'review\n"{GOOD}"\n')
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    good, bad, libraries = done.stdout.splitlines()
    assert (good, libraries) == ("lovely", "[]")
    assert '"label": "awful"' in bad
    assert '"lovely"' in (tmp_path / "out.csv").read_text().splitlines()[1]


def test_torch_can_be_imported_afterwards(model: Path) -> None:
    code = (
        "import sys; from sentiment import Predictor;"
        f" Predictor.load({str(model)!r}); assert 'torch' not in sys.modules;"
        " import torch; print(torch.ones(2).sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout == "2.0\n"


def test_it_goes_together_with_checkpoints(
    model: Path, checkpoint: Path, baselines: Path, predictor: Predictor
) -> None:
    tfidf = baselines / "tfidf" / "checkpoints" / "best.ckpt"
    mixed, both = (Predictor.load(path, tfidf) for path in (model, checkpoint))
    np.testing.assert_allclose(mixed.logits(TEXTS), both.logits(TEXTS), atol=1e-5)
    twice = Predictor.load(model, checkpoint)
    np.testing.assert_allclose(
        twice.logits(TEXTS), twice.combine([predictor.logits(TEXTS)] * 2), atol=1e-5
    )


def test_it_can_be_evaluated(
    model: Path, checkpoint: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    found = []
    for path in (model, checkpoint):
        evaluate([str(path), str(trained / "splits" / "test.csv"), "--json"])
        found.append(json.loads(capsys.readouterr().out))
    for name in ("test/accuracy", "test/loss", "val/accuracy", "temperature", "parameters", "seed"):
        assert found[0][name] == pytest.approx(found[1][name], abs=1e-5), name


def _logits(predictor: Predictor, queue: Any) -> None:
    queue.put(predictor.logits([GOOD]).tolist())


@pytest.mark.parametrize("threads", ["1", "2"])
def test_it_can_be_pickled_and_forked(
    model: Path, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    predictor = Predictor.load(model)
    expected = predictor.logits([GOOD]).tolist()
    assert pickle.loads(pickle.dumps(predictor)).logits([GOOD]).tolist() == expected
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_logits, args=(predictor, queue))
    process.start()
    assert queue.get(timeout=60) == expected
    process.join()


def test_files_that_cannot_be_read_are_refused_in_one_line(model: Path, tmp_path: Path) -> None:
    import onnx

    whole = model.read_bytes()
    body = whole[: whole.rindex(b"sentiment.format") - 4]
    assert sealed(body) == whole
    other = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    middle = len(whole) // 2
    for name, content, fact in (
        ("truncated", whole[:middle], "truncated"),
        ("damaged", whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], "damaged"),
        ("later", sealed(body, 99), "format 99"),
        ("foreign", other.SerializeToString(), "sentiment.export"),
        ("text", b"a text", "sentiment.export"),
        ("empty", b"", "sentiment.export"),
        ("made_up", sealed(b"\x08\x08"), "cannot be used"),
    ):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(InputError, match=fact) as caught:
            Predictor.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"sentiment.export"):
        Predictor.load(tmp_path / "missing.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match=r"folder"):
        Predictor.load(tmp_path / "folder.onnx")


def test_the_checksum_is_that_of_the_file(model: Path) -> None:
    whole = model.read_bytes()
    start = whole.rindex(b"sentiment.format") - 4
    assert whole.endswith(b"%08x" % zlib.crc32(whole[:start]))


def test_it_is_for_the_cpu(model: Path) -> None:
    done = run_program("predict", str(model), "good", "--device", "cuda")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "CPU" in done.stderr


def test_a_missing_package_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'sentiment\[onnx\]'"):
        Predictor.load(model)
