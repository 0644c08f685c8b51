import pytest
import torch
from torch import nn

from sentiment.model.dropout import Dropout, generator_state, random_bits, same_masks


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.999])
def test_drops_the_fraction_and_keeps_the_mean(probability: float) -> None:
    torch.manual_seed(0)
    values = torch.full((400, 1001), 2.0, requires_grad=True)
    dropped = Dropout(probability)(values)
    kept = dropped != 0
    assert (~kept).float().mean().item() == pytest.approx(probability, abs=0.01)
    torch.testing.assert_close(dropped[kept], (values / (1 - probability))[kept], rtol=0.02, atol=0)
    dropped.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, dropped.detach() / 2)


def test_does_nothing_in_evaluation_or_with_probability_0() -> None:
    values = torch.randn(5, 3)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values


def test_repeats_with_the_seed_and_keeps_the_type() -> None:
    values = torch.ones(7, 3, dtype=torch.bfloat16)
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(Dropout(0.5)(values))
    assert masks[0].dtype == torch.bfloat16
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_a_probability_of_almost_one_stays_finite() -> None:
    dropped = Dropout(1 - 1e-9)(torch.ones(200_000))
    assert torch.isfinite(dropped).all()


def test_bits_are_spread_evenly_and_independent() -> None:
    torch.manual_seed(0)
    bits = random_bits(400_001).double()
    assert len(bits) == 400_001
    for first in range(4):  # four of them come from one draw
        part = bits[first::4]
        assert abs(part.mean().item()) < 250  # 4 standard errors
        assert part.std().item() == pytest.approx(65536 / 12**0.5, rel=0.01)
    for lag in (1, 2, 3, 4):
        correlation = torch.corrcoef(torch.stack([bits[lag:], bits[:-lag]]))[0, 1]
        assert abs(correlation.item()) < 0.007


def test_prints_like_torchs_own() -> None:
    assert repr(Dropout(0.3)) == repr(nn.Dropout(0.3))


def test_masks_repeat_from_a_state_and_the_generator_continues() -> None:
    torch.manual_seed(0)
    cpu, dropout, values = torch.device("cpu"), Dropout(0.5).train(), torch.ones(1000)
    torch.rand(3)
    state = generator_state(cpu)
    first = dropout(values)
    follows = torch.get_rng_state()
    with same_masks(state, cpu):
        assert torch.equal(dropout(values), first)
    with pytest.raises(ZeroDivisionError), same_masks(state, cpu):
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), follows)
