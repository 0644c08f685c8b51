"""The recurrent encoder on a GPU beside ``torch.nn`` with the same weights.

    PYTHONPATH=src:scripts python -m benchmarks.gpu [--quick] [--json OUT]

It needs torch and NumPy alone, and takes a minute or two. Methods take turns on the same tensors. A
time is that of several passes in a row: the processor's or the GPU's, whichever is longer.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.rows import Row, Scale
from sentiment.data.sampler import BucketBatchSampler
from sentiment.model.encoder import RecurrentEncoder

INPUT_SIZE, TIME = 100, 256
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Shape(NamedTuple):
    """A layer and a batch to compare.

    Attributes:
        cell: `lstm`, `gru` or `rnn`.
        hidden: units of a direction.
        layers: recurrent layers, of both directions.
        batch: sequences.
        equal: whether all have ``TIME`` steps, or lengths as reviews of IMDB in a bucket have.
        half: whether autocast is on; torch runs these layers in float16 then, whatever its type.
    """

    cell: str
    hidden: int
    layers: int = 1
    batch: int = 64
    equal: bool = True
    half: bool = True

    @property
    def lengths(self) -> Tensor:
        """Steps of each sequence, (batch,) int64."""
        if self.equal:
            return torch.full((self.batch,), TIME)
        drawn = np.random.default_rng(0).lognormal(np.log(205), 0.66, 25_000)
        lengths = np.clip(drawn.astype(np.int64), 10, 1000)
        sampler = BucketBatchSampler(lengths, batch_size=self.batch, shuffle=True)
        batches = [lengths[batch] for batch in sampler if len(batch) == self.batch]
        return torch.from_numpy(sorted(batches, key=np.max)[len(batches) // 2])

    def __str__(self) -> str:
        lengths = f"{TIME} steps" if self.equal else "lengths of a bucket"
        precision = "half" if self.half else "float32"
        layers = f"{self.cell.upper()} {self.hidden} x {self.layers}"
        return f"{layers}, {self.batch} of {lengths}, {precision}"


def shapes(quick: bool) -> Iterator[Shape]:
    """The shapes to compare."""
    sizes = (64, 128, 192, 256, 512, 1024)
    if quick:
        return iter([Shape("lstm", 8, batch=4, half=False), Shape("gru", 8, 2, 4, equal=False)])
    return chain(
        (Shape(*each) for each in product(("lstm", "gru", "rnn"), sizes)),
        (Shape(*each, half=False) for each in product(("lstm", "gru", "rnn"), sizes)),
        (
            Shape(*each, equal=False)
            for each in product(("lstm",), (128, 256, 1024), (1,), (32, 64, 128, 512))
        ),
        (Shape(*each, equal=False) for each in product(("gru", "rnn"), (128,), (1,), (64, 512))),
        (Shape(*each, equal=False) for each in product(("lstm", "gru"), (128, 256), (2,), (64,))),
    )


def measure(scale: Scale) -> list[Row]:
    """Ratios of forward and backward together."""
    return [row for shape in shapes(scale.quick) for row in compare(shape, scale.pick(3, 1))]


def compare(shape: Shape, rounds: int) -> Iterator[Row]:
    """Our encoder beside ``torch.nn`` on padded and on packed batches."""
    torch.manual_seed(0)
    encoder = RecurrentEncoder(
        cell=shape.cell, input_size=INPUT_SIZE, hidden_size=shape.hidden, num_layers=shape.layers
    ).to(DEVICE)
    lengths = shape.lengths
    inside = (torch.arange(int(lengths.max()))[:, None] < lengths)[..., None].to(DEVICE)
    values = torch.randn(len(inside), shape.batch, INPUT_SIZE, device=DEVICE) * inside
    grad = torch.randn(len(inside), shape.batch, 2 * shape.hidden, device=DEVICE) * inside

    def ours(inputs: Tensor) -> Tensor:
        outputs: Tensor = encoder(inputs.transpose(0, 1), lengths).outputs
        return outputs.transpose(0, 1)

    def padded(inputs: Tensor) -> Tensor:
        outputs: Tensor = encoder.rnn(inputs)[0]
        return outputs

    def packed(inputs: Tensor) -> Tensor:
        sequence = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
        outputs: Tensor = pad_packed_sequence(encoder.rnn(sequence)[0])[0]
        return outputs

    def passing(run: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def forward_and_backward() -> None:
            encoder.zero_grad()
            inputs = values.clone().requires_grad_()
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=shape.half):
                outputs = run(inputs)
            torch.autograd.backward(outputs, grad.to(outputs.dtype))

        return forward_and_backward

    methods = {"ours": passing(ours), "padded": passing(padded), "packed": passing(packed)}
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(1 + rounds):
        for name, run in methods.items():
            times[name].append(seconds(run, passes=5))
    took = {name: statistics.median(values[1:]) for name, values in times.items()}
    rates = {name: int(lengths.sum()) / seconds / 1e3 for name, seconds in took.items()}
    yield Row(
        f"{shape}, against padded", rates["ours"] / rates["padded"], "x",
        f"inexact: {rates['padded']:,.0f} k tokens/s; ours {rates['ours']:,.0f}", ">= 0.95",
        "outputs that differ from each sequence run alone",
    )  # fmt: skip
    yield Row(
        f"{shape}, against packed", rates["ours"] / rates["packed"], "x",
        f"packed: {rates['packed']:,.0f} k tokens/s",
        ">= 4" if shape == Shape("lstm", 128) else "",
        "a packed run of equal weights that is faster",
    )  # fmt: skip


def seconds(run: Callable[[], None], passes: int) -> float:
    """Wall time of a pass, the mean of several that are not waited for one by one."""
    synchronize()
    start = time.perf_counter()
    for _ in range(passes):
        run()
    synchronize()
    return (time.perf_counter() - start) / passes


def synchronize() -> None:
    """Wait for the GPU."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure, and print a line for each row."""
    parser = argparse.ArgumentParser(description="Measure the encoder's speed on a GPU.")
    parser.add_argument("--quick", action="store_true", help="two tiny shapes, on any device")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the rows as JSON")
    parsed = parser.parse_args()
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "no GPU"
    version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    print(f"{name}; torch {torch.__version__}; cuDNN {version}")
    rows = []
    for shape in shapes(parsed.quick):
        for row in compare(shape, rounds=3):
            rows.append(dataclasses.asdict(row) | {"shape": shape._asdict()})
            print(f"{row.name}: {row.value:.2f} x ({row.against})", flush=True)
    if parsed.json:
        parsed.json.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
