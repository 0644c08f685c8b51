"""Very long sequences: what comes out is what torch's own layers give for packed ones."""

import pytest
import torch

from sentiment.model.encoder import RecurrentEncoder
from sentiment.model.pieces import POSITIONS

LONG = POSITIONS + 100


@pytest.mark.parametrize(
    ("cell", "lengths"),
    [("lstm", [LONG, 70]), ("lstm", [2 * LONG]), ("gru", [LONG, 70]), ("rnn", [LONG])],
)
def test_a_long_sequence_is_read_as_torch_reads_it(cell: str, lengths: list[int]) -> None:
    torch.manual_seed(0)
    layers = 2 if cell == "lstm" else 1
    encoder = RecurrentEncoder(cell=cell, input_size=2, hidden_size=3, num_layers=layers).eval()
    inputs = torch.randn(len(lengths), max(lengths), 2)
    with torch.inference_mode():
        outputs, final = encoder(inputs, torch.tensor(lengths))
        encoder.packed = True
        expected = encoder(inputs, torch.tensor(lengths))
    torch.testing.assert_close(final, expected.final, atol=1e-5, rtol=0)
    for row, length in enumerate(lengths):
        ours, theirs = outputs[row, :length], expected.outputs[row, :length]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_gradients_flow_through_a_long_lstm() -> None:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(input_size=1, hidden_size=2, bidirectional=False)
    inputs = torch.randn(1, LONG, 1)
    ours = encoder(inputs, torch.tensor([LONG])).outputs
    theirs = encoder.rnn(inputs.transpose(0, 1))[0].transpose(0, 1)
    grads = [
        torch.autograd.grad(outputs.square().sum(), list(encoder.parameters()))
        for outputs in (ours, theirs)
    ]
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-2)
