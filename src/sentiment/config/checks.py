"""What Hydra does not check of a config: limits of numbers, pairs of settings, keys added later."""

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Mapping, Sequence
from math import isfinite
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from sentiment.config.schemas import SCHEMAS, CheckConfig, TrainConfig
from sentiment.config.suggest import unknown_key
from sentiment.data.csv_format import CsvFormat, ScoresFormat
from sentiment.data.pipeline import paths_of
from sentiment.data.records import check_table
from sentiment.data.reviews import check_columns
from sentiment.data.soft_labels import scores_format
from sentiment.model.metric_names import AUTO, CLASSIFIER_METRICS, LANGUAGE_MODEL_METRICS
from sentiment.model.settings import require_limits
from sentiment.report.reviews_file import ReviewsFile
from sentiment.runtime.environment import program_command
from sentiment.runtime.errors import InputError, as_typed
from sentiment.runtime.files import is_there, similar_file
from sentiment.runtime.run_folder import NO_CHECKPOINT

# How a number is compared with each limit of ``ranged``.
_LIMITS = {"at_least": ge, "above": gt, "at_most": le, "below": lt}

# Hints for arguments of Lightning's trainer that are set elsewhere in our config.
_INSTEAD = {
    "trainer.overfit_batches": "trainer.limit_train_batches=2 trains on two batches of each epoch,"
    " and trainer=debug tries one of each split",
    "trainer.logger": "logger=none leaves loggers out",
}

_DEEPEST = 20  # nodes within nodes

_QUICK = 1 << 23  # bytes of a file whose columns are found in a second, even compressed
_IMDB_FILES = ("data/imdb_train.csv", "data/imdb_test.csv", "data/imdb_unlabeled.csv")


def check_config(cfg: DictConfig, schema: type = TrainConfig, *, files: bool = False) -> None:
    """Refuse wrong settings that would fail only in the first batch, after an epoch, or never.

    Args:
        cfg: the whole config.
        schema: its dataclass.
        files: whether to open the files that it names; a sweep leaves that to each run.

    Raises:
        InputError: a setting is wrong; the message names its key and what is valid.
    """
    _check_node(cfg, schema)
    if "model" in cfg:
        try:
            require_limits(cfg.model)
        except ValueError as error:
            raise InputError(f"config: model: {error}") from error
    _check_abstain(cfg.get("abstain"))
    _check_files(cfg, every=files)
    if issubclass(schema, TrainConfig):
        check_class_weights(cfg.loss, cfg.data.labels)
        _check_mixed(cfg)
    elif cfg.data.weight_column is not None and schema is not CheckConfig:
        raise InputError(
            f"config: data.weight_column={cfg.data.weight_column}: only sentiment.train weights"
            " reviews; give data.weight_column=null"
        )
    elif cfg.data.soft_csv:
        raise InputError(
            f"config: data.soft_csv={cfg.data.soft_csv}: only sentiment.train learns from a"
            " teacher's probabilities; give data.soft_csv=null"
        )
    if "trainer" in cfg:
        trains = issubclass(schema, TrainConfig)
        metrics = CLASSIFIER_METRICS if trains else LANGUAGE_MODEL_METRICS
        _check_monitors(cfg, metrics)
        _check_loggers(cfg.logger)
        _check_together(cfg)


def _check_node(node: DictConfig, schema: type | None, prefix: str = "") -> None:
    """Refuse keys, nodes and numbers that composing lets pass but that cannot be used.

    Composing checks types, but not whether ``+`` adds a key, ``~`` deletes one, or an interpolation
    or a group without an option replaces a node by something else.

    Args:
        node: a mapping of the config.
        schema: its dataclass; None lets any key pass, as of a logger.
        prefix: its full key, and a dot.
    """
    if prefix.count(".") > _DEEPEST:
        raise InputError(f"config: {prefix[:60]}...: refers to itself")
    hints = dict.fromkeys(node) if schema is None else typing.get_type_hints(schema)
    fields = () if schema is None else dataclasses.fields(schema)
    limits = {field.name: field.metadata for field in fields}
    for name in dict.fromkeys([*node, *hints]):
        key = f"{prefix}{name}"
        if name not in hints:
            if _torch_takes(schema, str(name)):
                continue
            if instead := _INSTEAD.get(key):
                raise InputError(f"config: unknown key {key!r}; {instead}")
            raise InputError(f"config: {unknown_key(key, hints)}")
        if name not in node.keys():  # noqa: SIM118 (also keys without a value)
            raise InputError(f"config: {key} is missing; it can be set, but not deleted")
        if name == "precision" and OmegaConf.is_interpolation(node, name):
            continue  # torch, which is slow to import, chooses it when all else is checked
        value = node[name]
        if schema is not None:
            _check_option(value, hints[name], key)
            _check_own(value, getattr(schema, name, None), key)
        _check_value(value, key, known=schema is not None)
        if limits.get(name):
            optional = type(None) in typing.get_args(hints[name])
            _check_range(value, limits[name], key, optional=optional)


def _torch_takes(schema: type | None, name: str) -> bool:
    """Whether a schema is that of a torch class whose constructor has this argument, too."""
    module, _, kind = str(getattr(schema, "_target_", "")).rpartition(".")
    if not module.startswith("torch."):
        return False
    return name in inspect.signature(getattr(importlib.import_module(module), kind)).parameters


def _check_option(value: Any, hint: Any, key: str) -> None:
    """Refuse anything but the node of the field's type, or an option of the config group."""
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
    hint = f"set its keys, as {key}.NAME=VALUE" if own else f"give {key}=OPTION"
    raise InputError(f"config: {key}: {found} cannot be used here; {hint}")


def _check_own(value: Any, given: Any, key: str) -> None:
    """Refuse another ``_partial_``, or another ``_target_`` in place of our class."""
    name = key.rpartition(".")[2]
    fixed = name == "_partial_" or (name == "_target_" and given.startswith("sentiment."))
    if fixed and value != given:
        raise InputError(
            f"config: {key}={as_typed(value)}: has to stay {as_typed(given)}, as"
            " checkpoints depend on it"
        )


def _check_value(value: Any, key: str, *, known: bool) -> None:
    """Refuse NaN and numbers that do not fit 64 bits, also within nodes and lists.

    Args:
        value: a value of the config.
        key: its full key.
        known: whether a schema has this key; other values may be infinite.
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
            raise InputError(f"config: {key}: not a logger (has no _target_); give logger=OPTION")


def _check_range(value: Any, limits: Mapping[str, float], key: str, *, optional: bool) -> None:
    """Refuse a value outside the limits of its setting; see ``ranged``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or (number and all(_LIMITS[name](value, limits[name]) for name in limits)):
        return
    words = " and ".join(f"{name.replace('_', ' ')} {limit}" for name, limit in limits.items())
    null = ", or null" if optional else ""
    raise InputError(f"config: {key}={as_typed(value)}: must be {words}{null}")


def _check_monitors(cfg: DictConfig, valid: Sequence[str]) -> None:
    nodes = {"scheduler": cfg.scheduler}
    for name in ("checkpoint", "early_stopping"):
        nodes[f"callbacks.{name}"] = cfg.callbacks[name]
    for key, node in nodes.items():
        monitor = (node or {}).get("monitor")
        names = valid
        if key != "scheduler" and valid == CLASSIFIER_METRICS:
            names = (*valid, AUTO)
        if monitor is not None and monitor not in names:
            raise InputError(
                f"config: {key}.monitor={monitor}: no such metric; valid: {', '.join(names)}"
            )


def _check_together(cfg: DictConfig) -> None:
    """Refuse values of the trainer that do not go together, or with those of other nodes."""
    trainer = cfg.trainer
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
    if stopping and stopping.mode not in ("min", "max"):
        raise InputError(
            f"config: callbacks.early_stopping.mode={as_typed(stopping.mode)}: choose min or max"
        )
    if stopping and stopping.monitor.startswith("train/") and trainer.check_val_every_n_epoch > 1:
        raise InputError(
            f"config: callbacks.early_stopping.monitor={stopping.monitor}: is checked when an"
            " epoch is validated; give trainer.check_val_every_n_epoch=1"
        )
    if trainer.precision == "16-mixed" and trainer.gradient_clip_val and cfg.optimizer.get("fused"):
        raise InputError(
            f"config: trainer.precision={trainer.precision}: cannot clip the gradients of a fused"
            " optimizer; add optimizer.fused=null"
        )


def check_class_weights(
    loss: DictConfig, labels: Sequence[object] | None, counts: Sequence[int] = ()
) -> None:
    """Refuse weights of classes that cannot be used.

    Args:
        loss: the config node of the loss.
        labels: the labels; None if they are not known yet.
        counts: how many training reviews have each label; empty if they are not known yet.

    Raises:
        InputError: a weight is not a number above 0 in single precision, there is not one for each
            label, ``loss.balanced`` sets them too, or no training review has a label that it is
            to balance.
    """
    weights = loss.class_weights
    if loss.balanced and weights is None and labels is not None and 0 in counts:
        raise InputError(
            f"loss.balanced: no training review has the label {labels[counts.index(0)]!r}, so it"
            " has no weight; add reviews of it, take it out of data.labels, or set"
            " loss.class_weights instead"
        )
    if weights is None:
        return
    if loss.balanced or (labels is not None and len(weights) != len(labels)):
        names = "label" if labels is None else f"of {', '.join(map(as_typed, labels))}"
        raise InputError(
            f"loss.class_weights={list(weights)}: give one weight for each {names}, and"
            " loss.balanced=false"
        )
    if not all(2**-149 <= weight < 2**128 for weight in weights):
        raise InputError(
            f"config: loss.class_weights={list(weights)}: all must be numbers above 0; to leave a"
            " class out, remove its reviews"
        )


def is_mixed(loss: DictConfig) -> bool:
    """Whether the training loss has terms that need no labels."""
    return bool(loss.entropy or loss.virtual_adversarial)


def _check_abstain(node: DictConfig | None) -> None:
    if node is None:
        return
    given = [name for name in ("coverage", "accuracy") if node[name] is not None]
    if len(given) > 1 or (node.per_class and not given):
        shown = " ".join(
            f"abstain.{name}={as_typed(node[name])}" for name in given or ["per_class"]
        )
        raise InputError(
            f"config: {shown}: give one of abstain.coverage and abstain.accuracy; the other follows"
            " from it"
        )


def _check_mixed(cfg: DictConfig) -> None:
    if is_mixed(cfg.loss) and cfg.data.soft_csv:
        raise InputError(
            f"config: {_mixed_settings(cfg.loss)}: not with data.soft_csv, whose texts have a"
            " teacher's probabilities in place of labels; leave one of them out"
        )
    if is_mixed(cfg.loss) and cfg.trainer.precision == "16-mixed":
        raise InputError(
            f"config: {_mixed_settings(cfg.loss)}: not with trainer.precision=16-mixed, whose"
            " scaled gradients it was not tried with; give bf16-mixed or 32-true"
        )


def check_one_process(cfg: DictConfig, processes: int) -> None:
    """Refuse several processes where the loss has terms that need no labels, or teachers.

    Raises:
        InputError: there are several processes and such terms.
    """
    soft = cfg.data.soft_csv
    if (is_mixed(cfg.loss) or soft) and processes > 1:
        given = f"data.soft_csv={soft}" if soft else _mixed_settings(cfg.loss)
        raise InputError(
            f"config: {given}: trains in one process, not in {processes}; give"
            " trainer.devices=1 trainer.num_nodes=1 trainer.strategy=auto"
        )


def _mixed_settings(loss: DictConfig) -> str:
    names = ("entropy", "virtual_adversarial")
    return " ".join(f"loss.{name}={loss[name]}" for name in names if loss[name])


def _check_files(cfg: DictConfig, *, every: bool) -> None:
    """Refuse files and checkpoints that cannot be opened; IMDB's alone unless ``every``."""
    csv_format = CsvFormat.of_settings(cfg.data)
    for key in ("csv", "train_csv", "val_csv", "test_csv", "unlabeled_csv"):
        for path in paths_of(cfg.data[key]):
            if str(path) in _IMDB_FILES and not path.exists():
                raise InputError(
                    f"data.{key}={path}: no such file; download it by"
                    f" {program_command('sentiment.download', 'imdb')}, or give data.{key}=FILE"
                )
            if every:
                check_table(path, csv_format)
            if every and key != "unlabeled_csv" and path.stat().st_size < _QUICK:
                weights = cfg.data.weight_column if key in ("csv", "train_csv") else None
                columns = (cfg.data.text_column, cfg.data.label_column, weights)
                check_columns(path, csv_format, [name for name in columns if name is not None])
    for path in paths_of(cfg.data.soft_csv) if every else ():
        check_table(path, ScoresFormat())
        if path.stat().st_size < _QUICK:
            scored = scores_format(path, cfg.data.text_column, cfg.data.score_columns)
            scores = [column for _, column in scored.score_columns]
            check_columns(path, scored, [scored.text_column, *scores])
    if every and (slices := OmegaConf.select(cfg, "report.slices")):
        files = (cfg.data[key] for key in ("test_csv", "csv", "train_csv"))
        path = next(Path(path) for path in files if path is not None)
        if path.stat().st_size < _QUICK:
            ReviewsFile(path, csv_format).check_columns(slices)
    vectors = OmegaConf.select(cfg, "embeddings.path")
    if every and vectors is not None and not is_there(Path(vectors)):
        raise InputError(f"embeddings.path={vectors}: no such file{similar_file(Path(vectors))}")
    # A training that is resumed needs nothing of the pretrained one.
    key = "pretrained.path" if cfg.get("ckpt_path") is None else "ckpt_path"
    path = OmegaConf.select(cfg, key)
    if every and path not in (None, "auto") and not Path(path).exists():
        raise InputError(f"{key}={path}: {NO_CHECKPOINT}")
