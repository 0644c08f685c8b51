"""Let teachers label texts, and train a student on these; round after round if asked."""

import csv
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sentiment.baseline.run import check_classes, run_baseline
from sentiment.config.checks import check_config, check_one_process
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
from sentiment.runtime.distributed import external_world_size
from sentiment.runtime.errors import InputError, listed
from sentiment.runtime.files import text_when_whole
from sentiment.runtime.overrides import override
from sentiment.runtime.progress_bar import progress_bar
from sentiment.runtime.run_folder import best_checkpoint, is_used, run_folder, unmark_stopped
from sentiment.runtime.yaml_files import flat, read_yaml
from sentiment.train.build import check_parts
from sentiment.train.run import train

log = logging.getLogger(__name__)

_NAIVE_BAYES = "naive_bayes"
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
    command_line = command_line or CommandLine()
    teachers = [*map(best_checkpoint, paths_of(cfg.teachers))]
    rounds = [folder / f"round_{number + 1}" for number in range(cfg.rounds)]
    if teachers and len(rounds) == 1:
        rounds = [folder]
    settings = _of_training(cfg)
    settings.data.soft_csv, settings.data.unlabeled_csv = str(rounds[0] / SOFT_FILE), None
    _check(cfg, settings, folder, command_line)
    unmark_stopped(folder)
    predictor = Predictor.load(*teachers) if teachers else None  # before anything slow
    datamodule: SentimentDataModule = instantiate(cfg.data, _convert_="object")
    datamodule.prepare_data()
    datamodule.setup()
    check_classes(datamodule.facts)
    if not teachers:
        teachers = [_first_teacher(datamodule, folder / _NAIVE_BAYES)]
    for own in rounds:
        predictor = predictor or Predictor.load(*teachers)
        _warn_of_seen(predictor, datamodule)
        names = [(run_folder(path) or path).name for path in teachers]
        if not (own / SOFT_FILE).exists():
            own.mkdir(parents=True, exist_ok=True)
            priors = class_priors(datamodule.facts, predictor.labels)
            wanted = priors if cfg.match_priors else None
            write_soft_labels(predictor, cfg.data, own / SOFT_FILE, wanted)
        predictor, settings.data.soft_csv = None, str(own / SOFT_FILE)
        _train_once(settings, own, command_line, names)
        teachers = [best_checkpoint(own)]
    if rounds != [folder]:
        print_comparison(compare_runs(find_runs([folder])))
    return rounds[-1]


def _check(cfg: DictConfig, settings: DictConfig, folder: Path, command_line: CommandLine) -> None:
    """Refuse what the trainings would, before the teachers label anything.

    Args:
        cfg: the config.
        settings: that of the first training.
        folder: the run folder.
        command_line: what the run was started with.

    Raises:
        InputError: a setting cannot be used, or the folder holds something already.
    """
    data = cfg.data
    if not data.unlabeled_csv or data.soft_csv or data.score_columns:
        raise InputError(
            "config: give data.unlabeled_csv=FILE, texts for the teachers to label, and neither"
            " data.soft_csv nor data.score_columns, which are for sentiment.train"
        )
    if data.weight_column is not None:
        raise InputError(
            f"config: data.weight_column={data.weight_column}: sentiment.distill weights no"
            " reviews; give data.weight_column=null, or train with data.soft_csv (sentiment.train)"
        )
    if cfg.ckpt_path not in (None, "auto") or (cfg.ckpt_path and not command_line.names_folder):
        raise InputError(
            f"config: ckpt_path={cfg.ckpt_path}: give ckpt_path=auto hydra.run.dir=FOLDER, which"
            " goes on where it was stopped"
        )
    begun = [path for path in (SOFT_FILE, "round_1", _NAIVE_BAYES) if (folder / path).exists()]
    if cfg.ckpt_path is None and (begun or is_used(folder)):
        raise InputError(
            f"hydra.run.dir={folder}: holds a distillation already; add ckpt_path=auto to go on"
            " with it, by the same settings, or give another folder"
        )
    began = dict(flat(read_yaml(folder / ".hydra" / "config.yaml") or {})) if cfg.ckpt_path else {}
    now: dict[str, Any] = dict(flat(OmegaConf.to_container(cfg)))  # type: ignore[arg-type]  # a mapping
    for key in ("teachers", "match_priors", "data.unlabeled_csv"):
        if began and began.get(key) != now.get(key):
            raise InputError(
                f"config: {override(key, now.get(key))}: the distillation in {folder} began with"
                f" {override(key, began.get(key))}; give the same, or another folder"
            )
    processes = external_world_size() or 1
    for count in (cfg.trainer.devices, cfg.trainer.num_nodes):
        processes *= count if isinstance(count, int) and count > 0 else 1
    check_one_process(settings, processes)
    check_config(settings)
    check_parts(settings)


def _first_teacher(datamodule: SentimentDataModule, folder: Path) -> Path:
    """Fit naive Bayes to the labels in a folder; one that holds results was fitted before."""
    if not (folder / "results.json").exists():
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


def class_priors(facts: DataFacts, labels: Sequence[str]) -> Floats:
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
    predictor: Predictor, data: DictConfig, target: Path, priors: Floats | None
) -> None:
    """Write the texts without labels and the probabilities of each label as a CSV file.

    Args:
        predictor: the teachers.
        data: the config node of the data.
        target: the file, which appears when it is complete.
        priors: (labels,) the mean that the probabilities of each label are to have, in the order of
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
    if priors is not None:
        own, scores = scores.mean(0), with_priors(scores, priors)
        log.info(
            "Mean probabilities of the teachers: %s; adjusted to the training reviews: %s"
            " (match_priors=false leaves them as they are)",
            *(
                listed([f"{label} {part:.1%}" for label, part in pairs])
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


def with_priors(probabilities: Floats, priors: Floats) -> Floats:
    """Change probabilities so that their mean is given, by a factor for the odds of each class.

    A classifier of few labels is often biased, and a student would learn that from it. Saerens,
    Latinne & Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a Priori
    Probabilities", equation 2.4, repeated until the means are those wanted.

    Args:
        probabilities: (texts, classes).
        priors: (classes,) the wanted means, which sum to 1.
    """
    adjusted = probabilities.astype(np.float64)
    for _ in range(100):
        adjusted *= priors / np.maximum(adjusted.mean(0), 1e-12)
        adjusted /= np.maximum(adjusted.sum(1, keepdims=True), 1e-300)
        if np.abs(adjusted.mean(0) - priors).max() < 1e-4:
            break
    return adjusted.astype(np.float32)
