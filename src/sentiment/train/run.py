"""One training: fit, test the best checkpoint, write the results."""

import logging
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import Trainer
from omegaconf import DictConfig
from torch import Tensor

from sentiment.config.checks import check_config, check_one_process
from sentiment.config.resolvers import sample_path
from sentiment.data.datamodule import SentimentDataModule
from sentiment.model.classifier import SentimentClassifier
from sentiment.predict.checkpoint import CLASSIFIER, read_checkpoint
from sentiment.report.results import (
    best_figures,
    data_results,
    log_data,
    log_model,
    write_results,
)
from sentiment.runtime.distributed import rank
from sentiment.runtime.environment import device_name, versions
from sentiment.train.build import translate_lightning_errors
from sentiment.train.callbacks import accuracy_line
from sentiment.train.fitting import begin, checkpoint_to_resume, limits
from sentiment.train.module import SentimentModule
from sentiment.train.prepare import prepare_together
from sentiment.train.pretrained import (
    Start,
    find_pretrained,
    log_pretrained,
    warn_about_vectors,
    with_pretrained_sizes,
)

if TYPE_CHECKING:
    from sentiment.train.search.pruning import PruneHopeless

log = logging.getLogger(__name__)

_REVIEWS_TO_TIME = 30


def train(
    cfg: DictConfig,
    folder: Path,
    *,
    pruner: "PruneHopeless | None" = None,
    testing: bool = True,
) -> dict[str, Any]:
    """Train, test and write everything into a run folder.

    Args:
        cfg: a config as ``conf/train.yaml`` composes it.
        folder: the run folder.
        pruner: ends the training early where it is a hopeless trial of a search; it is not tested.
        testing: False leaves the test reviews unseen, as a search should.

    Returns:
        The content of ``results.json``.

    Raises:
        InputError: the data, the vectors, the settings or the checkpoint to resume are no good, or
            the training diverges.
        Stopped: Ctrl-C or SIGTERM; ``checkpoints/last.ckpt`` holds the state.
    """
    check_config(cfg)
    ckpt_path = checkpoint_to_resume(cfg.ckpt_path, folder, CLASSIFIER)
    start = find_pretrained(cfg, ckpt_path)
    cfg = with_pretrained_sizes(cfg, start)
    fit = begin(
        cfg,
        folder,
        kind=CLASSIFIER,
        ckpt_path=ckpt_path,
        line=accuracy_line,
        callbacks=[pruner] if pruner else [],
    )
    trainer, table = fit.trainer, fit.table
    check_one_process(cfg, trainer.world_size)
    datamodule, module, run = prepare_together(cfg, trainer, fit.resumed, start)
    table.run.update(run)
    _tell_beginning(cfg, datamodule, module, run["vector_coverage"], start)
    with translate_lightning_errors():
        fit.run(module, datamodule)
        best = fit.best
        saved = None if best is None else read_checkpoint(best)
        if saved is not None:
            module.load_state_dict(saved["state_dict"])
        pruned = pruner is not None and pruner.pruned
        figures = test(trainer, module, datamodule) if testing and not pruned else {}
    limited = limits(trainer, datamodule, "train", "val", "test")
    results = {**figures, **data_results(datamodule.facts, limited), **run}
    if pruned:
        results["pruned"] = True
    results |= best_figures(table.rows, saved["run"]["epochs"] if saved else None) | table.speed()
    results |= {
        "temperature": float(module.classifier.temperature),
        "parameters": sum(weight.numel() for weight in module.classifier.parameters()),
        "latency_ms": latency_ms(module, datamodule),
        "precision": cfg.trainer.precision,
        "device": device_name(trainer.strategy.root_device),
        "versions": versions(),
    }
    if trainer.world_size > 1:
        results |= {"processes": trainer.world_size, "imbalance": table.imbalance}
    if rank() == 0:
        write_results(folder, results, table.rows, module.outcome, best)
    return results


def _tell_beginning(
    cfg: DictConfig,
    datamodule: SentimentDataModule,
    module: SentimentModule,
    coverage: float,
    start: Start | None,
) -> None:
    if rank() != 0:
        return
    log_data(
        datamodule.facts,
        coverage,
        sample=cfg.data.csv == sample_path(),
        pretrained="path" in cfg.embeddings or "archive" in cfg.embeddings,
    )
    if start is not None and start.weights is not None:
        log_pretrained(start, datamodule.facts.fingerprints)
    if "path" in cfg.embeddings:
        warn_about_vectors(Path(cfg.embeddings.path), datamodule.facts.fingerprints)
    part, frozen = ("embeddings", "embedding") if start is None else ("pretrained", "encoder")
    if (epochs := cfg[part].get("frozen_epochs", 0)) >= cfg.trainer.max_epochs:
        log.warning("%s.frozen_epochs=%d: the %s stays as it is to the end", part, epochs, frozen)
    if cfg.trainer.enable_model_summary:
        log_model(module.classifier)


def test(
    trainer: Trainer, module: SentimentModule, datamodule: SentimentDataModule
) -> dict[str, Any]:
    """The figures of the module on the test split."""
    trainer.test(module, datamodule, verbose=False)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    tested = {name: value for name, value in figures.items() if name.startswith("test/")}
    return {**tested, "test/by_length": module.outcome.by_length if module.outcome else []}


def latency_ms(module: SentimentModule, datamodule: SentimentDataModule) -> float:
    """Milliseconds that one review takes which comes alone."""
    reviews = datamodule.single_reviews("val", _REVIEWS_TO_TIME)
    batches = [(review.token_ids, review.lengths) for review in reviews]
    return 1000 * median_latency(module.classifier, batches)


def median_latency(
    classifier: SentimentClassifier, reviews: Sequence[tuple[Tensor, Tensor]]
) -> float:
    """Seconds in which a review that comes alone is classified, the median of several.

    Args:
        classifier: runs where its weights are, in their precision.
        reviews: token ids, (1, time) int64, and length, (1,) int64, of each.
    """
    device = classifier.embedding.weight.device
    training = classifier.training
    classifier.eval()
    seconds = []
    with torch.inference_mode():
        for token_ids, lengths in (reviews[0], *reviews):  # the first call prepares what it needs
            start = time.perf_counter()
            classifier(token_ids.to(device), lengths).argmax(1).tolist()
            seconds.append(time.perf_counter() - start)
    classifier.train(training)
    return statistics.median(seconds[1:])
