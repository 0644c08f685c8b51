"""Very long sequences: the results equal those of torch's layers for packed ones."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

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
        packed = pack_padded_sequence(inputs, torch.tensor(lengths), batch_first=True)
        expected, _ = pad_packed_sequence(encoder.rnn(packed)[0], batch_first=True)
    for row, length in enumerate(lengths):
        theirs = expected[row, :length]
        torch.testing.assert_close(outputs[row, :length], theirs, atol=1e-5, rtol=0)
        last = torch.cat([theirs[-1, :3], theirs[0, 3:]])
        torch.testing.assert_close(final[row], last, atol=1e-5, rtol=0)


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
