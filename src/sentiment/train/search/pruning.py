"""Report a training's metric to its trial after each epoch, and end hopeless trainings."""

import logging
import math

from lightning import Callback, LightningModule, Trainer
from optuna.trial import Trial

log = logging.getLogger(__name__)


class PruneHopeless(Callback):
    """Reports a metric after each epoch, and ends the training if the trial's pruner says so.

    Args:
        trial: the trial of the study that this training belongs to.
        monitor: the metric, such as ``val/accuracy``.
    """

    def __init__(self, trial: Trial, monitor: str) -> None:
        self.pruned = False
        self._validated = False  # in this epoch
        self._trial = trial
        self._monitor = monitor
        earlier = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        self._reported = set(earlier)  # by a training that was killed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End at once if the pruner had ended this trial already when the process was killed."""
        if self._reported and trainer.current_epoch > max(self._reported):
            self._ask(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch."""
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that this epoch has metrics of a validation."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report this epoch, if it was validated."""
        value = trainer.callback_metrics.get(self._monitor)
        if value is None or not (self._validated or self._monitor.startswith("train/")):
            return
        if not math.isfinite(value):  # AUROC of one class; the trial is reported as failed
            return
        if trainer.current_epoch not in self._reported:
            self._trial.report(float(value), trainer.current_epoch)
            self._reported.add(trainer.current_epoch)
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self._ask(trainer)

    def _ask(self, trainer: Trainer) -> None:
        if self._trial.should_prune():
            self.pruned = True
            trainer.should_stop = True
            epoch = max(self._reported) + 1
            log.info("Pruned after epoch %d: other trials were better by then", epoch)
