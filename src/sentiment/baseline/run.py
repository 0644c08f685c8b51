"""Fit and test linear classifiers of n-grams on the splits of a training."""

import logging
import time
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from sentiment.baseline.linear import fit_best
from sentiment.config.checks import check_config
from sentiment.config.resolvers import sample_path
from sentiment.config.schemas import BaselineConfig
from sentiment.data.datamodule import SentimentDataModule
from sentiment.data.dataset import TokenisedReviews
from sentiment.data.pipeline import DataFacts
from sentiment.model.abstention import Goal, stored_thresholds
from sentiment.model.calibration import fit_temperature
from sentiment.model.metrics import Outcome, summarise_predictions
from sentiment.predict.checkpoint import save_ngram_classifier
from sentiment.predict.ngram_classifier import NgramClassifier
from sentiment.predict.summary import MOST_REVIEWS, Summary
from sentiment.report.comparison_table import print_comparison
from sentiment.report.predictions import without_failing, write_predictions
from sentiment.report.ranking import compare_runs
from sentiment.report.results import (
    abstain_results,
    data_results,
    log_abstention,
    log_data,
    outcome_results,
    plot_outcome,
)
from sentiment.report.runs import find_runs
from sentiment.report.tables import write_json
from sentiment.runtime.environment import program_command, versions
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import check_unused, marked_if_stopped

log = logging.getLogger(__name__)


def run_baselines(cfg: DictConfig, folder: Path) -> None:
    """Fit and test each baseline, write its results and print the table of all.

    Args:
        cfg: a config as ``conf/baseline.yaml`` composes it.
        folder: gets a folder for each baseline.

    Raises:
        InputError: the data cannot be used, or the folder holds results already.
    """
    check_config(cfg, BaselineConfig)
    if len(set(cfg.weightings)) != max(1, len(cfg.weightings)):
        raise InputError("config: weightings: give one or more, each once: tfidf, naive_bayes")
    for path in (folder, *(folder / str(weighting) for weighting in cfg.weightings)):
        check_unused(path)
    from sentiment.report.run_page import report_training

    with marked_if_stopped(folder):
        datamodule: SentimentDataModule = instantiate(cfg.data, _convert_="object")
        datamodule.prepare_data()
        datamodule.setup()
        check_classes(datamodule.facts)
        sample = cfg.data.csv == sample_path()
        log_data("baseline", datamodule.facts, 0.0, sample=sample, pretrained=False)
        for weighting in cfg.weightings:
            own = folder / str(weighting)
            own.mkdir(parents=True, exist_ok=True)
            run_baseline(str(weighting), datamodule, own, Goal(**cfg.abstain))
            report_training(own)
    print_comparison(compare_runs(find_runs([folder])))
    log.info("Everything is in %s. Compare it with trainings:", folder)
    log.info("  %s", compare_command(folder))


def check_classes(facts: DataFacts) -> None:
    """Refuse a class that no training review has, for which there would be no weights.

    Raises:
        InputError: there is such a class.
    """
    if 0 in facts.class_counts:
        absent = facts.labels[facts.class_counts.index(0)]
        raise InputError(
            f"data: no training review has the label {absent!r}, so no baseline can learn it; add"
            " reviews of it, or remove those of the other splits"
        )


def compare_command(folder: Path) -> str:
    """The command line that compares a run folder with those in ``runs``."""
    runs = Path("runs")
    near = [runs] if runs.is_dir() else []
    above = [] if folder.resolve().is_relative_to(runs.resolve()) else [folder]
    folders = [str(path) for path in (*above, *near)]
    return program_command("sentiment.compare", *folders)


def run_baseline(weighting: str, datamodule: SentimentDataModule, folder: Path, goal: Goal) -> None:
    """Fit one baseline, test it, save it, draw its plots and write its results."""
    facts = datamodule.facts
    start = time.perf_counter()
    classifier, strength = fit_best(
        weighting,
        datamodule.reviews("train"),
        datamodule.reviews("val"),
        classes=len(facts.labels),
    )
    seconds = time.perf_counter() - start
    val_logits, val_labels, _ = _tested(classifier, datamodule.reviews("val"))
    temperature = fit_temperature(val_logits, val_labels)
    val_scores = (val_logits / temperature).double().softmax(1).numpy()
    numbers = goal.choose(val_scores, val_labels.numpy())
    classifier = classifier.with_temperature(temperature)
    logits, labels, lengths = _tested(classifier, datamodule.reviews("test"))
    thresholds = stored_thresholds(numbers, len(facts.labels))
    outcome = Outcome.of(logits, labels, lengths, thresholds)
    val = summarise_predictions(val_logits / temperature, val_labels, "val/")
    summary = Summary.of(
        *datamodule.some_reviews("val", MOST_REVIEWS).flat(),
        (val_logits / temperature).softmax(1).numpy(),
        val_labels.numpy(),
        vocabulary_size=classifier.settings["vocabulary_size"],
    )
    save_ngram_classifier(
        folder / "checkpoints" / "best.ckpt",
        classifier,
        datamodule.state_dict(),
        val | numbers,
        summary,
    )
    results = {
        **summarise_predictions(logits, labels, "test/"),
        **outcome_results(outcome, facts.labels),
        **val,
        **data_results(facts),
        "model": weighting,
        "temperature": temperature,
        **abstain_results(numbers, facts.labels, facts.val_reviews),
        "strength": strength,
        "fit_seconds": seconds,
        "parameters": classifier.num_parameters,
        "device": "cpu",
        "versions": versions(),
    }
    if goal:
        log_abstention(results, goal)
    plot_outcome(folder, results, outcome)
    write_json(folder / "results.json", results)
    with without_failing(folder):
        write_predictions(folder, outcome, facts.labels, *datamodule.origins("test"))


def _tested(
    classifier: NgramClassifier, reviews: TokenisedReviews
) -> tuple[Tensor, Tensor, Tensor]:
    """The logits, (reviews, classes), of a split, its labels and its lengths, (reviews,)."""
    token_ids, lengths = reviews.flat()
    logits = torch.from_numpy(classifier.logits(token_ids, lengths))
    return logits, torch.tensor(reviews.classes), torch.from_numpy(lengths)
