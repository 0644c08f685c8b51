"""What there must be before the first step: the data, the model, and all processes."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig

from sentiment.config.checks import is_mixed
from sentiment.data.cleaning import CURRENT_CLEANING
from sentiment.data.datamodule import SentimentDataModule
from sentiment.data.pipeline import DataFacts
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.runtime.distributed import (
    external_world_size,
    gather,
    lead,
    raise_together,
    started_by_another_rank,
)
from sentiment.runtime.errors import InputError, first_words
from sentiment.train.build import build_module
from sentiment.train.module import SentimentModule
from sentiment.train.pretrained import Start
from sentiment.train.resume import Resumed

# Data, model, and what each checkpoint tells of the run.
Prepared = tuple[SentimentDataModule, SentimentModule, dict[str, Any]]


def prepare(
    cfg: DictConfig, trainer: Trainer, resumed: Resumed | None, start: Start | None
) -> Prepared:
    """The data and the model of this process, and what each checkpoint tells of the run.

    Raises:
        InputError: the data or the vectors are no good, or not those of the training resumed.
    """
    embeddings = instantiate(cfg.embeddings)
    datamodule: SentimentDataModule = instantiate(
        cfg.data,
        _convert_="object",
        vocabulary=None if start is None else start.data["vocabulary"],
        cleaning=cleaning_of(*(each.data for each in (resumed, start) if each is not None)),
        unlabeled_ratio=cfg.loss.unlabeled_ratio if is_mixed(cfg.loss) else 0.0,
    )
    datamodule.prepare_data()
    datamodule.setup()
    check_reviews(datamodule.facts, trainer.world_size)
    if resumed is not None:
        datamodule.load_state_dict(resumed.data)  # is it the same data?
    longest = cfg.model.ngrams
    ngrams = datamodule.ngram_statistics(longest) if longest else None
    module, vector_coverage = build_module(
        cfg, datamodule.facts, embeddings, ngrams=ngrams, start=start
    )
    return datamodule, module, {"seed": cfg.seed, "vector_coverage": vector_coverage}


def cleaning_of(*checkpoints: Mapping[str, Any]) -> int:
    """How the texts of a training are cleaned: as those of the checkpoint that it comes from.

    Args:
        checkpoints: the data states of what it goes on from, or starts from; none for a new one.
    """
    if not checkpoints:
        return CURRENT_CLEANING
    return TokenizerSettings.of_checkpoint(checkpoints[0]["tokenizer"]).cleaning


def check_reviews(facts: DataFacts, processes: int) -> None:
    """Refuse a split that has not even one review for each process.

    Raises:
        InputError: with the split.
    """
    for split in ("train", "val", "test"):
        reviews = getattr(facts, f"{split}_reviews")
        if reviews < processes:
            raise InputError(
                f"data: {reviews} {split} reviews for {processes} processes; give each at least"
                " one: lower trainer.devices or trainer.num_nodes, or add reviews"
            )


def prepare_together(
    cfg: DictConfig, trainer: Trainer, resumed: Resumed | None, start: Start | None = None
) -> Prepared:
    """What ``prepare`` gives, once all processes are there and have prepared the same.

    Raises:
        InputError: what one of them cannot use, in all of them.
    """
    problem = None
    try:
        prepared = prepare(cfg, trainer, resumed, start)
    except InputError as error:
        if external_world_size() is None and not started_by_another_rank():
            raise  # the others have not been started yet
        problem = error
    connect(trainer)
    raise_together(problem)
    reviews = prepared[0].state_dict()["fingerprints"]
    if len(set(map(repr, gather((reviews, resumed and resumed.steps))))) > 1:
        raise InputError(
            "the processes do not see the same reviews or the same checkpoint; all machines need"
            " the same files, and the run folder on a file system that they share"
        )
    return prepared


def connect(trainer: Trainer) -> None:
    """Start the other processes, unless torchrun or srun has, and wait until all are there.

    Raises:
        InputError: they cannot reach each other.
    """
    launcher = trainer.strategy.launcher
    if trainer.world_size == 1 or launcher is None:
        return
    lead()
    try:
        launcher.launch(trainer.strategy.setup_environment, trainer=trainer)
    except RuntimeError as error:
        raise InputError(
            f"the processes of this training cannot reach each other ({first_words(error)}); is"
            " MASTER_ADDR the first machine, and MASTER_PORT free there?"
        ) from error
