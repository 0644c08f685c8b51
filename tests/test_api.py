import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from lightning import Callback

from conftest import TINY, write_reviews
from programs import run_program
from sentiment import InputError, baseline, check, compare, evaluate, train
from sentiment.runtime.run_folder import was_stopped

_MEASURED = ("fit_seconds", "latency_ms", "train_reviews_per_second", "train_tokens_per_second")
COLUMNS = {"data.text_column": "review", "data.label_column": "sentiment"}


def results_of(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    results.get("baseline", {}).pop("seconds", None)
    return {key: value for key, value in results.items() if key not in _MEASURED}


def test_python_trains_as_the_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_reviews(Path("reviews.csv"), 60)
    handlers = logging.getLogger().handlers[:]
    for name, model in (("a", "bigru"), ("b", "lstm")):  # twice in one process
        run = train(*TINY, f"model={model}", {"data.csv": "reviews.csv"}, folder=name, quiet=True)
        given = [*TINY, f"model={model}", "data.csv=reviews.csv", f"hydra.run.dir=command_{name}"]
        done = run_program("train", *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert results_of(run.folder) == results_of(tmp_path / f"command_{name}")
        assert run.results["test/accuracy"] == results_of(run.folder)["test/accuracy"]
        assert run.predictor("lovely")["label"] in ("awful", "lovely")
    assert logging.getLogger().handlers == handlers
    assert not GlobalHydra.instance().is_initialized()
    table = compare(tmp_path, by_run=True)
    assert sorted(Path(folder).name for folder in table["folders"]) == [
        "a", "b", "command_a", "command_b",
    ]  # fmt: skip


def test_what_is_logged_about_a_frame_names_its_rows(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [("fine film", "pos"), ("dull film", "neg"), ("odd film", "null")] * 9
    frame = pd.DataFrame(rows, columns=["text", "label"])
    check(frame=frame, folder=tmp_path / "check", quiet=True)
    printed = "".join(capfd.readouterr())
    assert "the frame, row 3: label 'null'" in printed
    assert "frame.csv" not in printed


def test_a_frame_trains_as_its_file_does(tmp_path: Path) -> None:
    path = write_reviews(tmp_path / "reviews.csv", 60)
    frame = pd.read_csv(path)
    of_frame = train(*TINY, COLUMNS, frame=frame, folder=tmp_path / "frame", quiet=True)
    of_file = train(*TINY, {"data.csv": path}, folder=tmp_path / "file", quiet=True)
    assert results_of(of_frame.folder) == results_of(of_file.folder)
    assert evaluate(of_frame.folder, frame) == evaluate(of_frame.predictor, path)
    with pytest.raises(TypeError, match="'text'; did you mean 'text_column'"):
        evaluate(of_frame.predictor, path, text="review")
    with pytest.raises(InputError, match="^the frame: no column 'sentiment'"):
        evaluate(of_frame.predictor, frame[["review"]])
    renamed = frame.rename(columns={"review": "text"})
    with pytest.raises(InputError, match="give text_column='text'"):
        evaluate(of_frame.predictor, renamed)
    with pytest.raises(InputError, match="^quoting='odd': use one of"):
        evaluate(of_frame.predictor, frame, quoting="odd")
    with pytest.raises(InputError, match="label_column names another column, labels what"):
        evaluate(of_frame.predictor, frame.assign(sentiment="odd"))
    checked = check(
        COLUMNS, "check.fail_on=[label]", frame=frame, folder=tmp_path / "check", quiet=True
    )
    assert list(checked.findings.columns) == ["kind", "level", "count", "line", "advice"]
    assert set(checked.rows.kind) <= set(checked.findings.kind)
    assert checked.rows.text.tolist() == frame.review[checked.rows.row - 1].tolist()
    with pytest.raises(InputError, match="^the frame: no column 'sentiment'"):
        check(COLUMNS, frame=frame[["review"]], folder=tmp_path / "none", quiet=True)
    runs = baseline(COLUMNS, frame=frame, folder=tmp_path / "baselines", quiet=True)
    assert [run.results["model"] for run in runs] == ["tfidf", "naive_bayes"]


def test_what_cannot_be_used_is_an_input_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="did you mean"):
        train("model.hiden_size=3")
    with pytest.raises(InputError, match=r"nothere\.csv"):
        train({"data.csv": "nothere.csv"})
    with pytest.raises(InputError, match="data: give its settings by full key"):
        train({"data": {"csv": "x.csv"}})
    frame = pd.DataFrame({"text": ["a"], "stars": ["b"]})
    for wrong in (frame, ["model=bigru"]):
        with pytest.raises(InputError, match="'model=bigru'.*frame="):
            train(wrong)  # type: ignore[arg-type]
    for given in ("-m", "sweep=optuna", "--config-dir=x"):
        with pytest.raises(InputError, match=f"{given}: .* loop"):
            train(given)
    with pytest.raises(InputError, match=r"^the frame: no column 'label'.*data.label_column=stars"):
        train(frame=frame)
    with pytest.raises(InputError, match="nothing to compare"):
        compare()
    with pytest.raises(InputError, match="give one of them"):
        train({"data.csv": "x.csv"}, frame=pd.DataFrame({"text": ["a"], "label": ["b"]}))
    assert not list(tmp_path.glob("runs/*"))
    assert "Error executing" not in "".join(capfd.readouterr())


class _Interrupt(Callback):
    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_training_says_how_to_resume_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, folder = write_reviews(tmp_path / "reviews.csv", 60), tmp_path / "x"
    callers = logging.FileHandler(tmp_path / "own.log", mode="w")
    logging.getLogger("sentiment").addHandler(callers)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(*TINY, {"data.csv": path}, folder=folder, callbacks=[_Interrupt()], quiet=True)
        logging.getLogger("sentiment").warning("after it")
    finally:
        logging.getLogger("sentiment").removeHandler(callers)
    assert f"ckpt_path={folder}/checkpoints/last.ckpt" in "".join(capfd.readouterr())
    assert was_stopped(folder)
    assert "after it" in (tmp_path / "own.log").read_text()


def test_functions_that_use_ours_can_be_sent_to_other_processes() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    sent = cloudpickle.dumps(lambda: train)
    assert cloudpickle.loads(sent)() is train
