"""Cross-entropy over a large vocabulary, computed in chunks or over a sample of it.

Depends on torch alone.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from sentiment.model.settings import require_positive

# Scores in memory at a time: few enough for a CPU's cache, more for a device that needs large ones.
_SCORES_ON_CPU, _SCORES_ON_DEVICE = 1 << 20, 1 << 27


class Candidates(NamedTuple):
    """The words of a sampled softmax in one step.

    Attributes:
        words: (candidates,) int64, distinct and sorted; every target is one of them.
        log_probability: (candidates,) float32, the log-probability with which each was drawn.
        targets: (predictions,) int64, the indices of the targets in ``words``.
    """

    words: Tensor
    log_probability: Tensor
    targets: Tensor


class CandidateSampler:
    """Draws the candidates of a sampled softmax: all targets of a step and some other words.

    The sum in the softmax over the whole vocabulary is estimated without bias: a word that is not a
    target is drawn with a known probability and weighted by its inverse (Horvitz & Thompson 1952,
    "A Generalization of Sampling Without Replacement From a Finite Universe"). The targets of the
    step, which are most of the words with any probability, are always candidates. As in Jean et al.
    2015, "On Using Very Large Target Vocabulary", all predictions of a step have the same
    candidates, so scoring them is one matrix product.

    Args:
        counts: (vocabulary,), how often each word occurs. A word is drawn with a probability
            proportional to its 0.75th power (Mikolov et al. 2013), limited to 1.
        negatives: expected number of drawn words, limited to the vocabulary.
    """

    def __init__(self, counts: Tensor, negatives: int) -> None:
        require_positive(negatives=negatives)
        weights = counts.double().clamp_min(0.5) ** 0.75
        self.probabilities = _inclusion_probabilities(weights, negatives).float()

    def __call__(self, targets: Tensor) -> Candidates:
        """Draw the candidates for (predictions,) targets, by their device's random generator."""
        if self.probabilities.device != targets.device:
            self.probabilities = self.probabilities.to(targets.device)
        probability = self.probabilities.clone()
        probability[targets] = 1.0
        words = (torch.rand_like(probability) < probability).nonzero().squeeze(1)
        index = torch.empty_like(probability, dtype=torch.int64)
        index[words] = torch.arange(len(words), device=words.device)
        return Candidates(words, probability[words].log(), index[targets])


def _inclusion_probabilities(weights: Tensor, total: int) -> Tensor:
    """Probabilities proportional to the weights, none above 1, with the given sum if possible."""
    probability = torch.zeros_like(weights)
    for _ in range(len(weights)):
        free = probability < 1
        rest = total - int((~free).sum())
        if rest <= 0 or not free.any():
            break
        probability[free] = rest * weights[free] / weights[free].sum()
        if not (probability > 1).any():
            break
        probability.clamp_(max=1.0)
    return probability


def summed_cross_entropy(
    contexts: Tensor, rows: Tensor, bias: Tensor, targets: Tensor, *, offset: Tensor | None = None
) -> Tensor:
    """Sum of ``-log softmax(contexts @ rows.T + bias)[target]`` over the predictions, in nats.

    Scores are computed for some predictions at a time, in the dtype of autocast, and the rest in
    float32. Gradients, if needed, are computed in the same pass, so no scores are kept.

    Args:
        contexts: (predictions, size).
        rows: (candidates, size).
        bias: (candidates,).
        targets: (predictions,) int64, indices into ``rows``.
        offset: (candidates,), a constant added to the bias, or None.

    Returns:
        A float32 scalar.
    """
    kind = contexts.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
    offset = torch.zeros_like(bias) if offset is None else offset
    loss: Tensor = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
        contexts, rows, bias, targets, offset, dtype, torch.is_grad_enabled()
    )
    return loss


class _CrossEntropy(Function):
    """The loss and its gradients in one pass over chunks of the predictions."""

    @staticmethod
    def forward(
        ctx: Any,
        contexts: Tensor,
        rows: Tensor,
        bias: Tensor,
        targets: Tensor,
        offset: Tensor,
        dtype: torch.dtype,
        grad_enabled: bool,  # needs_input_grad is true for weights even under no_grad
    ) -> Tensor:
        wanted = grad_enabled and any(ctx.needs_input_grad)
        with torch.autocast(contexts.device.type, enabled=False), torch.no_grad():
            left, right = contexts.to(dtype), rows.to(dtype)
            constant = (bias + offset).float()
            loss = torch.zeros((), device=contexts.device)
            grads = torch.zeros_like(left), torch.zeros_like(rows), torch.zeros_like(bias)
            scores = _SCORES_ON_CPU if contexts.device.type == "cpu" else _SCORES_ON_DEVICE
            size = max(64, scores // max(1, len(rows)))
            for first in range(0, len(contexts) if wanted else 0, size):
                part = slice(first, first + size)
                at = targets[part, None]
                probabilities = (torch.mm(left[part], right.t()).float() + constant).softmax(1)
                own = probabilities.gather(1, at)
                loss -= own.clamp_min(1e-37).log().sum()
                probabilities.scatter_(1, at, own - 1)
                grads[2].add_(probabilities.sum(0))
                probabilities = probabilities.to(dtype)
                torch.mm(probabilities, right, out=grads[0][part])
                grads[1].add_(torch.mm(probabilities.t(), left[part]))
            for first in range(0, 0 if wanted else len(contexts), size):
                part = slice(first, first + size)
                logits = torch.mm(left[part], right.t()).float() + constant
                loss += torch.nn.functional.cross_entropy(logits, targets[part], reduction="sum")
        if wanted:
            ctx.save_for_backward(*grads)
            ctx.dtype = contexts.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        contexts, rows, bias = ctx.saved_tensors
        return (contexts * grad).to(ctx.dtype), rows * grad, bias * grad, None, None, None, None
