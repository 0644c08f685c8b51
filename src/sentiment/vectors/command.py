"""Train word vectors by the command line; ``run.py`` does the work.

``python -m sentiment.vectors data=csv data.csv=FILE`` takes the data settings of
``sentiment.train``, makes the same splits, and reads the training texts and those of
``data.unlabeled_csv`` alone.
"""

import signal
import threading
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sentiment.config.app import remove_unused_folder, run_program
from sentiment.config.overrides import CommandLine
from sentiment.runtime.program import end_at_once, ending_at_once

_stopping = threading.Event()  # set by a signal


def _stop(*_: object) -> None:
    _stopping.set()
    threading.excepthook = lambda _: None  # joblib's thread may fail when its workers are gone
    raise KeyboardInterrupt


def _run(cfg: DictConfig) -> None:
    with ending_at_once(remove_unused_folder):
        from sentiment.data.workers import end_workers
        from sentiment.vectors.run import run_vectors
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as after `&` in a script
            signal.signal(number, _stop)
    try:
        run_vectors(
            cfg,
            Path(HydraConfig.get().runtime.output_dir),
            command_line=CommandLine.of_hydra(),
            stopping=_stopping.is_set,
        )
    except KeyboardInterrupt:
        end_workers()
        end_at_once()  # gensim's threads may still run, and need the interpreter


def main() -> None:
    """The command line: one clear line for what is wrong with the input, and exit code 2."""
    run_program("vectors", _run)
