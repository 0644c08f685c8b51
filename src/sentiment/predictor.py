"""Label texts with a trained checkpoint: one text or many, from Python.

Loads torch and spaCy, but neither Hydra nor Lightning, so that it starts fast.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from sentiment.checkpoint import load_classifier
from sentiment.data.batching import pad_reviews
from sentiment.data.tokenizer import EncodedTexts, Tokenizer, TokenizerSettings
from sentiment.environment import require_device
from sentiment.errors import InputError
from sentiment.model.classifier import SentimentClassifier

Prediction = dict[str, Any]

_POSITIONS_PER_BATCH = 16_384


class Predictor:
    """Labels texts with a trained classifier.

    >>> predictor = Predictor.load("runs/…/checkpoints/best.ckpt")  # doctest: +SKIP
    >>> predictor("A joy from start to finish.")  # doctest: +SKIP
    {'label': 'positive', 'score': 0.98, 'scores': {'negative': 0.02, 'positive': 0.98}}

    Attributes:
        labels: names of the classes, in the order of the logits.
        text_column: what the column with the texts was called in training.
        label_column: what the column with the labels was called in training.
        header: whether the files of the training named their columns.
        raw_labels: the labels as they stood in the training files, in the order of ``labels``.
        tokenizer: splits texts into tokens.
    """

    def __init__(
        self, classifier: SentimentClassifier, data: dict[str, Any], device: str = "cpu"
    ) -> None:
        """Put a classifier and the state of its data module to use; see ``load``."""
        require_device(device)
        self.classifier = classifier.eval().to(device)
        self.labels: list[str] = data["labels"]
        self.raw_labels: list[str] = data["raw_labels"]
        self.text_column: str = data["text_column"]
        self.label_column: str = data["label_column"]
        self.header: bool = data["header"]
        self.tokenizer = Tokenizer(TokenizerSettings(**data["tokenizer"]))
        self._ids = {word: index for index, word in enumerate(data["vocabulary"])}
        self._unknown = int(classifier.settings["unknown_index"] or 0)
        self._max_length: int | None = data["max_length"]
        self._keep: str = data["keep"]
        self._device = device

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "Predictor":
        """Load a checkpoint of ``sentiment.train``; nothing else is needed.

        Raises:
            InputError: the file is missing, damaged, no such checkpoint, or carries code; or the
                device cannot be used.
        """
        saved = load_classifier(path)
        return cls(saved.classifier, saved.data, device)

    @overload
    def __call__(self, texts: str) -> Prediction: ...

    @overload
    def __call__(self, texts: list[str] | tuple[str, ...]) -> list[Prediction]: ...

    def __call__(self, texts: str | list[str] | tuple[str, ...]) -> Prediction | list[Prediction]:
        """Label one text, or each of several: ``label``, its ``score``, and all ``scores``.

        Scores are probabilities (the softmax of the logits). Texts share a batch only with texts
        of like length, and no text's result depends on the others.

        Raises:
            TypeError: something is no string, nor a list of them.
            InputError: a text holds a lone surrogate.
        """
        if isinstance(texts, str):
            return self([texts])[0]
        if not isinstance(texts, Iterable):
            raise TypeError(f"give a string or a list of strings, not {type(texts).__name__}")
        probabilities = self.logits(texts).softmax(1).tolist()
        return [self._prediction(scores) for scores in probabilities]

    def logits(self, texts: Sequence[str]) -> Tensor:
        """The logits of each text, (texts, classes), float32 on the CPU."""
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"a text must be a string, not {type(text).__name__}: {text!r}")
        try:
            encoded = self.tokenizer.encode(texts)
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            number = next(number for number, text in enumerate(texts, 1) if half in text)
            raise InputError(
                f"text {number} holds {half!r}, a lone surrogate, which is half of a character;"
                " decode the bytes it came from by their right encoding"
            ) from error
        return self.encoded_logits(encoded)

    def encoded_logits(self, encoded: EncodedTexts) -> Tensor:
        """The logits of texts that were tokenised by ``tokenizer`` before."""
        unknown = self._unknown
        word_to_id = np.array([self._ids.get(word, unknown) for word in encoded.words], np.int64)
        starts = np.cumsum(encoded.lengths) - encoded.lengths
        logits = torch.empty(len(encoded.lengths), len(self.labels))
        with torch.inference_mode():
            for batch in self._batches(encoded.lengths):
                ids, lengths = pad_reviews(
                    encoded.token_ids,
                    starts[batch],
                    encoded.lengths[batch],
                    max_length=self._max_length,
                    keep=self._keep,
                    word_to_id=word_to_id,
                    empty=unknown,
                )
                token_ids = torch.from_numpy(ids).to(self._device)
                logits[batch] = self.classifier(token_ids, torch.from_numpy(lengths)).cpu()
        return logits

    def _batches(self, lengths: "np.ndarray[Any, np.dtype[np.int64]]") -> Iterator[Any]:
        """Indices of texts of like length, a bounded number of padded positions at a time."""
        cut = np.minimum(np.maximum(lengths, 1), self._max_length or np.iinfo(np.int64).max)
        order = np.argsort(cut, kind="stable")
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * cut[order[end]] <= _POSITIONS_PER_BATCH:
                end += 1
            yield order[start:end]
            start = end

    def _prediction(self, scores: list[float]) -> Prediction:
        best = max(range(len(scores)), key=scores.__getitem__)
        return {
            "label": self.labels[best],
            "score": scores[best],
            "scores": dict(zip(self.labels, scores, strict=True)),
        }
