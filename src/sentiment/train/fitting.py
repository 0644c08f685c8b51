"""What every fit of a network has in common: its callbacks, its end, and going on after it."""

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf

from sentiment.config.overrides import command, override, own_overrides
from sentiment.predict.checkpoint import Kind
from sentiment.report.results import Limit
from sentiment.runtime.distributed import external_world_size
from sentiment.runtime.errors import InputError, as_typed
from sentiment.runtime.run_folder import check_unused, holds_results
from sentiment.train.build import build_trainer, check_parts, translate_lightning_errors
from sentiment.train.callbacks import EpochTable, Line, OneCheckpoint
from sentiment.train.divergence import EndWhenDiverged
from sentiment.train.resume import Resumed, check_resumable, deciding_settings, newest_checkpoint
from sentiment.train.stopping import Interrupted, StopOnSignal

log = logging.getLogger(__name__)


class SweepError(InputError):
    """No run of this sweep can be trained."""


class Stopped(Exception):  # noqa: N818 (the user's wish is no error)
    """A training ended early because it was asked to, with the exit code of the signal."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Fit:
    """What a fit is done with.

    Attributes:
        kind: of the checkpoints.
        trainer: has the callbacks.
        table: gets a row for each epoch.
        stop: ends the fit when asked to.
        ckpt_path: the checkpoint to go on from, if any.
        resumed: what that says.
    """

    kind: Kind
    trainer: Trainer
    table: EpochTable
    stop: StopOnSignal
    ckpt_path: str | None
    resumed: Resumed | None

    def run(self, module: LightningModule, datamodule: LightningDataModule) -> None:
        """Fit, from a checkpoint if there is one.

        Raises:
            InputError: it has diverged; see ``EndWhenDiverged``.
            Stopped: Ctrl-C or SIGTERM ended it; ``checkpoints/last.ckpt`` holds the state.
        """
        with self.stop.listening():
            with suppress(Interrupted):
                self.trainer.fit(module, datamodule, ckpt_path=self.ckpt_path)
            self.stop.agree()
        if self.stop.agreed is not None:
            again = override("ckpt_path", str(self.stop.checkpoint))
            if external_world_size() is not None:
                log.info("Stopped. Go on with the same command and %s", again)
            elif not in_sweep():  # of which its end tells how it goes on
                told = command(self.kind.programs[0], *own_overrides(), again)
                log.info("Stopped. Go on with:\n  %s", told)
            raise Stopped(128 + self.stop.agreed)
        if self.resumed is not None and self.resumed.steps == self.trainer.global_step:
            log.info("That training was complete already: nothing was trained.")
        elif self.trainer.world_size > 1:
            told = "%d processes: the one with most tokens had %.3f times the mean of a step"
            log.info(told, self.trainer.world_size, self.table.imbalance)

    @property
    def best(self) -> Path | None:
        """The checkpoint of the best epoch, or None where none was written."""
        callback = self.trainer.checkpoint_callback
        path = Path(callback.best_model_path) if isinstance(callback, OneCheckpoint) else Path()
        return path if path.is_file() else None


def begin(
    cfg: DictConfig,
    folder: Path,
    *,
    kind: Kind,
    ckpt_path: str | None,
    line: Line,
    callbacks: Sequence[Callback] = (),
) -> Fit:
    """Settle what a fit needs before any data is read, and seed everything.

    Args:
        cfg: a config that ``check_config`` has let through.
        folder: the run folder.
        kind: of the checkpoints.
        ckpt_path: of ``checkpoint_to_resume``.
        line: what is told of an epoch.
        callbacks: beside those of every fit.

    Raises:
        InputError: the settings or the checkpoint to resume are no good.
    """
    settings = deciding_settings(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    resumed = None if ckpt_path is None else check_resumable(ckpt_path, folder, settings, kind)
    check_parts(cfg)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    # With deterministic algorithms torch would also fill all new memory before it is written to.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    shown = not sys.stdout.isatty()
    table = EpochTable(folder / "metrics.csv", settings=settings, line=line, print_lines=shown)
    stop = StopOnSignal(folder / "checkpoints" / "last.ckpt")
    nodes = ("callbacks.checkpoint", "callbacks.early_stopping", "scheduler")
    monitors = {f"{node}.monitor": OmegaConf.select(cfg, f"{node}.monitor") for node in nodes}
    diverged = EndWhenDiverged(monitors)  # before those that save
    with translate_lightning_errors(" (trainer=cpu runs anywhere)"):
        trainer = build_trainer(cfg, folder, [diverged, table, stop, *callbacks])
    check_sweep(trainer)
    return Fit(kind, trainer, table, stop, ckpt_path, resumed)


def limits(trainer: Trainer, datamodule: LightningDataModule, *splits: str) -> dict[str, Limit]:
    """The splits of which a setting leaves reviews out.

    Args:
        trainer: has run.
        datamodule: with a batch sampler for each split.
        splits: of ``train``, ``val`` and ``test``.
    """
    found = {}
    for split in splits:
        name = f"limit_{split}_batches"
        limit = getattr(trainer, name)
        if isinstance(limit, float) and limit == 1:
            continue
        sampler = getattr(datamodule, f"{split}_dataloader")().sampler
        kept = limit if isinstance(limit, int) else int(limit * len(sampler))
        if kept < len(sampler):
            if fast := getattr(trainer, "fast_dev_run", False):  # which sets the others
                name, limit = "fast_dev_run", fast
            batches = [] if split == "train" else list(sampler)[:kept]
            reviews = [review for batch in batches for review in batch]
            found[split] = Limit(f"trainer.{name}={as_typed(limit)}", reviews)
    return found


def check_sweep(trainer: Trainer) -> None:
    """Refuse to start processes from within a sweep: each would begin the whole sweep.

    Raises:
        SweepError: several processes train, and this is a run of a sweep.
    """
    if trainer.world_size > 1 and in_sweep():
        raise SweepError(
            f"-m: a sweep trains each run in one process, not in {trainer.world_size}; give"
            " trainer.devices=1 trainer.num_nodes=1, or start each run by a command of its own"
        )


def in_sweep() -> bool:
    """Whether this is a run of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def checkpoint_to_resume(chosen: str | None, folder: Path, kind: Kind) -> str | None:
    """The checkpoint that was chosen, or for ``auto`` the newest of the run folder, if any.

    Raises:
        InputError: nothing was chosen and the folder is used, or ``auto`` has no folder, or one
            that holds results without a checkpoint.
    """
    if chosen is None:
        check_unused(folder, resumable=True)
        return None
    if chosen != "auto":
        return chosen
    given = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    if not any(item.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for item in given):
        raise InputError("ckpt_path=auto: goes on in a run folder: give hydra.run.dir=FOLDER too")
    newest = newest_checkpoint(folder, kind)
    if newest is None and holds_results(folder):
        raise InputError(
            f"ckpt_path=auto: {folder} holds results, but no checkpoint to go on from; give another"
            " hydra.run.dir"
        )
    log.info("Going on from %s", newest) if newest else log.info("Nothing to go on from: starting")
    return None if newest is None else str(newest)
