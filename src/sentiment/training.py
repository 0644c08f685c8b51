"""One training: fit, test the best checkpoint, write the results."""

import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from sentiment import config
from sentiment.build import build_trainer, check_optimizer, refused_by_lightning
from sentiment.callbacks import EpochTable, OneCheckpoint
from sentiment.checkpoint import read_checkpoint
from sentiment.checks import check_config
from sentiment.commands import override, own_overrides, train_command
from sentiment.data.datamodule import SentimentDataModule
from sentiment.environment import device_name, versions
from sentiment.errors import InputError
from sentiment.model.latency import median_latency
from sentiment.model.module import SentimentModule
from sentiment.prepare import prepare_together
from sentiment.ranks import rank, started_outside
from sentiment.results import data_results, fit_results, tell_data, tell_model, write_results
from sentiment.resume import check_resumable, check_unused, deciding_settings, newest_checkpoint
from sentiment.stopping import Interrupted, StopWhenAsked

if TYPE_CHECKING:
    from sentiment.search.pruning import PruneHopeless

log = logging.getLogger(__name__)

_REVIEWS_TO_TIME = 30


class SweepRefused(InputError):  # noqa: N818 (short for its kind)
    """No run of this sweep can be trained."""


class Stopped(Exception):  # noqa: N818 (the user's wish is no error)
    """A training ended early because it was asked to, with the exit code of the signal."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


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
        InputError: the data, the vectors, the settings or the checkpoint to resume are no good.
        Stopped: Ctrl-C or SIGTERM; ``checkpoints/last.ckpt`` holds the state.
    """
    check_config(cfg)
    settings = deciding_settings(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    ckpt_path = checkpoint_to_resume(cfg.ckpt_path, folder)
    resumed = None if ckpt_path is None else check_resumable(ckpt_path, folder, settings)
    check_optimizer(cfg)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    # With deterministic algorithms torch would also fill all new memory before it is written to.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    table = EpochTable(
        folder / "metrics.csv", settings=settings, print_lines=not sys.stdout.isatty()
    )
    stop = StopWhenAsked(folder / "checkpoints" / "last.ckpt")
    with refused_by_lightning(" (trainer=cpu runs anywhere)"):
        own = [table, stop, *([pruner] if pruner else [])]
        trainer = build_trainer(cfg, folder, own)
    check_sweep(trainer)
    datamodule, module, run = prepare_together(cfg, trainer, resumed)
    table.run.update(run)
    _tell_beginning(cfg, datamodule, module, run["vector_coverage"])
    with refused_by_lightning():
        fit(trainer, module, datamodule, stop, ckpt_path=ckpt_path)
        if resumed is not None and resumed.steps == trainer.global_step:
            log.info("That training was complete already: nothing was trained.")
        elif trainer.world_size > 1:
            told = "%d processes: the one with most tokens had %.3f times the mean of a step"
            log.info(told, trainer.world_size, table.imbalance)
        best = best_checkpoint(trainer)
        saved = None if best is None else read_checkpoint(best)
        if saved is not None:
            module.load_state_dict(saved["state_dict"])
        pruned = pruner is not None and pruner.pruned
        figures = test(trainer, module, datamodule) if testing and not pruned else {}
    results = {**figures, **data_results(datamodule.facts), **run}
    if pruned:
        results["pruned"] = True
    results |= fit_results(table, saved["run"]["epochs"] if saved else None)
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
    cfg: DictConfig, datamodule: SentimentDataModule, module: SentimentModule, coverage: float
) -> None:
    if rank() != 0:
        return
    tell_data(
        datamodule.facts,
        coverage,
        sample=cfg.data.csv == config.sample_path(),
        pretrained="path" in cfg.embeddings or "archive" in cfg.embeddings,
    )
    if cfg.trainer.enable_model_summary:
        tell_model(module.classifier)


def check_sweep(trainer: Trainer) -> None:
    """Refuse to start processes from within a sweep: each would begin the whole sweep.

    Raises:
        SweepRefused: several processes train, and this is a run of a sweep.
    """
    if trainer.world_size > 1 and in_sweep():
        raise SweepRefused(
            f"-m: a sweep trains each run in one process, not in {trainer.world_size}; give"
            " trainer.devices=1 trainer.num_nodes=1, or start each run by a command of its own"
        )


def in_sweep() -> bool:
    """Whether this is a run of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def checkpoint_to_resume(chosen: str | None, folder: Path) -> str | None:
    """The checkpoint that was chosen, or for ``auto`` the newest of the run folder, if any.

    Raises:
        InputError: nothing was chosen and the folder holds a training, or ``auto`` has no folder.
    """
    if chosen is None:
        check_unused(folder)
        return None
    if chosen != "auto":
        return chosen
    given = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    if not any(item.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for item in given):
        raise InputError("ckpt_path=auto: goes on in a run folder: give hydra.run.dir=FOLDER too")
    newest = newest_checkpoint(folder)
    log.info("Going on from %s", newest) if newest else log.info("Nothing to go on from: starting")
    return None if newest is None else str(newest)


def fit(
    trainer: Trainer,
    module: SentimentModule,
    datamodule: SentimentDataModule,
    stop: StopWhenAsked,
    *,
    ckpt_path: str | None,
) -> None:
    """Fit, from a checkpoint if there is one; ``Stopped`` when Ctrl-C or SIGTERM ended it."""
    with stop.listening():
        with suppress(Interrupted):
            trainer.fit(module, datamodule, ckpt_path=ckpt_path)
        stop.agree()
    if stop.agreed is None:
        return
    again = override("ckpt_path", str(stop.checkpoint))
    if started_outside() is not None:
        log.info("Stopped. Go on with the same command and %s", again)
    elif not in_sweep():  # of which its end tells how it goes on
        log.info("Stopped. Go on with:\n  %s", train_command(*own_overrides(), again))
    raise Stopped(128 + stop.agreed)


def best_checkpoint(trainer: Trainer) -> Path | None:
    """The checkpoint of the best epoch, or None where none was written."""
    callback = trainer.checkpoint_callback
    path = Path(callback.best_model_path) if isinstance(callback, OneCheckpoint) else Path()
    return path if path.is_file() else None


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
