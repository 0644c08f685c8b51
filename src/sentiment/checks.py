"""What a composed config may hold beyond its types; the rest is refused before any work is done."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sentiment.errors import InputError
from sentiment.model.metrics import MONITORED, MONITORED_OF_TEXTS
from sentiment.schemas import PretrainConfig, TrainConfig

# By key, whether a number fits, and what is told where it does not.
Ranges = Mapping[str, tuple[Callable[[float], bool], str]]

# Numbers that torch, NumPy and Lightning refuse late or not at all: what each may be.
_RANGES: Ranges = {
    "seed": (lambda value: 0 <= value < 2**32, "from 0 to 4294967295"),
    "data.split_seed": (lambda value: 0 <= value < 2**32, "from 0 to 4294967295"),
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

_IMDB_FILES = ("data/imdb_train.csv", "data/imdb_test.csv", "data/imdb_unlabeled.csv")


def check_config(cfg: DictConfig, schema: type = TrainConfig) -> None:
    """Refuse what would else be refused in the first batch, after the first epoch, or never.

    Args:
        cfg: the whole config.
        schema: its dataclass.

    Raises:
        InputError: with the key and what is valid.
    """
    _check_keys(cfg, schema)
    check_ranges(cfg, _RANGES)
    _check_monitors(cfg, MONITORED_OF_TEXTS if schema is PretrainConfig else MONITORED)
    if schema is PretrainConfig:
        _check_language_model(cfg.model)
    else:
        _check_mixed(cfg)
    _check_together(cfg)
    check_imdb(cfg)


def _check_keys(cfg: DictConfig, schema: type) -> None:
    """Refuse keys that ``+key=value`` added beside the known ones."""
    valid = [field.name for field in dataclasses.fields(schema)]
    for key in cfg:
        if key not in valid:
            raise InputError(f"config: unknown key {str(key)!r}; valid: {', '.join(valid)}")


def check_ranges(cfg: DictConfig, ranges: Ranges) -> None:
    """Refuse numbers out of range; keys that are absent or null pass.

    Raises:
        InputError: with the key and what it may be.
    """
    for key, (fits, told) in ranges.items():
        value: Any = OmegaConf.select(cfg, key)
        if value is not None and not (isinstance(value, int | float) and fits(value)):
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
