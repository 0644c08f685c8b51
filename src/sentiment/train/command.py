"""Train a classifier by the command line; ``run.py`` does the work.

``python -m sentiment.train model=bilstm`` trains on the bundled sample; ``--help`` lists the
choices.
"""

import gc
import logging
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from sentiment.config.app import remove_unused_folder, run_program
from sentiment.config.explain import translate_config_errors
from sentiment.config.overrides import CommandLine
from sentiment.model.metric_names import CLASSIFIER_METRICS
from sentiment.runtime.distributed import (
    ProcessLost,
    end_with_parent,
    exit_together,
    is_first_survivor,
    rank,
    translate_lost_connection,
)
from sentiment.runtime.environment import end_in_order, prepare_process
from sentiment.runtime.errors import InputError
from sentiment.runtime.overrides import override
from sentiment.runtime.program import ending_at_once, write_error
from sentiment.runtime.run_folder import last_checkpoint

if TYPE_CHECKING:
    from sentiment.train.search.pruning import PruneHopeless

log = logging.getLogger(__name__)


def _run(cfg: DictConfig) -> dict[str, Any]:
    """Train once; returns the metrics and how the run ended, for a sweeper."""
    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode == RunMode.MULTIRUN  # a sweep continues with the other runs
    with ending_at_once(remove_unused_folder):
        from sentiment.predict.checkpoint import CLASSIFIER
        from sentiment.train.fit import Stopped, SweepError, stop_on_interrupt
        from sentiment.train.run import train
        from sentiment.train.sweep import quiet
    prepare_process()
    folder, command_line = Path(hydra_config.runtime.output_dir), CommandLine.of_hydra()
    try:
        with (
            stop_on_interrupt(folder, CLASSIFIER, command_line),
            translate_config_errors(),
            translate_lost_connection(),
            quiet() if multirun else nullcontext(),
        ):
            pruner = _pruner(hydra_config.sweeper)
            results = train(
                cfg,
                folder,
                callbacks=[] if pruner is None else [pruner],
                testing=hydra_config.sweeper.get("trial") is None,
                command_line=command_line,
            )
    except ProcessLost:
        _report_loss(folder)
        sys.exit(1)
    except Stopped as stop:
        remove_unused_folder()
        exit_together(stop.exit_code)
    except Exception as error:
        if not multirun or isinstance(error, SweepError):
            raise
        if isinstance(error, InputError):
            log.error("error: %s", error)
            return {"status": "failed", "error": str(error)}
        log.exception("error: this run failed")
        return {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    finally:
        if multirun:
            gc.collect()  # trainer and weights refer to one another; the next run needs the memory
    metrics = {name: value for name, value in results.items() if isinstance(value, int | float)}
    return {**metrics, "status": "pruned" if results.get("pruned") else "ok"}


def _pruner(sweeper: Any) -> "PruneHopeless | None":
    """The callback that reports each epoch to the search, if this run is a trial of one."""
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


def _report_loss(folder: Path) -> None:
    if is_first_survivor():
        last = last_checkpoint(folder)
        again = f"resume with {override('ckpt_path', last)}" if last.exists() else "start again"
        write_error(
            "another process of this training has ended (without a message above: killed or out"
            f" of memory); {again}"
        )


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    end_in_order()
    if rank():  # one process prints for all
        logging.disable()
        warnings.simplefilter("ignore")
        end_with_parent()
    run_program("train", _run)
