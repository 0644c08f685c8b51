"""Train a classifier: compose the config, fit, test the best checkpoint, write the results.

``python -m sentiment.train model=bilstm`` trains on the bundled sample; ``--help`` lists the
choices.
"""

import gc
import logging
import re
import shlex
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
import lightning
import torch
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from sentiment import config
from sentiment.build import build_module, build_trainer, check_optimizer, refused_by_lightning
from sentiment.callbacks import (
    EpochTable,
    Interrupted,
    OneCheckpoint,
    StopWhenAsked,
)
from sentiment.checkpoint import read_checkpoint
from sentiment.checks import check_config
from sentiment.data.datamodule import SentimentDataModule
from sentiment.environment import device_name, prepare_process, python_command, versions
from sentiment.errors import InputError
from sentiment.model.latency import median_latency
from sentiment.model.metrics import MONITORED
from sentiment.model.module import SentimentModule
from sentiment.results import data_results, fit_results, tell_data, tell_model, write_results
from sentiment.resume import (
    check_resumable,
    check_unused,
    deciding_settings,
    newest_checkpoint,
)
from sentiment.sweep import told_when_cut_short

if TYPE_CHECKING:
    from sentiment.search.pruning import PruneHopeless

log = logging.getLogger(__name__)

_REVIEWS_TO_TIME = 30


class Stopped(Exception):  # noqa: N818 (the user's wish is no error)
    """A training ended early because it was asked to, with the exit code of the signal."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def train(
    cfg: DictConfig, folder: Path, *, pruner: "PruneHopeless | None" = None
) -> dict[str, Any]:
    """Train, test and write everything into a run folder.

    Args:
        cfg: a config as ``conf/train.yaml`` composes it.
        folder: the run folder.
        pruner: ends the training early where it is a hopeless trial of a search; it is not tested.

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
    embeddings = instantiate(cfg.embeddings)
    datamodule: SentimentDataModule = instantiate(cfg.data, _convert_="object")
    datamodule.prepare_data()
    datamodule.setup()
    if resumed is not None:
        datamodule.load_state_dict(resumed.data)  # is it the same data?
    facts = datamodule.facts
    module, vector_coverage = build_module(cfg, facts, embeddings)
    run = {"seed": cfg.seed, "vector_coverage": vector_coverage}
    table.run.update(run)
    tell_data(
        facts,
        vector_coverage,
        sample=cfg.data.csv == config.sample_path(),
        pretrained="path" in cfg.embeddings or "archive" in cfg.embeddings,
    )
    if cfg.trainer.enable_model_summary:
        tell_model(module.classifier)
    with refused_by_lightning():
        fit(trainer, module, datamodule, stop, ckpt_path=ckpt_path)
        if resumed is not None and resumed.steps == trainer.global_step:
            log.info("That training was complete already: nothing was trained.")
        best = best_checkpoint(trainer)
        saved = None if best is None else read_checkpoint(best)
        if saved is not None:
            module.load_state_dict(saved["state_dict"])
        pruned = pruner is not None and pruner.pruned
        figures: dict[str, Any] = {"pruned": True} if pruned else test(trainer, module, datamodule)
    results = {**figures, **data_results(facts), **run}
    results |= fit_results(table, saved["run"]["epochs"] if saved else None)
    results |= {
        "parameters": sum(weight.numel() for weight in module.classifier.parameters()),
        "precision": cfg.trainer.precision,
        "device": device_name(trainer.strategy.root_device),
        "versions": versions(),
    }
    write_results(folder, results, table.rows, module.confusion, best)
    return results


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
    with stop.listening(), suppress(Interrupted):
        trainer.fit(module, datamodule, ckpt_path=ckpt_path)
    if stop.asked is not None:
        again = [*_overrides(), _override("ckpt_path", str(stop.checkpoint))]
        command = shlex.join([python_command(), "-m", "sentiment.train", *again])
        if not (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN):
            log.info("Stopped. Go on with:\n  %s", command)
        raise Stopped(128 + stop.asked)


def best_checkpoint(trainer: Trainer) -> Path | None:
    """The checkpoint of the best epoch, or None where none was written."""
    callback = trainer.checkpoint_callback
    path = Path(callback.best_model_path) if isinstance(callback, OneCheckpoint) else Path()
    return path if path.is_file() else None


def test(
    trainer: Trainer, module: SentimentModule, datamodule: SentimentDataModule
) -> dict[str, float]:
    """The figures of the module on the test split, and how long one review takes it."""
    trainer.test(module, datamodule, verbose=False)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    reviews = datamodule.single_reviews("val", _REVIEWS_TO_TIME)
    latency = median_latency(
        module.classifier, [(review.token_ids, review.lengths) for review in reviews]
    )
    return {
        **{name: value for name, value in figures.items() if name.startswith("test/")},
        "latency_ms": 1000 * latency,
    }


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


def _run(cfg: DictConfig) -> dict[str, Any]:
    """Train once; what is returned tells a sweeper how the run ended."""
    prepare_process()
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode == RunMode.MULTIRUN  # other runs go on; the table tells of this
    try:
        with config.refused_in_one_line():
            _check_sweep(hydra_config)
            pruner = _pruner(hydra_config.sweeper)
            results = train(cfg, Path(hydra_config.runtime.output_dir), pruner=pruner)
    except InputError as error:
        if not multirun:
            _refuse(error)
        log.error("error: %s", error)
        return {"status": "failed", "error": str(error)}
    except Stopped as stop:
        sys.exit(stop.exit_code)
    except Exception as error:
        if not multirun:
            raise
        log.exception("error: this run failed")
        return {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    finally:
        if multirun:
            gc.collect()  # trainer and weights refer to one another; the next run needs the memory
    figures = {name: value for name, value in results.items() if isinstance(value, int | float)}
    return {**figures, "status": "pruned" if results.get("pruned") else "ok"}


def _check_sweep(hydra_config: HydraConf) -> None:
    chosen = hydra_config.runtime.choices.get("sweep")
    if chosen is not None and hydra_config.mode != RunMode.MULTIRUN:
        raise InputError(f"sweep={chosen}: searches over many runs; add -m")


def _pruner(sweeper: Any) -> "PruneHopeless | None":
    """What reports each epoch to the search that this run is a trial of, if it is one."""
    if sweeper.get("trial") is None or len(sweeper.objectives) > 1:
        return None
    monitor = sweeper.objectives[0]
    if monitor not in MONITORED or sweeper.pruner is None:
        return None
    from sentiment.search.pruning import PruneHopeless
    from sentiment.search.study import open_trial

    trial = open_trial(
        sweeper.storage, sweeper.study_name, sweeper.trial, instantiate(sweeper.pruner)
    )
    return PruneHopeless(trial, monitor)


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    config.register()
    prepare_process()
    run = hydra.main(
        version_base="1.3", config_path=str(config.config_directory()), config_name="train"
    )(_run)
    try:
        with config.refused_in_one_line(), told_when_cut_short():
            run()
    except InputError as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped before the training had begun, or at once.\n")
        sys.exit(130)


def _refuse(error: InputError) -> NoReturn:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(2)


if __name__ == "__main__":
    # As sentiment.train, not __main__, the processes of a launcher find what they are to run.
    import_module("sentiment.train").main()
