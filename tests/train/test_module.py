import inspect
import math
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from torch.utils.data import DataLoader

from conftest import require_bf16
from sentiment.batch import Batch
from sentiment.model.abstention import Goal
from sentiment.model.calibration import fit_temperature, reliability
from sentiment.model.classifier import SentimentClassifier
from sentiment.model.metrics import confusion_counts, summarise_predictions
from sentiment.model.schedules import cosine, one_cycle, plateau
from sentiment.train.module import SentimentModule
from sentiment.train.optim import ParameterUpdates


def small_module(*, cell: str = "lstm", **options: Any) -> SentimentModule:
    """A module; options are its own or those of its ``ParameterUpdates``."""
    torch.manual_seed(0)
    classifier = SentimentClassifier(
        vocabulary_size=12, num_classes=3, embedding_size=4, cell=cell, hidden_size=5
    )
    of_updates = inspect.signature(ParameterUpdates).parameters.keys() & options.keys()
    updates = ParameterUpdates(classifier, **{name: options.pop(name) for name in of_updates})
    return SentimentModule(classifier=classifier, updates=updates, **options)


def batch(size: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 12, (size, 7), generator=generator)
    return Batch(ids, torch.full((size,), 7), torch.arange(size) % 3)


def test_the_loss_is_cross_entropy_with_weights_and_smoothing() -> None:
    weights = [1.0, 2.0, 3.0]
    module = small_module(class_weights=weights, label_smoothing=0.1).eval()
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    data = batch()
    with torch.no_grad():
        log_p = module(data.token_ids, data.lengths).log_softmax(1)
        target = torch.nn.functional.one_hot(data.labels, 3) * 0.9 + 0.1 / 3
        weighed = torch.tensor(weights)
        expected = -(target * weighed * log_p).sum() / weighed[data.labels].sum()
        torch.testing.assert_close(module.training_step(data, 0), expected)


@pytest.mark.parametrize(
    "options", [{}, {"class_weights": [1.0, 2.0, 3.0], "label_smoothing": 0.1}]
)
def test_a_weight_of_two_is_the_review_standing_twice(options: dict[str, Any]) -> None:
    one, two = (small_module(**options).eval() for _ in range(2))
    for module in (one, two):
        module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    data, rows = batch(), torch.tensor([0, 1, 1, 3, 4, 4, 4])
    weighted = data._replace(weights=torch.tensor([1.0, 2.0, 0.0, 1.0, 3.0, 0.0]))
    repeated = Batch(data.token_ids[rows], data.lengths[rows], data.labels[rows])
    expected = gradients(two, repeated)
    for name, gradient in gradients(one, weighted).items():
        torch.testing.assert_close(gradient, expected[name])
    torch.testing.assert_close(one.train_loss.compute(), two.train_loss.compute())
    assert float(one.train_loss.count) == 7
    assert float(one.train_accuracy.count) == 6  # which all count the same


@pytest.mark.parametrize("entropy", [0.0, 1.0])
def test_a_batch_of_weights_0_moves_nothing(entropy: float) -> None:
    module = mixed_module(entropy=entropy, virtual_adversarial=0.0, class_weights=[1.0, 2.0, 3.0])
    loss = module.training_step(batch()._replace(weights=torch.zeros(6)), 0)
    expected = float(module.train_entropy.compute()) if entropy else 0.0
    assert float(loss.detach()) == pytest.approx(expected)
    if not entropy:
        found = gradients(module, batch()._replace(weights=torch.zeros(6)))
        assert not any(gradient.any() for gradient in found.values())


def test_metrics_of_an_epoch_are_means_over_reviews_not_over_batches() -> None:
    module = small_module(optimizer=partial(torch.optim.SGD, lr=0.0))  # every batch sees the same
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(2, 12, (9, 7), generator=generator)
    with torch.no_grad():
        logits = module(ids, torch.full((9,), 7))
    # The model is right on the first eight, and far off on the last, a batch by itself.
    labels = torch.cat([logits[:8].argmax(1), logits[8:].argmin(1)])
    batches = [
        Batch(ids[part], torch.full((len(labels[part]),), 7), labels[part])
        for part in (slice(0, 8), slice(8, 9))
    ]
    loader: Any = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, max_epochs=1, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    expected = float(torch.nn.functional.cross_entropy(logits, labels))
    assert metrics["train/loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["val/loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["train/accuracy"] == pytest.approx(8 / 9)
    assert metrics["val/accuracy"] == pytest.approx(8 / 9)


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_validation_sets_the_temperature_of_tests_alone(calibrated: bool) -> None:
    module = small_module(optimizer=partial(torch.optim.SGD, lr=0.0), calibrated=calibrated)
    module.classifier.temperature.fill_(7)  # of an earlier epoch, which nothing must be left of
    data = batch(9)
    with torch.no_grad():
        logits = module.classifier.raw_logits(data.token_ids, data.lengths)
    labels = torch.cat([logits[:6].argmax(1), logits[6:].argmin(1)])
    temperature = fit_temperature(logits, labels) if calibrated else 1.0
    assert (abs(temperature - 1) > 0.1) == calibrated
    loader: Any = DataLoader([data._replace(labels=labels)], batch_size=None)  # type: ignore[arg-type]
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, max_epochs=2, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    raw = float(torch.nn.functional.cross_entropy(logits, labels))
    assert metrics["train/loss"] == pytest.approx(raw, rel=1e-5)
    assert metrics["val/loss"] == pytest.approx(raw, rel=1e-5)
    divided = logits / temperature
    assert metrics["val/ece"] == pytest.approx(reliability(divided, labels).error, abs=1e-5)
    assert float(module.classifier.temperature) == pytest.approx(temperature, rel=1e-5)
    (tested,) = trainer.test(module, loader, verbose=False)
    expected = summarise_predictions(divided, labels, "test/")
    assert tested == pytest.approx(expected, rel=1e-4)


def test_each_validation_sets_the_thresholds_that_checkpoints_keep(tmp_path: Path) -> None:
    module = small_module(goal=Goal(coverage=0.5))
    module.abstention = {"abstain/threshold/0": 0.1}  # of an earlier epoch
    loader: Any = DataLoader([batch(9)], batch_size=None)  # type: ignore[arg-type]
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        max_epochs=1, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    trainer.test(module, loader, verbose=False)
    assert module.outcome is not None
    assert module.outcome.answered is not None
    assert module.outcome.answered.answered == 5  # of 9
    assert module.abstention["abstain/val_coverage"] == pytest.approx(5 / 9)
    (path,) = tmp_path.rglob("*.ckpt")
    again = small_module()
    again.on_load_checkpoint(torch.load(path, weights_only=True))
    assert again.abstention == module.abstention


def test_lengths_of_a_test_are_those_before_cutting() -> None:
    module, data = small_module(), batch(2)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False,
                      enable_model_summary=False, enable_checkpointing=False)  # fmt: skip
    for full, expected in ((None, [[7, 7]]), (torch.tensor([90, 8]), [[8, 8], [90, 90]])):
        loader: Any = DataLoader([data._replace(full_lengths=full)], batch_size=None)  # type: ignore[arg-type]
        trainer.test(module, loader, verbose=False)
        assert module.outcome is not None
        assert [row["tokens"] for row in module.outcome.by_length] == expected


@pytest.mark.parametrize("lazy", [False, True])
def test_lazy_steps_leave_words_alone_that_no_batch_has(lazy: bool) -> None:
    module = small_module(
        optimizer=partial(torch.optim.AdamW, lr=0.1, weight_decay=0.5), lazy_embedding=lazy
    )
    before = module.classifier.embedding.weight.detach().clone()
    data = batch()
    unseen = [word for word in range(12) if word not in set(data.token_ids.flatten().tolist())]
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, max_steps=3, deterministic=True, gradient_clip_val=1.0,
    )  # fmt: skip
    loader: Any = DataLoader([data] * 3, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader)
    after = module.classifier.embedding.weight.detach()
    assert torch.equal(after[unseen], before[unseen]) == lazy
    assert module.classifier.embedding.sparse == lazy
    assert torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)


def mixed_module(**options: Any) -> SentimentModule:
    module = small_module(**{"entropy": 1.0, "virtual_adversarial": 1.0} | options)
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    return module


def gradients(module: SentimentModule, data: Batch) -> dict[str, torch.Tensor]:
    module.zero_grad()
    torch.manual_seed(4)
    module.training_step(data, 0).backward()  # type: ignore[no-untyped-call]
    return {
        name: weight.grad.clone()
        for name, weight in module.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.parametrize("terms", [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_the_loss_adds_the_weighted_terms(terms: tuple[float, float]) -> None:
    entropy, virtual_adversarial = terms
    module = mixed_module(entropy=entropy, virtual_adversarial=virtual_adversarial)
    loss = float(module.training_step(batch(), 0).detach())
    means = {name: float(mean.compute()) for name, mean in module._epoch_means().items()}
    expected = means["train_loss"] + entropy * means["train_entropy"]
    expected += virtual_adversarial * means.get("train_divergence", 0.0)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert 0 < means["train_entropy"] < math.log(3)
    assert (means.get("train_divergence", 0.0) > 0) == (virtual_adversarial > 0)
    logits = module.classifier.raw_logits(batch().token_ids, batch().lengths)
    cross_entropy = torch.nn.functional.cross_entropy(logits.detach(), batch().labels)
    assert means["train_loss"] == pytest.approx(float(cross_entropy), rel=1e-5)


def test_reviews_without_a_label_move_weights_and_count_for_no_figure_of_labels() -> None:
    data = batch()
    hidden = data._replace(labels=torch.tensor([0, -100, 2, -100, 1, -100]))
    first, second = mixed_module(), mixed_module()
    known = hidden.labels != -100
    only = Batch(data.token_ids[known], data.lengths[known], hidden.labels[known])
    all_grads, known_grads = gradients(first, hidden), gradients(second, only)
    assert not torch.equal(all_grads["classifier.head.1.weight"],
                           known_grads["classifier.head.1.weight"])  # fmt: skip
    for name in ("train_loss", "train_accuracy"):
        mean, expected = first._epoch_means()[name], second._epoch_means()[name]
        assert float(mean.count) == 3
        torch.testing.assert_close(mean.compute(), expected.compute())
    assert float(first.train_entropy.count) == 6


def test_a_batch_without_any_label_is_trained_on() -> None:
    module = mixed_module(class_weights=[1.0, 2.0, 3.0], label_smoothing=0.1)
    grads = gradients(module, batch()._replace(labels=torch.full((6,), -100)))
    assert all(grad.isfinite().all() for grad in grads.values())
    assert sum(float(grad.abs().sum()) for grad in grads.values()) > 0
    gradients(module, batch())
    assert float(module.train_loss.count) == 6
    assert math.isfinite(float(module.train_loss.compute()))


def test_without_the_terms_a_module_has_nothing_of_them() -> None:
    off, mixed = small_module(), mixed_module()
    extra = mixed.state_dict().keys() - off.state_dict().keys()
    assert {name.split(".")[0] for name in extra} == {"train_entropy", "train_divergence"}


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_weights_stay_and_the_others_learn_by_the_terms(frozen: bool) -> None:
    module = mixed_module()
    module.classifier.embedding.weight.requires_grad_(not frozen)
    module.classifier.encoder.requires_grad_(not frozen)
    parts = {name.split(".")[1] for name in gradients(module, batch())}
    assert parts == ({"head"} if frozen else {"head", "encoder", "embedding"})


def fit_epochs(module: SentimentModule, epochs: int) -> None:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, max_epochs=epochs,
    )  # fmt: skip
    loader: Any = DataLoader([batch()] * 3, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader)


@pytest.mark.parametrize("epochs", [1, 2])
def test_encoder_and_embedding_wait_until_their_epochs(epochs: int) -> None:
    module = small_module(frozen_epochs=1, encoder_frozen_epochs=1)
    before = {name: value.clone() for name, value in module.classifier.state_dict().items()}
    fit_epochs(module, epochs)
    moved = {
        name.split(".")[0]
        for name, value in module.classifier.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == ({"head"} if epochs == 1 else {"head", "encoder", "embedding"})


def test_each_part_has_a_rate_of_its_own() -> None:
    module = small_module(
        optimizer=partial(torch.optim.SGD, lr=1.0), encoder_lr_scale=0.5, embedding_lr_scale=0.25
    )
    optimizer = module.configure_optimizers()
    rates = {
        id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]
    }
    for name, weight in module.named_parameters():
        part = name.split(".")[1]
        assert rates[id(weight)] == {"head": 1.0, "encoder": 0.5, "embedding": 0.25}[part], name
    assert optimizer.param_groups[0]["lr"] == 1.0  # the rate that is logged


def test_the_embedding_has_a_rate_of_its_own() -> None:
    module = small_module(optimizer=partial(torch.optim.SGD, lr=0.5), embedding_lr_scale=0.1)
    optimizer = module.configure_optimizers()
    others, embedding = optimizer.param_groups
    assert (others["lr"], embedding["lr"]) == (0.5, 0.05)
    assert embedding["params"][0] is module.classifier.embedding.weight
    assert len(others["params"]) + 1 == len(list(module.parameters()))


@pytest.mark.half_precision
def test_tests_run_in_full_precision_whatever_training_does() -> None:
    module = small_module().eval()
    data = batch()
    trainer = Trainer(
        precision="bf16-mixed", accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    loader: Any = DataLoader([data], batch_size=None)  # type: ignore[arg-type]
    (metrics,) = trainer.test(module, loader, verbose=False)
    with torch.no_grad():
        logits = module(data.token_ids, data.lengths)
    expected = summarise_predictions(logits, data.labels, "test/")
    assert metrics["test/loss"] == pytest.approx(expected["test/loss"], abs=1e-7)
    assert module.outcome is not None
    assert module.outcome.confusion.tolist() == confusion_counts(logits, data.labels).tolist()


@pytest.mark.parametrize(("algorithm", "largest"), [("norm", None), ("value", 0.25)])
@pytest.mark.parametrize(
    ("precision", "cell"),
    [
        ("32-true", "lstm"),
        pytest.param("bf16-mixed", "gru", marks=pytest.mark.half_precision),
        pytest.param("bf16-mixed", "lstm", marks=pytest.mark.half_precision),
    ],
)
def test_gradients_are_clipped_for_a_fused_optimizer_too(
    precision: Any, cell: str, algorithm: str, largest: float | None
) -> None:
    if precision == "bf16-mixed":
        require_bf16(cell)
    module = small_module(cell=cell, optimizer=partial(torch.optim.SGD, lr=1.0, fused=True))
    for weight in module.parameters():
        weight.data.mul_(10)  # gradients far above the limit
    before = [weight.detach().clone() for weight in module.parameters()]
    trainer = Trainer(
        precision=precision, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, max_steps=1,
        gradient_clip_val=0.25, gradient_clip_algorithm=algorithm,
    )  # fmt: skip
    loader: Any = DataLoader([batch()], batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader)
    steps = [(new - old).flatten() for new, old in zip(module.parameters(), before, strict=True)]
    moved = torch.cat(steps)
    assert (moved.norm() if largest is None else moved.abs().max()).item() == pytest.approx(
        0.25, rel=1e-3
    )


def test_lengths_stay_on_the_cpu() -> None:
    moved = small_module().transfer_batch_to_device(batch(), torch.device("meta"), 0)
    assert moved.token_ids.device.type == moved.labels.device.type == "meta"
    assert moved.lengths.device.type == "cpu"


def test_metrics_equal_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(2)
    logits, labels = torch.randn(200, 3, generator=generator), torch.arange(200) % 3
    scores = logits.double().softmax(1).numpy()
    predicted = logits.argmax(1)
    metrics = summarise_predictions(logits, labels, "x/")
    assert metrics == pytest.approx(
        {
            "x/accuracy": float((predicted == labels).float().mean()),
            "x/f1": f1_score(labels, predicted, average="macro"),
            "x/auroc": roc_auc_score(labels, scores, multi_class="ovr", average="macro"),
            "x/loss": log_loss(labels, scores),
            "x/ece": reliability(logits, labels).error,
        },
        abs=1e-5,
    )
    counts = confusion_counts(logits, labels)
    assert counts.sum(1).tolist() == torch.bincount(labels).tolist()
    assert counts[1, 2] == ((labels == 1) & (predicted == 2)).sum()


def test_auroc_is_the_mean_over_the_classes_there_are() -> None:
    generator = torch.Generator().manual_seed(2)
    logits, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    scores = logits.double().softmax(1)
    areas = [roc_auc_score(labels == index, scores[:, index]) for index in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = summarise_predictions(logits, labels, "x/")
        alone = summarise_predictions(logits, labels * 0, "x/")
    assert metrics["x/auroc"] == pytest.approx(sum(areas) / 3, abs=1e-5)
    assert math.isnan(alone["x/auroc"])


def rates(schedule: Any, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = schedule(optimizer, steps)["scheduler"]
    seen = []
    for _ in range(steps):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return seen


def test_one_cycle_rises_and_falls() -> None:
    seen = rates(one_cycle, 100)
    assert seen[0] == pytest.approx(0.04)
    assert max(seen) == pytest.approx(1.0, abs=1e-3)
    assert seen.index(max(seen)) in range(28, 31)
    assert seen[-1] == pytest.approx(4e-6)


def test_cosine_warms_up_and_falls() -> None:
    seen = rates(partial(cosine, warmup=0.1, final_factor=0.1), 100)
    assert seen[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert seen[10] == 1.0
    assert seen[55] == pytest.approx(0.1 + 0.9 / 2)
    assert seen[-1] == pytest.approx(0.1, abs=1e-3)


def test_plateau_waits_for_the_loss() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    settings = plateau(optimizer, 0, factor=0.5, patience=1)
    assert settings["monitor"] == "val/loss"
    for loss, rate in ((1.0, 1.0), (1.0, 1.0), (1.0, 0.5)):
        settings["scheduler"].step(loss)
        assert optimizer.param_groups[0]["lr"] == rate
