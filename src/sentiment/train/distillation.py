"""The training loss of reviews with a teacher's probabilities. Depends on torch alone.

Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sentiment.batch import NO_CLASS, Batch


@dataclass(frozen=True)
class Distillation:
    """How a teacher's probabilities and the labels make up the loss.

    Attributes:
        temperature: divides the logits of both; above 1, improbable classes count more. As its
            gradients are smaller by its square, the cross-entropy is multiplied by that.
        weight: of the teacher's probabilities where a review has a label, too, from 0 to 1; the
            label has the rest.
    """

    temperature: float = 1.0
    weight: float = 0.5

    def mean_loss(self, loss: nn.CrossEntropyLoss, logits: Tensor, batch: Batch) -> Tensor:
        """The mean over the reviews of a batch, weighted by class and by review.

        Args:
            loss: gives the class weights, and the label smoothing, which is of labels alone.
            logits: (batch, classes).
            batch: a batch with ``targets``; a review without a label or a target does not count.
        """
        assert batch.targets is not None
        labels, targets = batch.labels, batch.targets
        known, taught = labels != NO_CLASS, targets.sum(1) > 0
        teacher = taught * torch.where(known, self.weight, 1.0)  # its weight, (batch,)
        of_class = torch.ones_like(logits[0]) if loss.weight is None else loss.weight
        softened = of_class * functional.normalize(targets ** (1 / self.temperature), p=1, dim=1)
        log_p = (logits / self.temperature).log_softmax(1)
        of_teacher = -(softened * log_p).sum(1) * self.temperature**2
        of_label = functional.cross_entropy(
            logits, labels, loss.weight, reduction="none", label_smoothing=loss.label_smoothing
        )
        counted = teacher * softened.sum(1) + (1 - teacher) * known * of_class[labels.clamp(min=0)]
        losses = teacher * of_teacher + (1 - teacher) * of_label
        if batch.weights is not None:
            losses, counted = losses * batch.weights, counted * batch.weights
        total = counted.sum()
        return losses.sum() / torch.where(total > 0, total, 1)
