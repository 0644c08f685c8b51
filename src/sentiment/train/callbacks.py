"""Lightning callbacks of a training: time, metrics and checkpoints."""

import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from sentiment.model.metric_names import best_mode
from sentiment.predict.checkpoint import CHECKPOINT_FORMAT, SUMMARY_KEY, stored_summary
from sentiment.predict.summary import MOST_REVIEWS, Summary
from sentiment.report.tables import write_csv
from sentiment.runtime.distributed import all_reduce_max
from sentiment.train.stopping import within_epoch

log = logging.getLogger(__name__)

EpochLine = Callable[[Mapping[str, float]], str]  # formats the log line of an epoch's metrics


class Stopwatch(Callback):
    """Measures how long a fit takes, over all resumptions, and how much it trains on.

    Attributes:
        fit_seconds: time of training, validation and saving checkpoints.
        train_seconds: time of training alone.
        train_reviews: number of reviews trained on, by all processes.
        train_tokens: number of tokens in these reviews.
        waited_tokens: number of tokens if all processes had as many as the busiest in each step.
    """

    _COUNTS = (
        "fit_seconds", "train_seconds", "train_reviews", "train_tokens", "waited_tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.fit_seconds = self.train_seconds = 0.0
        self.train_reviews = self.train_tokens = self.waited_tokens = 0
        self._last = time.perf_counter()
        self._training = False  # whether time counts as training too

    def _take_time(self) -> None:
        """Count the time since the last call."""
        now = time.perf_counter()
        self.fit_seconds += now - self._last
        self.train_seconds += (now - self._last) * self._training
        self._last = now

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start (a training resumed within an epoch does not start that epoch)."""
        self._last = time.perf_counter()
        self._training = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count what the last epoch's checkpoints took, then training."""
        self._take_time()
        self._training = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what was trained on."""
        shard = batch.shard
        tokens = batch.lengths.sum()[None] if shard is None else shard.tokens  # (processes,)
        self.train_reviews += len(batch.labels if shard is None else shard.labels)
        self.train_tokens += int(tokens.sum())
        self.waited_tokens += int(tokens.max()) * len(tokens)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the training up to here."""
        if not trainer.sanity_checking:
            self._take_time()
            self._training = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch."""
        self._take_time()
        self._training = False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count what the last checkpoints took."""
        self._take_time()

    @property
    def imbalance(self) -> float:
        """Tokens of the busiest process in each step over the mean of all; 1.0 is even."""
        return self.waited_tokens / max(1, self.train_tokens)

    def results(self) -> dict[str, float]:
        """The keys of ``results.json`` about time; rates are those of training alone."""
        seconds = self.train_seconds or math.inf
        return {
            "fit_seconds": self.fit_seconds,
            "train_reviews_per_second": self.train_reviews / seconds,
            "train_tokens_per_second": self.train_tokens / seconds,
        }

    def state_dict(self) -> dict[str, Any]:
        """The time and the counts so far."""
        self._take_time()
        return {name: getattr(self, name) for name in self._COUNTS}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the time and counts of the checkpoint."""
        for name in self._COUNTS:
            setattr(self, name, state_dict[name])


# What makes the line of an epoch fit a narrow terminal: patterns, replaced one after the other.
_SHORTER = (
    (r" \(.*\)", ""), ("accuracy", "acc"), (" loss ", " "), ("; after", ";"),
    (r", (entropy|divergence) [^,;]*", ""), (r"train [^;]*; ", ""), (r"; [0-9.]+ s$", ""),
)  # fmt: skip


def _replaced(line: str, shorter: tuple[str, str]) -> str:
    return re.sub(*shorter, line)


_NOT_IN_LINES = ("val/f1", "val/auroc")  # metrics that no ``EpochLine`` has


class MetricsTable(Callback):
    """Keeps a row of metrics for each epoch, and writes them to ``metrics.csv``.

    The rows are saved in the checkpoint, so that a resumed training continues the same table.

    Args:
        path: the CSV file.
        stopwatch: must precede this among the callbacks.
        line: formats the line that is logged for each epoch.
    """

    def __init__(self, path: Path, stopwatch: Stopwatch, line: EpochLine) -> None:
        self.rows: list[dict[str, float]] = []
        self._path = path
        self._stopwatch = stopwatch
        self._line = line
        self._validated = False  # whether this epoch has metrics of a validation

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin in the middle of an epoch too."""
        self._validated = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch."""
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that this epoch has metrics of a validation."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of this epoch."""
        splits = ("train/", "val/") if self._validated else ("train/",)
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(splits)
        }
        rate, seconds = trainer.optimizers[0].param_groups[0]["lr"], self._stopwatch.fit_seconds
        row = {"epoch": trainer.current_epoch, **dict(sorted(metrics.items()))}
        self.rows.append({**row, "lr": rate, "seconds": seconds})
        if not trainer.is_global_zero:
            return
        write_csv(self._path, self.rows)
        epoch, line = trainer.current_epoch + 1, self._line(metrics)
        monitor = getattr(trainer.checkpoint_callback, "monitor", None)
        if monitor in metrics and monitor in _NOT_IN_LINES:
            line += f", {monitor} {metrics[monitor]:.4f}"
        line = f"epoch {epoch} of {trainer.max_epochs}: {line}; after {seconds:.1f} s"
        log.info(line, extra={"shorter": list(accumulate(_SHORTER, _replaced, initial=line))})

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the rows of the checkpoint."""
        self.rows = list(state_dict["rows"])


class CheckpointFacts(Callback):
    """Adds facts of its run and epoch to each checkpoint.

    Args:
        table: the metrics of the epochs.
        settings: settings that a resumed training must have, too.

    Attributes:
        run: facts of the run, such as its seed.
        settings: as given.
    """

    def __init__(self, table: MetricsTable, settings: Mapping[str, Any]) -> None:
        self.run: dict[str, Any] = {}
        self._table = table
        self.settings = dict(settings)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Translate version 0.1.0, where one callback was both stopwatch and table."""
        if old := checkpoint["callbacks"].get("EpochTable"):
            checkpoint["callbacks"] |= dict.fromkeys(("Stopwatch", "MetricsTable"), old)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the facts, and the metrics of the last validation."""
        rows = self._table.rows
        metrics = (
            {name: value for name, value in rows[-1].items() if name[:4] == "val/"} if rows else {}
        )
        checkpoint["run"] = {**self.run, **metrics, "epochs": len(rows)}
        checkpoint["settings"] = self.settings
        checkpoint["format"] = CHECKPOINT_FORMAT


class ValidationSummary(Callback):
    """Adds a summary of the validation reviews to each checkpoint that follows a validation."""

    def __init__(self) -> None:
        self._of: Any = None  # the validation that is summarised; computing takes 0.1 s
        self._stored: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the summary."""
        module, datamodule = cast("Any", pl_module), cast("Any", trainer).datamodule
        if module.validated is None:
            return
        if module.validated is not self._of:
            logits, labels = module.validated
            token_ids, lengths = datamodule.some_reviews("val", MOST_REVIEWS).flat()
            summary = Summary.of(
                token_ids,
                lengths,
                logits.float().softmax(1).numpy(),
                labels.numpy(),
                vocabulary_size=len(datamodule.facts.vocabulary),
            )
            self._stored = stored_summary(summary)
            self._of = module.validated
        checkpoint[SUMMARY_KEY] = self._stored


def accuracy_line(metrics: Mapping[str, float]) -> str:
    """Format the log line of a classifier's epoch."""
    parts = []
    for split in ("train", "val"):
        loss, accuracy = (metrics.get(f"{split}/{name}", math.nan) for name in ("loss", "accuracy"))
        part = f"{split} loss {loss:.4f}, accuracy {100 * accuracy:.2f} %"
        for name in ("entropy", "divergence"):  # of a mixed objective
            if f"{split}/{name}" in metrics:
                part += f", {name} {metrics[f'{split}/{name}']:.4f}"
        parts.append(part)
    return "; ".join(parts)


class OneCheckpoint(ModelCheckpoint):
    """Keeps one checkpoint, of the best epoch so far or of the last.

    Of epochs that are equally good, the one with the lowest validation loss is the best. It stays
    known if the run folder is moved before the training is resumed.

    Args:
        dirpath: the folder.
        filename: without ``.ckpt``.
        monitor: the metric whose best value is kept, or None for the last epoch's.
        minutes: also save within an epoch at this interval.
    """

    def __init__(
        self,
        *,
        dirpath: str | Path,
        filename: str,
        monitor: str | None,
        minutes: float | None = None,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            mode=best_mode(monitor),
            save_on_train_epoch_end=True,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )
        self._path = Path(dirpath) / f"{filename}.ckpt"
        self._seconds = None if minutes is None else 60 * minutes
        self._saved_at = time.monotonic()
        self._best_loss = -math.inf  # of the best epoch; unknown in a checkpoint of version 0.1.0

    @property
    def state_key(self) -> str:
        """The key of this callback's state in a checkpoint."""
        return f"{type(self).__name__}:{self.filename}"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, unless no validation has given the metric yet."""
        if self.monitor is None or self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether this epoch is the best so far."""
        loss = float(trainer.callback_metrics.get("val/loss", math.inf))
        tied = current is not None and current == self.best_model_score and loss < self._best_loss
        best = tied or super().check_monitor_top_k(trainer, current)
        if best:
            self._best_loss = loss
        return best

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if it is time, unless the epoch is about to end."""
        if self._seconds is None or not within_epoch(trainer, batch_idx):
            return
        due = time.monotonic() - self._saved_at >= self._seconds
        if all_reduce_max(due):  # in any process
            trainer.save_checkpoint(self._path)
            self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The best epoch."""
        return {**super().state_dict(), "best_loss": self._best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best epoch, whose file is in this folder even if the folder was moved."""
        state = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = self._moved(state[name])
        state["best_k_models"] = {
            self._moved(path): score for path, score in state["best_k_models"].items()
        }
        self._best_loss = state.pop("best_loss", self._best_loss)
        self.monitor = state["monitor"]
        super().load_state_dict(state)

    def _moved(self, path: str) -> str:
        return str(Path(self.dirpath or "", Path(path).name)) if path else path
