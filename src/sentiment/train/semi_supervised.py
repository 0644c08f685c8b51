"""Terms of the training loss that need no labels, beside the cross-entropy of labelled reviews.

They are two of the mixed objective of Sachan et al. 2019, "Revisiting LSTM Networks for
Semi-Supervised Text Classification via Mixed Objective Function": the entropy of the predictions,
and their divergence under a small adversarial perturbation of the word vectors (virtual adversarial
training). Depends on torch alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment.batch import NO_CLASS, Shard
from sentiment.model.classifier import Inputs, SentimentClassifier
from sentiment.model.dropout import generator_state, same_masks

# xi of equation 8, as a fraction of the perturbation's size: small enough for a derivative, large
# enough for bfloat16.
_PROBE = 0.1

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class MixedObjective:
    """The terms of the loss that need no labels; true if one of them has a weight above 0.

    Attributes:
        entropy: weight of ``mean_entropy``.
        virtual_adversarial: weight of the mean ``divergence`` of an ``adversarial_perturbation``.
        perturbation_size: ``size`` of that perturbation.
    """

    entropy: float
    virtual_adversarial: float
    perturbation_size: float

    def __bool__(self) -> bool:
        return self.entropy > 0 or self.virtual_adversarial > 0

    def passes(
        self, classifier: SentimentClassifier, inputs: Inputs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Classify a batch and, if ``virtual_adversarial`` is not 0, classify it again perturbed.

        All passes use the same dropout masks, so predictions differ only by the perturbation, which
        is added to the word vectors after dropout (as in the code of Miyato et al.).

        Returns:
            (batch, classes) logits of the unperturbed batch, its mean entropy, and its mean
            divergence (0 if ``virtual_adversarial`` is 0).
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


def labelled(labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The number of reviews that have a label, or the sum of their weights; both are (batch,)."""
    known = labels != NO_CLASS
    return known.sum() if weights is None else (known * weights).sum()


def labelled_mean(
    loss: nn.CrossEntropyLoss,
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    shard: Shard | None = None,
) -> Tensor:
    """Mean cross-entropy of the reviews that have a label, weighted by class and by review.

    A review of weight 2 counts as if it stood there twice. The mean is 0 if no review has a label,
    or all weights are 0.

    Args:
        loss: gives the class weights and the label smoothing.
        logits: (batch, classes).
        labels: (batch,) int64, ``NO_CLASS`` for none.
        weights: (batch,) of each review; None if all count the same.
        shard: the whole batch, if these are a part of its reviews: the sum over them is then
            divided by what the whole batch counts, so that the results of all parts add up.
    """
    losses = functional.cross_entropy(
        logits, labels, loss.weight, reduction="none", label_smoothing=loss.label_smoothing
    )
    summed = (losses if weights is None else losses * weights).sum()
    if shard is not None:
        labels, weights = shard.labels, shard.weights
    if loss.weight is not None:
        of_class = loss.weight[labels.clamp(min=0)]
        weights = of_class if weights is None else of_class * weights
    total = labelled(labels, weights)
    return summed / torch.where(total > 0, total, 1)


def mean_entropy(logits: Tensor) -> Tensor:
    """Mean entropy, in nats, of the predicted distributions; logits are (batch, classes).

    Minimising it moves the boundaries between classes away from the texts (Grandvalet & Bengio
    2005, "Semi-supervised Learning by Entropy Minimization", equation 6).
    """
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).mean()


def divergence(logits: Tensor, others: Tensor) -> Tensor:
    """KL(p || q) of each review, (batch,), in nats; no gradient flows into p.

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
    """The perturbation of the word vectors that changes the predictions most, for each review.

    One power iteration from a random direction d (Miyato et al. 2017, "Adversarial Training Methods
    for Semi-Supervised Text Classification", equations 6 to 8): r = s g / |g|, where g is the
    gradient of KL(p(x) || p(x + xi d)) with respect to x + xi d, and |g| its norm over the whole
    review. Where the paper normalises the vectors to unit variance, s is ``size`` times the root
    mean square of the review's vectors. Dropout of a fraction p has scaled these up, which makes s
    larger by the root of 1 / (1 - p).

    The gradient of the divergence with respect to the logits, q - p, is tiny. As only the direction
    of g matters, it is scaled to unit length first, so that half precision does not lose it.

    Args:
        classify: computes the logits of vectors shaped as ``words``, with the dropout masks that
            gave ``logits``.
        words: (time, batch, embedding_size).
        logits: (batch, classes) of ``words``.
        mask: (batch, time) bool, true at tokens.
        size: norm of the perturbation, in units of the vectors' root mean square.

    Returns:
        (time, batch, embedding_size) without gradient; zero at padding.
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
