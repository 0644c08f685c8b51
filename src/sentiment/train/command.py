"""Train a classifier by the command line; ``run.py`` does the work.

``python -m sentiment.train model=bilstm`` trains on the bundled sample; ``--help`` lists the
choices.
"""

import gc
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from sentiment.config.app import remove_refused_folder
from sentiment.config.explain import translate_config_errors
from sentiment.config.overrides import ONE_RUN, CommandLine, spell_null_choices
from sentiment.config.resolvers import config_directory, register
from sentiment.model.metric_names import CLASSIFIER_METRICS
from sentiment.runtime.distributed import (
    ProcessLost,
    end_with_parent,
    in_process_group,
    is_first_survivor,
    is_reporting_rank,
    leave_group,
    rank,
    started_by_another_rank,
    translate_lost_connection,
)
from sentiment.runtime.environment import prepare_process
from sentiment.runtime.errors import InputError
from sentiment.train.fit import Stopped, SweepError
from sentiment.train.run import train
from sentiment.train.sweep import ranked_when_cut_short

if TYPE_CHECKING:
    from sentiment.train.search.pruning import PruneHopeless

log = logging.getLogger(__name__)


def _run(cfg: DictConfig) -> dict[str, Any]:
    """Train once; what is returned tells a sweeper how the run ended."""
    prepare_process()
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode == RunMode.MULTIRUN  # other runs go on; the table tells of this
    folder = Path(hydra_config.runtime.output_dir)
    try:
        with translate_config_errors(), translate_lost_connection():
            _check_sweep(hydra_config)
            pruner = _pruner(hydra_config.sweeper)
            results = train(
                cfg,
                folder,
                callbacks=[] if pruner is None else [pruner],
                testing=hydra_config.sweeper.get("trial") is None,
                command_line=CommandLine.of_hydra(),
            )
    except InputError as error:
        remove_refused_folder()
        if not multirun or isinstance(error, SweepError):
            _refuse(error)
        log.error("error: %s", error)
        return {"status": "failed", "error": str(error)}
    except ProcessLost:
        _tell_loss(folder)
        sys.exit(1)
    except Stopped as stop:
        _leave(stop.exit_code)
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
    # Hydra adds its mode to the overrides, so what was typed tells whether one run is meant.
    in_sweep = hydra_config.mode == RunMode.MULTIRUN or ONE_RUN in sys.argv[1:]
    if chosen is not None and not in_sweep:
        raise InputError(f"sweep={chosen}: searches over many runs; add -m")


def _pruner(sweeper: Any) -> "PruneHopeless | None":
    """What reports each epoch to the search that this run is a trial of, if it is one."""
    if sweeper.get("trial") is None or len(sweeper.objectives) > 1:
        return None
    monitor = sweeper.objectives[0]
    if monitor not in CLASSIFIER_METRICS or sweeper.pruner is None:
        return None
    from sentiment.train.search.pruning import PruneHopeless
    from sentiment.train.search.study import open_trial

    trial = open_trial(
        sweeper.storage, sweeper.study_name, sweeper.trial, instantiate(sweeper.pruner)
    )
    return PruneHopeless(trial, monitor)


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    register()
    sys.argv[1:] = spell_null_choices(sys.argv[1:])
    prepare_process()
    if rank():  # one process tells for all
        logging.disable()
        warnings.simplefilter("ignore")
        end_with_parent()
    run = hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="train")(
        _run
    )
    try:
        with translate_config_errors(), ranked_when_cut_short():
            run()
    except InputError as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped before the training had begun, or at once.\n")
        sys.exit(130)


def _tell_loss(folder: Path) -> None:
    if is_first_survivor():
        last = folder / "checkpoints" / "last.ckpt"
        again = f"go on with ckpt_path={last}" if last.exists() else "start again"
        sys.stderr.write(
            "error: another process of this training has ended, killed or out of memory if it says"
            f" nothing above; {again}\n"
        )


def _refuse(error: InputError) -> NoReturn:
    if is_reporting_rank():
        sys.stderr.write(f"error: {error}\n")
    _leave(2)


def _leave(exit_code: int) -> NoReturn:
    """End as agreed. Lightning would kill all processes if one that it has started had failed."""
    agreed = in_process_group()
    leave_group()
    sys.exit(0 if started_by_another_rank() and agreed else exit_code)
