"""Build the module with its initial weights, and the trainer, from a config."""

import logging
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from sentiment.data.embeddings import Embeddings, EmbeddingTable, coverage
from sentiment.data.ngrams import NgramStatistics
from sentiment.data.pipeline import DataFacts
from sentiment.model.abstention import Goal
from sentiment.model.classifier import SentimentClassifier
from sentiment.model.encoder import can_train
from sentiment.model.language_model import LanguageModel
from sentiment.runtime.distributed import external_world_size
from sentiment.runtime.environment import require_memory
from sentiment.runtime.errors import InputError
from sentiment.train.callbacks import OneCheckpoint
from sentiment.train.distillation import Distillation
from sentiment.train.epoch_bar import ProgressBar
from sentiment.train.module import SentimentModule
from sentiment.train.optim import ParameterUpdates
from sentiment.train.pretrained import PretrainedEncoder

# From here on it is faster to step only the words of a batch.
_MANY_WORDS = 50_000


def build_module(
    cfg: DictConfig,
    facts: DataFacts,
    embeddings: Embeddings,
    *,
    ngrams: NgramStatistics | None = None,
    pretrained: PretrainedEncoder | None = None,
) -> tuple[SentimentModule, float]:
    """The module with its first weights, and the fraction of tokens that have a pre-trained vector.

    With a pretrained encoder every vocabulary word has a vector, and the fraction is that of the
    tokens that are in its vocabulary.
    """
    vectors = first_vectors(cfg, facts, embeddings)
    classifier = instantiate(
        cfg.model,
        _convert_="object",
        vocabulary_size=len(facts.vocabulary),
        num_classes=len(facts.labels),
        embedding_size=vectors.weights.shape[1],
        ngram_sizes=[] if ngrams is None else [len(keys) for keys in ngrams.keys],
    )
    classifier.load_embeddings(vectors.weights)
    if ngrams is not None:
        classifier.ngrams.load(
            [torch.from_numpy(keys) for keys in ngrams.keys],
            torch.from_numpy(ngrams.features),
            torch.from_numpy(ngrams.held_out),
        )
    covered = coverage(vectors.found, facts.word_counts)[1]
    if pretrained is None:
        updates = parameter_updates(cfg, classifier, embeddings)
    else:
        classifier.load_pretrained(pretrained.weights_for(classifier.settings, facts.labels))
        known = int(facts.word_counts.sum())
        covered = known / max(1, known + facts.unknown_words)
        updates = parameter_updates(
            cfg,
            classifier,
            embeddings,
            frozen_epochs=cfg.pretrained.frozen_epochs,
            embedding_lr_scale=cfg.pretrained.embedding_lr_scale,
            encoder_frozen_epochs=cfg.pretrained.frozen_epochs,
            encoder_lr_scale=cfg.pretrained.lr_scale,
        )
    module = SentimentModule(
        classifier=classifier,
        updates=updates,
        label_smoothing=cfg.loss.label_smoothing,
        class_weights=class_weights(cfg.loss, facts),
        entropy=cfg.loss.entropy,
        virtual_adversarial=cfg.loss.virtual_adversarial,
        perturbation_size=cfg.loss.perturbation_size,
        distillation=Distillation(**cfg.distill),
        calibrated=cfg.calibrated,
        goal=Goal(**cfg.abstain),
    )
    return module, covered


def parameter_updates(
    cfg: DictConfig,
    network: SentimentClassifier | LanguageModel,
    embeddings: Embeddings,
    **others: Any,
) -> ParameterUpdates:
    """Build ``ParameterUpdates`` from the config.

    Args:
        cfg: the whole config.
        network: the network to train.
        embeddings: settings for training the embedding.
        others: further arguments of ``ParameterUpdates``, which override those of ``embeddings``.
    """
    words = network.embedding.num_embeddings
    of_embeddings = {
        "frozen": embeddings.frozen,
        "frozen_epochs": embeddings.frozen_epochs,
        "embedding_lr_scale": embeddings.lr_scale,
        "lazy_embedding": words > _MANY_WORDS if embeddings.lazy is None else embeddings.lazy,
    }
    return ParameterUpdates(
        network,
        optimizer=partial(make_optimizer, instantiate(cfg.optimizer, _convert_="object")),
        schedule=instantiate(cfg.scheduler) or None,
        **(of_embeddings | others),
    )


def first_vectors(cfg: DictConfig, facts: DataFacts, embeddings: Embeddings) -> EmbeddingTable:
    """The initial vectors of the vocabulary's words.

    Raises:
        InputError: the model would not fit into memory, or the file of vectors cannot be used.
    """
    size = getattr(embeddings, "size", None) or 1  # that of a file is not known yet
    _check_memory(cfg.model, words=len(facts.vocabulary), vector_size=size)
    return embeddings.table(facts.vocabulary, seed=cfg.seed)


def check_parts(cfg: DictConfig) -> None:
    """Refuse the settings of data, vectors, model, optimizer and schedule before any data is read.

    Each of them is built once, the model in the smallest possible size.

    Raises:
        InputError: a setting cannot be used. Constructors may raise other exceptions, which
            ``translate_config_errors`` explains.
    """
    make_optimizer(instantiate(cfg.optimizer, _convert_="object"), [nn.Parameter(torch.zeros(1))])
    instantiate(cfg.scheduler)
    instantiate(cfg.data, _convert_="object")
    if external_world_size() is None:  # else another machine may lack a file, and all are to know
        instantiate(cfg.embeddings)
    _check_memory(cfg.model, words=2, vector_size=1)
    small = {
        name: min(8, cfg.model[name])
        for name in ("hidden_size", "num_layers", "head_size")
        if cfg.model.get(name) is not None
    }
    if "ngrams" in cfg.model:
        small |= {"num_classes": 2, "ngram_sizes": [1] * cfg.model.ngrams}
    instantiate(cfg.model, _convert_="object", vocabulary_size=2, embedding_size=1, **small)


def _check_memory(model: DictConfig, *, words: int, vector_size: int) -> None:
    """Refuse a model whose weights and their first values, or gradients, fill more than memory.

    Args:
        model: the config node of the model.
        words: size of the vocabulary.
        vector_size: size of a word's vector.
    """
    hidden, directions = model.hidden_size, 1 + model.bidirectional
    inputs = vector_size + hidden + (model.num_layers - 1) * (directions + 1) * hidden
    encoder = {"rnn": 1, "gru": 3, "lstm": 4}[str(model.cell)] * directions * hidden * inputs
    layers = f" model.num_layers={model.num_layers}" if model.num_layers > 1 else ""
    require_memory(f"embeddings.size={vector_size}", 8 * words * vector_size)
    require_memory(f"model.hidden_size={hidden}{layers}", 8 * encoder)
    if model.get("head_size") is not None:
        require_memory(f"model.head_size={model.head_size}", 8 * model.head_size * hidden)


def make_optimizer(optimizer: Callable[[Any], Optimizer], groups: Any) -> Optimizer:
    """The optimizer of the parameter groups.

    Raises:
        InputError: a setting is out of range.
    """
    try:
        made = optimizer(groups)
    except (ValueError, TypeError, RuntimeError) as error:  # torch's own, of its arguments
        raise InputError(f"config: optimizer: {' '.join(str(error).split())}") from error
    if not isinstance(made, Optimizer):
        raise InputError("config: optimizer._target_: is not an optimizer; give optimizer=NAME")
    return made


def class_weights(loss: DictConfig, facts: DataFacts) -> list[float] | None:
    """Weights of the classes as set, or inverse to how often each is seen (mean 1), or None."""
    if loss.class_weights is not None:
        return list(loss.class_weights)
    if loss.balanced:
        counts = np.array(facts.class_counts)
        return [float(weight) for weight in counts.sum() / (len(counts) * counts)]
    return None


def build_trainer(
    cfg: DictConfig, folder: Path, own: Sequence[Callback], others: Sequence[Callback] = ()
) -> Trainer:
    """The trainer with our own callbacks, those of the config, others after them, and loggers."""
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # batches are array work
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", ".*The number of training batches.*")
    warnings.filterwarnings("ignore", ".*overridden `transfer_batch_to_device`.*")
    # The data module resumes within an epoch by itself.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*deprecated.*")  # within Lightning itself
    # A checkpoint of version 0.1.0 is read by other callbacks.
    warnings.filterwarnings("ignore", ".*add the following callbacks.*EpochTable.*")
    # Metrics are already computed over all processes.
    warnings.filterwarnings("ignore", ".*It is recommended to use .*sync_dist=True.*")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # It logs that it ends the other processes when one has died.
    logging.getLogger("lightning.fabric.strategies.launchers").setLevel(logging.INFO)
    checkpoints = folder / "checkpoints"
    callbacks = [
        *own,
        instantiate(cfg.callbacks.checkpoint)(dirpath=checkpoints, filename="best"),
        OneCheckpoint(
            dirpath=checkpoints, filename="last", monitor=None, minutes=cfg.callbacks.save_minutes
        ),
    ]
    if cfg.callbacks.early_stopping is not None:
        callbacks.append(instantiate(cfg.callbacks.early_stopping))
    if cfg.trainer.enable_progress_bar:
        callbacks.append(ProgressBar())
    callbacks += others
    loggers = [instantiate(node) for node in (cfg.logger or {}).values() if node is not None]
    if loggers:
        callbacks.append(LearningRateMonitor("step"))
    trainer: Trainer = instantiate(
        cfg.trainer,
        _convert_="object",
        callbacks=callbacks,
        logger=loggers or False,
        default_root_dir=str(folder),
        enable_progress_bar=False,  # ours
        enable_model_summary=False,
    )
    _check_processes(trainer)
    _check_precision(cfg, trainer)
    return trainer


def _check_precision(cfg: DictConfig, trainer: Trainer) -> None:
    """Refuse a precision in which the device cannot train, or for which Lightning takes another."""
    asked, cell = cfg.trainer.precision, str(cfg.model.cell)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(asked)
    device = trainer.strategy.root_device
    problem = (
        f"config: trainer.precision={asked}: this machine's {device.type.upper()} cannot train"
    )
    if trainer.precision != asked:
        raise InputError(f"{problem} in it; give trainer.precision={trainer.precision} or 32-true")
    if dtype is not None and not can_train(cell, dtype, device):
        raise InputError(f"{problem} {cell.upper()} layers in it; give trainer.precision=32-true")


def _check_processes(trainer: Trainer) -> None:
    """Refuse a number of processes that nobody has started, or will."""
    given = f"config: trainer.devices={trainer.num_devices}, num_nodes={trainer.num_nodes}:"
    wanted, started = trainer.num_devices * trainer.num_nodes, external_world_size()
    if started is None and trainer.num_nodes > 1:
        raise InputError(
            f"{given} on several machines torchrun or srun must start the processes;"
            " docs/scaling.md has both commands"
        )
    if started not in (None, wanted):
        raise InputError(
            f"{given} that is {wanted} processes, but torchrun or srun has started {started}; make"
            " trainer.devices those of a machine, and trainer.num_nodes the machines"
        )
