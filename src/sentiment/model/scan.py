"""GRU and tanh layers for the CPU, several times as fast as torch's own in training.

torch has no fused CPU kernel for these cells: its autograd records a dozen nodes for each step of
each direction. Here a layer is one node. Its two directions run in parallel, so that a step is one
batched matrix product, and work in place in a few large buffers. The backward pass computes step by
step only what depends on the next step; the rest is a few large matrix products.

Buffers have the shape (directions, time, batch, values). Depends on torch alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# Steps of a GRU whose derivatives are computed at once: few enough to stay in the cache.
_BLOCK = 16


def scan_layer(
    cell: str,
    inputs: Sequence[Tensor],
    weights: Sequence[Sequence[Tensor]],
    start: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Run one layer, each direction over its own inputs.

    Matrix products have the dtype of autocast; the state of a GRU stays float32 or wider.

    Args:
        cell: `gru` or `rnn` (tanh), by the equations of `nn.GRU` and `nn.RNN`.
        inputs: For each direction, (time, batch, input_size).
        weights: For each direction, the input and the recurrent weights and their biases, as in
            `all_weights` of torch's modules.
        start: The state before the first step, (directions, batch, hidden_size), which gets no
            gradient; None is zeros.

    Returns:
        For each direction the state after each step, (time, batch, hidden_size).
    """
    dtype = inputs[0].dtype
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    arguments: list[Tensor] = []
    for sequence, (input_weight, recurrent_weight, *biases) in zip(inputs, weights, strict=True):
        arguments += [value.to(dtype) for value in (sequence, input_weight, recurrent_weight)]
        arguments += biases
    scan = {"gru": _GruScan, "rnn": _TanhScan}[cell]
    with torch.autocast("cpu", enabled=False):
        states: Tensor = scan.apply(torch.is_grad_enabled(), start, *arguments)  # type: ignore[no-untyped-call]
    return states.unbind(0)


class _GruScan(Function):
    """A GRU layer (Cho et al. 2014) in the form of `nn.GRU`, with the gates in the order r, z, n.

    r = sigmoid(W_r x + b_r + U_r h + c_r),  z = sigmoid(W_z x + b_z + U_z h + c_z),
    m = U_n h + c_n,  n = tanh(W_n x + b_n + r m),  and the next state is (1 - z) n + z h.
    """

    @staticmethod
    def forward(ctx: Any, keep: bool, start: Tensor | None, *arguments: Tensor) -> Tensor:
        inputs, input_weights, recurrent_weights, biases, more_biases = _by_kind(arguments)
        size = recurrent_weights[0].shape[1]
        sums = [first + second for first, second in zip(biases, more_biases, strict=True)]
        for total, first in zip(sums, biases, strict=True):
            total[2 * size :] = first[2 * size :]  # the second bias of n is multiplied by r
        gates = _project(inputs, input_weights, sums)
        directions, time, batch, _ = gates.shape
        # Without a backward pass, all steps use the memory of one.
        m = gates.new_empty(directions, time if keep else 1, batch, size)
        m = m.expand(directions, time, batch, size)
        states = gates.new_zeros(directions, time + 1, batch, size)
        if start is not None:
            states[:, 0] = start
        weight = torch.stack([matrix.t() for matrix in recurrent_weights])
        bias = torch.stack([c[2 * size :] for c in more_biases]).to(gates.dtype).unsqueeze(1)

        r_z, r, z, n = (
            gates[..., first * size : last * size].unbind(1)
            for first, last in ((0, 2), (0, 1), (1, 2), (2, 3))
        )
        product = gates.new_empty(directions, batch, 3 * size)
        product_r_z, product_n = product[..., : 2 * size], product[..., 2 * size :]
        wide = _wide(gates.dtype)
        state = states[:, 0].to(wide)
        for step, (before, after, m_step) in enumerate(
            zip(states[:, :-1].unbind(1), states[:, 1:].unbind(1), m.unbind(1), strict=True)
        ):
            torch.bmm(before, weight, out=product)
            r_z[step].add_(product_r_z).sigmoid_()
            torch.add(product_n, bias, out=m_step)
            n[step].addcmul_(r[step], m_step).tanh_()
            state = torch.lerp(n[step].to(wide), state, z[step].to(wide))
            after.copy_(state)
        if keep:
            ctx.save_for_backward(gates, m, states, *inputs, *input_weights, *recurrent_weights)
        return states[:, 1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        gates, m, states, *matrices = ctx.saved_tensors
        directions, time, batch, size = m.shape
        r, z, n = gates.chunk(3, dim=-1)
        wide = _wide(gates.dtype)
        # The gradients of m, r, z and n in this order, so that those of the recurrent product
        # (m, r, z) and those of the input (r, z, n) are both contiguous.
        grads = gates.new_empty(directions, time, batch, 4, size)
        flat = grads.flatten(3)
        by_product = flat[..., : 3 * size].unbind(1)
        recurrent_weights = matrices[-directions:]
        weight = torch.stack([matrix.roll(size, 0) for matrix in recurrent_weights])
        product = gates.new_empty(directions, batch, size)
        from_above, z_steps, grad_steps = grad_states.unbind(1), z.unbind(1), grads.unbind(1)
        grad = from_above[-1].to(wide)
        for step in reversed(range(time)):
            if step % _BLOCK == _BLOCK - 1 or step == time - 1:
                block = slice(step // _BLOCK * _BLOCK, step + 1)
                _gru_derivatives(
                    *(value[:, block] for value in (r, z, n, m, states)), out=grads[:, block]
                )
            grad_steps[step].mul_(grad.to(gates.dtype).unsqueeze(2))
            if step > 0:
                torch.bmm(by_product[step], weight, out=product)
                grad = torch.addcmul(from_above[step - 1].to(wide), grad, z_steps[step].to(wide))
                grad += product
        return _gradients(ctx, flat[..., size:], flat[..., : 3 * size], states, matrices, roll=size)


def _gru_derivatives(r: Tensor, z: Tensor, n: Tensor, m: Tensor, h: Tensor, *, out: Tensor) -> None:
    """Write the derivatives of the next state by m and by the arguments of r, z and n.

    All arguments are (..., size), `out` is (..., 4, size).
    """
    by_m, by_r, by_z, by_n = out.unbind(-2)
    torch.mul(1 - z, 1 - n * n, out=by_n)
    torch.mul(by_n, r, out=by_m)
    torch.mul(by_m, m * (1 - r), out=by_r)
    torch.mul(h - n, z * (1 - z), out=by_z)


class _TanhScan(Function):
    """A layer of Elman's cell (1990) in the form of `nn.RNN`: h' = tanh(W x + b + U h + c)."""

    @staticmethod
    def forward(ctx: Any, keep: bool, start: Tensor | None, *arguments: Tensor) -> Tensor:
        inputs, input_weights, recurrent_weights, biases, more_biases = _by_kind(arguments)
        sums = [first + second for first, second in zip(biases, more_biases, strict=True)]
        gates = _project(inputs, input_weights, sums)
        directions, time, batch, size = gates.shape
        states = gates.new_zeros(directions, time + 1, batch, size)
        if start is not None:
            states[:, 0] = start
        weight = torch.stack([matrix.t() for matrix in recurrent_weights])
        steps = states.unbind(1)
        product = gates.new_empty(directions, batch, size)
        for step, gate in enumerate(gates.unbind(1)):
            torch.bmm(steps[step], weight, out=product)
            torch.add(gate, product, out=steps[step + 1]).tanh_()
        if keep:
            ctx.save_for_backward(states, *inputs, *input_weights, *recurrent_weights)
        return states[:, 1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:
        states, *matrices = ctx.saved_tensors
        directions, time, batch, size = grad_states.shape
        weight = torch.stack(matrices[-directions:])
        grads = 1 - states[:, 1:].square()
        product = grads.new_empty(directions, batch, size)
        from_above, steps = grad_states.unbind(1), grads.unbind(1)
        steps[-1].mul_(from_above[-1])
        for step in reversed(range(time - 1)):
            torch.bmm(steps[step + 1], weight, out=product)
            steps[step].mul_(product.add_(from_above[step]))
        return _gradients(ctx, grads, grads, states, matrices)


def _by_kind(arguments: Sequence[Tensor]) -> tuple[Sequence[Tensor], ...]:
    """Group the five arguments of each direction by kind."""
    return tuple(arguments[first::5] for first in range(5))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _project(
    inputs: Sequence[Tensor], weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> Tensor:
    """The contribution of all inputs to the gates, (directions, time, batch, gates * size)."""
    time, batch, _ = inputs[0].shape
    gates = inputs[0].new_empty(len(inputs), time, batch, len(weights[0]))
    for own, sequence, weight, bias in zip(gates, inputs, weights, biases, strict=True):
        out = own.flatten(0, 1)
        torch.addmm(bias.to(gates.dtype), sequence.flatten(0, 1), weight.t(), out=out)
    return gates


def _gradients(
    ctx: Any,
    into_gates: Tensor,
    into_product: Tensor,
    states: Tensor,
    matrices: Sequence[Tensor],
    roll: int = 0,
) -> tuple[Tensor | None, ...]:
    """The gradients of all arguments, from those of the gates and of the recurrent product.

    Both are (directions, time, batch, gates * size); the gates of the second are rolled by `roll`.
    """
    directions = len(states)
    inputs, input_weights, _ = (
        matrices[first : first + directions] for first in range(0, 3 * directions, directions)
    )
    result: list[Tensor | None] = [None, None]
    for direction in range(directions):
        by_input = into_gates[direction].flatten(0, 1)
        by_product = into_product[direction].flatten(0, 1)
        needed = ctx.needs_input_grad[2 + 5 * direction]
        result += [
            (by_input @ input_weights[direction]).view_as(inputs[direction]) if needed else None,
            by_input.t() @ inputs[direction].flatten(0, 1),
            (by_product.t() @ states[direction, :-1].flatten(0, 1)).roll(-roll, 0),
            by_input.sum(0, dtype=_wide(states.dtype)),
            by_product.sum(0, dtype=_wide(states.dtype)).roll(-roll, 0),
        ]
    return tuple(result)
