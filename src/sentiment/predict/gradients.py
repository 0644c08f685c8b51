"""How much each token of a text moves the log odds of a label, by a network's gradients."""

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from sentiment.model.classifier import Inputs, SentimentClassifier
from sentiment.predict.logits import Floats

STEPS = 24
_POSITIONS = 16_384  # tokens that are computed at a time


def integrated_gradients(
    classifier: SentimentClassifier, token_ids: npt.NDArray[np.int64], label: int
) -> Floats:
    """Attribute the log odds of a label to the tokens of a text.

    Integrated gradients (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks",
    equation 1) of the word vectors and the n-gram features, along the straight line from a text of
    as many unknown words, by Gauss-Legendre quadrature. The value of an n-gram is divided equally
    among its tokens. The quadrature misses about half a percent of the absolute weights, and far
    more where the log odds jump on the way, as those of a network that has learned little may; what
    it misses is divided in proportion to these, so that all weights together are the difference
    between the log odds of the two texts.

    Args:
        classifier: in evaluation mode, on the CPU.
        token_ids: (time,) of the text.
        label: index of the class.

    Returns:
        (time,) float32.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _attributions(classifier, torch.from_numpy(token_ids).unsqueeze(0), label)


def _attributions(classifier: SentimentClassifier, ids: Tensor, label: int) -> Floats:
    lengths = torch.tensor([ids.shape[1]])
    given = classifier.read(ids, lengths)
    unknown = classifier.read(torch.full_like(ids, classifier.unknown_index), lengths)

    def log_odds(words: Tensor, features: Tensor | None = None) -> Tensor:
        batch = len(words)
        inputs = Inputs(
            words.transpose(0, 1),
            None if features is None else features.transpose(0, 1),
            lengths.expand(batch),
            given.mask.expand(batch, -1),
        )
        logits = classifier.classify(inputs) / classifier.temperature
        others = [index for index in range(logits.shape[1]) if index != label]
        return logits[:, label] - logits[:, others].logsumexp(1)

    attributions = IntegratedGradients(log_odds).attribute(
        _vectors(given),
        _vectors(unknown),
        n_steps=STEPS,
        internal_batch_size=max(1, _POSITIONS // ids.shape[1]),
    )
    weights = attributions[0][0].sum(-1)  # (time,)
    if len(attributions) > 1:
        lengths_of_ngrams = classifier.settings["ngrams"]
        by_length = attributions[1][0].unflatten(-1, (lengths_of_ngrams, -1)).sum(-1)
        for length, values in enumerate(by_length.unbind(-1), start=1):
            for offset in range(min(length, len(values))):  # a value belongs to its last token
                weights[: len(values) - offset] += values[offset:] / length
    with torch.no_grad():
        missing = log_odds(*_vectors(given)) - log_odds(*_vectors(unknown)) - weights.sum()
    mass = weights.abs()
    found: Floats = (weights + missing * mass / mass.sum().clamp(min=1e-30)).float().numpy()
    return found


def _vectors(inputs: Inputs) -> tuple[Tensor, ...]:
    """The word vectors, (1, time, size), and the n-gram features, if there are any."""
    each = [inputs.words] if inputs.features is None else [inputs.words, inputs.features]
    return tuple(vectors.transpose(0, 1).float() for vectors in each)
