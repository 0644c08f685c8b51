"""Train a classifier: compose the config, fit, test the best checkpoint, write the results.

``python -m sentiment.train model=bilstm`` trains on the bundled sample; ``--help`` lists the
choices.
"""

import logging
import re
import shlex
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
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
from sentiment.data.datamodule import SentimentDataModule
from sentiment.environment import device_name, keep_freed_memory, python_command, versions
from sentiment.errors import InputError
from sentiment.model.module import SentimentModule
from sentiment.prepare import prepare_together
from sentiment.ranks import (
    ProcessLost,
    connected,
    end_with_parent,
    losses_told,
    outlives_others,
    part,
    rank,
    speaks,
    started_by_us,
    started_outside,
)
from sentiment.results import data_results, fit_results, tell_data, tell_model, write_results
from sentiment.resume import check_resumable, check_unused, deciding_settings, newest_checkpoint
from sentiment.stopping import Interrupted, StopWhenAsked
from sentiment.sweep import tell_ranking

log = logging.getLogger(__name__)


class SweepRefused(InputError):  # noqa: N818 (short for its kind)
    """No run of this sweep can be trained."""


class Stopped(Exception):  # noqa: N818 (the user's wish is no error)
    """A training ended early because it was asked to, with the exit code of the signal."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def train(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Train, test and write everything into a run folder.

    Args:
        cfg: a config as ``conf/train.yaml`` composes it.
        folder: the run folder.

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
        trainer = build_trainer(cfg, folder, [table, stop])
    check_sweep(trainer)
    datamodule, module, run = prepare_together(cfg, trainer, resumed)
    table.run.update(run)
    if rank() == 0:
        tell_data(
            datamodule.facts,
            run["vector_coverage"],
            sample=cfg.data.csv == config.sample_path(),
            pretrained="path" in cfg.embeddings or "archive" in cfg.embeddings,
        )
        if cfg.trainer.enable_model_summary:
            tell_model(module.classifier)
    with refused_by_lightning():
        fit(trainer, module, datamodule, stop, ckpt_path=ckpt_path)
        if resumed is not None and resumed.steps == trainer.global_step:
            log.info("That training was complete already: nothing was trained.")
        elif trainer.world_size > 1:
            told = "%d processes: the one with most tokens had %.3f times the mean of a step"
            log.info(told, trainer.world_size, table.imbalance)
        best = best_checkpoint(trainer)
        saved = None if best is None else read_checkpoint(best)
        figures = test(trainer, module, datamodule, saved["state_dict"] if saved else None)
    results = {**figures, **data_results(datamodule.facts), **run}
    results |= fit_results(table, saved["run"]["epochs"] if saved else None)
    results |= {
        "parameters": sum(weight.numel() for weight in module.classifier.parameters()),
        "precision": cfg.trainer.precision,
        "device": device_name(trainer.strategy.root_device),
        "versions": versions(),
    }
    if trainer.world_size > 1:
        results |= {"processes": trainer.world_size, "imbalance": table.imbalance}
    if rank() == 0:
        write_results(folder, results, table.rows, module.confusion, best)
    return results


def check_sweep(trainer: Trainer) -> None:
    """Refuse to start processes from within a sweep: each would begin the whole sweep.

    Raises:
        SweepRefused: several processes train, and this is a run of a sweep.
    """
    sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if trainer.world_size > 1 and sweep:
        raise SweepRefused(
            f"-m: a sweep trains each run in one process, not in {trainer.world_size}; give"
            " trainer.devices=1 trainer.num_nodes=1, or start each run by a command of its own"
        )


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
    if stop.agreed is not None:
        again = _override("ckpt_path", str(stop.checkpoint))
        if started_outside() is None:
            command = [python_command(), "-m", "sentiment.train", *_overrides(), again]
            log.info("Stopped. Go on with:\n  %s", shlex.join(command))
        else:
            log.info("Stopped. Go on with the same command and %s", again)
        raise Stopped(128 + stop.agreed)


def best_checkpoint(trainer: Trainer) -> Path | None:
    """The checkpoint of the best epoch, or None where none was written."""
    callback = trainer.checkpoint_callback
    path = Path(callback.best_model_path) if isinstance(callback, OneCheckpoint) else Path()
    return path if path.is_file() else None


def test(
    trainer: Trainer,
    module: SentimentModule,
    datamodule: SentimentDataModule,
    weights: Mapping[str, Any] | None,
) -> dict[str, float]:
    """The figures of a checkpoint's weights on the test split, or of those that there are."""
    if weights is not None:
        module.load_state_dict(weights)
    trainer.test(module, datamodule, verbose=False)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {name: value for name, value in figures.items() if name.startswith("test/")}


def _overrides() -> list[str]:
    """The overrides of this command line, without those that a resumed one gives anew."""
    if not HydraConfig.initialized():
        return []
    given = HydraConfig.get().overrides
    found = [item for item in given.hydra if item.startswith("hydra.searchpath=")]
    return [*found, *(item for item in given.task if not item.startswith("ckpt_path="))]


def _override(key: str, value: str) -> str:
    """A setting as Hydra's grammar takes it: quoted where it must be."""
    if re.fullmatch(r"[\w./:+-]+", value):
        return f"{key}={value}"
    quoted = value.replace("'", "\\'")
    return f"{key}='{quoted}'"


@hydra.main(version_base="1.3", config_path=str(config.config_directory()), config_name="train")
def _run(cfg: DictConfig) -> float:
    hydra_config = HydraConfig.get()
    try:
        with config.refused_in_one_line(), losses_told():
            results = train(cfg, Path(hydra_config.runtime.output_dir))
    except InputError as error:
        sweep = hydra_config.mode == RunMode.MULTIRUN
        if sweep and not isinstance(
            error, SweepRefused
        ):  # the other runs go on; the table tells of it
            log.error("error: %s", error)
            return float("nan")
        _refuse(error)
    except ProcessLost:
        if outlives_others():
            last = Path(hydra_config.runtime.output_dir) / "checkpoints" / "last.ckpt"
            again = f"go on with ckpt_path={last}" if last.exists() else "start again"
            sys.stderr.write(
                "error: another process of this training has ended, killed or out of memory if it"
                f" says nothing above; {again}\n"
            )
        sys.exit(1)
    except Stopped as stop:
        if hydra_config.mode == RunMode.MULTIRUN:
            log.info("The sweep ends here; its other runs were not begun.")
            tell_ranking(Path(hydra_config.sweep.dir))
        _leave(stop.exit_code)
    return float(results.get("val/accuracy", float("nan")))


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    config.register()
    keep_freed_memory()
    logging.raiseExceptions = False  # a reader that closes its pipe does not fill stderr
    if rank():  # one process tells for all
        logging.disable()
        warnings.simplefilter("ignore")
        end_with_parent()
    try:
        with config.refused_in_one_line():
            _run()
    except InputError as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped before the training had begun, or at once.\n")
        sys.exit(130)


def _refuse(error: InputError) -> NoReturn:
    if speaks():
        sys.stderr.write(f"error: {error}\n")
    _leave(2)


def _leave(exit_code: int) -> NoReturn:
    """End as agreed. Lightning would kill all processes if one that it has started had failed."""
    agreed = connected()
    part()
    sys.exit(0 if started_by_us() and agreed else exit_code)


if __name__ == "__main__":
    main()
