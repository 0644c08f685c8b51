from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from sentiment.entry import run_program
from sentiment.errors import InputError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


def test_a_task_gets_the_config_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("sys.argv", ["x", "size=7", "hydra.run.dir=run"])
    run_program("vectors", lambda cfg: seen.append((cfg.size, cfg.window)))
    assert seen == [(7, 8)]


@pytest.mark.parametrize(("override", "told"), [("sise=3", "size"), ("size=7", "no such luck")])
def test_what_is_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, override: str, told: str
) -> None:
    def refuse(cfg: DictConfig) -> None:
        raise InputError("no such luck")

    monkeypatch.setattr("sys.argv", ["x", override, "hydra.run.dir=run"])
    with pytest.raises(SystemExit) as caught:
        run_program("vectors", refuse)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert error.count("\n") == 1
