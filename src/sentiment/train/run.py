"""One training, from a config to a tested checkpoint: data, model, trainer, fit, test, write."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from lightning import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from omegaconf import DictConfig

from sentiment.config.checks import check_class_weights, check_config, check_one_process, is_mixed
from sentiment.config.overrides import CommandLine
from sentiment.config.resolvers import sample_path
from sentiment.data.cleaning import CURRENT_CLEANING
from sentiment.data.datamodule import SentimentDataModule
from sentiment.data.pipeline import DataFacts
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.model.abstention import Goal
from sentiment.model.metric_names import AUTO
from sentiment.model.metrics import Outcome
from sentiment.predict.checkpoint import CLASSIFIER, read_checkpoint
from sentiment.report.metric_table import IMBALANCED
from sentiment.report.page import REPORT
from sentiment.report.predictions import FILE as PREDICTIONS
from sentiment.report.predictions import without_failing, write_predictions
from sentiment.report.results import (
    abstain_results,
    best_metrics,
    data_results,
    log_abstention,
    log_data,
    log_model,
    write_results,
)
from sentiment.report.tables import format_percent
from sentiment.runtime.distributed import (
    external_world_size,
    gather,
    raise_together,
    rank,
    started_by_another_rank,
)
from sentiment.runtime.environment import device_name, versions
from sentiment.runtime.errors import InputError
from sentiment.train.build import build_module
from sentiment.train.callbacks import ValidationSummary, accuracy_line
from sentiment.train.fit import Fit, limits, prepare_fit, start_processes
from sentiment.train.loggers import logged_results
from sentiment.train.module import SentimentModule
from sentiment.train.pretrained import (
    PretrainedEncoder,
    find_pretrained,
    log_pretrained,
    warn_about_vectors,
    with_pretrained_sizes,
)
from sentiment.train.resume import checkpoint_to_resume
from sentiment.train.testing import latency_ms, quick_baseline, test, tested_origins

log = logging.getLogger(__name__)


def train(
    cfg: DictConfig,
    folder: Path,
    *,
    callbacks: Sequence[Callback] = (),
    testing: bool = True,
    command_line: CommandLine | None = None,
    teachers: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a classifier, test it and write everything into a run folder.

    Args:
        cfg: a config as ``conf/train.yaml`` composes it.
        folder: the run folder.
        callbacks: Lightning callbacks beside those of every training. Where one has an attribute
            ``pruned`` that is true at the end, the training is not tested.
        testing: False leaves the test reviews unseen, as a search should.
        command_line: what the run was started with, for the commands that messages suggest; None
            if the config was not composed from overrides.
        teachers: the names of those whose probabilities ``data.soft_csv`` has; none are those of
            its files.

    Returns:
        The content of ``results.json``.

    Raises:
        InputError: the data, the vectors, the settings or the checkpoint to resume cannot be used,
            or the training diverges.
        Stopped: Ctrl-C or SIGTERM; ``checkpoints/last.ckpt`` holds the state.
    """
    check_config(cfg)
    command_line = command_line or CommandLine()
    ckpt_path = checkpoint_to_resume(
        cfg.ckpt_path, folder, CLASSIFIER, names_folder=command_line.names_folder
    )
    pretrained = find_pretrained(cfg, ckpt_path)
    cfg = with_pretrained_sizes(cfg, pretrained, command_line.task)
    fit = prepare_fit(
        cfg,
        folder,
        kind=CLASSIFIER,
        ckpt_path=ckpt_path,
        line=accuracy_line,
        callbacks=[ValidationSummary(), *callbacks],
        command_line=command_line,
    )
    check_one_process(cfg, fit.trainer.world_size)
    datamodule, module, run_facts = _prepare_in_all_processes(cfg, fit, pretrained, teachers)
    fit.facts.run.update(run_facts)
    if rank() == 0:
        _log_beginning(cfg, datamodule, module, run_facts, pretrained)
    set_automatic_monitors(fit, datamodule.facts, balanced=cfg.loss.balanced)

    fit.run(module, datamodule)

    best = None if fit.best is None else read_checkpoint(fit.best)
    if best is not None:
        module.load_state_dict(best["state_dict"])
        module.on_load_checkpoint(best)
    pruned = any(getattr(callback, "pruned", False) for callback in callbacks)
    metrics = test(fit.trainer, module, datamodule) if testing and not pruned else {}
    limited = limits(fit.trainer, datamodule, "train", "val", "test")
    if metrics and rank() == 0 and not limited and not command_line.multirun:
        metrics |= quick_baseline(datamodule)
    data = data_results(datamodule.facts, limited)
    results = {
        **metrics,
        **data,
        **({"teachers": datamodule.teachers} if datamodule.teachers else {}),
        **run_facts,
        **({"pruned": True} if pruned else {}),
        **best_metrics(fit.table.rows, best["run"]["epochs"] if best else None),
        "epochs": len(fit.table.rows),
        **fit.stopwatch.results(),
        "temperature": float(module.classifier.temperature),
        **abstain_results(module.abstention, data["labels"], data["val_reviews"]),
        "parameters": sum(weight.numel() for weight in module.classifier.parameters()),
        "latency_ms": latency_ms(module.classifier, datamodule),
        "precision": cfg.trainer.precision,
        "device": device_name(fit.trainer.strategy.root_device),
        "versions": versions(),
    }
    if (goal := Goal(**cfg.abstain)) and rank() == 0:
        log_abstention(results, goal)
    if fit.trainer.world_size > 1:
        results |= {"processes": fit.trainer.world_size, "imbalance": fit.stopwatch.imbalance}
    if rank() == 0:
        for name in (REPORT, PREDICTIONS):  # of before the training was resumed
            (folder / name).unlink(missing_ok=True)
        write_results(
            folder, results, fit.table.rows, module.outcome, fit.best, datamodule.example(),
            balanced=cfg.loss.balanced, unsplit=datamodule.facts.unsplit,
        )  # fmt: skip
        with logged_results(fit.trainer, cfg, folder, results, fit.best):
            if module.outcome is not None:
                _write_report(folder, datamodule, module.outcome, page=not command_line.multirun)
    return results


def _write_report(
    folder: Path, datamodule: SentimentDataModule, outcome: Outcome, *, page: bool
) -> None:
    """Write ``predictions.csv`` and, unless it is a run of many, ``report.html``."""
    with without_failing(folder):
        origins = tested_origins(datamodule, len(outcome.labels))
        write_predictions(folder, outcome, datamodule.facts.labels, *origins)
    if page:
        from sentiment.report.run_page import report_training

        report_training(folder)


class Prepared(NamedTuple):
    """What a training needs before its first step."""

    datamodule: SentimentDataModule
    module: SentimentModule
    run_facts: dict[str, Any]  # facts of the run for each checkpoint


def prepare(
    cfg: DictConfig,
    fit: Fit,
    pretrained: PretrainedEncoder | None,
    teachers: Sequence[str] = (),
) -> Prepared:
    """The data and the module with its first weights.

    Raises:
        InputError: the data or the vectors cannot be used, or are not those of the training that
            is resumed.
    """
    embeddings = instantiate(cfg.embeddings)
    earlier = [each.data for each in (fit.resumed, pretrained) if each is not None]
    datamodule: SentimentDataModule = instantiate(
        cfg.data,
        _convert_="object",
        vocabulary=None if pretrained is None else pretrained.data["vocabulary"],
        cleaning=cleaning_of(*earlier),
        unlabeled_ratio=cfg.loss.unlabeled_ratio if is_mixed(cfg.loss) else 0.0,
        ngrams=cfg.model.ngrams,
        teachers=teachers,
    )
    datamodule.prepare_data()
    datamodule.setup()
    check_reviews(datamodule.facts, fit.trainer.world_size)
    check_class_weights(cfg.loss, datamodule.facts.labels, datamodule.facts.class_counts)
    if fit.resumed is not None:
        datamodule.load_state_dict(fit.resumed.data)  # refuses other data
    ngrams = datamodule.ngram_statistics()
    module, coverage = build_module(
        cfg, datamodule.facts, embeddings, ngrams=ngrams, pretrained=pretrained
    )
    covered_by = "vector_coverage" if pretrained is None else "vocabulary_coverage"
    return Prepared(datamodule, module, {"seed": cfg.seed, covered_by: coverage})


def _prepare_in_all_processes(
    cfg: DictConfig, fit: Fit, pretrained: PretrainedEncoder | None, teachers: Sequence[str]
) -> Prepared:
    """Call ``prepare`` in all processes, and check that they have prepared the same.

    Raises:
        InputError: in all processes, if one of them cannot use something, or they differ.
    """
    problem = None
    try:
        prepared = prepare(cfg, fit, pretrained, teachers)
    except InputError as error:
        if external_world_size() is None and not started_by_another_rank():
            raise  # the others have not been started yet
        problem = error
    start_processes(fit.trainer)
    raise_together(problem)
    reviews = prepared.datamodule.state_dict()["fingerprints"]
    steps = fit.resumed and fit.resumed.steps
    if len(set(map(repr, gather((reviews, steps))))) > 1:
        raise InputError(
            "the processes do not see the same reviews or the same checkpoint; all machines need"
            " the same files, and the run folder on a file system that they share"
        )
    return prepared


def cleaning_of(*checkpoints: Mapping[str, Any]) -> int:
    """The number of the cleaning for a training's texts: that of the checkpoint it comes from.

    Args:
        checkpoints: data states of the training that it resumes, or of the model that it starts
            from; none for a training from scratch.
    """
    if not checkpoints:
        return CURRENT_CLEANING
    return TokenizerSettings.of_checkpoint(checkpoints[0]["tokenizer"]).cleaning


def set_automatic_monitors(fit: Fit, facts: DataFacts, *, balanced: bool) -> None:
    """Set each callback's monitor that is ``auto`` to ``val/accuracy``, or to ``val/f1``.

    It is ``val/f1`` where one label is so frequent that always answering it is accurate.
    """
    watching = (fit.trainer.checkpoint_callback, fit.trainer.early_stopping_callback)
    kinds = ModelCheckpoint, EarlyStopping
    automatic = [each for each in watching if isinstance(each, kinds) and each.monitor == AUTO]
    largest = max(facts.class_counts)
    imbalanced = largest > IMBALANCED * facts.train_reviews
    for callback in automatic:
        callback.monitor = "val/f1" if imbalanced else "val/accuracy"
    if automatic and imbalanced:
        log.info(
            "%s of the training reviews have the label %s: the best epoch is the one with the"
            " highest val/f1, as always answering that label is accurate%s",
            format_percent(largest / facts.train_reviews),
            facts.labels[facts.class_counts.index(largest)],
            "" if balanced else "; loss.balanced=true weighs rare labels up",
        )


def check_reviews(facts: DataFacts, processes: int) -> None:
    """Refuse a split that has not even one review for each process.

    Raises:
        InputError: there is such a split.
    """
    for split in ("train", "val", "test"):
        reviews = getattr(facts, f"{split}_reviews")
        if reviews < processes:
            raise InputError(
                f"data: {reviews} {split} reviews for {processes} processes; give each at least"
                " one: lower trainer.devices or trainer.num_nodes, or add reviews"
            )


def _log_beginning(
    cfg: DictConfig,
    datamodule: SentimentDataModule,
    module: SentimentModule,
    run_facts: Mapping[str, Any],
    pretrained: PretrainedEncoder | None,
) -> None:
    fingerprints = datamodule.facts.fingerprints
    log_data(
        "train",
        datamodule.facts,
        run_facts.get("vector_coverage", 0.0),
        sample=cfg.data.csv == sample_path(),
        pretrained="path" in cfg.embeddings or "archive" in cfg.embeddings,
    )
    if cfg.data.weight_column is not None:
        log.info("The training loss weights reviews by the column %r", cfg.data.weight_column)
    if pretrained is not None and pretrained.weights is not None:
        settings, labels = module.classifier.settings, datamodule.facts.labels
        log_pretrained(pretrained, fingerprints, pretrained.new_head_because(settings, labels))
    if "path" in cfg.embeddings:
        warn_about_vectors(Path(cfg.embeddings.path), fingerprints)
    node, layer = ("embeddings", "embedding") if pretrained is None else ("pretrained", "encoder")
    if (epochs := cfg[node].get("frozen_epochs", 0)) >= cfg.trainer.max_epochs:
        log.warning("%s.frozen_epochs=%d: the %s is never trained", node, epochs, layer)
    if cfg.trainer.enable_model_summary:
        log_model(module.classifier)
