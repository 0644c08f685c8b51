"""What a composed config may hold beyond its types; the rest is refused before any work is done."""

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from sentiment.config.schemas import SCHEMAS, PretrainConfig, TrainConfig
from sentiment.model.metric_names import CLASSIFIER_METRICS, LANGUAGE_MODEL_METRICS
from sentiment.runtime.errors import InputError, as_typed, valid_names

# By key, whether a number fits, and what is told where it does not.
Ranges = Mapping[str, tuple[Callable[[float], bool], str]]

# Numbers that torch, NumPy and Lightning refuse late or not at all: what each may be.
_RANGES: Ranges = {
    "seed": (lambda value: 0 <= value < 2**32, "from 0 to 4294967295"),
    "data.split_seed": (lambda value: 0 <= value < 2**32, "from 0 to 4294967295"),
    "data.seed": (lambda value: 0 <= value < 2**32, "from 0 to 4294967295"),
    "data.num_workers": (lambda value: 0 <= value <= 1000, "from 0 to 1000"),
    "loss.label_smoothing": (lambda value: 0 <= value < 1, "from 0 to below 1"),
    "loss.entropy": (lambda value: 0 <= value < inf, "0 or more"),
    "loss.virtual_adversarial": (lambda value: 0 <= value < inf, "0 or more"),
    "loss.perturbation_size": (lambda value: 0 < value < inf, "above 0"),
    "loss.unlabeled_ratio": (lambda value: 0 < value < inf, "above 0"),
    "scheduler.warmup": (lambda value: 0 <= value < 1, "from 0 to below 1, a share of the steps"),
    "scheduler.start_factor": (lambda value: 0 < value <= 1, "above 0, at most 1"),
    "scheduler.final_factor": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "scheduler.factor": (lambda value: 0 < value < 1, "between 0 and 1"),
    "scheduler.patience": (lambda value: value >= 0, "0 or more"),
    "pretrained.lr_scale": (lambda value: value > 0, "above 0"),
    "pretrained.embedding_lr_scale": (lambda value: value > 0, "above 0"),
    "pretrained.frozen_epochs": (lambda value: value >= 0, "0 or more"),
    "softmax.negatives": (lambda value: value >= 1, "1 or more, or null for all words"),
    "held_out_tokens": (lambda value: value >= 1, "1 or more"),
    "callbacks.save_minutes": (lambda value: value >= 0, "0 or more"),
    "callbacks.early_stopping.patience": (lambda value: value >= 0, "0 or more"),
    "model.ngrams": (lambda value: 0 <= value <= 5, "from 0, for none, to 5 words"),
    "trainer.max_epochs": (lambda value: value >= 1, "1 or more"),
    "trainer.accumulate_grad_batches": (lambda value: value >= 1, "1 or more"),
    "trainer.check_val_every_n_epoch": (lambda value: value >= 1, "1 or more"),
    "trainer.gradient_clip_val": (lambda value: value >= 0, "0 or more"),
    "trainer.limit_train_batches": (lambda value: value > 0, "above 0"),
    "trainer.limit_val_batches": (lambda value: value > 0, "above 0: validation tells the best"),
    "trainer.limit_test_batches": (lambda value: value > 0, "above 0"),
}

# Weights stay in float32: in bfloat16 their sums and small steps would be lost.
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")

_STRATEGIES = ("auto", "ddp")

# What may be meant by an argument of Lightning's trainer that is none of ours.
_INSTEAD = {
    "trainer.overfit_batches": "trainer.limit_train_batches=2 trains on two batches of each epoch,"
    " and trainer=debug tries one of each split",
    "trainer.logger": "logger=none leaves loggers out",
}

_DEEPEST = 20  # nodes within nodes

_IMDB_FILES = ("data/imdb_train.csv", "data/imdb_test.csv", "data/imdb_unlabeled.csv")


def check_config(cfg: DictConfig, schema: type = TrainConfig) -> None:
    """Refuse what would else be refused in the first batch, after the first epoch, or never.

    Args:
        cfg: the whole config.
        schema: its dataclass.

    Raises:
        InputError: with the key and what is valid.
    """
    _check_node(cfg, schema)
    check_ranges(cfg, _RANGES)
    if schema is TrainConfig:
        _check_monitors(cfg, CLASSIFIER_METRICS)
        _check_mixed(cfg)
    elif schema is PretrainConfig:
        _check_monitors(cfg, LANGUAGE_MODEL_METRICS)
        _check_language_model(cfg.model)
    if "trainer" in cfg:
        _check_loggers(cfg.logger)
        _check_together(cfg)
    check_imdb(cfg)


def _check_node(node: DictConfig, schema: type | None, place: str = "") -> None:
    """Refuse keys, nodes and numbers that a config may hold after composing but not in use.

    Composing checks types, but not whether ``+`` adds a key, ``~`` deletes one, or an interpolation
    or a group without an option puts something else where a node belongs.

    Args:
        node: a mapping of the config.
        schema: its dataclass; None lets any key pass, as of a logger.
        place: its full key, and a dot.
    """
    if place.count(".") > _DEEPEST:
        raise InputError(f"config: {place[:60]}...: refers to itself")
    hints = dict.fromkeys(node) if schema is None else typing.get_type_hints(schema)
    for name in dict.fromkeys([*node, *hints]):
        key = f"{place}{name}"
        if name not in hints:
            if _is_of_torch(schema, str(name)):
                continue
            names = [valid for valid in hints if not valid.startswith("_")]
            way_out = _INSTEAD.get(key) or valid_names(str(name), names)
            raise InputError(f"config: unknown key {key!r}; {way_out}")
        if name not in node.keys():  # noqa: SIM118 (which has what has no value yet, too)
            raise InputError(f"config: {key} is missing; it can be set, but not deleted")
        value = node[name]
        if schema is not None:
            _check_option(value, hints[name], key)
            _check_own(value, getattr(schema, name, None), key)
        _check_value(value, key, known=schema is not None)


def _is_of_torch(schema: type | None, name: str) -> bool:
    """Whether torch's own class, which a schema is of, takes an argument that the schema lacks."""
    module, _, kind = str(getattr(schema, "_target_", "")).rpartition(".")
    if not module.startswith("torch."):
        return False
    return name in inspect.signature(getattr(importlib.import_module(module), kind)).parameters


def _check_option(value: Any, hint: Any, key: str) -> None:
    """Refuse what is none of the nodes that belong there: of its type, or a group's options."""
    kinds = (hint, *typing.get_args(hint))
    own = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    options: list[Any] = [*own] or [schema for group, _, schema in SCHEMAS if group == key]
    if (
        not options
        or OmegaConf.get_type(value) in options
        or (value is None and type(None) in kinds)
    ):
        return
    if OmegaConf.get_type(value) is dict:  # an option of the user's own, which has no schema
        if not own and "_target_" in value:
            return
        if key.partition(".")[0] == "callbacks":
            _check_node(value, options[0], f"{key}.")
            return
    found = "another node" if isinstance(value, DictConfig) else as_typed(value)
    way_out = f"set its keys, as {key}.NAME=VALUE" if own else f"give {key}=OPTION"
    raise InputError(f"config: {key}: {found} cannot stand there; {way_out}")


def _check_own(value: Any, given: Any, key: str) -> None:
    """Refuse another class in place of ours, and other ways to build one."""
    name = key.rpartition(".")[2]
    fixed = name == "_partial_" or (name == "_target_" and given.startswith("sentiment."))
    if fixed and value != given:
        raise InputError(
            f"config: {key}={as_typed(value)}: has to stay {as_typed(given)}, as which checkpoints"
            " are opened"
        )


def _check_value(value: Any, key: str, *, known: bool) -> None:
    """Refuse numbers that 64 bits cannot hold or that are none, in nodes and lists too.

    Args:
        value: what stands in the config.
        key: its full key.
        known: whether a schema has it; others may be infinite.
    """
    if isinstance(value, DictConfig):
        schema = OmegaConf.get_type(value)
        _check_node(value, schema if dataclasses.is_dataclass(schema) else None, f"{key}.")
    elif isinstance(value, ListConfig):
        for each in value:
            _check_value(each, key, known=known)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InputError(f"config: {key}={value}: too large; give a number of 64 bits")
    elif known and isinstance(value, float) and not isfinite(value):
        raise InputError(f"config: {key}={value}: give a finite number")
    elif isinstance(value, str) and "\0" in value:
        raise InputError(f"config: {key}={value!r}: a text cannot hold the character NUL")


def _check_loggers(loggers: Any) -> None:
    nodes = dict(loggers) if isinstance(loggers, DictConfig) else {"": loggers}
    for name, node in nodes.items():
        if not (node is None or (OmegaConf.is_dict(node) and "_target_" in node)):
            key = f"logger.{name!s}".rstrip(".")
            raise InputError(f"config: {key}: is no logger (has no _target_); give logger=OPTION")


def check_ranges(cfg: DictConfig, ranges: Ranges) -> None:
    """Refuse numbers out of range; keys that are absent or null pass.

    Raises:
        InputError: with the key and what it may be.
    """
    for key, (fits, told) in ranges.items():
        value: Any = OmegaConf.select(cfg, key)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and fits(value)):
            raise InputError(f"config: {key}={value}: give a number {told}")


def _check_monitors(cfg: DictConfig, valid: Sequence[str]) -> None:
    nodes = {"scheduler": cfg.scheduler}
    for name in ("checkpoint", "early_stopping"):
        nodes[f"callbacks.{name}"] = cfg.callbacks[name]
    for key, node in nodes.items():
        monitor = (node or {}).get("monitor")
        if monitor is not None and monitor not in valid:
            raise InputError(
                f"config: {key}.monitor={monitor}: no such figure; valid: {', '.join(valid)}"
            )


def _check_together(cfg: DictConfig) -> None:
    """Refuse values that do not go with one another, and types that lose what is added up."""
    trainer = cfg.trainer
    if trainer.precision not in _PRECISIONS:
        raise InputError(
            f"config: trainer.precision={trainer.precision}: choose {', '.join(_PRECISIONS)}"
        )
    if trainer.strategy not in _STRATEGIES:
        raise InputError(
            f"config: trainer.strategy={trainer.strategy}: choose {' or '.join(_STRATEGIES)}"
        )
    for name, words in {"fast_dev_run": [], "deterministic": ["warn"]}.items():
        if not isinstance(trainer[name], bool | int) and trainer[name] not in words:
            choices = ", ".join(["true", "false", *(words or ["a number of batches"])])
            raise InputError(f"config: trainer.{name}={trainer[name]}: choose {choices}")
    if trainer.check_val_every_n_epoch > trainer.max_epochs:
        raise InputError(
            f"config: trainer.check_val_every_n_epoch={trainer.check_val_every_n_epoch}: above"
            f" trainer.max_epochs={trainer.max_epochs}, so that no epoch would be validated"
        )
    stopping = cfg.callbacks.early_stopping
    if stopping and stopping.monitor.startswith("train/") and trainer.check_val_every_n_epoch > 1:
        raise InputError(
            f"config: callbacks.early_stopping.monitor={stopping.monitor}: is looked at when an"
            " epoch is validated; give trainer.check_val_every_n_epoch=1"
        )
    if trainer.precision == "16-mixed" and trainer.gradient_clip_val and cfg.optimizer.get("fused"):
        raise InputError(
            f"config: trainer.precision={trainer.precision}: cannot clip the gradients of a fused"
            " optimizer; add optimizer.fused=null"
        )


def is_mixed(loss: DictConfig) -> bool:
    """Whether the training loss has terms that need no labels."""
    return bool(loss.entropy or loss.virtual_adversarial)


def _check_mixed(cfg: DictConfig) -> None:
    if is_mixed(cfg.loss) and cfg.trainer.precision == "16-mixed":
        raise InputError(
            f"config: {_mixed_settings(cfg.loss)}: not with trainer.precision=16-mixed, whose"
            " scaled gradients it was not tried with; give bf16-mixed or 32-true"
        )


def check_one_process(cfg: DictConfig, processes: int) -> None:
    """Refuse several processes where the loss has terms that need no labels.

    Raises:
        InputError: there are several.
    """
    if is_mixed(cfg.loss) and processes > 1:
        raise InputError(
            f"config: {_mixed_settings(cfg.loss)}: trains in one process, not in {processes}; give"
            " trainer.devices=1 trainer.num_nodes=1 trainer.strategy=auto"
        )


def _mixed_settings(loss: DictConfig) -> str:
    names = ("entropy", "virtual_adversarial")
    return " ".join(f"loss.{name}={loss[name]}" for name in names if loss[name])


def _check_language_model(model: DictConfig) -> None:
    if model.bidirectional and model.num_layers > 1:
        raise InputError(
            f"config: model.num_layers={model.num_layers}: of both directions, a second layer would"
            " see the words that it is to predict; give model.num_layers=1 or"
            " model.bidirectional=false"
        )


def check_imdb(cfg: DictConfig) -> None:
    """Tell where the files come from that the experiments on IMDB expect.

    Raises:
        InputError: one is not there.
    """
    for key in ("csv", "train_csv", "test_csv", "unlabeled_csv"):
        given = cfg.data[key]
        several = isinstance(given, Sequence) and not isinstance(given, str)
        for path in given if several else [given]:
            if path in _IMDB_FILES and not Path(path).exists():
                raise InputError(
                    f"data.{key}={path}: no such file; fetch it by python scripts/download_imdb.py,"
                    f" or give data.{key}=FILE"
                )
