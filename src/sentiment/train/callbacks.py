"""Lightning callbacks of a training: a row for each epoch, and its checkpoints."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from torch import Tensor

from sentiment.model.metric_names import best_mode
from sentiment.report.tables import write_csv
from sentiment.runtime.distributed import all_reduce_max
from sentiment.train.stopping import within_epoch

log = logging.getLogger(__name__)

Line = Callable[[Mapping[str, float]], str]  # what is told of an epoch, from its figures


class EpochTable(Callback):
    """Keeps one row of figures for each epoch, writes them to ``metrics.csv`` and tells them.

    The rows travel in the checkpoint, so that a resumed training goes on with the same table.

    Args:
        path: the CSV file.
        settings: what has to be the same for the training to go on; every checkpoint holds it.
        line: what is told of an epoch.
        print_lines: whether to print a line for each epoch (where no progress bar shows it).
    """

    def __init__(
        self, path: Path, *, settings: Mapping[str, Any], line: Line, print_lines: bool
    ) -> None:
        self.run: dict[str, Any] = {}  # what each checkpoint tells of the run
        self.rows: list[dict[str, float]] = []
        self.fit_seconds = 0.0  # training, validation and checkpoints, over all resumptions
        self.train_seconds = 0.0  # training alone, and what was trained on in that time
        self.train_reviews = self.train_tokens = 0
        self.waited_tokens = 0  # what there would be if all processes had as much as the busiest
        self._path = path
        self._settings = dict(settings)
        self._line = line
        self._print_lines = print_lines
        self._clock = time.perf_counter()
        self._training = False  # whether the clock counts as training too
        self._validated = False  # whether this epoch has figures of a validation

    def _take_time(self) -> None:
        """Count the time since the last call."""
        now = time.perf_counter()
        self.fit_seconds += now - self._clock
        self.train_seconds += (now - self._clock) * self._training
        self._clock = now

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock (a training resumed within an epoch does not start that epoch)."""
        self._clock = time.perf_counter()
        self._training = True
        self._validated = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count what the last epoch's checkpoints took, then training."""
        self._take_time()
        self._training = True
        self._validated = False

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

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch's figures are not those of an earlier one."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of this epoch."""
        self._take_time()
        self._training = False
        seen = ("train/", "val/") if self._validated else ("train/",)
        figures = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(seen)
        }
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"epoch": trainer.current_epoch, **dict(sorted(figures.items()))}
        self.rows.append({**row, "lr": rate, "seconds": self.fit_seconds})
        if not trainer.is_global_zero:
            return
        write_csv(self._path, self.rows)
        if self._print_lines:
            log.info(
                "epoch %d of %s: %s; %.1f s",
                trainer.current_epoch + 1,
                trainer.max_epochs,
                self._line(figures),
                self.fit_seconds,
            )

    @property
    def imbalance(self) -> float:
        """Tokens of the process that had most in a step, over the mean; 1.0 is even."""
        return self.waited_tokens / max(1, self.train_tokens)

    def speed(self) -> dict[str, float]:
        """What ``results.json`` says of the fit: epochs, seconds, and rates of training alone."""
        seconds = self.train_seconds or math.inf
        return {
            "epochs": len(self.rows),
            "fit_seconds": self.fit_seconds,
            "train_reviews_per_second": self.train_reviews / seconds,
            "train_tokens_per_second": self.train_tokens / seconds,
        }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count what the last checkpoints took."""
        self._take_time()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the checkpoint tell what it is: the run's facts and the figures of its epoch."""
        last = self.rows[-1] if self.rows else {}
        figures = {name: value for name, value in last.items() if name.startswith("val/")}
        checkpoint["run"] = {**self.run, **figures, "epochs": len(self.rows)}
        checkpoint["settings"] = self._settings

    def state_dict(self) -> dict[str, Any]:
        """The rows and the time so far."""
        self._take_time()
        return {
            "rows": self.rows,
            "fit_seconds": self.fit_seconds,
            "train_seconds": self.train_seconds,
            "train_reviews": self.train_reviews,
            "train_tokens": self.train_tokens,
            "waited_tokens": self.waited_tokens,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rows of the checkpoint."""
        self.rows = list(state_dict["rows"])
        self.fit_seconds = float(state_dict["fit_seconds"])
        self.train_seconds = float(state_dict["train_seconds"])
        self.train_reviews = int(state_dict["train_reviews"])
        self.train_tokens = int(state_dict["train_tokens"])
        self.waited_tokens = int(state_dict["waited_tokens"])


class Progress(Callback):
    """Tells how far a long epoch is, where no progress bar shows it.

    Args:
        seconds: between two lines.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._told_at = 0.0
        self._losses: list[Tensor] = []  # since the last line
        self._tokens = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, within an epoch where a training goes on there."""
        self._begin()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start it anew."""
        self._begin()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell of the batches since the last line, if it is time."""
        # Lightning has divided it by the batches of a step.
        self._losses.append(outputs["loss"].detach() * trainer.accumulate_grad_batches)
        self._tokens += int(batch.lengths.sum())
        seconds = time.monotonic() - self._told_at
        if seconds < self._seconds:
            return
        log.info(
            "  epoch %d: %.0f %%; perplexity of the last %d batches %.1f; %s tokens/s",
            trainer.current_epoch + 1,
            100 * (batch_idx + 1) / trainer.num_training_batches,
            len(self._losses),
            float(torch.stack(self._losses).mean().exp()),
            f"{self._tokens / seconds:,.0f}",
        )
        self._begin()

    def _begin(self) -> None:
        self._told_at = time.monotonic()
        self._losses.clear()
        self._tokens = 0


def accuracy_line(figures: Mapping[str, float]) -> str:
    """What is told of a classifier's epoch."""
    parts = []
    for split in ("train", "val"):
        loss, accuracy = (figures.get(f"{split}/{name}", math.nan) for name in ("loss", "accuracy"))
        told = f"{split} loss {loss:.4f}, accuracy {100 * accuracy:.2f} %"
        for name in ("entropy", "divergence"):  # of a mixed objective
            if f"{split}/{name}" in figures:
                told += f", {name} {figures[f'{split}/{name}']:.4f}"
        parts.append(told)
    return "; ".join(parts)


def perplexity_line(figures: Mapping[str, float]) -> str:
    """What is told of a language model's epoch."""
    train, val = (figures.get(f"{split}/perplexity", math.nan) for split in ("train", "val"))
    told = f"perplexity of training {train:.1f}, of validation {val:.1f}"
    ways = ("forward", "backward")
    values = {way: figures.get(f"val/perplexity_{way}", math.nan) for way in ways}
    if any(map(math.isnan, values.values())):
        return told
    return f"{told} ({', '.join(f'{way} {value:.1f}' for way, value in values.items())})"


class OneCheckpoint(ModelCheckpoint):
    """Keeps one checkpoint, of the best epoch so far or of the last.

    A run folder may be moved between a stop and going on: the best epoch stays known.

    Args:
        dirpath: the folder.
        filename: without ``.ckpt``.
        monitor: the figure whose best value is kept, or None for the last epoch's.
        minutes: within an epoch, also save what there is every so many minutes.
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

    @property
    def state_key(self) -> str:
        """What a checkpoint files this callback's state under."""
        return f"{type(self).__name__}:{self.filename}"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, unless no validation has given the figure yet."""
        if self.monitor is None or self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best epoch of the checkpoint, whose file lies in this folder now."""
        state = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = self._moved(state[name])
        state["best_k_models"] = {
            self._moved(path): score for path, score in state["best_k_models"].items()
        }
        super().load_state_dict(state)

    def _moved(self, path: str) -> str:
        return str(Path(self.dirpath or "", Path(path).name)) if path else path


class ProgressBar(TQDMProgressBar):
    """Lightning's bar without the logger's version, which says nothing here."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands at the end of the bar."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}
