"""Let teachers label texts, and train a student on these; round after round if asked."""

import csv
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sentiment.baseline.run import check_classes, run_baseline
from sentiment.config.checks import check_config
from sentiment.config.overrides import CommandLine
from sentiment.config.schemas import DistillRunConfig, TrainConfig
from sentiment.data.csv_format import CsvFormat
from sentiment.data.datamodule import SentimentDataModule
from sentiment.data.pipeline import DataFacts, paths_of
from sentiment.data.reviews import ReviewChunk, read_reviews, row_count
from sentiment.data.soft_labels import PREFIX
from sentiment.model.abstention import Goal
from sentiment.predict.csv_file import predict_chunks
from sentiment.predict.logits import Floats, softmax
from sentiment.predict.predictor import Predictor
from sentiment.report.comparison_table import print_comparison
from sentiment.report.ranking import compare_runs
from sentiment.report.runs import find_runs
from sentiment.runtime.errors import InputError, listed
from sentiment.runtime.files import text_when_whole
from sentiment.runtime.progress_bar import progress_bar
from sentiment.runtime.run_folder import best_checkpoint, check_unused, run_folder
from sentiment.train.run import train

log = logging.getLogger(__name__)

SOFT_FILE = "soft.csv"  # in the run folder of a student: what its teachers say


def distill(cfg: DictConfig, folder: Path, *, command_line: CommandLine | None = None) -> Path:
    """Train students on the probabilities that teachers give to texts without labels.

    The teacher of each further round is the student before. Without teachers, the first is the
    naive-Bayes-weighted n-grams of ``sentiment.baseline``, fitted to the labels: self-training.

    Args:
        cfg: a config as ``conf/distill.yaml`` composes it.
        folder: the run folder; of several trainings, each has a folder in it.
        command_line: what the run was started with.

    Returns:
        The run folder of the last student.

    Raises:
        InputError: the data, the teachers or the settings cannot be used.
        Stopped: see ``train``.
    """
    check_config(cfg, DistillRunConfig)
    if not cfg.data.unlabeled_csv or cfg.data.soft_csv:
        raise InputError(
            "config: give data.unlabeled_csv=FILE, texts for the teachers to label, and no"
            " data.soft_csv, which sentiment.train learns from"
        )
    command_line = command_line or CommandLine()
    teachers = [*map(best_checkpoint, paths_of(cfg.teachers))]
    if cfg.ckpt_path not in (None, "auto"):
        raise InputError(
            f"config: ckpt_path={cfg.ckpt_path}: give ckpt_path=auto hydra.run.dir=FOLDER, which"
            " goes on where it was stopped"
        )
    rounds = [folder / f"round_{number + 1}" for number in range(cfg.rounds)]
    if teachers and len(rounds) == 1:
        rounds = [folder]
    if cfg.ckpt_path is None:
        for own in {folder, *rounds}:
            check_unused(own, resumable=True)
    predictor = Predictor.load(*teachers) if teachers else None  # before anything slow
    datamodule: SentimentDataModule = instantiate(cfg.data, _convert_="object")
    datamodule.prepare_data()
    datamodule.setup()
    if not teachers:
        teachers = [_first_teacher(datamodule, folder / "naive_bayes")]
    settings = _of_training(cfg)
    for own in rounds:
        predictor = predictor or Predictor.load(*teachers)
        _warn_of_seen(predictor, datamodule)
        names = [(run_folder(path) or path).name for path in teachers]
        if not (own / SOFT_FILE).exists():
            own.mkdir(parents=True, exist_ok=True)
            shares = class_shares(datamodule.facts, predictor.labels)
            wanted = shares if cfg.keep_shares else None
            write_soft_labels(predictor, cfg.data, own / SOFT_FILE, wanted)
        predictor = None
        settings.data.soft_csv, settings.data.unlabeled_csv = str(own / SOFT_FILE), None
        _train_once(settings, own, command_line, names)
        teachers = [best_checkpoint(own)]
    if rounds != [folder]:
        print_comparison(compare_runs(find_runs([folder])))
    return rounds[-1]


def _first_teacher(datamodule: SentimentDataModule, folder: Path) -> Path:
    """Fit naive Bayes to the labels in a folder; one that holds results was fitted before."""
    if not (folder / "results.json").exists():
        check_classes(datamodule.facts)
        folder.mkdir(parents=True, exist_ok=True)
        run_baseline("naive_bayes", datamodule, folder, Goal())
        log.info("The first teacher is naive Bayes, fitted to the labels: %s", folder)
    return best_checkpoint(folder)


def _of_training(cfg: DictConfig) -> DictConfig:
    """The settings of the first training: those of ``cfg`` that ``train`` has, too."""
    names = [each.name for each in dataclasses.fields(TrainConfig)]
    return OmegaConf.masked_copy(cfg, names)


def _train_once(
    settings: DictConfig, folder: Path, command_line: CommandLine, teachers: Sequence[str]
) -> None:
    """Train in a folder; one that holds results was trained before."""
    if (folder / "results.json").exists():
        log.info("%s holds its results already", folder)
        return
    log.info("Training on what %s says", listed(teachers))
    train(settings, folder, command_line=command_line, teachers=teachers)


def class_shares(facts: DataFacts, labels: Sequence[str]) -> Floats:
    """The fraction of training reviews that each of the teachers' labels has.

    Raises:
        InputError: the labels of the data are others.
    """
    if sorted(labels) != sorted(facts.labels):
        raise InputError(
            f"teachers: their labels are {listed(labels)}, and those of the data are"
            f" {listed(facts.labels)}; give teachers of these, or data.label_names"
        )
    counts = [facts.class_counts[facts.labels.index(label)] for label in labels]
    return (np.array(counts) / facts.train_reviews).astype(np.float32)


def _warn_of_seen(predictor: Predictor, datamodule: SentimentDataModule) -> None:
    """Warn of teachers that were trained on reviews by which the student is measured."""
    for member in predictor.members:
        if member.data.train_digests is None:
            log.warning("%s does not say what it was trained on", member.path)
            continue
        for name, word in (("val", "validation"), ("test", "test")):
            reviews = getattr(datamodule.facts, f"{name}_reviews")
            if seen := datamodule.count_in(name, member.data.train_digests):
                log.warning(
                    "%s was trained on %s of the %s %s reviews: what a student knows of these makes"
                    " its metrics too good; train teachers on the same splits",
                    member.path, f"{seen:,}", f"{reviews:,}", word,
                )  # fmt: skip


def write_soft_labels(
    predictor: Predictor, data: DictConfig, target: Path, shares: Floats | None
) -> None:
    """Write the texts without labels and the probabilities of each label as a CSV file.

    Args:
        predictor: the teachers.
        data: the config node of the data.
        target: the file, which appears when it is complete.
        shares: (labels,) the mean that the probabilities of each label are to have, in the order of
            the teachers' labels; None leaves them as they are.

    Raises:
        InputError: a file of texts cannot be read.
    """
    csv_format = CsvFormat.of_settings(data, label_column=None, weight_column=None)
    paths = paths_of(data.unlabeled_csv)
    rows = sum(row_count(path, csv_format) for path in paths)

    def chunks() -> Iterator[ReviewChunk]:
        for path in paths:
            yield from read_reviews(path, csv_format)

    found = []
    with progress_bar("Labelling", rows, "row") as bar:
        for chunk, logits in predict_chunks(predictor, chunks()):
            found.append(logits)
            bar.update(len(chunk.texts) + chunk.missing)
    scores = softmax(np.concatenate(found))
    if shares is not None:
        own, scores = scores.mean(0), with_shares(scores, shares)
        log.info(
            "The teachers say: %s; adjusted to the training reviews: %s (keep_shares=false leaves"
            " them as they are)",
            *(
                listed([f"{label} {share:.1%}" for label, share in pairs])
                for pairs in (
                    zip(predictor.labels, each, strict=True) for each in (own, scores.mean(0))
                )
            ),
        )
    with text_when_whole(target) as out:
        # All cells are quoted, because a bare carriage return would split a row.
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow([csv_format.text_column, *(f"{PREFIX}{each}" for each in predictor.labels)])
        cells = iter(np.char.mod("%.6f", scores).tolist())
        for chunk in chunks():
            writer.writerows([text, *next(cells)] for text in chunk.texts)


def with_shares(probabilities: Floats, shares: Floats) -> Floats:
    """Change probabilities so that their mean is given, by a factor for the odds of each class.

    A classifier of few labels is often biased, and a student would learn that from it.

    Args:
        probabilities: (texts, classes).
        shares: (classes,) the wanted means, which sum to 1.
    """
    adjusted = probabilities.astype(np.float64)
    for _ in range(100):
        adjusted *= shares / np.maximum(adjusted.mean(0), 1e-12)
        adjusted /= adjusted.sum(1, keepdims=True)
        if np.abs(adjusted.mean(0) - shares).max() < 1e-4:
            break
    return adjusted.astype(np.float32)
