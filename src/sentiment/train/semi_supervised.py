"""What reviews teach by their texts alone, beside the cross-entropy of those that have a label.

Two terms of the mixed objective of Sachan et al. 2019, "Revisiting LSTM Networks for
Semi-Supervised Text Classification via Mixed Objective Function": the entropy of predictions, and
how far they depart where the words of a review move a little in the worst direction. This file
knows torch alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment.batch import NO_CLASS
from sentiment.model.classifier import Inputs, SentimentClassifier
from sentiment.model.dropout import generator_state, same_masks

# How far away the worst direction is looked for, as a fraction of the perturbation's size: small
# enough for a derivative, large enough to be seen in bfloat16.
_PROBE = 0.1

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class MixedObjective:
    """Adds what texts teach to the loss of their labels.

    Attributes:
        entropy: weight of ``mean_entropy``.
        virtual_adversarial: weight of the mean ``divergence`` of an ``adversarial_perturbation``.
        perturbation_size: of that.
    """

    entropy: float
    virtual_adversarial: float
    perturbation_size: float

    def __bool__(self) -> bool:
        return self.entropy > 0 or self.virtual_adversarial > 0

    def passes(
        self, classifier: SentimentClassifier, inputs: Inputs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Classify a batch as it is and, where that has a weight, perturbed.

        All passes have the same masks of dropout, so predictions depart by the perturbation alone.
        It is added to vectors that dropout has gone over (as in the code of Miyato et al.).

        Returns:
            Logits of the batch as it is, (batch, classes), and the means over its reviews of
            entropy and divergence (0 without a weight).
        """
        device = inputs.words.device
        state = generator_state(device)
        logits = classifier.classify(inputs)
        divergence_term = logits.new_zeros(())
        if self.virtual_adversarial:

            def again(words: Tensor) -> Tensor:
                with same_masks(state, device):
                    return classifier.classify(inputs._replace(words=words))

            moved = adversarial_perturbation(
                again, inputs.words, logits, inputs.mask, size=self.perturbation_size
            )
            divergence_term = divergence(logits, again(inputs.words + moved)).mean()
        return logits, mean_entropy(logits), divergence_term


def labelled(labels: Tensor) -> Tensor:
    """How many reviews have a label: (batch,) int64 to a single int64."""
    return (labels != NO_CLASS).sum()


def labelled_mean(loss: nn.CrossEntropyLoss, logits: Tensor, labels: Tensor) -> Tensor:
    """The loss as the mean over the reviews that have a label; 0 where none has.

    Args:
        loss: its weights and smoothing are used.
        logits: (batch, classes).
        labels: (batch,) int64, ``NO_CLASS`` for none.
    """
    summed = functional.cross_entropy(
        logits, labels, loss.weight, reduction="sum", label_smoothing=loss.label_smoothing
    )
    counted = (labels != NO_CLASS).to(logits.dtype)
    if loss.weight is not None:
        counted = counted * loss.weight[labels.clamp(min=0)]
    total = counted.sum()
    return summed / torch.where(total > 0, total, 1)


def mean_entropy(logits: Tensor) -> Tensor:
    """Mean entropy, in nats, of the predicted distributions; logits are (batch, classes).

    Small where predictions are sure: boundaries between classes then keep away from the texts
    (Grandvalet & Bengio 2005, "Semi-supervised Learning by Entropy Minimization", equation 6).
    """
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).mean()


def divergence(logits: Tensor, others: Tensor) -> Tensor:
    """KL(p || q) in nats of each review, (batch,); no gradient flows into p.

    Args:
        logits: (batch, classes) of p.
        others: (batch, classes) of q.
    """
    log_p = logits.detach().log_softmax(1)
    return (log_p.exp() * (log_p - others.log_softmax(1))).sum(1)


def adversarial_perturbation(
    classify: Callable[[Tensor], Tensor],
    words: Tensor,
    logits: Tensor,
    mask: Tensor,
    *,
    size: float,
) -> Tensor:
    """What to add to the vectors of each review for predictions to depart most, to first order.

    As Miyato et al. 2017, "Adversarial Training Methods for Semi-Supervised Text Classification",
    equations 6 to 8: one power iteration from a random direction d. The perturbation is
    r = s g / |g|, where g is the gradient of KL(p(x) || p(x + xi d)) by x + xi d, and the norm is
    that of a whole review. They normalise vectors to unit variance; here s is ``size`` times the
    root mean square of the review's own vectors instead, whatever their scale: of those that
    dropout has left and scaled up, so dropping a fraction p makes s larger by the root of
    1 / (1 - p).

    The gradient of that divergence by the perturbed logits, q - p, is tiny. As only the direction
    of g counts, it is scaled to unit length first, lest half precision lose it.

    Args:
        classify: logits of vectors shaped as ``words``, with the dropout that gave ``logits``.
        words: (time, batch, embedding_size).
        logits: (batch, classes) of ``words``.
        mask: (batch, time) bool, true where a token stands.
        size: of the perturbation.

    Returns:
        (time, batch, embedding_size) without gradient; zero on padding.
    """
    words, inside = words.detach(), mask.t().unsqueeze(-1)  # (time, batch, 1)
    values = inside.sum(0) * words.shape[-1]  # (batch, 1)
    norm = torch.linalg.vector_norm(words * inside, dim=(0, 2)).unsqueeze(-1)
    radius = size * norm / values.sqrt()  # (batch, 1)
    probe = _PROBE * radius * _unit(torch.randn_like(words) * inside)
    probe.requires_grad_()
    others = classify(words + probe)
    pull = others.detach().softmax(1) - logits.detach().softmax(1)  # (batch, classes)
    (gradient,) = torch.autograd.grad(others, probe, functional.normalize(pull, eps=_TINY))
    perturbation: Tensor = radius * _unit(gradient * inside)
    return perturbation


def _unit(values: Tensor) -> Tensor:
    """Scale (time, batch, size) values so that the norm of each review is 1, or 0 if it is 0."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=(0, 2), keepdim=True)
    return values / norm.clamp(min=_TINY)
