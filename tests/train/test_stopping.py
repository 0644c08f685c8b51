import math
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from conftest import TINY, write_reviews
from sentiment.predict.checkpoint import load_classifier, read_checkpoint
from sentiment.pretrain.run import pretrain
from sentiment.runtime.errors import InputError
from sentiment.train.module import SentimentModule
from sentiment.train.run import train
from sentiment.train.stopping import EndWhenDiverged, StopOnSignal

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_ignored_stays_ignored(ignored: signal.Signals) -> None:
    both = (signal.SIGINT, signal.SIGTERM)
    stop, nothing = StopOnSignal(Path("last.ckpt")), None
    before = {number: signal.getsignal(number) for number in both}
    expected: list[Any] = [signal.SIG_IGN if number == ignored else stop._ask for number in both]
    try:
        signal.signal(ignored, signal.SIG_IGN)
        with stop.listening():
            assert list(map(signal.getsignal, both)) == expected
            for number in both:  # as Lightning does
                signal.signal(number, signal.default_int_handler)
            stop.on_sanity_check_start(nothing, nothing)  # type: ignore[arg-type]
            assert list(map(signal.getsignal, both)) == expected
        assert signal.getsignal(ignored) == signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def trainer_of(world_size: int = 1, **metrics: float) -> Any:
    rate = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    return SimpleNamespace(
        world_size=world_size, num_training_batches=120, accumulate_grad_batches=1, global_step=0,
        current_epoch=0, optimizers=[rate], gradient_clip_val=None, precision="16-mixed",
        callback_metrics={key.replace("_", "/"): torch.tensor(metrics[key]) for key in metrics},
    )  # fmt: skip


def module_on(device: str) -> Any:
    return SimpleNamespace(device=torch.device(device), hparams={"class_weights": [1.0, 9.0]})


def step_of_refusal(trainer: Any, module: Any, first_bad: int) -> tuple[int, str]:
    """The step after which a training with a loss that is not finite ends, and the message."""
    callback = EndWhenDiverged({})
    callback.on_train_start(trainer, module)
    for index in range(trainer.num_training_batches):
        trainer.global_step = index + 1
        outputs = {"loss": torch.tensor(math.inf if index + 1 == first_bad else 0.5)}
        try:
            callback.on_train_batch_end(trainer, module, outputs, None, index)
        except InputError as error:
            return index + 1, str(error)
    raise AssertionError("the training did not end")


@pytest.mark.parametrize(
    ("device", "world_size", "first_bad", "ends"),
    [
        ("cpu", 1, 1, 1), ("cpu", 1, 61, 61), ("cuda", 1, 1, 50), ("cuda", 1, 61, 100),
        ("cuda", 1, 119, 120), ("cpu", 2, 50, 50), ("cpu", 2, 51, 100),
    ],
)  # fmt: skip
def test_the_first_loss_that_is_not_finite_is_named(
    device: str, world_size: int, first_bad: int, ends: int
) -> None:
    trainer = trainer_of(world_size)
    step, message = step_of_refusal(trainer, module_on(device), first_bad)
    assert step == ends
    for fact in (
        "epoch 1", f"step {first_bad}:", "learning rate 0.5", "optimizer.lr",
        "trainer.gradient_clip_val=1", "32-true", "loss.class_weights",
    ):  # fmt: skip
        assert fact in message
    assert "\n" not in message


def test_what_would_not_help_is_not_proposed() -> None:
    trainer = trainer_of()
    trainer.gradient_clip_val, trainer.precision = 0.5, "32-true"
    module = module_on("cpu")
    module.hparams.clear()
    message = step_of_refusal(trainer, module, 1)[1]
    assert not any(each in message for each in ("clip", "32-true", "class_weights"))


def test_a_metric_that_decides_has_to_be_a_number() -> None:
    key, nothing = "callbacks.checkpoint.monitor", None
    trainer = trainer_of(val_loss=0.5, val_auroc=math.nan)
    EndWhenDiverged({key: "val/loss"}).on_validation_end(trainer, nothing)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{key}=val/auroc: is nan in epoch 1"):
        EndWhenDiverged({key: "val/auroc"}).on_validation_end(trainer, nothing)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="val/perplexity is inf"):
        module, trainer = module_on("cpu"), trainer_of(val_loss=99.0, val_perplexity=math.inf)
        EndWhenDiverged({key: "val/perplexity"}).on_validation_end(trainer, module)
    with pytest.raises(InputError, match="test/loss is inf"):
        EndWhenDiverged({}).on_test_end(trainer_of(test_loss=math.inf), module_on("cpu"))


def spoil_loss(module: SentimentModule, loss: torch.Tensor) -> torch.Tensor:
    return loss * math.nan


def spoil_weights(module: SentimentModule, loss: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():  # of a word that stands in no review, so that no loss shows it
        module.classifier.embedding.weight[0] = math.inf
    return loss


@pytest.mark.parametrize(
    ("spoil", "expected"), [(spoil_loss, "training loss"), (spoil_weights, "embedding.weight")]
)
def test_the_last_good_checkpoints_stay(
    tmp_path: Path,
    composed: Compose,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[SentimentModule, torch.Tensor], torch.Tensor],
    expected: str,
) -> None:
    honest = SentimentModule.training_step

    def step(self: SentimentModule, *args: Any) -> torch.Tensor:
        loss = honest(self, *args)
        return loss if self.current_epoch == 0 else spoil(self, loss)

    monkeypatch.setattr(SentimentModule, "training_step", step)
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    cfg = composed(*TINY, f"data.csv={reviews}", "trainer.max_epochs=3")
    with pytest.raises(InputError, match=f"epoch 2.*{expected}"):
        train(cfg, tmp_path / "run")
    for name in ("best", "last"):
        path = tmp_path / "run" / "checkpoints" / f"{name}.ckpt"
        assert read_checkpoint(path)["run"]["epochs"] == 1
        load_classifier(path)
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("program", ["train", "pretrain"])
def test_a_rate_without_measure_leaves_no_checkpoint(
    tmp_path: Path, composed: Compose, program: str
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    cfg = composed(*TINY, f"data.csv={reviews}", "optimizer.lr=1e38", program=program)
    with pytest.raises(InputError, match="epoch 1, step .*lower optimizer.lr"):
        {"train": train, "pretrain": pretrain}[program](cfg, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.ckpt"))
