import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sentiment.config.app import run_program
from sentiment.runtime.errors import InputError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()
    for handler in [each for each in logging.root.handlers if type(each) is logging.FileHandler]:
        logging.root.removeHandler(handler)  # its run folder may be gone


def test_a_task_gets_the_config_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("sys.argv", ["x", "size=7", "hydra.run.dir=run"])
    run_program("vectors", lambda cfg: seen.append((cfg.size, cfg.window)))
    assert seen == [(7, 8)]


@pytest.mark.parametrize(("override", "expected"), [("sise=3", "size"), ("size=7", "no such luck")])
def test_what_is_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, override: str, expected: str
) -> None:
    def refuse(cfg: DictConfig) -> None:
        raise InputError("no such luck")

    monkeypatch.setattr("sys.argv", ["x", override, "hydra.run.dir=run"])
    with pytest.raises(SystemExit) as caught:
        run_program("vectors", refuse)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("named", [True, False])
def test_a_refused_run_leaves_no_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    def refuse(cfg: DictConfig) -> None:
        logging.getLogger("sentiment").warning("so far, so good")
        raise InputError("no such luck")

    monkeypatch.setattr("sys.argv", ["x", *(["hydra.run.dir=runs/mine"] if named else [])])
    with pytest.raises(SystemExit):
        run_program("vectors", refuse)
    assert [path.name for path in Path("runs").glob("*")] == (["mine"] if named else [])
    assert Path("runs").exists() == named


def test_what_a_refused_run_has_made_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cfg: DictConfig) -> None:
        (Path(HydraConfig.get().runtime.output_dir) / "vectors.txt").touch()
        raise InputError("no such luck")

    monkeypatch.setattr("sys.argv", ["x"])
    with pytest.raises(SystemExit):
        run_program("vectors", refuse)
    assert len(list(Path("runs").glob("*/vectors.txt"))) == 1


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("data.csv=nope.csv", "nope.csv: no such file"),
        ("data.train_csv=mine.csv data.test_csv=nope.csv", "nope.csv: no such file"),
        ("data.train_csv=mine.csv data.val_csv=nope.csv", "nope.csv: no such file"),
        ("data.csv=mine.csv data.unlabeled_csv=nope.csv", "nope.csv: no such file"),
        ("data.csv=mine.csv data.text_column=txt", "no column 'txt'"),
        ("data.csv=mine.csv data.separator=", "\"data.separator=';'\""),
        ("embeddings=file embeddings.path=nope.txt", "embeddings.path=nope.txt: no such file"),
        ("pretrained.path=nope", "pretrained.path=nope: no such checkpoint"),
        ("ckpt_path=nope.ckpt", "ckpt_path=nope.ckpt: no such checkpoint"),
    ],
)
def test_a_missing_file_is_refused_before_the_training_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, overrides: str, expected: str
) -> None:
    Path("mine.csv").write_text("review,sentiment\ngood,positive\nbad,negative\n")
    monkeypatch.setattr("sys.argv", ["x", *overrides.split()])
    with pytest.raises(SystemExit):
        run_program("train", lambda cfg: pytest.fail("the training has begun"))
    assert expected in capsys.readouterr().err
