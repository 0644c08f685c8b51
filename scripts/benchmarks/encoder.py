"""The recurrent encoder on a CPU beside ``torch.nn`` with the same weights."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.rows import Row, Scale, matrix_product_gflops, medians
from sentiment.model.encoder import RecurrentEncoder
from sentiment.runtime.environment import keep_freed_memory

INPUT_SIZE, BATCH, TIME = 100, 64, 256
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def measure(scale: Scale) -> list[Row]:
    """Ratios of forward and backward together, in one process."""
    keep_freed_memory()
    limits = {dtype: matrix_product_gflops(dtype) for dtype in (torch.float32, torch.bfloat16)}
    rows = [
        Row(f"matrix product of 2048, {str(dtype)[6:]}", limit, "GFLOP/s")
        for dtype, limit in limits.items()
    ]
    shapes = [(128, 1), (256, 1), (128, 2), (256, 2)]
    for hidden, layers in scale.pick(shapes, shapes[:1]):
        rows += _compare("lstm", hidden, layers, limits, scale, packed_goal=6)
    for cell in ("gru", "rnn"):
        rows += _compare(cell, scale.pick(256, 64), 1, limits, scale, packed_goal=3)
    return rows


def _compare(
    cell: str,
    hidden: int,
    layers: int,
    limits: dict[torch.dtype, float],
    scale: Scale,
    packed_goal: int,
) -> list[Row]:
    torch.manual_seed(0)
    encoder = RecurrentEncoder(
        cell=cell, input_size=INPUT_SIZE, hidden_size=hidden, num_layers=layers
    )
    lengths = torch.randint(int(0.9 * TIME), TIME + 1, (BATCH,))
    lengths[0] = TIME
    values = torch.randn(BATCH, TIME, INPUT_SIZE)
    tokens = int(lengths.sum())

    def padded(inputs: Tensor) -> Tensor:
        outputs: Tensor = encoder.rnn(inputs.transpose(0, 1))[0]
        return outputs.transpose(0, 1)

    def packed(inputs: Tensor) -> Tensor:
        sequence = pack_padded_sequence(
            inputs.transpose(0, 1), lengths, batch_first=False, enforce_sorted=False
        )
        outputs: Tensor = pad_packed_sequence(encoder.rnn(sequence)[0])[0]
        return outputs

    def ours(inputs: Tensor) -> Tensor:
        outputs: Tensor = encoder(inputs, lengths).outputs
        return outputs

    times = medians(
        {
            "ours": _pass(ours, values, torch.float32),
            "padded": _pass(padded, values, torch.float32),
            "ours bf16": _pass(ours, values, torch.bfloat16),
            "packed": _pass(packed, values, torch.float32),
        },
        rounds=scale.pick(7, 3),
        once=("packed",),
    )
    name = f"{cell.upper()} {hidden} x {layers}"
    goal = ">= 70" if cell == "lstm" and hidden == 256 else ""
    rates = {key: tokens / took / 1e3 for key, took in times.items()}
    rows = [
        Row(
            f"{name} against packed", rates["ours"] / rates["packed"], "x",
            f"nn.{cell.upper()} on packed input: {rates['packed']:,.1f} k tokens/s",
            f">= {packed_goal}", "a packed run of equal weights that is faster",
        ),
        Row(
            f"{name} against padded", rates["ours"] / rates["padded"], "x",
            f"nn.{cell.upper()} on padding, inexact: {rates['padded']:,.1f} k tokens/s",
            ">= 0.95", "outputs that differ from each sequence run alone",
        ),
        Row(
            f"{name} bf16 against fp32", rates["ours bf16"] / rates["ours"], "x",
            f"fp32: {rates['ours']:,.1f} k tokens/s", ">= 1.4" if cell == "lstm" else "",
            "accuracy over three seeds that falls by more than their spread",
        ),
    ]  # fmt: skip
    measured = {torch.float32: rates["ours"], torch.bfloat16: rates["ours bf16"]}
    return rows + [
        _fraction(name, _flops(cell, hidden, layers) * rate / 1e6, dtype, limits[dtype], goal)
        for dtype, rate in measured.items()
    ]


def _fraction(name: str, reached: float, dtype: torch.dtype, limit: float, goal: str) -> Row:
    """A rate in GFLOP/s as a fraction of that of a matrix product."""
    return Row(
        f"{name} share of the matrix product, {str(dtype)[6:]}", 100 * reached / limit, "%",
        f"{reached:,.0f} GFLOP/s", goal,
        "a count of operations that is not 6 for each weight and token",
    )  # fmt: skip


def _pass(
    run: Callable[[Tensor], Tensor], values: Tensor, dtype: torch.dtype
) -> Callable[[], None]:
    def forward_and_backward() -> None:
        inputs = values.clone().requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            outputs = run(inputs)
        torch.autograd.backward(outputs, torch.ones_like(outputs))

    return forward_and_backward


def _flops(cell: str, hidden: int, layers: int) -> float:
    """Operations for a token, forward and backward: 6 for each weight of both directions."""
    weights, size = 0, INPUT_SIZE
    for _ in range(layers):
        weights += 2 * GATES[cell] * hidden * (size + hidden)
        size = 2 * hidden
    return 6.0 * weights
