"""One pretraining: fit a language model on all texts that may train, and write its figures."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from sentiment import config
from sentiment.build import build_language_module, refused_by_lightning
from sentiment.callbacks import Progress, perplexity_line
from sentiment.checkpoint import LANGUAGE_MODEL, read_checkpoint
from sentiment.checks import check_config
from sentiment.commands import data_overrides, override, train_command
from sentiment.data.text_datamodule import TextDataModule
from sentiment.environment import device_name, versions
from sentiment.errors import InputError
from sentiment.fitting import Fit, begin, checkpoint_to_resume, limits
from sentiment.prepare import cleaning_of
from sentiment.pretrained import tell_vectors
from sentiment.report.figures import learning_curves
from sentiment.report.tables import write_json
from sentiment.results import best_figures, limited_results, tell_data
from sentiment.resume import Resumed
from sentiment.schemas import PretrainConfig

if TYPE_CHECKING:
    from sentiment.data.datamodule import SentimentDataModule
    from sentiment.model.language_module import LanguageModule

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
    with refused_by_lightning():
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
) -> tuple[TextDataModule, "LanguageModule", dict[str, Any]]:
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


def _figures(fit: Fit, datamodule: TextDataModule, module: "LanguageModule") -> dict[str, Any]:
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
    cfg: DictConfig, datamodule: TextDataModule, module: "LanguageModule", vector_coverage: float
) -> None:
    tell_data(
        datamodule.facts,
        vector_coverage,
        sample=cfg.data.csv == config.sample_path(),
        pretrained="path" in cfg.embeddings or "archive" in cfg.embeddings,
    )
    if "path" in cfg.embeddings:
        tell_vectors(Path(cfg.embeddings.path), datamodule.facts.fingerprints)
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
