"""One pretraining: fit a language model on all texts that may train, and write its metrics."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate
from lightning import Callback
from omegaconf import DictConfig

from sentiment.batch import UNK_INDEX
from sentiment.config.checks import check_config
from sentiment.config.overrides import CommandLine, train_command
from sentiment.config.resolvers import sample_path
from sentiment.config.schemas import PretrainConfig
from sentiment.data.embeddings import Embeddings, coverage
from sentiment.data.pipeline import DataFacts
from sentiment.model.softmax import CandidateSampler
from sentiment.predict.checkpoint import LANGUAGE_MODEL, read_checkpoint
from sentiment.pretrain.datamodule import TextDataModule
from sentiment.pretrain.module import LanguageModule
from sentiment.pretrain.progress import Progress, perplexity_line
from sentiment.report.plots import learning_curves
from sentiment.report.results import best_metrics, limited_results, log_data
from sentiment.report.tables import write_json
from sentiment.runtime.environment import device_name, versions
from sentiment.runtime.errors import InputError
from sentiment.runtime.overrides import override
from sentiment.train.build import first_vectors, parameter_updates
from sentiment.train.fit import Fit, limits, prepare_fit
from sentiment.train.loggers import logged_results
from sentiment.train.pretrained import warn_about_vectors
from sentiment.train.resume import Resumed, checkpoint_to_resume
from sentiment.train.run import cleaning_of

if TYPE_CHECKING:
    from sentiment.data.datamodule import SentimentDataModule

log = logging.getLogger(__name__)

# Data settings that do another thing in a pretraining than in a classifier that starts from it.
_OF_PIECES = (
    "max_length", "keep", "batch_size", "tokens_per_batch", "min_freq", "max_size",
)  # fmt: skip


def pretrain(
    cfg: DictConfig,
    folder: Path,
    *,
    callbacks: Sequence[Callback] = (),
    command_line: CommandLine | None = None,
) -> dict[str, Any]:
    """Fit a language model and write everything into a run folder.

    Args:
        cfg: a config as ``conf/pretrain.yaml`` composes it.
        folder: the run folder.
        callbacks: Lightning callbacks beside those of every pretraining.
        command_line: what the run was started with, for the commands that messages suggest; None
            where it was started from Python.

    Returns:
        The content of ``results.json``.

    Raises:
        InputError: the data, the vectors, the settings or the checkpoint to resume cannot be used,
            or the training diverges.
        Stopped: Ctrl-C or SIGTERM; ``checkpoints/last.ckpt`` holds the state.
    """
    check_config(cfg, PretrainConfig)
    command_line = command_line or CommandLine()
    ckpt_path = checkpoint_to_resume(
        cfg.ckpt_path, folder, LANGUAGE_MODEL, names_folder=command_line.names_folder
    )
    fit = prepare_fit(
        cfg,
        folder,
        kind=LANGUAGE_MODEL,
        ckpt_path=ckpt_path,
        line=perplexity_line,
        callbacks=[Progress(), *callbacks],
        command_line=command_line,
    )
    if fit.trainer.world_size > 1:
        raise InputError(
            f"config: trainer.devices={fit.trainer.num_devices}: a pretraining runs in one process;"
            " give trainer.devices=1 trainer.num_nodes=1 trainer.strategy=auto"
        )
    datamodule, module, run_facts = prepare_texts(cfg, fit.resumed)
    fit.facts.run.update(run_facts)
    _log_beginning(cfg, datamodule, module, run_facts["vector_coverage"])
    fit.run(module, datamodule)
    results = {**_results(fit, datamodule, module), **run_facts, "precision": cfg.trainer.precision}
    write_json(folder / "results.json", results)
    learning_curves(
        fit.table.rows,
        folder / "learning_curves.png",
        metrics=("loss", "perplexity"),
        best_epoch=results["best_epoch"],
    )
    with logged_results(fit.trainer, cfg, folder, results, fit.best):
        _log_end(folder, results, fit.best, command_line)
    return results


def prepare_texts(
    cfg: DictConfig, resumed: Resumed | None
) -> tuple[TextDataModule, LanguageModule, dict[str, Any]]:
    """The texts, the model with its first weights, and what each checkpoint holds of the run.

    Raises:
        InputError: the data or the vectors cannot be used, or are not those of the training that
            is resumed.
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
    """The module with its first weights, and the fraction of tokens that have a pre-trained vector.

    Args:
        cfg: a config as ``conf/pretrain.yaml`` composes it.
        facts: the facts found in the data.
        tokens: number of tokens in all training texts; those not in the vocabulary are unknown.
        embeddings: settings for the initial vectors.
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
    # A softmax over all words has a gradient for each of them.
    dense = {"lazy_embedding": False} if all_words else {}
    module = LanguageModule(
        model=model,
        updates=parameter_updates(cfg, model, embeddings, **dense),
        sampler=None if all_words else CandidateSampler(counts, negatives),
    )
    return module, coverage(vectors.found, facts.word_counts)[1]


def _results(fit: Fit, datamodule: TextDataModule, module: LanguageModule) -> dict[str, Any]:
    """The content of ``results.json`` about the texts, the fit and the model."""
    epochs = (
        None if fit.best is None else read_checkpoint(fit.best, LANGUAGE_MODEL)["run"]["epochs"]
    )
    limited = limits(fit.trainer, datamodule, "train", "val")
    held_out = datamodule.held_out.lengths
    if "val" in limited:
        held_out = held_out[limited["val"].reviews]
    return {
        **best_metrics(fit.table.rows, epochs),
        "vocabulary_size": len(datamodule.facts.vocabulary),
        "train_reviews": datamodule.facts.train_reviews,
        "unlabeled_reviews": datamodule.facts.unlabeled_reviews,
        "tokens": int(datamodule.texts.lengths.sum()),
        "held_out_tokens": int(held_out.sum()),
        **limited_results(limited),
        "epochs": len(fit.table.rows),
        "fit_seconds": fit.stopwatch.fit_seconds,
        "train_tokens_per_second": fit.stopwatch.results()["train_tokens_per_second"],
        "parameters": sum(weight.numel() for weight in module.model.parameters()),
        "model": module.model.settings,
        "device": device_name(fit.trainer.strategy.root_device),
        "versions": versions(),
    }


def _log_beginning(
    cfg: DictConfig, datamodule: TextDataModule, module: LanguageModule, vector_coverage: float
) -> None:
    log_data(
        "pretrain",
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


def _log_end(
    folder: Path, results: dict[str, Any], best: Path | None, command_line: CommandLine
) -> None:
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
    log.info("  %s", train_command(*command_line.data(but=_OF_PIECES), start))
