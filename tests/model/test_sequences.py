# mypy: allow-untyped-calls
# (torch's Tensor.backward and Tensor.split are untyped)
"""The encoder learns sequences that are not text: pictures read row by row, and a wave."""

from collections.abc import Iterator

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from sentiment.model.encoder import RecurrentEncoder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep small tensors off the thread pool, which crawls on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Reader(nn.Module):
    """A stacked bidirectional encoder and one linear layer on its final state."""

    def __init__(self, cell: str, input_size: int, output_size: int) -> None:
        super().__init__()
        self.encoder = RecurrentEncoder(
            cell=cell, input_size=input_size, hidden_size=64, num_layers=2, dropout=0.1
        )
        self.output = nn.Linear(self.encoder.output_size, output_size)

    def forward(self, sequences: Tensor) -> Tensor:
        lengths = torch.full((len(sequences),), sequences.shape[1])
        outputs: Tensor = self.output(self.encoder(sequences, lengths).final)
        return outputs


def fit(reader: Reader, inputs: Tensor, targets: Tensor, loss: nn.Module, epochs: int) -> None:
    optimizer = torch.optim.Adam(reader.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            loss(reader(inputs[rows]), targets[rows]).backward()
            optimizer.step()
        schedule.step()
    reader.eval()


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_digits_row_by_row(cell: str) -> None:
    torch.manual_seed(0)
    digits = load_digits()
    pictures = torch.tensor(digits.images, dtype=torch.float32) / 16  # (1797, 8 rows, 8 values)
    labels = torch.tensor(digits.target)
    held_out = torch.arange(len(labels)) % 4 == 0
    reader = Reader(cell, input_size=8, output_size=10)
    fit(reader, pictures[~held_out], labels[~held_out], nn.CrossEntropyLoss(), epochs=30)
    with torch.inference_mode():
        found = reader(pictures[held_out]).argmax(dim=1)
    assert (found == labels[held_out]).float().mean() > 0.95


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_next_value_of_a_wave(cell: str) -> None:
    torch.manual_seed(0)
    wave = torch.sin(torch.arange(0, 120, 0.1)).unsqueeze(1)  # (1200, 1)
    windows = wave.unfold(0, 21, 1).transpose(1, 2)  # (1180, 21, 1)
    inputs, targets = windows[:, :20], windows[:, 20]
    reader = Reader(cell, input_size=1, output_size=1)
    reader.encoder.dropout.p = 0.0
    fit(reader, inputs[:800], targets[:800], nn.MSELoss(), epochs=12)
    with torch.inference_mode():
        error = nn.functional.mse_loss(reader(inputs[800:]), targets[800:])
    assert error < 1e-3
