from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from sentiment.config.help import help_text
from sentiment.config.overrides import UserOptions
from sentiment.config.resolvers import register
from sentiment.runtime.overrides import config_directory


def test_help_lists_groups_with_their_options_and_every_setting() -> None:
    shown = help_text("train")
    for path in config_directory().glob("*/*.yaml"):
        if path.parent.name not in ("hydra", "pretrain") and path.stem != "_base":
            assert path.stem in shown
    assert "schema" not in shown
    assert "_base" not in shown
    assert "bilstm*" in shown
    lines = shown.splitlines()
    start = lines.index("Examples:") + 1
    examples = lines[start : lines.index("", start)]
    assert examples
    assert all("-m sentiment.train" in line for line in (lines[0], *examples))
    assert max(map(len, lines[start + len(examples) :])) <= 80


def test_help_has_the_defaults_that_a_run_has(composed: Callable[..., DictConfig]) -> None:
    shown = help_text("train")
    cfg = composed()
    for key in ("optimizer.lr", "model.hidden_size", "trainer.max_epochs", "data.text_column"):
        assert f"  {key}={OmegaConf.select(cfg, key)}  " in shown
    assert "trainer.max_epochs=4 " in help_text("pretrain")
    assert "early_stopping.patience=" not in help_text("pretrain")  # it has no early stopping


@pytest.mark.parametrize("program", ["baseline", "vectors", "check"])
def test_help_lists_only_what_the_program_takes(program: str) -> None:
    shown = help_text(program)
    for other in ("optimizer", "model", "experiment", "batch_size", "max_length"):
        assert other not in shown
    assert "label_column" in shown


@pytest.mark.parametrize(
    "given",
    [
        ["--config-dir", "{}"], ["-cd", "{}"], ["model=gru", "--config-dir={}", "seed=3"],
        ["hydra.searchpath=[file://{}]"], ["hydra.searchpath=['file://{}' , pkg://x]"],
    ],
)  # fmt: skip
def test_help_lists_options_of_the_user_s_own(tmp_path: Path, given: list[str]) -> None:
    folder = tmp_path / "my own"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "hotels.yaml").touch()
    assert "hotels," in help_text("train", [item.format(folder) for item in given])


def test_a_glob_finds_the_options_for_users() -> None:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        loader: Any = UserOptions(GlobalHydra.instance().config_loader())
        (override,) = OverridesParser.create(config_loader=loader).parse_overrides(
            ["model=glob(*)"]
        )
        found = list(override.sweep_string_iterator())
    assert "bilstm" in found
    assert not {"schema", "_base"} & {*found}
