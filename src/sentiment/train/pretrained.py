"""Starting a classifier from a language model: its weights, words and sizes.

Also warns where a language model or vectors were trained beside other splits.
"""

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from sentiment.data.tokenizer import TokenizerSettings
from sentiment.model.language_model import LanguageModel
from sentiment.model.rebuild import rebuild
from sentiment.predict.checkpoint import CLASSIFIER, LANGUAGE_MODEL, read_checkpoint
from sentiment.runtime.errors import InputError, as_typed, first_words
from sentiment.train.resume import read_resumable

log = logging.getLogger(__name__)

_SHARED = ("embedding.", "encoder.")

_TAKEN = ("cell", "hidden_size", "num_layers", "bidirectional")  # of the encoder

_NAMED = ("cell", "num_layers", "bidirectional")  # settings of a choice such as model=bigru

# Settings that have another name if the embedding comes from a language model.
_OF_ITS_OWN = {
    "embeddings.lr_scale": "pretrained.embedding_lr_scale",
    "embeddings.frozen_epochs": "pretrained.frozen_epochs",
}


@dataclass(frozen=True)
class PretrainedEncoder:
    """What a classifier takes from a language model.

    Attributes:
        source: the checkpoint that it comes from.
        settings: the arguments of the model's constructor.
        data: the state of the data module: vocabulary, tokenizer settings, what was held out.
        weights: the weights of embedding and encoder, by their names in a classifier; None in a
            resumed training, whose checkpoint has them.
    """

    source: str
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    weights: Mapping[str, Tensor] | None


def load_language_model(path: str | Path) -> PretrainedEncoder:
    """Load a checkpoint of ``sentiment.pretrain`` for a classifier to start from.

    Raises:
        InputError: see ``read_checkpoint``; or weights and settings do not fit together.
    """
    try:
        checkpoint = read_checkpoint(path, LANGUAGE_MODEL)
    except InputError as error:
        raise InputError(f"pretrained.path: {error}") from error
    data = checkpoint[LANGUAGE_MODEL.data_key]
    problem = f"{path}: its parts do not fit together"
    try:
        weights = {
            name.removeprefix("model."): value
            for name, value in checkpoint["state_dict"].items()
            if name.startswith("model.")
        }
        settings = checkpoint["hyper_parameters"]["language_model"]
        model = rebuild(LanguageModel, settings, weights)
        fits = (
            len(data["vocabulary"]) == model.settings["vocabulary_size"]
            and set(map(type, data["vocabulary"])) == {str}
            and data["tokenizer"].keys() | {"cleaning"} == TokenizerSettings().as_dict().keys()
            and isinstance(data.get("held_out", {}), dict)
        )
    except Exception as error:  # torch fails in many ways on odd settings
        raise InputError(
            f"{problem} ({first_words(error)}); was it written by another version?"
        ) from error
    if not fits:
        raise InputError(f"{problem} (vocabulary, tokenizer); was it changed?")
    shared = {name: value for name, value in weights.items() if name.startswith(_SHARED)}
    return PretrainedEncoder(str(path), model.settings, data, shared)


def find_pretrained(cfg: DictConfig, ckpt_path: str | None) -> PretrainedEncoder | None:
    """The language model at ``pretrained.path``, or None for a classifier from scratch.

    A resumed training finds all that it needs in ``ckpt_path``: the language model may be gone.

    Raises:
        InputError: the checkpoint cannot be used.
    """
    path = cfg.pretrained.path
    if path is None:
        return None
    if ckpt_path is not None:
        saved = read_resumable(ckpt_path)
        settings = saved["hyper_parameters"]["classifier"]
        return PretrainedEncoder(ckpt_path, settings, saved[CLASSIFIER.data_key], None)
    return load_language_model(path)


def with_pretrained_sizes(
    cfg: DictConfig, pretrained: PretrainedEncoder | None, overrides: Sequence[str] = ()
) -> DictConfig:
    """Copy the config with the sizes of the language model that the classifier starts from.

    Raises:
        InputError: the command line, or the choice of vectors or tokenizer, asks for others.
    """
    if pretrained is None:
        return cfg
    if "learned" not in cfg.embeddings._target_.lower():
        raise InputError(
            "config: pretrained.path brings vectors of its own, so the choice of embeddings would"
            " have no effect; add embeddings=learned"
        )
    for name, value in pretrained.data["tokenizer"].items():
        if name in cfg.data and cfg.data[name] != value:
            raise InputError(
                f"config: data.{name}={as_typed(cfg.data[name])}: the language model of"
                f" {pretrained.source} was trained with data.{name}={as_typed(value)}; give"
                " that here too"
            )
    for key, own in _OF_ITS_OWN.items():
        if _was_given(key, overrides):
            raise InputError(
                f"config: {key}: has no effect on the embedding of a language model; give {own}"
            )
    taken = copy.deepcopy(cfg)
    values = {f"model.{name}": pretrained.settings[name] for name in _TAKEN}
    values["embeddings.size"] = pretrained.settings["embedding_size"]
    for key, value in values.items():
        group, name = key.split(".")
        if taken[group][name] != value and _was_given(key, overrides):
            raise InputError(
                f"config: {key}={as_typed(taken[group][name])}: the language model of"
                f" {pretrained.source} has {as_typed(value)}; leave the choice to it, or pretrain"
                " another"
            )
        taken[group][name] = value
    return taken


def _was_given(key: str, overrides: Sequence[str]) -> bool:
    """Whether the command line sets a key, directly or by the choice of a model."""
    group, name = key.split(".")
    by_group = group == "model" and name in _NAMED
    return any(
        item.lstrip("+").startswith(f"{key}=") or (by_group and item.startswith("model="))
        for item in overrides
    )


def log_pretrained(pretrained: PretrainedEncoder, fingerprints: Mapping[str, str]) -> None:
    """Log what the classifier starts from, and warn if that may have read held-out texts.

    Args:
        pretrained: the language model, with weights.
        fingerprints: fingerprints of this training's splits; see ``DataFacts``.
    """
    settings = pretrained.settings
    log.info(
        "Starts from the language model of %s: %s of %d, %s; vectors of %d; its own %s words",
        pretrained.source,
        str(settings["cell"]).upper(),
        settings["hidden_size"],
        "both directions" if settings["bidirectional"] else "one direction",
        settings["embedding_size"],
        f"{settings['vocabulary_size']:,}",
    )
    held_out = pretrained.data.get("held_out")
    if held_out is None:
        log.warning(
            "The language model is of an earlier version, which does not say which texts were held"
            " out: it may have read texts that validate or test here, unless it was given the same"
            " files and split settings."
        )
        return
    _warn_of_others("The language model was", held_out, fingerprints)


def vectors_note(path: Path) -> Path:
    """The JSON file that ``sentiment.vectors`` writes beside a file of vectors."""
    return path.with_suffix(".json")


def warn_about_vectors(path: Path, fingerprints: Mapping[str, str]) -> None:
    """Warn if vectors of ``sentiment.vectors`` may be trained on texts that are held out here.

    Args:
        path: the file of the vectors.
        fingerprints: fingerprints of this training's splits; see ``DataFacts``.
    """
    try:
        note = json.loads(vectors_note(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    held_out = note.get("held_out") if isinstance(note, dict) else None
    if isinstance(held_out, dict):
        _warn_of_others(f"The vectors of {path} were", held_out, fingerprints)


def _warn_of_others(
    subject: str, held_out: Mapping[str, object], fingerprints: Mapping[str, str]
) -> None:
    others = [
        name
        for name, split in {"validation": "val", "test": "test"}.items()
        if held_out.get(split) != fingerprints[split]
    ]
    if others:
        log.warning(
            "%s trained with another %s split, and may have read texts that are held out here."
            " Give the same files and split settings as there.",
            subject,
            " and ".join(others),
        )
