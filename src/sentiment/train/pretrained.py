"""Starting a classifier from a language model or a classifier: its weights, words and sizes.

Also warns where that or vectors were trained beside other splits.
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

from sentiment.data.padding import KEEP, LONGEST_TEXT
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.model.classifier import SentimentClassifier
from sentiment.model.language_model import LanguageModel
from sentiment.model.rebuild import rebuild
from sentiment.model.settings import has_type
from sentiment.predict.checkpoint import (
    CLASSIFIER,
    LANGUAGE_MODEL,
    NGRAMS_KEY,
    Kind,
    read_checkpoint,
)
from sentiment.runtime.errors import InputError, as_typed, first_words
from sentiment.runtime.run_folder import best_checkpoint
from sentiment.train.resume import read_resumable

log = logging.getLogger(__name__)

_SHARED = ("embedding.", "encoder.")
_HEAD = ("pooling.", "head.")
_OF_HEAD = ("pooling", "merge", "head_size")  # settings that decide whether a head fits
_TAKEN = ("cell", "hidden_size", "num_layers", "bidirectional")  # of the encoder
_NAMED = ("cell", "num_layers", "bidirectional")  # settings of a choice such as model=bigru

# Settings that have another name if the embedding comes from a checkpoint.
_OF_ITS_OWN = {
    "embeddings.lr_scale": "pretrained.embedding_lr_scale",
    "embeddings.frozen_epochs": "pretrained.frozen_epochs",
}


@dataclass(frozen=True)
class PretrainedEncoder:
    """What a classifier takes from a language model or from another classifier.

    Attributes:
        source: the checkpoint that it comes from.
        kind: what that is.
        settings: the arguments of the model's constructor.
        data: the state of the data module: vocabulary, tokenizer settings, labels of a classifier,
            what was held out.
        weights: the weights of embedding, encoder, pooling and head, as far as the model has them,
            by their names in a classifier; None in a resumed training, whose checkpoint has them.
    """

    source: str
    kind: Kind
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    weights: Mapping[str, Tensor] | None

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the {self.kind.name.removeprefix('a ')} of {self.source}"

    def new_head_because(self, settings: Mapping[str, Any], labels: Sequence[str]) -> str | None:
        """Why a classifier cannot keep the head, or None if it can.

        Args:
            settings: the arguments of the classifier's constructor.
            labels: its labels.
        """
        if self.kind is LANGUAGE_MODEL:
            return "a language model has none"
        if (there := self.data["labels"]) != list(labels):
            return f"its labels are {', '.join(map(str, there[:20]))}"
        for name in _OF_HEAD:
            if (value := self.settings[name]) != settings[name]:
                return f"it has model.{name}={as_typed(value)}"
        return None

    def weights_for(self, settings: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Tensor]:
        """The weights that a classifier starts with; arguments as for ``new_head_because``."""
        head = () if self.new_head_because(settings, labels) else _HEAD
        size = self.settings["embedding_size"]
        return {  # without those of the n-gram features, which belong to the reviews there
            name: weight[:, :size] if "weight_ih_l0" in name else weight
            for name, weight in (self.weights or {}).items()
            if name.startswith((*_SHARED, *head))
        }


def load_pretrained(path: str | Path) -> PretrainedEncoder:
    """Load a language model or a classifier for another classifier to start from.

    Args:
        path: the checkpoint, or a run folder, of which the best checkpoint is loaded.

    Raises:
        InputError: see ``read_checkpoint``; or weights and settings do not fit together.
    """
    path = best_checkpoint(path)
    try:
        checkpoint = read_checkpoint(path, LANGUAGE_MODEL, CLASSIFIER)
    except InputError as error:
        raise InputError(f"pretrained.path: {error}") from error
    if NGRAMS_KEY in checkpoint["hyper_parameters"]:
        raise InputError(f"pretrained.path: {path}: a baseline, which has no encoder to start from")
    kind = LANGUAGE_MODEL if LANGUAGE_MODEL.data_key in checkpoint else CLASSIFIER
    data = checkpoint[kind.data_key]
    problem = f"{path}: its parts do not fit together"
    try:
        prefix = "model." if kind is LANGUAGE_MODEL else "classifier."
        weights = {
            name.removeprefix(prefix): value
            for name, value in checkpoint["state_dict"].items()
            if name.startswith(prefix)
        }
        model: LanguageModel | SentimentClassifier
        if kind is LANGUAGE_MODEL:
            settings = checkpoint["hyper_parameters"]["language_model"]
            model = rebuild(LanguageModel, settings, weights)
        else:
            settings = checkpoint["hyper_parameters"]["classifier"]
            model = rebuild(SentimentClassifier, settings, weights)
        fits = (
            len(data["vocabulary"]) == model.settings["vocabulary_size"]
            and set(map(type, data["vocabulary"])) == {str}
            and data["tokenizer"].keys() | {"cleaning"} == TokenizerSettings().as_dict().keys()
            and isinstance(data.get("held_out", {}), dict)
            and (kind is LANGUAGE_MODEL or len(data["labels"]) == model.settings["num_classes"])
            and has_type(data["max_length"], int | None)
            and data["keep"] in KEEP
        )
    except Exception as error:  # torch fails in many ways on odd settings
        raise InputError(
            f"{problem} ({first_words(error)}); was it written by another version?"
        ) from error
    if not fits:
        raise InputError(f"{problem} (vocabulary, tokenizer, labels); was it changed?")
    return PretrainedEncoder(str(path), kind, model.settings, data, weights)


def find_pretrained(cfg: DictConfig, ckpt_path: str | None) -> PretrainedEncoder | None:
    """What is at ``pretrained.path``, or None for a classifier from scratch.

    A resumed training finds all that it needs in ``ckpt_path``: the other file may be gone.

    Raises:
        InputError: the checkpoint cannot be used.
    """
    path = cfg.pretrained.path
    if path is None:
        return None
    if ckpt_path is not None:
        saved = read_resumable(ckpt_path)
        settings = saved["hyper_parameters"]["classifier"]
        return PretrainedEncoder(ckpt_path, CLASSIFIER, settings, saved[CLASSIFIER.data_key], None)
    return load_pretrained(path)


def with_pretrained_sizes(
    cfg: DictConfig, pretrained: PretrainedEncoder | None, overrides: Sequence[str] = ()
) -> DictConfig:
    """Copy the config with the sizes of the model that the classifier starts from.

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
                f"config: data.{name}={as_typed(cfg.data[name])}: {pretrained.name} was trained"
                f" with data.{name}={as_typed(value)}; give that here too"
            )
    for key, own in _OF_ITS_OWN.items():
        if _was_given(key, overrides):
            raise InputError(
                f"config: {key}: has no effect on the embedding of pretrained.path; give {own}"
            )
    depth, both = pretrained.settings["num_layers"], pretrained.settings["bidirectional"]
    if depth > 1 and both and (merge := pretrained.settings.get("merge")) != str(cfg.model.merge):
        raise InputError(  # the upper layers read what it makes of both directions
            f"config: model.merge={cfg.model.merge}: {pretrained.name} has model.merge={merge};"
            " give that here too"
        )
    taken = copy.deepcopy(cfg)
    values = {f"model.{name}": pretrained.settings[name] for name in _TAKEN}
    values["embeddings.size"] = pretrained.settings["embedding_size"]
    for key, value in values.items():
        group, name = key.split(".")
        if taken[group][name] != value and _was_given(key, overrides):
            raise InputError(
                f"config: {key}={as_typed(taken[group][name])}: {pretrained.name} has"
                f" {as_typed(value)}; leave the choice to it, or train another"
            )
        taken[group][name] = value
    if pretrained.kind is CLASSIFIER:
        _take_length(taken, pretrained, overrides)
    return taken


def _take_length(cfg: DictConfig, pretrained: PretrainedEncoder, overrides: Sequence[str]) -> None:
    """Cut texts as the classifier does, as far as nothing else is set, and log both."""
    length, keep = pretrained.data["max_length"], pretrained.data["keep"]
    length = None if length == LONGEST_TEXT else length
    if cfg.data.max_length is None and not _was_given("data.max_length", overrides):
        cfg.data.max_length = length
        unset = cfg.data.keep == KEEP[0] and not _was_given("data.keep", overrides)
        if length is not None and unset:
            cfg.data.keep = keep
    own = (cfg.data.max_length, cfg.data.keep)
    if pretrained.weights is not None and own != (length, keep) and (own[0] or length):
        log.info(
            "Texts are cut by data.max_length=%s data.keep=%s; those of %s by data.max_length=%s"
            " data.keep=%s",
            as_typed(cfg.data.max_length), cfg.data.keep, pretrained.name, as_typed(length), keep,
        )  # fmt: skip


def _was_given(key: str, overrides: Sequence[str]) -> bool:
    """Whether the command line sets a key, directly or by the choice of a model."""
    group, name = key.split(".")
    by_group = group == "model" and name in _NAMED
    return any(
        item.lstrip("+").startswith(f"{key}=") or (by_group and item.startswith("model="))
        for item in overrides
    )


def log_pretrained(
    pretrained: PretrainedEncoder, fingerprints: Mapping[str, str], new_head: str | None
) -> None:
    """Log what the classifier starts from, and warn if that may have read held-out texts.

    Args:
        pretrained: the model, with weights.
        fingerprints: fingerprints of this training's splits; see ``DataFacts``.
        new_head: why the head starts from random weights; None if it is the model's.
    """
    settings = pretrained.settings
    log.info(
        "Starts from %s: %s of %d, %s; vectors of %d; its own %s words; %s",
        pretrained.name,
        str(settings["cell"]).upper(),
        settings["hidden_size"],
        "both directions" if settings["bidirectional"] else "one direction",
        settings["embedding_size"],
        f"{settings['vocabulary_size']:,}",
        "its own head" if new_head is None else f"a new head, as {new_head}",
    )
    held_out = pretrained.data.get("held_out")
    what = pretrained.kind.name.removeprefix("a ")
    if held_out is None:
        log.warning(
            "The %s was written by an earlier version, which did not record the texts that were"
            " held out there: unless its files and split settings were the same as here, it may"
            " have read texts that are held out here.",
            what,
        )
        return
    _warn_of_others(f"The {what} was", held_out, fingerprints)


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
            "%s trained with another %s split, and may have read texts that are held out here:"
            " give the files and split settings of that training, unless its texts were others.",
            subject,
            " and ".join(others),
        )
