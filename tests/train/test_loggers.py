"""What loggers get from a training: settings, the learning rate, results and files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import TINY, write_reviews
from sentiment.train.loggers import LogSettings, logged_results
from sentiment.train.run import train

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize("monitor", ["val/accuracy", "val/loss"])
def test_tensorboard_has_settings_results_and_the_learning_rate(
    tmp_path: Path, composed: Compose, monitor: str
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    cfg = composed(
        *TINY, "logger=tensorboard", f"data.csv={reviews}", "trainer.log_every_n_steps=1",
        f"callbacks.checkpoint.monitor={monitor}", "optimizer.lr=2e-2", "scheduler=cosine",
    )  # fmt: skip
    results = train(cfg, tmp_path / "run")
    folder = tmp_path / "run" / "tensorboard"
    settings = yaml.safe_load((folder / "hparams.yaml").read_text())
    assert settings["optimizer.lr"] == 0.02
    assert settings["optimizer._target_"] == "AdamW"
    assert settings["data.csv"] == str(reviews)
    assert settings["trainer.max_epochs"] == 2
    assert settings["model.cell"] == "lstm"
    assert {"seed", "data.batch_size"} <= settings.keys()
    assert not any(key.startswith("logger") for key in settings)
    points: dict[str, list[float]] = {}
    for path in folder.glob("events*"):
        events = EventAccumulator(str(path)).Reload()
        for name in events.Tags()["scalars"]:
            points.setdefault(name, []).extend(each.value for each in events.Scalars(name))
    assert points["hp_metric"] == [pytest.approx(results[monitor])]
    assert points["best/val/f1"] == [pytest.approx(results["val/f1"])]
    assert points["test/accuracy"][-1] == pytest.approx(results["test/accuracy"])
    rates = next(values for name, values in points.items() if name.startswith("lr-"))
    assert len(rates) > 2
    assert rates == sorted(rates, reverse=True)


class KeepsFiles(MLFlowLogger):
    """Stands in for MLflow, which need not be installed, and for its client."""

    run_id = "1"

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.files: list[tuple[str, str]] = []
        self.ended = ""

    @property
    def experiment(self) -> Any:
        return self

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.metrics |= metrics

    def log_artifact(self, run_id: str, path: str, folder: str = "") -> None:
        self.files.append((Path(path).name, folder))

    def finalize(self, status: str = "success") -> None:
        self.ended = status


def test_a_logger_that_keeps_files_gets_plots_report_and_the_best_checkpoint(
    tmp_path: Path, composed: Compose
) -> None:
    for name in ("reliability.png", "learning_curves.png", "metrics.csv"):
        (tmp_path / name).touch()
    logger = KeepsFiles()
    trainer: Any = SimpleNamespace(loggers=[logger], global_step=7)
    results = {
        "test/accuracy": 0.75, "val/accuracy": 0.5, "train/loss": 1.0, "test/auroc": float("nan"),
        "test/by_length": [], "parameters": 8, "labels": ["a", "b"],
    }  # fmt: skip
    best = tmp_path / "checkpoints" / "best.ckpt"
    with logged_results(trainer, composed(*TINY), tmp_path, results, best):
        assert logger.metrics["test/accuracy"] == 0.75
        assert logger.ended == ""
        (tmp_path / "report.html").touch()
    assert logger.metrics == {"test/accuracy": 0.75, "best/val/accuracy": 0.5, "parameters": 8}
    assert logger.files == [
        ("learning_curves.png", ""), ("reliability.png", ""), ("best.ckpt", "checkpoints"),
        ("report.html", ""),
    ]  # fmt: skip
    assert logger.ended == "success"


def test_a_report_that_is_interrupted_loses_no_results(tmp_path: Path, composed: Compose) -> None:
    kept, online = KeepsFiles(), Reachable()
    trainer: Any = SimpleNamespace(loggers=[kept, online], global_step=7)
    with (
        pytest.raises(KeyboardInterrupt),
        logged_results(trainer, composed(*TINY), tmp_path, {"test/accuracy": 0.75}, None),
    ):
        raise KeyboardInterrupt
    assert kept.metrics == {"test/accuracy": 0.75}
    assert (kept.ended, kept.files) == ("success", [])
    assert online.exit_codes == [0]


class Online(WandbLogger):
    """Stands in for W&B, which need not be installed, and for its run; its server is away."""

    name, version, save_dir = "online", "0", None

    def __init__(self) -> None:
        self.exit_codes: list[int] = []

    @property
    def experiment(self) -> Any:
        return self

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no route to host")

    def finalize(self, status: str) -> None:
        pass

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)


class Reachable(Online):
    """W&B whose server is there."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_image(self, key: str, images: list[str], step: int | None = None, **_: Any) -> None:
        self.files += images

    def save(self, path: str = "", base_path: str = "", policy: str = "") -> None:
        assert policy in ("now", "live", "end")
        self.files.append(str(Path(path).relative_to(base_path)))


def test_wandb_gets_plots_and_the_report_if_there_is_one(tmp_path: Path, composed: Compose) -> None:
    (tmp_path / "reliability.png").touch()
    logger = Reachable()
    trainer: Any = SimpleNamespace(loggers=[logger], global_step=7)
    for report in (False, True):
        logger.files.clear()
        with logged_results(trainer, composed(*TINY), tmp_path, {}, None):
            if report:
                (tmp_path / "report.html").touch()
        assert logger.files == [str(tmp_path / "reliability.png"), *["report.html"] * report]


class Fails(BoringModel):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        raise ZeroDivisionError


def test_a_training_that_fails_ends_its_run_of_wandb(tmp_path: Path) -> None:
    """Else the next run of a sweep would continue in it."""
    logger = Online()
    trainer = Trainer(
        accelerator="cpu", logger=logger, callbacks=[LogSettings({})], max_epochs=1,
        default_root_dir=tmp_path, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(ZeroDivisionError):
        trainer.fit(Fails())
    assert logger.exit_codes == [1]


def test_a_server_that_is_away_at_the_end_is_a_warning(
    tmp_path: Path, composed: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Online(), KeepsFiles()
    trainer: Any = SimpleNamespace(loggers=[first, second], global_step=7)
    with logged_results(trainer, composed(*TINY), tmp_path, {"test/accuracy": 0.75}, None):
        pass
    (warning,) = caplog.messages
    assert "Online" in warning
    assert "no route to host" in warning
    assert first.exit_codes == [0]
    assert second.metrics == {"test/accuracy": 0.75}
