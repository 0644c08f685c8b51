"""Fit a network: build the trainer and its callbacks, start the processes, end in order."""

import logging
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from hydra.errors import InstantiationException
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from sentiment.config.app import remove_unused_folder
from sentiment.config.explain import constructor_error
from sentiment.config.overrides import CommandLine
from sentiment.predict.checkpoint import CLASSIFIER, Kind
from sentiment.report.results import Limit
from sentiment.runtime.distributed import (
    announce_parent,
    exit_together,
    external_world_size,
    rank,
)
from sentiment.runtime.environment import program_command
from sentiment.runtime.errors import InputError, as_typed, first_words, out_of_memory
from sentiment.runtime.files import replaced_when_whole
from sentiment.runtime.overrides import override
from sentiment.runtime.run_folder import last_checkpoint, mark_stopped, unmark_stopped
from sentiment.train.build import build_trainer, check_parts
from sentiment.train.callbacks import (
    CheckpointFacts,
    EpochLine,
    MetricsTable,
    OneCheckpoint,
    Stopwatch,
)
from sentiment.train.loggers import LogSettings, loggable_settings
from sentiment.train.resume import Resumed, check_resumable, deciding_settings
from sentiment.train.stopping import EndWhenDiverged, Interrupted, StopOnSignal

log = logging.getLogger(__name__)


@contextmanager
def translate_lightning_errors(hint: str = "") -> Iterator[None]:
    """Raise Lightning's exceptions about settings, machine or data as an InputError.

    Args:
        hint: what to do, appended to the message.

    Raises:
        InputError: Lightning raised an exception that is not a bug of ours.
        KeyboardInterrupt: Ctrl-C, for which Lightning would exit with code 1.
    """
    try:
        yield
    except SystemExit as exit_of_lightning:
        if not isinstance(exit_of_lightning.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from None
    except InstantiationException as error:
        refusal = constructor_error(error, hint)
        if refusal is None:
            raise
        raise refusal from error
    except MisconfigurationException as error:
        raise InputError(f"config: trainer: {' '.join(str(error).split())}{hint}") from error


class SweepError(InputError):
    """No run of this sweep can be trained."""


class Stopped(Exception):  # noqa: N818 (the user's wish is no error)
    """A training ended early because it was asked to, with the exit code of the signal."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def stopped(number: signal.Signals, folder: Path, kind: Kind, command_line: CommandLine) -> Stopped:
    """Mark a run as stopped, and log how to resume it if there is a checkpoint to resume.

    Args:
        number: the signal that has stopped it.
        folder: the run folder.
        kind: the kind of its checkpoints.
        command_line: what the run was started with.

    Returns:
        The exception to raise.
    """
    if rank() == 0:
        sys.stderr.write("\n")  # the terminal shows ^C
    mark_stopped(folder)
    last = last_checkpoint(folder)
    again = override("ckpt_path", str(last))
    how = f" Resume with the same command and {again}"
    if command_line.again:
        how = f" Go on with:\n  {program_command(*command_line.again)}"
    elif not last.exists():
        how = " There is no checkpoint yet to resume."
    elif external_world_size() is None:
        again = program_command(kind.programs[0], *command_line.repeated(), again)
        how = f" Resume with:\n  {again}"
    if not command_line.multirun:  # a sweep logs at its end how to continue
        log.warning("Stopped.%s", how)  # also where the run prints nothing but warnings
    return Stopped(128 + number)


@contextmanager
def stop_on_interrupt(folder: Path, kind: Kind, command_line: CommandLine) -> Iterator[None]:
    """Raise ``Stopped`` for a Ctrl-C outside of the fit, or a second one; args as ``stopped``."""
    try:
        yield
    except KeyboardInterrupt:
        raise stopped(signal.SIGINT, folder, kind, command_line) from None


@contextmanager
def exit_if_stopped(folder: Path, kind: Kind, command_line: CommandLine) -> Iterator[None]:
    """End the process with the exit code of a signal that stops it; args as ``stopped``."""
    try:
        with stop_on_interrupt(folder, kind, command_line):
            yield
    except Stopped as stop:
        remove_unused_folder()
        exit_together(stop.exit_code)


@dataclass(frozen=True)
class Fit:
    """A trainer with the callbacks that every fit has.

    Attributes:
        folder: the run folder.
        kind: the kind of its checkpoints.
        trainer: Lightning's trainer with all callbacks.
        stopwatch: the callback that measures time.
        table: the callback that keeps a row of metrics for each epoch.
        facts: the callback that writes facts of the run into each checkpoint.
        stop: the callback that ends the fit on a signal.
        ckpt_path: the checkpoint to resume, if any.
        resumed: the state of the training in that checkpoint.
        command_line: what the run was started with.
    """

    folder: Path
    kind: Kind
    trainer: Trainer
    stopwatch: Stopwatch
    table: MetricsTable
    facts: CheckpointFacts
    stop: StopOnSignal
    ckpt_path: str | None
    resumed: Resumed | None
    command_line: CommandLine

    def run(self, module: LightningModule, datamodule: LightningDataModule) -> None:
        """Fit the module, from a checkpoint if there is one.

        Raises:
            InputError: training diverged (see ``EndWhenDiverged``), or Lightning refuses a setting.
            Stopped: Ctrl-C or SIGTERM ended it; ``checkpoints/last.ckpt`` holds the state.
        """
        unmark_stopped(self.folder)
        with self.stop.listening(), translate_lightning_errors():
            try:
                self.trainer.fit(module, datamodule, ckpt_path=self.ckpt_path)
            except Interrupted:
                pass
            except (RuntimeError, MemoryError) as error:
                if out_of_memory(error):
                    raise InputError(self._smaller_batches(error)) from error
                raise
            self.stop.agree()
        if self.stop.agreed is not None:
            raise stopped(self.stop.agreed, self.folder, self.kind, self.command_line)
        if self.resumed is not None and self.resumed.steps == self.trainer.global_step:
            log.info("That training was complete already: nothing was trained.")
            last = self.stop.checkpoint
            if rank() == 0 and Path(str(self.ckpt_path)) == last.with_name("best.ckpt"):
                with replaced_when_whole(last) as part:  # it was killed between the two
                    shutil.copyfile(str(self.ckpt_path), part)
        elif self.trainer.world_size > 1:
            message = "%d processes: the one with most tokens had %.3f times the mean of a step"
            log.info(message, self.trainer.world_size, self.stopwatch.imbalance)

    def _smaller_batches(self, error: BaseException) -> str:
        """What to do where memory was full."""
        names = ("data.batch_size", "data.tokens_per_batch")
        limits = {name: self.facts.settings.get(name) or 0 for name in names}
        halves = [override(name, limit // 2) for name, limit in limits.items() if limit > 1]
        smaller = f"give smaller batches, such as {' '.join(halves)}, or " if halves else ""
        problem = f"{first_words(error)}: no memory is left; {smaller}lower data.max_length"
        if not self.stop.checkpoint.is_file():
            return problem
        again = override("ckpt_path", str(self.stop.checkpoint))
        problem += f". {again} goes on with batches of this size, where more memory is free"
        if self.kind is CLASSIFIER and halves:
            problem += f"; {override('pretrained.path', str(self.folder))}, in smaller ones"
        return problem

    @property
    def best(self) -> Path | None:
        """The checkpoint of the best epoch, or None where none was written."""
        callback = self.trainer.checkpoint_callback
        path = Path(callback.best_model_path) if isinstance(callback, OneCheckpoint) else Path()
        return path if path.is_file() else None


def prepare_fit(
    cfg: DictConfig,
    folder: Path,
    *,
    kind: Kind,
    ckpt_path: str | None,
    line: EpochLine,
    callbacks: Sequence[Callback] = (),
    command_line: CommandLine,
) -> Fit:
    """Check the settings before any data is read, seed everything, and build the trainer.

    Args:
        cfg: a config that ``check_config`` has let through.
        folder: the run folder.
        kind: the kind of the checkpoints.
        ckpt_path: the result of ``checkpoint_to_resume``.
        line: formats the line that is logged for each epoch.
        callbacks: further callbacks.
        command_line: what the run was started with.

    Raises:
        InputError: the settings or the checkpoint to resume cannot be used.
    """
    settings = deciding_settings(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    resumed = None if ckpt_path is None else check_resumable(ckpt_path, folder, settings, kind)
    check_parts(cfg)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    # With deterministic algorithms torch would also fill all new memory before it is written to.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    stopwatch = Stopwatch()
    table = MetricsTable(folder / "metrics.csv", stopwatch, line)
    facts = CheckpointFacts(table, settings)
    stop = StopOnSignal(last_checkpoint(folder))
    nodes = ("callbacks.checkpoint", "callbacks.early_stopping", "scheduler")
    monitors = {f"{node}.monitor": OmegaConf.select(cfg, f"{node}.monitor") for node in nodes}
    diverged = EndWhenDiverged(monitors)  # precedes the callbacks that save
    with translate_lightning_errors(" (trainer=cpu runs anywhere)"):
        to_loggers = LogSettings(loggable_settings(cfg))
        own = [diverged, stopwatch, table, facts, stop, to_loggers]
        trainer = build_trainer(cfg, folder, own, callbacks)
    if trainer.world_size > 1 and command_line.multirun:  # each would begin the whole sweep
        raise SweepError(
            f"-m: a sweep trains each run in one process, not in {trainer.world_size}; give"
            " trainer.devices=1 trainer.num_nodes=1, or start each run by a command of its own"
        )
    return Fit(
        folder, kind, trainer, stopwatch, table, facts, stop, ckpt_path, resumed, command_line
    )


def start_processes(trainer: Trainer) -> None:
    """Start the other processes, unless torchrun or srun has, and wait until all are there.

    Raises:
        InputError: the processes cannot reach each other.
    """
    launcher = trainer.strategy.launcher
    if trainer.world_size == 1 or launcher is None:
        return
    announce_parent()
    try:
        launcher.launch(trainer.strategy.setup_environment, trainer=trainer)
    except RuntimeError as error:
        raise InputError(
            f"the processes of this training cannot reach each other ({first_words(error)}); is"
            " MASTER_ADDR the first machine, and MASTER_PORT free there?"
        ) from error


def limits(trainer: Trainer, datamodule: LightningDataModule, *splits: str) -> dict[str, Limit]:
    """The splits that are not used in full because of a setting, such as ``limit_val_batches``.

    Args:
        trainer: a trainer that has run.
        datamodule: its data, with a batch sampler for each split.
        splits: names among ``train``, ``val`` and ``test``.
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
            if fast := getattr(trainer, "fast_dev_run", False):  # sets the others
                name, limit = "fast_dev_run", fast
            batches = [] if split == "train" else list(sampler)[:kept]
            reviews = [review for batch in batches for review in batch]
            found[split] = Limit(f"trainer.{name}={as_typed(limit)}", reviews)
    return found
