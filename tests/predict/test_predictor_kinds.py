"""What every kind of classifier does: with odd texts, in threads and in other processes."""

import copy
import pickle
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sentiment
from sentiment import Predictor
from sentiment.predict.coverage import Coverage
from sentiment.runtime.errors import InputError

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'sentiment[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SOURCE = Path(sentiment.__file__).parents[1]
GOOD = "the film number 1 was lovely , and so was act 1"
BAD = "the film number 2 was awful , and so was act 2"
KINDS = ("torch", "onnx", "baseline", "ensemble")


@pytest.fixture(scope="module")
def paths(checkpoint: Path, baselines: Path, tmp_path_factory: Any) -> dict[str, list[Path]]:
    """The files of each kind."""
    from sentiment.export.run import export

    model = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(checkpoint, model)
    baseline = baselines / "tfidf" / "checkpoints" / "best.ckpt"
    each = [checkpoint, model, baseline]
    return dict(zip(KINDS, [[path] for path in each] + [each], strict=True))


@pytest.fixture(scope="module", params=KINDS)
def predictor(request: pytest.FixtureRequest, paths: dict[str, list[Path]]) -> Predictor:
    return Predictor.load(*paths[request.param])


ODD = [
    "", "\0", "".join(map(chr, range(32))) + "\x7f\x85", "\u202e\u200b", "\uffff\U0010ffff",
    "!" * 9999, "😀" * 999, "a" * 1_000_000,
]  # fmt: skip


def test_any_string_gets_an_answer(predictor: Predictor) -> None:
    for text, answer in zip(ODD, predictor(ODD), strict=True):
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-6)
        assert answer["label"] in {None, *predictor.labels}
        assert answer["scores"] == pytest.approx(predictor(text)["scores"], abs=1e-5)
    assert predictor([]) == []


def test_a_megabyte_of_words_gets_an_answer(paths: dict[str, list[Path]]) -> None:
    answer = Predictor.load(*paths["ensemble"])("lovely film " * 85_000)
    assert (answer["label"], answer["tokens"]) == ("lovely", 170_000)


def test_half_a_character_is_an_error(predictor: Predictor) -> None:
    for half in map(chr, (0xD800, 0xDC80, 0xDFFF)):
        with pytest.raises(InputError, match=re.escape(f"text 2 holds {half!r}")):
            predictor([GOOD, f"a {half} b"])


def test_copies_predict_the_same(predictor: Predictor) -> None:
    expected = predictor.logits([GOOD, BAD])
    pickles = [pickle.dumps, pytest.importorskip("cloudpickle").dumps]
    copies = [copy.copy(predictor), copy.deepcopy(predictor)]
    copies += [pickle.loads(dumps(predictor)) for dumps in pickles]
    for other in copies:
        np.testing.assert_array_equal(other.logits([GOOD, BAD]), expected)
        assert (other.labels, other.weights) == (predictor.labels, predictor.weights)


def test_a_pickle_does_not_grow_with_the_texts(predictor: Predictor) -> None:
    size = len(pickle.dumps(predictor))
    predictor([" ".join(f"word{number}" for number in range(5_000))])
    assert len(pickle.dumps(predictor)) < size + 100
    assert size < 100_000


def test_new_processes_read_pickles(paths: dict[str, list[Path]], tmp_path: Path) -> None:
    """Without torch if no classifier needs it; the first one is that of the ONNX file."""
    predictors = [Predictor.load(*paths[kind]) for kind in ("onnx", "ensemble")]
    (tmp_path / "pickles").write_bytes(b"".join(map(pickle.dumps, predictors)))
    code = (
        "import pickle, sys\n"
        "file = open('pickles', 'rb')\n"
        f"found = [pickle.load(file)({GOOD!r})['score']]\n"
        "assert 'torch' not in sys.modules\n"
        f"print(*found, pickle.load(file)({GOOD!r})['score'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}, timeout=120,
    )  # fmt: skip
    assert list(map(float, done.stdout.split())) == pytest.approx(
        [each(GOOD)["score"] for each in predictors], abs=1e-6
    )


def test_threads_do_not_disturb_each_other(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(1)
    words = [*GOOD.split(), *BAD.split(), *map(str, range(200))]
    batches = [
        [" ".join(draw.choices(words, k=draw.randrange(40))) for _ in range(draw.randrange(1, 9))]
        for _ in range(40)
    ]
    monkeypatch.setattr(predictor, "coverage", Coverage())
    expected = list(map(predictor.logits, batches))
    counted, predictor.coverage = predictor.coverage, Coverage()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(predictor.logits, batches))
    finally:
        sys.setswitchinterval(interval)
    for each, alone in zip(found, expected, strict=True):
        np.testing.assert_array_equal(each, alone)
    assert predictor.coverage == counted


@pytest.mark.slow
def test_dask_workers_predict_as_one_process(
    paths: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataframe = pytest.importorskip("dask.dataframe")
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    table = pd.DataFrame({"review": [GOOD, BAD, None, "", BAD * 9, "qwertyuiop", GOOD * 9, BAD]})
    predictor = Predictor.load(*paths["onnx"])

    def with_labels(part: pd.DataFrame, predictor: Predictor) -> pd.DataFrame:
        answers = predictor(part["review"].fillna(""))
        labels = pd.array([answer["label"] for answer in answers], "string")
        scores = pd.array([answer["score"] for answer in answers], "float64")
        return part.assign(label=labels, score=scores)

    expected = with_labels(table, predictor)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
            local_directory=str(tmp_path),
        ) as cluster,
        distributed.Client(cluster, timeout=120) as client,
    ):  # fmt: skip
        parts = dataframe.from_pandas(table, npartitions=4)
        meta = parts._meta.assign(label=pd.array([], "string"), score=pd.array([], "float64"))
        everywhere = client.scatter(predictor, broadcast=True)
        found = client.compute(parts.map_partitions(with_labels, everywhere, meta=meta))
        result = found.result(timeout=240)
    assert result["label"].tolist()[:2] == ["lovely", "awful"]
    pd.testing.assert_frame_equal(result, expected, check_dtype=False, atol=1e-6, rtol=0)
