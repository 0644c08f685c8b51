import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sentiment.model import softmax
from sentiment.model.softmax import CandidateSampler, summed_cross_entropy


def example(predictions: int = 300, words: int = 40, size: int = 7) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    return (
        torch.randn(predictions, size, requires_grad=True),
        torch.randn(words, size, requires_grad=True),
        torch.randn(words, requires_grad=True),
        torch.randint(max(1, words), (predictions,)),
    )


@pytest.mark.parametrize("at_a_time", [1, 1 << 20])
def test_loss_and_gradients_are_those_of_torch(
    at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "_SCORES_ON_CPU", at_a_time)  # 64 predictions at least
    contexts, rows, bias, targets = example()
    offset = torch.randn(len(rows))
    loss = summed_cross_entropy(contexts, rows, bias, targets, offset=offset)
    ours = torch.autograd.grad(3 * loss, (contexts, rows, bias))
    logits = contexts @ rows.t() + bias + offset
    expected = nn.functional.cross_entropy(logits, targets, reduction="sum")
    theirs = torch.autograd.grad(3 * expected, (contexts, rows, bias))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        again = summed_cross_entropy(contexts, rows, bias, targets, offset=offset)
    torch.testing.assert_close(again, expected.detach())


def test_under_autocast_it_is_near_and_in_float32() -> None:
    contexts, rows, bias, targets = example()
    exact = summed_cross_entropy(contexts, rows, bias, targets)
    with torch.autocast("cpu", torch.bfloat16):
        loss = summed_cross_entropy(contexts, rows, bias, targets)
    near = torch.autograd.grad(loss, (contexts, rows, bias))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=5e-3, atol=0)
    for one, other in zip(near, torch.autograd.grad(exact, (contexts, rows, bias)), strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()


def test_targets_are_candidates_and_others_come_as_often_as_they_should() -> None:
    torch.manual_seed(0)
    counts = 1000 / torch.arange(1, 101)
    sampler = CandidateSampler(counts, 20)
    assert sampler.probabilities.sum() == pytest.approx(20, rel=1e-4)
    assert sampler.probabilities.max() <= 1
    targets = torch.tensor([99, 3, 99, 50])
    drawn = torch.zeros(100)
    for _ in range(2000):
        words, log_probability, indices = sampler(targets)
        drawn[words] += 1
        assert words[indices].equal(targets)
        assert len(set(words.tolist())) == len(words)
        assert (log_probability[indices] == 0).all()
    expected = sampler.probabilities.clone()
    expected[targets] = 1
    torch.testing.assert_close(drawn / 2000, expected, rtol=0, atol=0.05)


def test_all_words_can_be_asked_for() -> None:
    sampler = CandidateSampler(torch.tensor([0, 5, 1, 90]), 4)
    words, log_probability, _ = sampler(torch.tensor([1]))
    assert words.tolist() == [0, 1, 2, 3]
    assert not log_probability.any()


def test_the_estimate_of_the_sum_is_without_bias() -> None:
    contexts, rows, bias, targets = example(predictions=4, words=60)
    logits = (contexts @ rows.t() + bias).detach()
    sampler = CandidateSampler(torch.rand(60), 25)
    estimates = []
    for _ in range(4000):
        words, log_probability, _ = sampler(targets)
        estimates.append((logits[:, words] - log_probability).exp().sum(1))
    mean = torch.stack(estimates).mean(0)
    torch.testing.assert_close(mean, logits.exp().sum(1), rtol=0.03, atol=0)


def test_without_gradients_nothing_but_the_scores_is_computed() -> None:
    contexts, rows, bias, targets = example()

    def operations() -> int:
        with FlopCounterMode(display=False) as counter:
            summed_cross_entropy(contexts, rows, bias, targets)
        return int(counter.get_total_flops())

    scores = 2 * contexts.shape[0] * rows.numel()
    assert operations() == 3 * scores
    with torch.no_grad():
        assert operations() == scores


def test_a_step_without_targets_or_words_has_no_loss() -> None:
    contexts, rows, bias, targets = example(predictions=0, words=0)
    loss = summed_cross_entropy(contexts, rows, bias, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert rows.grad is not None
