from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from conftest import compose_config
from sentiment.config.overrides import CommandLine
from sentiment.runtime.overrides import override


def test_the_data_settings_of_a_run_are_those_of_another_program(tmp_path: Path) -> None:
    given = [
        "data=csv", "data.csv='my reviews.csv'", "++data.val_size=0.2", "data.max_length=9",
        "data.unlabeled_csv=[a.csv,b.csv]", "seed=3", "embeddings.size=8",
    ]  # fmt: skip
    compose_config(given, tmp_path)
    started = CommandLine.of_hydra()
    assert started.data() == [*given[:5]]
    assert started.data(but=("max_length",)) == [*given[:3], given[4]]


@pytest.mark.parametrize(
    ("sweep", "plain"), [("optuna", []), ("imdb", ["data.val_size=0.2", "trainer.max_epochs=4"])]
)
def test_a_run_of_a_search_is_repeated_without_its_sweep(
    tmp_path: Path, sweep: str, plain: list[str]
) -> None:
    own = ["model=gru", "optimizer.lr=0.002", "trainer.max_epochs=7"]
    repeated = CommandLine(task=[own[0], f"sweep={sweep}", *own[1:], "ckpt_path=auto"]).repeated()
    assert repeated == [*plain, *own]
    assert compose_config(repeated, tmp_path) == compose_config([*own, f"sweep={sweep}"], tmp_path)


def test_a_sweep_of_the_user_stays_in_the_command() -> None:
    repeated = CommandLine(task=["sweep=mine", "model=gru"]).repeated()
    assert repeated == ["sweep=mine", "model=gru", "hydra.mode=RUN"]


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 1e-05, "a/b.csv", "it's (1).csv", "\\", r"\'", r"a\b'\\", r"C:\x\\",
        ["a", "à, b", None], [[1, 2], []],
    ],
)  # fmt: skip
def test_hydra_reads_an_override_as_the_value_that_it_was_made_of(value: object) -> None:
    parsed = OverridesParser.create().parse_override(override("data.labels", value))
    assert parsed.value() == value


@pytest.mark.parametrize("value", [("a", "b"), np.array(["a", "b"])])
def test_any_sequence_is_a_list(value: object) -> None:
    assert override("data.labels", value) == "data.labels=[a,b]"
    assert override("data.csv", "~/x.csv") == f"data.csv={Path.home()}/x.csv"
