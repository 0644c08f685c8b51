"""One pretraining: fit a language model on all texts that may train, and write its figures."""

import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from sentiment.batch import UNK_INDEX
from sentiment.config.checks import check_config
from sentiment.config.overrides import data_overrides, override, train_command
from sentiment.config.resolvers import sample_path
from sentiment.config.schemas import PretrainConfig
from sentiment.data.embeddings import Embeddings, coverage
from sentiment.data.pipeline import DataFacts
from sentiment.model.softmax import CandidateSampler
from sentiment.predict.checkpoint import LANGUAGE_MODEL, read_checkpoint
from sentiment.pretrain.datamodule import TextDataModule
from sentiment.pretrain.module import LanguageModule
from sentiment.report.plots import learning_curves
from sentiment.report.results import best_figures, limited_results, log_data
from sentiment.report.tables import write_json
from sentiment.runtime.environment import device_name, versions
from sentiment.runtime.errors import InputError
from sentiment.train.build import first_vectors, is_lazy, make_optimizer, translate_lightning_errors
from sentiment.train.callbacks import Progress, perplexity_line
from sentiment.train.fitting import Fit, begin, checkpoint_to_resume, limits
from sentiment.train.prepare import cleaning_of
from sentiment.train.pretrained import warn_about_vectors
from sentiment.train.resume import Resumed

if TYPE_CHECKING:
    from sentiment.data.datamodule import SentimentDataModule

log = logging.getLogger(__name__)

# Data settings that do another thing in a pretraining than in a classifier that starts from it.
_OF_PIECES = (
    "max_length", "keep", "batch_size", "tokens_per_batch", "min_freq", "max_size",
)  # fmt: skip


def pretrain(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Fit a language model and write everything into a run folder.

    Args:
        cfg: a config as ``conf/pretrain.yaml`` composes it.
        folder: the run folder.

    Returns:
        The content of ``results.json``.

    Raises:
        InputError: the data, the vectors, the settings or the checkpoint to resume are no good, or
            the training diverges.
        Stopped: Ctrl-C or SIGTERM; ``checkpoints/last.ckpt`` holds the state.
    """
    check_config(cfg, PretrainConfig)
    fit = begin(
        cfg,
        folder,
        kind=LANGUAGE_MODEL,
        ckpt_path=checkpoint_to_resume(cfg.ckpt_path, folder, LANGUAGE_MODEL),
        line=perplexity_line,
        callbacks=[] if sys.stdout.isatty() else [Progress()],
    )
    if fit.trainer.world_size > 1:
        raise InputError(
            f"config: trainer.devices={fit.trainer.num_devices}: a pretraining runs in one process;"
            " give trainer.devices=1 trainer.num_nodes=1 trainer.strategy=auto"
        )
    datamodule, module, run = prepare_texts(cfg, fit.resumed)
    fit.table.run.update(run)
    _tell_beginning(cfg, datamodule, module, run["vector_coverage"])
    with translate_lightning_errors():
        fit.run(module, datamodule)
    results = {**_figures(fit, datamodule, module), **run, "precision": cfg.trainer.precision}
    write_json(folder / "results.json", results)
    learning_curves(
        fit.table.rows,
        folder / "learning_curves.png",
        metrics=("loss", "perplexity"),
        best_epoch=results["best_epoch"],
    )
    _tell_end(folder, results, fit.best)
    return results


def prepare_texts(
    cfg: DictConfig, resumed: Resumed | None
) -> tuple[TextDataModule, LanguageModule, dict[str, Any]]:
    """The texts, the model with its first weights, and what each checkpoint tells of the run.

    Raises:
        InputError: the data or the vectors are no good, or not those of the training resumed.
    """
    embeddings = instantiate(cfg.embeddings)
    cleaning = cleaning_of(*([] if resumed is None else [resumed.data]))
    reviews: SentimentDataModule = instantiate(cfg.data, _convert_="object", cleaning=cleaning)
    datamodule = TextDataModule(reviews, held_out_tokens=cfg.held_out_tokens)
    datamodule.prepare_data()
    datamodule.setup()
    if resumed is not None:
        datamodule.load_state_dict(resumed.data)  # is it the same data?
    tokens = int(datamodule.texts.lengths.sum())
    module, vector_coverage = build_language_module(cfg, datamodule.facts, tokens, embeddings)
    return datamodule, module, {"seed": cfg.seed, "vector_coverage": vector_coverage}


def build_language_module(
    cfg: DictConfig, facts: DataFacts, tokens: int, embeddings: Embeddings
) -> tuple[LanguageModule, float]:
    """The language model with its first weights, and the share of the text that has a vector.

    Args:
        cfg: a config as ``conf/pretrain.yaml`` composes it.
        facts: of the data.
        tokens: in all texts that train; those that are no word of the vocabulary are unknown.
        embeddings: give the first vectors.
    """
    vectors = first_vectors(cfg, facts, embeddings)
    model = instantiate(
        cfg.model,
        _convert_="object",
        vocabulary_size=len(facts.vocabulary),
        embedding_size=vectors.weights.shape[1],
    )
    counts = torch.from_numpy(facts.word_counts.copy())
    counts[UNK_INDEX] = max(0, tokens - int(counts.sum()))
    model.start(vectors.weights, counts)
    negatives = cfg.softmax.negatives
    all_words = negatives is None or negatives >= len(counts)
    module = LanguageModule(
        model=model,
        optimizer=partial(make_optimizer, instantiate(cfg.optimizer, _convert_="object")),
        schedule=instantiate(cfg.scheduler) or None,
        sampler=None if all_words else CandidateSampler(counts, negatives),
        frozen=embeddings.frozen,
        frozen_epochs=embeddings.frozen_epochs,
        embedding_lr_scale=embeddings.lr_scale,
        lazy_embedding=is_lazy(embeddings, len(counts)),
    )
    return module, coverage(vectors.found, facts.word_counts)[1]


def _figures(fit: Fit, datamodule: TextDataModule, module: LanguageModule) -> dict[str, Any]:
    """What ``results.json`` says of the texts, the fit and the model."""
    epochs = (
        None if fit.best is None else read_checkpoint(fit.best, LANGUAGE_MODEL)["run"]["epochs"]
    )
    limited = limits(fit.trainer, datamodule, "train", "val")
    held_out = datamodule.held_out.lengths
    if "val" in limited:
        held_out = held_out[limited["val"].reviews]
    return {
        **best_figures(fit.table.rows, epochs),
        "vocabulary_size": len(datamodule.facts.vocabulary),
        "train_reviews": datamodule.facts.train_reviews,
        "unlabeled_reviews": datamodule.facts.unlabeled_reviews,
        "tokens": int(datamodule.texts.lengths.sum()),
        "held_out_tokens": int(held_out.sum()),
        **limited_results(limited),
        "epochs": len(fit.table.rows),
        "fit_seconds": fit.table.fit_seconds,
        "train_tokens_per_second": fit.table.train_tokens / (fit.table.train_seconds or 1.0),
        "parameters": sum(weight.numel() for weight in module.model.parameters()),
        "model": module.model.settings,
        "device": device_name(fit.trainer.strategy.root_device),
        "versions": versions(),
    }


def _tell_beginning(
    cfg: DictConfig, datamodule: TextDataModule, module: LanguageModule, vector_coverage: float
) -> None:
    log_data(
        datamodule.facts,
        vector_coverage,
        sample=cfg.data.csv == sample_path(),
        pretrained="path" in cfg.embeddings or "archive" in cfg.embeddings,
    )
    if "path" in cfg.embeddings:
        warn_about_vectors(Path(cfg.embeddings.path), datamodule.facts.fingerprints)
    log.info(
        "%s tokens to learn from, in %s pieces; %s of the validation split to measure by; %s"
        " parameters",
        f"{datamodule.texts.lengths.sum():,}",
        f"{len(datamodule.texts):,}",
        f"{datamodule.held_out.lengths.sum():,}",
        f"{sum(weight.numel() for weight in module.model.parameters()):,}",
    )


def _tell_end(folder: Path, results: dict[str, Any], best: Path | None) -> None:
    log.info(
        "perplexity %.1f on held-out texts; %s tokens/s",
        results.get("val/perplexity", float("nan")),
        f"{results['train_tokens_per_second']:,.0f}",
    )
    if best is None:
        log.info("Everything is in %s. No checkpoint was kept.", folder)
        return
    start = override("pretrained.path", str(best))
    log.info("Everything is in %s. Train a classifier that starts from it with:", folder)
    log.info("  %s", train_command(*data_overrides(but=_OF_PIECES), start))
