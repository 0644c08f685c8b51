from pathlib import Path

from conftest import compose_config
from sentiment.config.overrides import CommandLine


def test_the_data_settings_of_a_run_are_those_of_another_program(tmp_path: Path) -> None:
    given = [
        "data=csv", "data.csv='my reviews.csv'", "++data.val_size=0.2", "data.max_length=9",
        "data.unlabeled_csv=[a.csv,b.csv]", "seed=3", "embeddings.size=8",
    ]  # fmt: skip
    compose_config(given, tmp_path)
    started = CommandLine.of_hydra()
    assert started.data() == [*given[:5]]
    assert started.data(but=("max_length",)) == [*given[:3], given[4]]
