import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import StrEnum
from pathlib import Path

import pytest
from hydra.utils import get_class, get_method
from omegaconf import MISSING, DictConfig, OmegaConf

from sentiment.config import schemas
from sentiment.config.checks import check_config
from sentiment.data.csv_format import COMPRESSIONS, QUOTINGS
from sentiment.data.padding import KEEP
from sentiment.model.encoder import CELLS, MERGES
from sentiment.model.pooling import POOLINGS
from sentiment.predict.ngram_classifier import WEIGHTINGS
from sentiment.runtime.errors import InputError
from sentiment.runtime.overrides import config_directory

Compose = Callable[..., DictConfig]

OPTIONS = sorted(
    (file.parent.name, file.stem)
    for file in config_directory().glob("*/*.yaml")
    if file.parent.name != "hydra"
)
# What only a run knows, or Lightning is given by train.py.
GIVEN_LATER = {
    "SentimentClassifier": {
        "vocabulary_size", "num_classes", "embedding_size", "ngram_sizes", "padding_index",
        "unknown_index",
    },
    "LanguageModel": {"vocabulary_size", "embedding_size", "padding_index"},
    "SentimentDataModule": {"vocabulary", "cleaning", "unlabeled_ratio", "ngrams", "teachers"},
    "OneCheckpoint": {"dirpath", "filename", "minutes"},
}  # fmt: skip
NEEDED = {
    "csv": ["data.csv=x.csv"],
    "file": ["embeddings.path=x.txt"],
    "imdb_pretrained": ["pretrained.path=x.ckpt"],
    "imdb_mixed": ["pretrained.path=x.ckpt"],
}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(composed: Compose, group: str, option: str) -> None:
    program = "pretrain" if group == "pretrain" else "train"
    cfg = composed(f"{group}={option}", *NEEDED.get(option, []), program=program)
    assert not OmegaConf.missing_keys(cfg)
    OmegaConf.to_container(cfg.trainer, resolve=True)


@pytest.mark.parametrize("group", ["data", "embeddings", "optimizer", "scheduler", "trainer"])
def test_a_pretraining_takes_the_same_options(composed: Compose, group: str) -> None:
    for option in (name for folder, name in OPTIONS if folder == group):
        cfg = composed(f"{group}={option}", *NEEDED.get(option, []), program="pretrain")
        assert not OmegaConf.missing_keys(cfg)


@pytest.mark.parametrize("program", ["train", "baseline"])
def test_a_wrong_column_of_the_report_is_found_before_the_work(
    composed: Compose, program: str, tmp_path: Path
) -> None:
    reviews = tmp_path / "reviews.csv"
    reviews.write_text("text,label,source\ngood,a,web\n")
    given = ("data=csv", f"data.csv={reviews}", "report.slices=[sorce]")
    schema = schemas.config_schema(program)
    with pytest.raises(InputError, match=r"report\.slices: .* 'sorce'; did you mean 'source'"):
        check_config(composed(*given, program=program), schema, files=True)
    check_config(
        composed(*given[:2], "report.slices=[source]", program=program), schema, files=True
    )


def test_experiments_are_what_their_names_say(composed: Compose) -> None:
    classic = composed("experiment=imdb_birnn")
    assert (str(classic.model.cell), classic.model.num_layers) == ("gru", 2)
    assert (classic.model.hidden_size, classic.data.batch_size) == (256, 32)
    assert (classic.data.test_size, classic.data.split_seed, classic.optimizer.lr) == (
        0.2, 42, 1e-3,
    )  # fmt: skip
    for cell in ("rnn", "gru", "lstm"):
        simple = composed(f"experiment=imdb_simple_{cell}")
        assert str(simple.model.cell) == cell
        assert (simple.embeddings.size, simple.model.hidden_size) == (32, 32)
        assert simple.optimizer._target_ == "torch.optim.RMSprop"
    assert composed("experiment=imdb_bilstm_dropout").model.head_size == 256


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
def test_a_model_is_what_its_name_says(
    composed: Compose, cell: str, both: bool, stacked: bool
) -> None:
    model = composed(f"model={'stacked_' * stacked}{'bi' * both}{cell}").model
    assert (str(model.cell), model.bidirectional) == (cell, both)
    assert model.num_layers == (2 if stacked else 1)


SCHEMAS = [
    schema
    for schema in vars(schemas).values()
    if is_dataclass(schema) and hasattr(schema, "_target_")
]


def parameters(schema: type) -> dict[str, inspect.Parameter]:
    path = str(vars(schema).get("_target_"))
    target = get_class(path) if path.rsplit(".", 1)[1][0].isupper() else get_method(path)
    given = {"self", "params", "optimizer", "total_steps"}
    found = inspect.signature(target).parameters
    return {name: found[name] for name in found.keys() - given}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_a_schema_has_the_settings_of_its_target(schema: type) -> None:
    accepted = parameters(schema)
    offered = {field.name for field in fields(schema) if field.name[0] != "_"}
    assert offered <= accepted.keys()
    target = str(vars(schema)["_target_"])
    if not target.startswith("sentiment."):
        return
    assert accepted.keys() - offered == GIVEN_LATER.get(target.rsplit(".", 1)[1], set())
    for name in offered:
        made = getattr(schema(), name)
        default = tuple(made) if isinstance(made, list) else made
        assert accepted[name].default in (default, inspect.Parameter.empty) or default == MISSING, (
            name
        )


def test_conf_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (config_directory() / "train.yaml").is_file()


@pytest.mark.parametrize(
    ("choices", "constants"),
    [
        (schemas.Cell, CELLS), (schemas.Merge, MERGES), (schemas.Pooling, POOLINGS),
        (schemas.Keep, KEEP), (schemas.Quoting, QUOTINGS), (schemas.Compression, COMPRESSIONS),
        (schemas.Weighting, WEIGHTINGS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_setting_has_the_choices_of_what_takes_it(
    choices: type[StrEnum], constants: tuple[str, ...]
) -> None:
    assert tuple(choices) == constants
