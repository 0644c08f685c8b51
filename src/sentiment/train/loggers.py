"""What loggers get beside the metrics of each epoch: settings, final metrics and files."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from omegaconf import DictConfig, OmegaConf

from sentiment.report.page import REPORT
from sentiment.report.tables import is_number
from sentiment.runtime.errors import first_words
from sentiment.runtime.yaml_files import flat
from sentiment.train.resume import with_class_names

log = logging.getLogger(__name__)

_OF_A_RUN = ("fit_seconds", "parameters", "latency_ms", "temperature", "epochs")


def loggable_settings(cfg: DictConfig) -> dict[str, Any]:
    """The settings of a training by full key, such as ``optimizer.lr``; those that are set."""
    parts = [str(key) for key in cfg if key not in ("logger", "ckpt_path")]
    plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, parts), resolve=True)
    found = with_class_names(dict(flat(plain)))
    return {
        key: value
        for key, value in found.items()
        if value is not None and not key.endswith("._partial_")
    }


class LogSettings(Callback):
    """Gives loggers the settings of a training as hyper-parameters, and ends them if it fails."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give them."""
        for logger in trainer.loggers:
            logger.log_hyperparams(self._settings)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """End what a sweep's next run would continue."""
        for logger in trainer.loggers:
            _finish(logger, exit_code=1)


def _finish(logger: Logger, exit_code: int = 0) -> None:
    """End the run of W&B, else the next run of a sweep would continue in it."""
    if isinstance(logger, WandbLogger):
        with _warned(logger):
            logger.experiment.finish(exit_code=exit_code)


@contextmanager
def _warned(logger: Logger) -> Iterator[None]:
    """Log an exception of a logger, such as that of its server, as a warning."""
    try:
        yield
    except Exception as error:
        name = type(logger).__name__
        log.warning("%s failed: %s; what it lacks is in the run folder", name, first_words(error))


@contextmanager
def logged_results(
    trainer: Trainer, cfg: DictConfig, folder: Path, results: Mapping[str, Any], best: Path | None
) -> Iterator[None]:
    """Give the results of a training to its loggers, and its files to those that keep files.

    The report of the training is written within: they get it afterwards. They are ended even if
    it is interrupted.

    Args:
        trainer: the trainer, which has ended.
        cfg: the config of the training.
        folder: the run folder.
        results: the content of ``results.json``. Metrics of the best epoch are called
            ``best/val/…``, because loggers have ``val/…`` of each epoch.
        best: the best checkpoint, if there is one.
    """
    metrics = {
        f"best/{name}" if name.startswith("val/") else name: value
        for name, value in results.items()
        if is_number(value) and (name.startswith(("val/", "test/")) or name in _OF_A_RUN)
    }
    plots = sorted(folder.glob("*.png"))
    reached = []
    for logger in trainer.loggers:
        with _warned(logger):
            if isinstance(logger, TensorBoardLogger):
                monitor = getattr(trainer.checkpoint_callback, "monitor", None)
                monitored = results.get(str(monitor))
                shown = metrics | ({"hp_metric": monitored} if is_number(monitored) else {})
                logger.log_hyperparams(loggable_settings(cfg), shown, trainer.global_step)
            else:
                logger.log_metrics(metrics, trainer.global_step)
            if isinstance(logger, MLFlowLogger):
                for path in plots:
                    logger.experiment.log_artifact(logger.run_id, str(path))
                if best is not None:
                    logger.experiment.log_artifact(logger.run_id, str(best), "checkpoints")
            elif isinstance(logger, WandbLogger):
                logger.log_image("plots", [str(path) for path in plots])
                if best is not None:
                    logger.experiment.log_model(str(best), f"sentiment-{logger.experiment.id}")
            reached.append(logger)
    try:
        yield
    finally:
        for logger in reached:
            with _warned(logger):
                _keep_report(logger, folder)
                logger.finalize("success")
        for logger in trainer.loggers:
            _finish(logger)


def _keep_report(logger: Logger, folder: Path) -> None:
    """Give the report of a training, if there is one, to a logger that keeps files."""
    report = folder / REPORT
    if not report.exists():
        return
    if isinstance(logger, MLFlowLogger):
        logger.experiment.log_artifact(logger.run_id, str(report))
    elif isinstance(logger, WandbLogger):
        logger.experiment.save(str(report), base_path=str(folder), policy="now")
