"""The terms that need no labels, and the perturbation: against values computed by hand."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Callback
from omegaconf import DictConfig
from torch import Tensor, nn

from conftest import TINY, require_bf16, write_reviews
from sentiment import Predictor
from sentiment.config.checks import check_config
from sentiment.model.classifier import SentimentClassifier
from sentiment.runtime.errors import InputError
from sentiment.train.fit import Stopped
from sentiment.train.run import train
from sentiment.train.semi_supervised import (
    MixedObjective,
    adversarial_perturbation,
    divergence,
    labelled_mean,
    mean_entropy,
)

Compose = Callable[..., DictConfig]

LENGTHS = torch.tensor([7, 3, 5, 1])
DROPOUT = dict.fromkeys(("embedding_dropout", "layer_dropout", "head_dropout"), 0.4)


def build(**options: Any) -> SentimentClassifier:
    torch.manual_seed(0)
    model = SentimentClassifier(
        vocabulary_size=30, num_classes=3, embedding_size=6, hidden_size=5, **options
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)  # sure enough of its predictions for these to differ
    return model


def ids() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(2, 30, (4, 7), generator=generator)
    return tokens * (torch.arange(7) < LENGTHS[:, None])


def perturbed(model: SentimentClassifier, size: float) -> tuple[Tensor, Any, Tensor]:
    """The perturbation, and the vectors it is added to."""
    inputs = model.read(ids(), LENGTHS)
    logits = model.classify(inputs)
    moved = adversarial_perturbation(
        lambda words: model.classify(inputs._replace(words=words)),
        inputs.words, logits, inputs.mask, size=size,
    )  # fmt: skip
    return moved, inputs, logits


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def test_entropy_is_that_of_the_definition() -> None:
    p = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    bits = torch.tensor(2.0).log()
    torch.testing.assert_close(mean_entropy((p + 1e-30).log()), 1.5 * bits / 2)


def test_divergence_is_that_of_the_definition_and_its_first_side_constant() -> None:
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    logits, others = p.log().requires_grad_(), q.log().requires_grad_()
    found = divergence(logits, others)
    expected = 0.5 * torch.tensor(2.0).log() + 0.5 * torch.tensor(2 / 3).log()
    torch.testing.assert_close(found, torch.stack([expected, torch.tensor(0.0)]))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is None
    torch.testing.assert_close(others.grad, q - p)  # as adversarial_perturbation takes it


def test_the_mean_over_labelled_reviews_is_torchs_where_there_is_one() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, -100, 2, -100, 1])
    for weight in (None, torch.tensor([1.0, 2.0, 5.0])):
        loss = nn.CrossEntropyLoss(weight, label_smoothing=0.1)
        torch.testing.assert_close(labelled_mean(loss, logits, labels), loss(logits, labels))
        twice = torch.tensor([0, 2, 2, 4])
        weights = torch.tensor([1.0, 9.0, 2.0, 9.0, 1.0])
        torch.testing.assert_close(
            labelled_mean(loss, logits, labels, weights), loss(logits[twice], labels[twice])
        )
    without = torch.randn(2, 3, requires_grad=True)
    mean = labelled_mean(loss, without, torch.tensor([-100, -100]))
    mean.backward()  # type: ignore[no-untyped-call]
    assert mean == 0
    assert without.grad is not None
    assert not without.grad.any()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("one_call", [False, True])
def test_a_perturbation_has_the_norm_asked_of_each_review_and_spares_padding(
    cell: str, one_call: bool
) -> None:
    model = build(cell=cell)
    model.encoder.together = one_call
    moved, inputs, _ = perturbed(model, 0.7)
    assert not moved.requires_grad
    for review, length in enumerate(LENGTHS):
        own = inputs.words[:length, review].detach()
        expected = 0.7 * own.square().mean().sqrt()
        torch.testing.assert_close(moved[:length, review].norm(), expected)
        assert not moved[length:, review].any()


def test_the_scale_of_the_vectors_does_not_matter() -> None:
    words, mask, weight = torch.randn(4, 2, 3), torch.ones(2, 4, dtype=torch.bool), torch.randn(3)

    def logits(vectors: Tensor) -> Tensor:
        score = torch.tanh(vectors / vectors.std() @ weight).sum(0)
        return torch.stack([score, -score], dim=1)

    moved = []
    for scale in (1.0, 8.0):
        torch.manual_seed(2)
        own = scale * words
        moved.append(adversarial_perturbation(logits, own, logits(own), mask, size=0.5) / scale)
    torch.testing.assert_close(*moved, rtol=1e-3, atol=1e-4)


def test_predictions_depart_more_than_under_random_perturbations() -> None:
    model = build()
    found = []
    for _ in range(20):
        moved, inputs, logits = perturbed(model, 0.5)
        draw = torch.randn_like(moved) * inputs.mask.t().unsqueeze(-1)
        draw *= moved.norm(dim=(0, 2), keepdim=True) / draw.norm(dim=(0, 2), keepdim=True)
        moves = [model.classify(inputs._replace(words=inputs.words + by)) for by in (moved, draw)]
        found.append(torch.stack([divergence(logits, others).detach() for others in moves]))
    worst, random = torch.stack(found).mean(0)
    assert (worst > random).all()
    assert worst.sum() > 3 * random.sum()


def test_the_perturbation_of_a_linear_classifier_is_known() -> None:
    """With two classes and a linear score, the worst direction is that of the weights."""
    weight, words = torch.tensor([3.0, -4.0]), torch.ones(1, 1, 2)
    mask = torch.ones(1, 1, dtype=torch.bool)

    def logits(vectors: Tensor) -> Tensor:
        return torch.stack([vectors[0] @ weight, torch.zeros(1)], dim=1)

    moved = adversarial_perturbation(logits, words, logits(words), mask, size=2.0).flatten()
    torch.testing.assert_close(moved.abs(), torch.tensor([1.2, 1.6]))
    assert moved[0] * moved[1] < 0


def test_words_of_zeros_are_not_moved() -> None:
    model = build()
    model.embedding.weight.data.zero_()
    moved, _, _ = perturbed(model, 1.0)
    assert not moved.any()


def test_all_passes_have_the_same_masks_and_the_generator_continues() -> None:
    model = build(num_layers=2, word_dropout=0.3, **DROPOUT).train()
    nothing = MixedObjective(0.0, 1.0, 1e-9)  # only other masks could make the passes differ
    logits, _, divergence_term = nothing.passes(model, model.read(ids(), LENGTHS))
    assert divergence_term.abs() < 1e-6
    others, _, _ = nothing.passes(model, model.read(ids(), LENGTHS))
    assert not torch.equal(logits, others)


def test_gradients_are_those_of_the_perturbed_pass_alone() -> None:
    model, objective = build(), MixedObjective(0.0, 1.0, 2.0)
    torch.manual_seed(3)
    _, _, divergence_term = objective.passes(model, model.read(ids(), LENGTHS))
    divergence_term.backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad for name, weight in model.named_parameters()}

    torch.manual_seed(3)
    moved, inputs, logits = perturbed(model, 2.0)
    by_hand = model.classify(inputs._replace(words=inputs.words + moved.detach()))
    model.zero_grad()
    p = logits.detach().softmax(1)
    nn.functional.kl_div(by_hand.log_softmax(1), p, reduction="batchmean").backward()  # type: ignore[no-untyped-call]
    for name, weight in model.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, msg=name)
        assert weight.grad is not None
        assert weight.grad.any()


def test_without_a_weight_there_is_no_second_pass() -> None:
    model = build()
    passes = []
    model.encoder.register_forward_hook(lambda *_: passes.append(1))
    inputs = model.read(ids(), LENGTHS)
    logits, entropy, divergence_term = MixedObjective(1.0, 0.0, 5.0).passes(model, inputs)
    assert (len(passes), float(divergence_term)) == (1, 0.0)
    torch.testing.assert_close(entropy, mean_entropy(logits))


@pytest.mark.half_precision
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_bfloat16_finds_about_the_same_direction(cell: str) -> None:
    require_bf16(cell)
    model = build(cell=cell)
    torch.manual_seed(3)
    exact, _, _ = perturbed(model, 1.0)
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved, _, _ = perturbed(model, 1.0)
    along = (exact * moved).sum((0, 2)) / (exact.norm(dim=(0, 2)) * moved.norm(dim=(0, 2)))
    assert (along > 0.8).all()


class Interrupt(Callback):
    """Sends this process Ctrl-C at a batch of the second epoch."""

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 5):
            os.kill(os.getpid(), signal.SIGINT)


def semi_supervised(folder: Path) -> list[str]:
    """Overrides of a training on 60 labelled reviews and more unlabeled ones, with dropout."""
    unlabeled = write_reviews(folder / "unlabeled.csv", 150)
    return [
        *TINY, f"data.csv={write_reviews(folder / 'reviews.csv', 60)}",
        f"data.unlabeled_csv={unlabeled}", "data.batch_size=8", "trainer.max_epochs=3",
        "loss.entropy=0.5", "loss.virtual_adversarial=1", "optimizer.lr=1e-2", "model.ngrams=2",
        "model.word_dropout=0.1", "model.embedding_dropout=0.2", "model.head_dropout=0.2",
    ]  # fmt: skip


def test_an_interrupted_training_resumes_as_if_it_had_not_been(
    tmp_path: Path, composed: Compose
) -> None:
    base = semi_supervised(tmp_path)
    results = train(composed(*base), tmp_path / "whole")
    assert results["test/accuracy"] == 1
    rows = pd.read_csv(tmp_path / "whole" / "metrics.csv")
    assert rows[["train/entropy", "train/divergence"]].notna().all(axis=None)
    assert rows["train/entropy"].is_monotonic_decreasing
    assert rows["train/accuracy"].iloc[-1] == 1  # of 43 labelled reviews, not of all 133
    best = tmp_path / "whole" / "checkpoints" / "best.ckpt"
    assert Predictor.load(best)("the film was lovely")["label"] == "lovely"

    with pytest.raises(Stopped):
        train(composed(*base), tmp_path / "run", callbacks=[Interrupt()])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    go_on = [*base, f"ckpt_path={last}"]
    resumed = train(composed(*go_on), tmp_path / "run")
    for name in ("train/loss", "train/accuracy", "train/entropy", "train/divergence", "val/loss"):
        assert resumed[name] == results[name], name
    ours, theirs = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("run", "whole")
    )
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name
    with pytest.raises(InputError, match=r"began with loss.perturbation_size=5.0, not 2.0"):
        train(composed(*go_on, "loss.perturbation_size=2"), tmp_path / "run")


def test_unlabeled_reviews_train_only_where_a_term_has_a_weight(
    tmp_path: Path, composed: Compose
) -> None:
    base = [*semi_supervised(tmp_path), "trainer.max_epochs=1", "loss.entropy=0"]
    off = train(composed(*base, "loss.virtual_adversarial=0"), tmp_path / "off")
    on = train(composed(*base, "loss.virtual_adversarial=1e-9"), tmp_path / "on")
    assert "train/entropy" not in off
    saved = [
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
        for run in ("off", "on")
    ]
    assert on["unlabeled_reviews"] > 43
    assert saved == [6, 6]  # an epoch goes once over the labelled reviews
    assert pd.read_csv(tmp_path / "on" / "metrics.csv")["train/divergence"].iloc[-1] > 0


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "trainer.devices=2",
            "loss.entropy=0.5 loss.virtual_adversarial=1.0: trains in one process",
        ),
        ("trainer.precision=16-mixed", "give bf16-mixed or 32-true"),
    ],
)
def test_what_it_cannot_do_is_refused(
    tmp_path: Path, composed: Compose, override: str, expected: str
) -> None:
    with pytest.raises(InputError) as refused:
        train(composed(*semi_supervised(tmp_path), override), tmp_path / "run")
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_recipe_is_the_pretrained_one_with_the_terms(composed: Compose) -> None:
    mixed = composed("experiment=imdb_mixed", "pretrained.path=x")
    plain = composed("experiment=imdb_pretrained", "pretrained.path=x")
    assert (mixed.loss.entropy, mixed.loss.virtual_adversarial) == (0.5, 1)
    assert mixed.trainer.accelerator == "gpu"
    assert mixed.model == plain.model
    with pytest.raises(InputError, match="sentiment.download imdb"):
        check_config(mixed)


def test_the_recipe_trains_at_small_size(
    tmp_path: Path, composed: Compose, pretrained: Path
) -> None:
    test = pd.read_csv(write_reviews(tmp_path / "more.csv", 160))[120:]
    test.to_csv(tmp_path / "test.csv", index=False)
    results = train(
        composed(
            "experiment=imdb_mixed", "trainer.accelerator=cpu", "trainer.max_epochs=8",
            f"pretrained.path={pretrained / 'checkpoints' / 'best.ckpt'}", "logger=csv",
            f"data.train_csv={pretrained / 'reviews.csv'}",
            f"data.test_csv={tmp_path / 'test.csv'}",
            f"data.unlabeled_csv={pretrained / 'unlabeled.csv'}", "data.labels=[awful,lovely]",
            "data.batch_size=8", "optimizer.lr=0.05",
            "callbacks.checkpoint.monitor=val/auroc",
        ),
        tmp_path / "run",
    )  # fmt: skip
    assert results["unlabeled_reviews"] > 0
    assert results["test/auroc"] > 0.8
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert rows["train/divergence"].notna().all()
