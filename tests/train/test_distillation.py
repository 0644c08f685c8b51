"""The loss of a teacher's probabilities, and trainings with it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback
from omegaconf import DictConfig
from torch import Tensor, nn

from conftest import TINY, write_reviews
from sentiment import Predictor
from sentiment.batch import NO_CLASS, Batch
from sentiment.runtime.errors import InputError
from sentiment.train.distillation import Distillation
from sentiment.train.fit import Stopped
from sentiment.train.run import train

Compose = Callable[..., DictConfig]

LOGITS = torch.tensor([[0.5, -1.0, 0.2], [2.0, 0.1, 0.0], [-0.3, 0.4, 1.0], [1.0, 1.0, -2.0]])
TAUGHT = torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.0, 0.0], [0.6, 0.1, 0.3], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([1, 2, NO_CLASS, NO_CLASS])


def batch(**parts: Any) -> Batch:
    given = {"labels": LABELS, "targets": TAUGHT, **parts}
    return Batch(token_ids=torch.ones(4, 1), lengths=torch.ones(4), **given)


def mean(distillation: Distillation, loss: nn.CrossEntropyLoss, **parts: Any) -> float:
    return float(distillation.mean_loss(loss, LOGITS, batch(**parts)))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_the_mean_of_what_each_review_has(temperature: float, weight: float) -> None:
    def of_teacher(row: int) -> float:
        p = TAUGHT[row].numpy() ** (1 / temperature)
        q = LOGITS[row].numpy() / temperature
        return float(-(p / p.sum() * (q - np.log(np.exp(q).sum()))).sum()) * temperature**2

    def of_label(row: int) -> float:
        return float(-LOGITS[row].log_softmax(0)[LABELS[row]])

    expected = [
        weight * of_teacher(0) + (1 - weight) * of_label(0), of_label(1), of_teacher(2),
    ]  # fmt: skip
    found = mean(Distillation(temperature, weight), nn.CrossEntropyLoss())
    assert found == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_sure_teacher_is_a_label() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]))
    labels = torch.tensor([0, 2, 1, 1])
    sure = torch.eye(3)[labels]
    weights = torch.tensor([1.0, 2.0, 0.5, 0.0])
    expected = mean(Distillation(), loss, labels=labels, targets=0 * sure, weights=weights)
    unlabelled = torch.full((4,), NO_CLASS)
    found = mean(Distillation(), loss, labels=unlabelled, targets=sure, weights=weights)
    assert found == pytest.approx(expected, rel=1e-6)
    plain = float(nn.functional.cross_entropy(LOGITS, labels, loss.weight))
    assert mean(Distillation(), loss, labels=unlabelled, targets=sure) == pytest.approx(plain)


def test_a_batch_of_which_nothing_is_known_has_no_loss_and_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    nothing = batch(labels=torch.full((4,), NO_CLASS), targets=0 * TAUGHT)
    loss: Tensor = Distillation(2.0).mean_loss(nn.CrossEntropyLoss(), logits, nothing)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


class Interrupt(Callback):
    """Sends SIGINT in the second epoch."""

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 9):
            os.kill(os.getpid(), signal.SIGINT)


def distilled(folder: Path) -> list[str]:
    """Overrides of a training whose teacher knows two words that no label is about."""
    words = {"grim": 0.9, "sunny": 0.1}
    rows = [
        (f"a {word} tale , number {number}", score, round(1 - score, 2))
        for number in range(60)
        for word, score in words.items()
    ]
    soft = pd.DataFrame(rows, columns=["review", "score_awful", "score_lovely"])
    soft.to_csv(folder / "soft.csv", index=False)
    return [
        *TINY, f"data.csv={write_reviews(folder / 'reviews.csv', 60)}",
        f"data.soft_csv={folder / 'soft.csv'}", "data.batch_size=8", "trainer.max_epochs=3",
        "optimizer.lr=1e-2", "model.ngrams=2", "model.word_dropout=0.1", "model.head_dropout=0.2",
    ]  # fmt: skip


def test_a_student_learns_what_only_its_teacher_knows_and_resumes_exactly(
    tmp_path: Path, composed: Compose
) -> None:
    base = distilled(tmp_path)
    results = train(composed(*base), tmp_path / "whole")
    assert results["test/accuracy"] == 1
    assert (results["soft_reviews"], results["train_reviews"]) == (120, 43)
    assert results["teachers"] == ["soft.csv"]
    predictor = Predictor.load(tmp_path / "whole" / "checkpoints" / "best.ckpt")
    assert predictor.members[0].data.teachers == ["soft.csv"]
    grim, sunny = predictor(["a grim tale", "a sunny tale"])
    assert (grim["label"], sunny["label"]) == ("awful", "lovely")
    rows = pd.read_csv(tmp_path / "whole" / "metrics.csv")
    assert rows["train/accuracy"].iloc[-1] == 1  # of labelled reviews

    with pytest.raises(Stopped):
        train(composed(*base), tmp_path / "run", callbacks=[Interrupt()])
    go_on = [*base, f"ckpt_path={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"]
    train(composed(*go_on), tmp_path / "run")
    ours, theirs = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("run", "whole")
    )
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name
    soft = (tmp_path / "soft.csv").read_text().replace("0.9", "0.8").replace("0.1", "0.2")
    (tmp_path / "soft.csv").write_text(soft)
    with pytest.raises(InputError, match="other reviews, or other labels"):
        train(composed(*go_on), tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.devices=2", "trains in one process"),
        ("loss.entropy=0.5", "not with data.soft_csv"),
        ("distill.weight=2", "distill.weight=2.0: must be at least 0 and at most 1"),
        ("distill.temperature=0", "distill.temperature=0.0: must be above 0"),
    ],
)
def test_what_it_cannot_do_is_refused(
    tmp_path: Path, composed: Compose, override: str, expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        train(composed(*distilled(tmp_path), override), tmp_path / "run")


def test_a_baseline_learns_from_no_teacher(composed: Compose) -> None:
    from sentiment.config.checks import check_config
    from sentiment.config.schemas import BaselineConfig

    cfg = composed("data.soft_csv=soft.csv", program="baseline")
    with pytest.raises(InputError, match=r"only sentiment\.train"):
        check_config(cfg, BaselineConfig)
