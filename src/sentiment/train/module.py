"""Training, validation and test of a classifier, as a LightningModule. Knows nothing of files."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from sentiment.batch import NO_CLASS, Batch
from sentiment.model.abstention import Goal, Numbers, numbers_of, stored_thresholds
from sentiment.model.calibration import fit_temperature, reliability
from sentiment.model.classifier import Inputs, SentimentClassifier
from sentiment.model.metrics import (
    Outcome,
    ReviewMean,
    classification_metrics,
    summarise_predictions,
)
from sentiment.runtime.distributed import gather
from sentiment.train.distillation import Distillation
from sentiment.train.optim import ParameterUpdates
from sentiment.train.process_state import ProcessState
from sentiment.train.semi_supervised import MixedObjective, labelled, labelled_mean


class SentimentModule(LightningModule):
    """Trains a classifier by cross-entropy and, optionally, terms that need no labels.

    Training runs in the trainer's precision. Tests run in full precision, so that a checkpoint
    gives the same metrics wherever it is evaluated. Each validation sets the temperature that
    divides the logits of tests and predictions; training and validation see them undivided.

    Args:
        classifier: a classifier, or (as a checkpoint keeps it) its constructor's arguments.
        updates: builds the optimizer and freezes layers; None takes AdamW for all parameters.
        label_smoothing: fraction of the target spread over all classes, in training alone.
        class_weights: weight of each class in the training loss, or None for equal weights.
        entropy: weight of the predictions' entropy in the training loss.
        virtual_adversarial: weight there of the divergence under an ``adversarial_perturbation``.
        perturbation_size: ``size`` of that perturbation.
        distillation: how a teacher's probabilities count, where training reviews have them.
        calibrated: whether the temperature is fitted; else it is 1.0.
        goal: for which each validation chooses thresholds of scores, below which a review gets no
            label.

    Attributes:
        abstention: these thresholds, as a checkpoint keeps them.
    """

    def __init__(
        self,
        *,
        classifier: SentimentClassifier | Mapping[str, Any],
        updates: ParameterUpdates | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        entropy: float = 0.0,
        virtual_adversarial: float = 0.0,
        perturbation_size: float = 5.0,
        distillation: Distillation = Distillation(),  # noqa: B008 (frozen)
        calibrated: bool = True,
        goal: Goal = Goal(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        if not isinstance(classifier, SentimentClassifier):
            classifier = SentimentClassifier(**classifier)
        self.classifier = classifier
        self._calibrated = calibrated
        self._goal = goal
        self._distillation = distillation
        self.abstention: Numbers = {}
        self._updates = updates or ParameterUpdates(classifier)
        weights = None if class_weights is None else [float(weight) for weight in class_weights]
        self.save_hyperparameters(
            {
                "classifier": classifier.settings,
                "label_smoothing": float(label_smoothing),
                "class_weights": weights,
                "entropy": float(entropy),
                "virtual_adversarial": float(virtual_adversarial),
                "perturbation_size": float(perturbation_size),
                "calibrated": bool(calibrated),
                **self._updates.settings,
            },
            logger=False,  # loggers get the settings of the config
        )
        self.training_loss = nn.CrossEntropyLoss(
            weight=None if weights is None else torch.tensor(weights),
            label_smoothing=label_smoothing,
        )
        num_classes = int(classifier.settings["num_classes"] or 0)
        self._mixed = MixedObjective(entropy, virtual_adversarial, perturbation_size)
        # Sums over the epoch so far; a checkpoint within an epoch holds them.
        self.train_loss, self.train_accuracy = ReviewMean(), ReviewMean()
        if self._mixed:
            self.train_entropy = ReviewMean()
        if self._mixed.virtual_adversarial:
            self.train_divergence = ReviewMean()
        self.val_loss = ReviewMean()
        self.val_loss.persistent(False)
        self.val_metrics = classification_metrics(num_classes, "val/")
        self._validation: list[tuple[Tensor, Tensor]] = []  # logits and labels
        self.validated: tuple[Tensor, Tensor] | None = None  # calibrated logits and labels
        self.outcome: Outcome | None = None  # known after a test
        self._tested: list[tuple[Tensor, ...]] = []  # positions, logits, labels and full lengths
        self._tested_reviews = 0  # of all processes

    def forward(self, token_ids: Tensor, lengths: Tensor, folds: Tensor | None = None) -> Tensor:
        """Logits, (batch, classes); see ``SentimentClassifier.forward``."""
        logits: Tensor = self.classifier(token_ids, lengths, folds)
        return logits

    def configure_callbacks(self) -> list[Callback]:
        """The callbacks that every trainer of this module needs."""
        return [self._updates, ProcessState(self._epoch_means())]

    def setup(self, stage: str) -> None:
        """Settle what must be so before ``DistributedDataParallel`` takes the module."""
        # All processes have the same buffers; DDP would send them around before each step.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]
        if self.trainer.world_size > 1:  # a batch may be only the filler of an empty shard
            classes = int(self.classifier.settings["num_classes"])
            self.val_metrics = classification_metrics(classes, "val/", ignore_index=NO_CLASS)

    def on_train_epoch_start(self) -> None:
        """Begin the metrics of the epoch."""
        for mean in self._epoch_means().values():
            mean.reset()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The training loss of a batch."""
        inputs = self.classifier.read(batch.token_ids, batch.lengths, batch.folds)
        if self._mixed:
            return self._mixed_step(inputs, batch.labels, batch.weights)
        logits = self.classifier.classify(inputs)
        if batch.targets is not None:
            return self._distilled_step(logits, batch)
        loss = self._loss(logits, batch)
        right = (logits.detach().argmax(1) == batch.labels).float()
        own, whole = batch.counted_reviews, batch.shard or batch
        seen = own if batch.weights is None else labelled(batch.labels, batch.weights)
        total = len(whole.labels) if whole.weights is None else whole.weights.sum()
        # Lightning averages the losses of all processes, each for an equal part of the batch.
        processes = len(batch.shard.tokens) if batch.shard else 1
        self.train_loss.update(loss.detach(), seen, total / processes)
        self.train_accuracy.update(right.mean(), own)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss

    def _mixed_step(self, inputs: Inputs, labels: Tensor, weights: Tensor | None) -> Tensor:
        """The mixed objective of a batch, in which reviews may be without a label."""
        logits, entropy, divergence_term = self._mixed.passes(self.classifier, inputs)
        loss = labelled_mean(self.training_loss, logits, labels, weights)
        right, known = logits.detach().argmax(1) == labels, labelled(labels)
        self.train_loss.update(loss.detach(), labelled(labels, weights))
        self.train_accuracy.update(right.sum() / known.clamp(min=1), known)
        self.train_entropy.update(entropy.detach(), len(labels))
        if self._mixed.virtual_adversarial:
            self.train_divergence.update(divergence_term.detach(), len(labels))
        for name, mean in self._epoch_means().items():
            self.log(name.replace("_", "/"), mean, on_step=False, on_epoch=True)
        return (
            loss + self._mixed.entropy * entropy + self._mixed.virtual_adversarial * divergence_term
        )

    def _distilled_step(self, logits: Tensor, batch: Batch) -> Tensor:
        """The loss of a batch in which reviews may have a teacher's probabilities."""
        loss = self._distillation.mean_loss(self.training_loss, logits, batch)
        right, known = logits.detach().argmax(1) == batch.labels, labelled(batch.labels)
        self.train_loss.update(loss.detach(), len(batch.labels))
        self.train_accuracy.update(right.sum() / known.clamp(min=1), known)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The mean over the batch; of a shard, a loss whose mean over the processes is that."""
        shard = batch.shard
        if shard is None and batch.weights is None:
            loss: Tensor = self.training_loss(logits, batch.labels)
            return loss
        mean = labelled_mean(self.training_loss, logits, batch.labels, batch.weights, shard)
        return mean if shard is None else mean * len(shard.tokens)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the metrics of this validation."""
        logits = self.classifier.raw_logits(batch.token_ids, batch.lengths)
        own = batch.counted_reviews
        none = logits.new_zeros(())
        self.val_loss.update(
            nn.functional.cross_entropy(logits, batch.labels) if own else none, own
        )
        self.val_metrics.update(logits.softmax(1), batch.labels)
        self._validation.append((logits[:own], batch.labels[:own]))
        self.log("val/loss", self.val_loss)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of this validation, and set the temperature, the same in all processes.

        The calibrated loss and the calibration error are those of logits divided by it.
        """
        own = [torch.cat(parts).cpu() for parts in zip(*self._validation, strict=True)]
        self._validation = []
        logits, labels = map(torch.cat, zip(*gather(own), strict=True))
        temperature = fit_temperature(logits, labels) if self._calibrated else 1.0
        self.classifier.temperature.fill_(temperature)
        calibrated = logits / temperature
        self.validated = calibrated, labels
        self.log("val/calibrated_loss", nn.functional.cross_entropy(calibrated, labels))
        self.log("val/ece", reliability(calibrated, labels).error)
        probabilities = calibrated.double().softmax(1)
        self.abstention = self._goal.choose(probabilities.numpy(), labels.numpy())
        metrics = self.val_metrics.compute()
        self.val_metrics.reset()
        for name, value in metrics.items():
            self.log(name, value, prog_bar=name == "val/accuracy")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the calibrated logits of a batch, computed in full precision."""
        with torch.autocast(self.device.type, enabled=False):
            logits = self(batch.token_ids, batch.lengths)
        own, shard = batch.counted_reviews, batch.shard
        positions = torch.arange(own) if shard is None else shard.positions
        lengths = batch.lengths if batch.full_lengths is None else batch.full_lengths
        kept = (positions + self._tested_reviews, logits[:own], batch.labels[:own], lengths[:own])
        self._tested.append(tuple(part.cpu() for part in kept))
        self._tested_reviews += own if shard is None else len(shard.labels)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the test and keep its outcome, the same in all processes."""
        own = [torch.cat(parts) for parts in zip(*self._tested, strict=True)]
        positions, *kept = map(torch.cat, zip(*gather(own), strict=True))
        order = positions.argsort()  # that of one process
        logits, labels, lengths = (part[order] for part in kept)
        self._tested, self._tested_reviews = [], 0
        thresholds = stored_thresholds(self.abstention, logits.shape[1])
        self.outcome = Outcome.of(logits, labels, lengths, thresholds)
        self.log_dict(summarise_predictions(logits, labels, "test/"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the thresholds among the numbers of the run."""
        checkpoint.setdefault("run", {}).update(self.abstention)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the thresholds."""
        self.abstention = numbers_of(checkpoint.get("run", {}))

    def configure_optimizers(self) -> Any:
        """The optimizer, with groups for embedding and encoder where needed, and the schedule."""
        return self._updates.configure(self)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients when all of them are complete."""
        self._updates.clip(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch, except its lengths: the encoder checks them on the CPU."""

        def there(part: Any, *names: str) -> dict[str, Tensor]:
            found = ((name, getattr(part, name)) for name in names)
            return {k: v.to(device, non_blocking=True) for k, v in found if v is not None}

        shard = batch.shard and batch.shard._replace(**there(batch.shard, "labels", "weights"))
        moved = there(batch, "token_ids", "labels", "folds", "weights", "targets")
        return batch._replace(shard=shard, **moved)

    def _epoch_means(self) -> dict[str, ReviewMean]:
        """The training metrics that are summed up over an epoch, by attribute."""
        names = ("train_loss", "train_accuracy", "train_entropy", "train_divergence")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}
