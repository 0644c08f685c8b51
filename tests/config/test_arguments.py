from pathlib import Path
from typing import Any

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser

from sentiment.config.arguments import hydra_arguments
from sentiment.config.schemas import TrainConfig, VectorsConfig
from sentiment.runtime.errors import InputError


def value_of(item: str) -> Any:
    (argument,) = hydra_arguments([item], TrainConfig)
    return OverridesParser.create().parse_override(argument).value()


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("data.csv=übung.csv", "übung.csv"),
        ("data.text_column=文本", "文本"),
        ("data.csv=my file (1).csv", "my file (1).csv"),
        ("data.csv=it's.csv", "it's.csv"),
        ("data.separator=;", ";"),
        ("data.separator=,", ","),
        ("data.csv=~/x.csv", str(Path.home() / "x.csv")),
        ("data.labels=[négatif,très bon,'à, b']", ["négatif", "très bon", "à, b"]),
        ("data.unlabeled_csv=[~/a.csv,b.csv]", [str(Path.home() / "a.csv"), "b.csv"]),
        ("data.csv=plain.csv", "plain.csv"),
        ("data.labels=[a,b]", ["a", "b"]),
        ("optimizer.lr=1e-3", 1e-3),
        ("data.csv='a, b.csv'", "a, b.csv"),
    ],
)
def test_a_text_needs_no_quotes_of_its_own(item: str, expected: object) -> None:
    assert value_of(item) == expected


def test_values_of_a_sweep_stay_several() -> None:
    (item,) = hydra_arguments(["data.csv=übung.csv,b.csv"], TrainConfig)
    override = OverridesParser.create().parse_override(item)
    assert list(override.sweep_string_iterator()) == ["'übung.csv'", "b.csv"]


def test_options_and_settings_come_in_any_order() -> None:
    given = ["model=gru", "--cfg", "job", "seed=3", "-m", "-cd", "seed=3", "--info"]
    parsed = get_args_parser().parse_args(hydra_arguments(given, TrainConfig))
    assert parsed.overrides == ["model=gru", "seed=3"]
    assert (parsed.cfg, parsed.multirun, parsed.info) == ("job", True, "all")
    assert parsed.config_dir == "seed=3"  # a folder of this name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--epochs 3", "did you mean trainer.max_epochs=3?"),
        ("--lr=0.01", "did you mean optimizer.lr=0.01?"),
        ("--batch-size 64", "did you mean data.batch_size=64?"),
        ("--model gru", "did you mean model=gru?"),
        ("--data my.csv", "did you mean data=csv data.csv=my.csv?"),
        ("--nonsense", "--help"),
        ("my.csv", "did you mean data=csv data.csv=my.csv?"),
        ("bigru", "did you mean model=bigru?"),
        ("seed=3 model.cell", "did you mean model.cell=VALUE?"),
        ("data.csv=a b.csv", "\"data.csv='a b.csv'\""),
        ("--cfg all-of-it", "invalid choice"),
        ("model = gru", "did you mean model=gru?"),
        ("seed=3 model =gru", "did you mean model=gru?"),
        ("model= gru", "did you mean model=gru?"),
        ("model:gru", "did you mean model=gru?"),
        ("epochs = 3", "did you mean trainer.max_epochs=3?"),
        ("-model=gru", "without a dash"),
        ("-lr 3", "did you mean optimizer.lr=3?"),
        ("data.labels=[a, b]", "'data.labels=[a, b]'"),
        ("--num-classes 3", "data.labels"),
        ("num_classes = 3", "data.labels chooses and orders them"),
        ("--config mine.yaml", "--config-dir=FOLDER experiment=NAME"),
        ("mine.yaml", "--config-dir=FOLDER experiment=NAME"),
    ],
)
def test_what_is_no_setting_is_refused_with_the_one_that_was_meant(
    given: str, expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        hydra_arguments(given.split(), TrainConfig)
    message = str(caught.value)
    assert message.startswith("command line: ")
    assert not message.endswith(";")
    assert expected in message
    assert "\n" not in message


def test_a_hint_names_only_settings_of_the_program() -> None:
    with pytest.raises(InputError) as caught:
        hydra_arguments(["--embedding-dim", "50"], VectorsConfig)
    assert "did you mean size=50?" in str(caught.value)
    with pytest.raises(InputError) as caught:
        hydra_arguments(["--lr", "3"], VectorsConfig)
    assert "did you mean" not in str(caught.value)
    assert "only sentiment.train has such a setting: leave it out" in str(caught.value)


@pytest.mark.parametrize("chosen", ["", "data=csv", "data.csv=null"])
def test_a_file_for_training_takes_the_place_of_the_sample(chosen: str) -> None:
    given = ["data.train_csv=a.csv", *chosen.split()]
    assert hydra_arguments(given, TrainConfig) == [*given, *([] if chosen else ["data.csv=null"])]
    assert "data.csv=null" not in hydra_arguments(["data.train_csv=null"], TrainConfig)
    assert "data.csv=null" in hydra_arguments(["++data.train_csv=a.csv"], TrainConfig)
