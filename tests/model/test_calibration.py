import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from sentiment.model.calibration import (
    BINS,
    fit_temperature,
    is_temperature,
    reliability,
    reliability_of_scores,
)


def sampled(reviews: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Calibrated logits: each label is drawn from their softmax."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(reviews, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def logits_of(*scores: float) -> Tensor:
    """Two classes; the first has these scores."""
    first = torch.tensor(scores, dtype=torch.double)
    return torch.stack([first.log(), (1 - first).log()], 1)


def test_bins_and_error_by_hand() -> None:
    bins = reliability(logits_of(0.55, 0.58, 0.99, 0.1, 0.95), torch.tensor([0, 1, 0, 1, 1]))
    assert bins.reviews.tolist() == [0] * 8 + [2, 0, 0, 0, 0, 1, 2]
    assert bins.scores[8].item() == pytest.approx(0.565)
    assert bins.scores[13].item() == pytest.approx(0.9)  # of the second class, which is predicted
    assert bins.accuracies[[8, 13, 14]].tolist() == [0.5, 1.0, 0.5]
    assert bins.scores[:8].isnan().all()
    expected = (2 * abs(0.5 - 0.565) + abs(1 - 0.9) + 2 * abs(0.5 - 0.97)) / 5
    assert bins.error == pytest.approx(expected)


def test_scores_alone_give_the_same_bins() -> None:
    logits, labels = sampled(2_000)
    scores, predicted = logits.double().softmax(1).max(1)
    found = reliability_of_scores(scores.numpy(), (predicted == labels).numpy())
    for one, other in zip(found, reliability(logits, labels), strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


def test_a_bin_holds_its_upper_border() -> None:
    """A score of 0.8 is in the twelfth of fifteen bins, 1 in the last, though float32 rounds."""
    edge = torch.tensor([[math.log(4), 0]], dtype=torch.double)
    for logits, index in ((edge - 1e-12, 11), (edge * 1.001, 12), (torch.tensor([[99.0, 0]]), 14)):
        assert reliability(logits, torch.tensor([0])).reviews.nonzero().tolist() == [[index]]


@pytest.mark.parametrize("classes", [2, 7])
def test_the_error_is_that_of_torchmetrics(classes: int) -> None:
    logits, labels = sampled(1_000, classes)
    expected = multiclass_calibration_error((3 * logits).softmax(1), labels, classes, n_bins=BINS)
    assert reliability(3 * logits, labels).error == pytest.approx(float(expected), abs=1e-6)


def test_the_error_of_what_is_no_number_is_none() -> None:
    assert math.isnan(reliability(torch.full((4, 2), math.nan), torch.ones(4).long()).error)


@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
def test_the_temperature_undoes_a_scale(scale: float) -> None:
    logits, labels = sampled(20_000)
    temperature = fit_temperature(scale * logits, labels)
    assert temperature == pytest.approx(scale, rel=0.03)
    assert reliability(scale * logits / temperature, labels).error < 0.015


@pytest.mark.parametrize("reviews", [7, 200])
def test_the_temperature_has_the_least_smoothed_loss(reviews: int) -> None:
    logits, labels = sampled(reviews)
    shifted = (logits + 50).double()

    def loss(power: float) -> float:
        return float(
            torch.nn.functional.cross_entropy(
                shifted / math.exp(power), labels, label_smoothing=1 / (reviews + 1)
            )
        )

    best = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    assert fit_temperature(shifted, labels) == pytest.approx(math.exp(best.x), rel=1e-5)


@pytest.mark.parametrize("margin", [0.3, 9.0])
def test_reviews_that_are_all_right_do_not_make_sure(margin: float) -> None:
    logits, labels = torch.tensor([[0, margin]] * 10), torch.ones(10).long()
    scores = (logits / fit_temperature(logits, labels)).softmax(1)[:, 1]
    assert scores.tolist() == pytest.approx([1 - 1 / 22] * 10, abs=1e-6)


def test_worse_than_chance_is_next_to_even() -> None:
    logits, labels = torch.tensor([[0, 2.0]] * 10), torch.zeros(10).long()
    assert fit_temperature(logits, labels) == pytest.approx(100)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, None])
def test_with_nothing_to_go_by_logits_stay(value: float | None) -> None:
    logits = torch.tensor([[0, 2.0], [1, 3]]) if value is None else torch.full((2, 2), value)
    labels = torch.tensor([0, 1])
    if value is None:
        logits, labels = logits[:0], labels[:0]
    assert fit_temperature(logits, labels) == 1.0


def test_which_numbers_are_temperatures() -> None:
    logits, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    for value in (logits, 1e9 * logits, -logits, -1e9 * logits, 0 * logits):
        assert is_temperature(float(torch.tensor(fit_temperature(value, labels))))
    for wrong in (0.0, -1.0, 1e-300, 0.009, 101.0, 1e300, math.inf, math.nan):
        assert not is_temperature(wrong)
