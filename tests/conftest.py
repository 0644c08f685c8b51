"""Fixtures of all tests: a cache of their own, one thread, and small trained runs."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from sentiment import Predictor
from sentiment.config.resolvers import register
from sentiment.model.encoder import can_train
from sentiment.report.runs import Run
from sentiment.runtime.overrides import config_directory

TINY = (
    "model.hidden_size=8",
    "embeddings.size=16",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.max_epochs=2",
    "logger=csv",
)

TEST_FINGERPRINT, VAL_FINGERPRINT = "t" * 24, "v" * 24


def pytest_configure(config: pytest.Config) -> None:
    """Keep tests on the CPU unless ``-m gpu`` asks for those of CUDA.

    Each process would create a CUDA context, which takes longer than most tests.
    """
    if "gpu" not in str(config.getoption("markexpr")).split():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs a missing device."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and -m gpu")


def require_bf16(cell: str) -> None:
    """Skip a test of layers that this CPU cannot train in bfloat16."""
    if not can_train(cell, torch.bfloat16, torch.device("cpu")):
        pytest.skip(f"this CPU cannot train {cell} layers in bfloat16")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _heeds_ctrl_c() -> None:
    """Handle Ctrl-C even if a shell's `&` started the tests, which makes processes ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _plots_are_empty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write empty plots, but for tests of plots: drawing takes longer than a tiny training.

    The session's own trainings draw: their fixtures come before this one.
    """
    if "report" not in request.path.parts and not request.node.get_closest_marker("plots"):
        monkeypatch.setattr(
            "sentiment.report.plots.save_figure", lambda figure, path, **_: path.touch()
        )
        monkeypatch.setattr("sentiment.report.run_page.report_training", lambda folder: None)


def compose_config(overrides: Sequence[str], folder: Path, program: str = "train") -> DictConfig:
    """Compose the config of a command line, with the given run folder."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose(program, [*overrides, f"hydra.run.dir={folder}"], return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(cfg)
        del cfg["hydra"]
    return cfg


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[Callable[..., DictConfig]]:
    """Compose overrides for the folder ``tmp_path / "run"``."""
    yield lambda *overrides, program="train": compose_config(overrides, tmp_path / "run", program)
    GlobalHydra.instance().clear()


def write_reviews(path: Path, rows: int = 120, classes: int = 2) -> Path:
    """A CSV that a tiny model can learn: each class has words of its own among shared ones."""
    words = ["awful", "lovely", "plain", "strange"]
    texts = [
        f"the film number {row} was {words[row % classes]} , and so was act {row % 7}"
        for row in range(rows)
    ]
    labels = [f"{words[row % classes]}" for row in range(rows)]
    pd.DataFrame({"review": texts, "sentiment": labels}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny training on generated reviews, its splits written out."""
    from sentiment.train.run import train

    folder = tmp_path_factory.mktemp("trained")
    reviews = write_reviews(folder / "reviews.csv")
    overrides = [*TINY, f"data.csv={reviews}", f"data.splits_dir={folder / 'splits'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        train(
            compose_config([*overrides, "optimizer.lr=2e-2", "data.batch_size=8"], folder), folder
        )
    GlobalHydra.instance().clear()
    return folder


@pytest.fixture(scope="session")
def baselines(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of both baselines, on the reviews and splits of ``trained``."""
    from sentiment.baseline.run import run_baselines

    folder = tmp_path_factory.mktemp("baselines")
    register()
    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            cfg = compose("baseline", [f"data.csv={trained / 'reviews.csv'}"])
        run_baselines(cfg, folder)
    GlobalHydra.instance().clear()
    return folder


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny pretraining on the reviews of ``trained`` and unlabeled ones."""
    from sentiment.pretrain.run import pretrain

    folder = tmp_path_factory.mktemp("pretrained")
    write_reviews(folder / "reviews.csv")
    write_reviews(folder / "unlabeled.csv", 200)
    overrides = [
        *TINY, f"data.csv={folder / 'reviews.csv'}", "data.tokens_per_batch=128",
        f"data.unlabeled_csv={folder / 'unlabeled.csv'}", "softmax.negatives=8",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        pretrain(compose_config(overrides, folder, "pretrain"), folder)
    GlobalHydra.instance().clear()
    return folder


@pytest.fixture(scope="session")
def checkpoint(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkpoint of ``trained``, without its run folder."""
    alone = tmp_path_factory.mktemp("alone") / "best.ckpt"
    alone.write_bytes((trained / "checkpoints" / "best.ckpt").read_bytes())
    return alone


@pytest.fixture(scope="session")
def abstaining(checkpoint: Path) -> Path:
    """A copy of ``checkpoint`` that abstains from ``awful`` often and from ``lovely`` always."""
    saved = torch.load(checkpoint, weights_only=True)
    saved["run"] |= {"abstain/threshold/0": 0.625, "abstain/threshold/1": None}
    torch.save(saved, path := checkpoint.with_name("abstaining.ckpt"))
    return path


@pytest.fixture(scope="session")
def predictor(checkpoint: Path) -> Predictor:
    """A predictor of the checkpoint."""
    return Predictor.load(checkpoint)


def ended_run(folder: str, test: float | None = 0.9, **others: Any) -> Run:
    """A run of ``bilstm`` with the seed 1, unless something else is given."""
    given: dict[str, Any] = {"seed": 1, "model": "bilstm", "status": "ok", "overrides": {}} | others
    settings = {"model.cell": given["model"], **given["overrides"], **given.pop("settings", {})}
    results = {
        "test/accuracy": test, "test/f1": test, "val/accuracy": 0.8, "fit_seconds": 10,
        "parameters": 1_500_000, "device": "cpu: X, 1 thread", "labels": ["a", "b"],
        "test_reviews": 100, "val_reviews": 10, "seed": given["seed"],
        "fingerprints": {"test": TEST_FINGERPRINT, "val": VAL_FINGERPRINT},
        **given.get("results", {}),
    }  # fmt: skip
    choices = {"model": given["model"], "data": "csv", **given.get("choices", {})}
    return Run(Path(folder), given["status"], results, given["overrides"], choices, settings)
