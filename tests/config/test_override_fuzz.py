"""Any override, however odd, is accepted or refused in one line."""

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from conftest import TINY, compose_config, write_reviews
from sentiment.baseline.run import run_baselines
from sentiment.check.run import run_check
from sentiment.config.explain import translate_config_errors
from sentiment.config.overrides import spell_null_choices
from sentiment.pretrain.run import pretrain
from sentiment.runtime.errors import InputError
from sentiment.train.run import train
from sentiment.vectors.run import run_vectors

PROGRAMS: dict[str, Callable[..., Any]] = {
    "train": train,
    "pretrain": pretrain,
    "baseline": run_baselines,
    "vectors": run_vectors,
    "check": run_check,
}
VALUES = (
    "0", "1", "-1", "3", "0.5", "-0.5", "1e-3", "1e300", "nan", "inf", "-inf",
    "1000000000", "4294967296", "9223372036854775807", "99999999999999999999", "true", "false",
    "null", "", "' '", "abc", "'käse 日本'", "'\u202e'", "'a b'", "'???'", "x" * 3000, "a/b",
    "auto", "none", "[]", "[1]", "[1,2]", "[[1]]", "[a,b]", "[null]", "[0.9,nan]", "[inf]", "{}",
    "{a:1}", "{a:{b:[nan]}}", "{_target_:os.getcwd}", "{_target_:no.Such}", "'${seed}'",
    "'${data}'", "'${nope}'", "'${.x}'", "'${oc.env:NOPE}'", "'${'",
)  # fmt: skip
ADDED = (
    "x", "data.x", "data._partial_", "data._target_", "_target_", "trainer.x", "trainer._args_",
    "trainer.overfit_batches", "trainer.logger", "trainer.max_steps", "model.x",
    "model._recursive_", "callbacks.x", "callbacks.last", "logger.x", "optimizer.foreach",
    "optimizer._convert_",
)  # fmt: skip
CHOICES = (
    "data=1.5", "data=[1,2]", "data=", "data=imdb", "~data", "data@x=csv", "data@_global_=csv",
    "data@optimizer=csv", "+data=csv", "++data=csv", "model=[[1]]", "model='${data}'",
    "~model.cell", "model=null", "~model", "optimizer=[]", "optimizer=nan", "~optimizer=adamw",
    "optimizer=[adam,sgd]", "trainer=true", "~trainer=[1]", "+trainer=[null]", "scheduler=null",
    "callbacks=99999999999999999999", "~callbacks", "embeddings=file", "logger=false",
    "logger=wandb", "experiment=none", "+experiment=imdb_fast", "sweep=optuna", "pretrain=gpu",
    "~seed", "~loss", "~loss.entropy", "+hydra/launcher=joblib", "hydra.run=3", "a=b=c", "=1", "~",
)  # fmt: skip


class Built(Exception):  # noqa: N818 (it is no error)
    """Everything is built, and training would begin now."""


@pytest.fixture
def _untrained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Built

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sentiment.train.fit.Fit.run", refuse)
    monkeypatch.setattr("sentiment.baseline.run.run_baseline", refuse)
    monkeypatch.setattr("sentiment.vectors.run.train_vectors", refuse)
    monkeypatch.setattr("sentiment.check.run.find_repeats", refuse)
    monkeypatch.setattr("sentiment.train.run.start_processes", lambda trainer: None)


def keys_of(node: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key!s}"
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{key!s}.")


def overridden(cfg: DictConfig, text: str) -> DictConfig:
    """A config as Hydra changes it by an override of a value."""
    cfg = copy.deepcopy(cfg)
    override = OverridesParser.create().parse_override(text)
    if override.is_delete():
        above, _, name = override.key_or_group.rpartition(".")
        with open_dict(cfg):
            del (OmegaConf.select(cfg, above) if above else cfg)[name]
    else:
        adds = override.is_add() or override.is_force_add()
        OmegaConf.update(cfg, override.key_or_group, override.value(), force_add=adds)
    return cfg


def outcome(program: str, overrides: Sequence[str], make: Callable[[], DictConfig]) -> str | None:
    """The error in how a program answers, or None."""
    command = f"{program} {' '.join(overrides)[:200]}"
    try:
        with translate_config_errors():
            PROGRAMS[program](make(), Path("run"))
    except Built:
        return None
    except InputError as error:
        return f"{command}: {error!s}" if "\n" in str(error) else None
    except Exception as error:
        return f"{command}: {error!r}"
    return f"{command}: was trained"


@pytest.mark.usefixtures("_untrained")
@pytest.mark.parametrize(("program", "count"), [*zip(PROGRAMS, (150, 70, 30, 30, 30), strict=True)])
def test_a_random_value_is_accepted_or_refused(tmp_path: Path, program: str, count: int) -> None:
    draw = random.Random(program)
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    tiny = TINY if program in ("train", "pretrain") else ()
    cfg = compose_config([*tiny, f"data.csv={reviews}"], tmp_path / "run", program)
    keys = list(keys_of(OmegaConf.to_container(cfg)))  # type: ignore[arg-type]
    failures = []
    for _ in range(count):
        key = draw.choice(keys if draw.random() < 0.8 else ADDED)
        sign = draw.choice(["", "", "", "~"]) if key in keys else "+"
        override = f"{sign}{key}" if sign == "~" else f"{sign}{key}={draw.choice(VALUES)}"
        failures.append(outcome(program, [override], lambda: overridden(cfg, override)))  # noqa: B023
    assert not [*filter(None, failures)]


@pytest.mark.usefixtures("_untrained")
@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_of_a_group_is_accepted_or_refused(tmp_path: Path, choice: str) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    given = [*TINY, f"data.csv={reviews}", choice]
    problem = outcome("train", given, lambda: compose_config(given, tmp_path / "run"))
    assert problem is None


@pytest.mark.usefixtures("_untrained")
@pytest.mark.parametrize(
    ("files", "overrides"),
    [
        ({"experiment/mine.yaml": "# @package _global_\nscheduler: null"}, ["experiment=mine"]),
        (
            {
                "callbacks/mine.yaml": "save_minutes: 3\nearly_stopping: null\n"
                "checkpoint: {_target_: sentiment.train.callbacks.OneCheckpoint, _partial_: true,"
                " monitor: val/loss}"
            },
            ["callbacks=mine"],
        ),
        (
            {"optimizer/mine.yaml": "_target_: torch.optim.NAdam\n_partial_: true\nlr: 1e-3"},
            ["optimizer=mine"],
        ),
        ({"logger/two.yaml": "defaults: [csv, tensorboard]"}, ["logger=two"]),
        ({}, ["+optimizer.foreach=false"]),
        ({}, ["scheduler=null"]),
    ],
)
def test_what_is_a_user_s_own_is_accepted(
    tmp_path: Path, files: Mapping[str, str], overrides: Sequence[str]
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    for name, content in files.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(content)
    search = [f"hydra.searchpath=[{tmp_path / 'own'}]"] if files else []
    given = spell_null_choices([*search, *TINY, f"data.csv={reviews}", *overrides])
    cfg = compose_config(given, tmp_path / "run")
    with pytest.raises(Built):
        train(cfg, tmp_path / "run")


@pytest.mark.usefixtures("_untrained")
def test_a_value_that_is_not_given_is_asked_for(tmp_path: Path) -> None:
    cfg = compose_config([*TINY, "embeddings=file"], tmp_path / "run")
    with pytest.raises(InputError) as caught, translate_config_errors():
        train(cfg, tmp_path / "run")
    assert "give embeddings.path=VALUE" in str(caught.value)


@pytest.mark.usefixtures("_untrained")
@pytest.mark.parametrize("without", ["logger=null", "logger=none", "~logger"])
def test_a_training_needs_no_logger(tmp_path: Path, without: str) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    given = [item for item in TINY if not item.startswith("logger")]
    given += spell_null_choices([f"data.csv={reviews}", without])
    cfg = compose_config(given, tmp_path / "run")
    with pytest.raises(Built):
        train(cfg, tmp_path / "run")
