"""One trained classifier (a network or a baseline), from tokens to logits."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sentiment.data.dataset import pad_reviews
from sentiment.data.tokenizer import EncodedTexts
from sentiment.model.classifier import SentimentClassifier
from sentiment.predict.checkpoint import load_classifier
from sentiment.predict.hub import fetch_from_hub, is_on_hub
from sentiment.predict.saved import SavedClassifier
from sentiment.runtime.errors import out_of_memory
from sentiment.runtime.run_folder import best_checkpoint

_POSITIONS_PER_BATCH = 16_384
_POSITIONS_ON_CUDA = 131_072
LIMIT_WITHOUT_MAX_LENGTH = 1 << 18  # tokens of a text; for checkpoints that have no limit


class Member:
    """A loaded checkpoint, alone or in an ensemble.

    Args:
        saved: the contents of the checkpoint.
        path: its file, for messages.
        device: where a network computes; a baseline always computes on the CPU.

    Attributes:
        classifier: in evaluation mode, on the device.
        tokenizer_settings: how texts are split into tokens.
        labels: names of the classes, in the order of the logits.
    """

    def __init__(self, saved: SavedClassifier, path: Path, device: str = "cpu") -> None:
        self.classifier = saved.classifier
        if isinstance(self.classifier, SentimentClassifier):
            self.classifier.eval().to(device)
        self.saved, self.path = saved, path
        self.labels = saved.data.labels
        self.tokenizer_settings = saved.data.tokenizer
        self._ids = {word: index for index, word in enumerate(saved.data.vocabulary)}
        self._unknown = int(saved.classifier.settings["unknown_index"] or 0)
        self._max_length = saved.data.max_length or LIMIT_WITHOUT_MAX_LENGTH
        self._keep = saved.data.keep
        self.device = device
        self._on_cuda = torch.device(device).type == "cuda"
        self._positions = _POSITIONS_ON_CUDA if self._on_cuda else _POSITIONS_PER_BATCH

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "Member":
        """Load a checkpoint of ``sentiment.train`` or ``sentiment.baseline``.

        Args:
            path: the file; a run folder, of which the best checkpoint is loaded; a published
                folder; or ``hf:USER/NAME@REVISION``.
            device: where a network computes.

        Raises:
            InputError: see ``load_classifier``.
        """
        path = fetch_from_hub(str(path)) if is_on_hub(path) else best_checkpoint(path)
        return cls(load_classifier(path), path, device)

    @property
    def num_parameters(self) -> int:
        """The number of learned weights."""
        if isinstance(self.classifier, SentimentClassifier):
            return sum(weight.numel() for weight in self.classifier.parameters())
        return self.classifier.num_parameters

    def logits(self, encoded: EncodedTexts) -> Tensor:
        """The logits of texts, (texts, classes), float32 on the CPU.

        Args:
            encoded: the texts, tokenised with ``tokenizer_settings``.
        """
        unknown = self._unknown
        word_to_id = np.array([self._ids.get(word, unknown) for word in encoded.words], np.int64)
        if isinstance(self.classifier, SentimentClassifier):
            return self._network_logits(self.classifier, encoded, word_to_id)
        ids = word_to_id[encoded.token_ids]
        return torch.from_numpy(self.classifier.logits(ids, encoded.lengths))

    def known_tokens(self, encoded: EncodedTexts) -> npt.NDArray[np.int64]:
        """How many tokens of each text are in the vocabulary, (texts,)."""
        known = np.array([word in self._ids for word in encoded.words], bool)
        before = np.zeros(len(encoded.token_ids) + 1, np.int64)  # known tokens before each
        np.cumsum(known[encoded.token_ids], out=before[1:])
        ends = np.cumsum(encoded.lengths)
        counts: npt.NDArray[np.int64] = before[ends] - before[ends - encoded.lengths]
        return counts

    def _network_logits(
        self, classifier: SentimentClassifier, encoded: EncodedTexts, word_to_id: Any
    ) -> Tensor:
        starts = np.cumsum(encoded.lengths) - encoded.lengths

        def classified(batch: Any) -> list[tuple[Any, Tensor]]:
            ids, lengths = pad_reviews(
                encoded.token_ids,
                starts[batch],
                encoded.lengths[batch],
                max_length=self._max_length,
                keep=self._keep,
                word_to_id=word_to_id,
                empty=self._unknown,
            )
            try:
                token_ids = torch.from_numpy(ids).to(self.device, non_blocking=self._on_cuda)
                return [(batch, classifier(token_ids, torch.from_numpy(lengths)))]
            except RuntimeError as error:
                if len(batch) == 1 or not out_of_memory(error):
                    raise
            self._positions = max(1, min(self._positions, ids.size // 2))
            half = len(batch) // 2
            return classified(batch[:half]) + classified(batch[half:])

        logits = torch.empty(len(encoded.lengths), len(self.labels))
        with torch.inference_mode():
            batches = [classified(batch) for batch in self._batches(encoded.lengths)]
        # Waits for the device only now, when it has all batches.
        for batch, found in chain(*batches):
            logits[batch] = found.cpu()
        return logits

    def _batches(self, lengths: "np.ndarray[Any, np.dtype[np.int64]]") -> Iterator[Any]:
        """Yield indices of texts of similar length, with a bounded number of padded positions."""
        cut = np.minimum(np.maximum(lengths, 1), self._max_length)
        order = np.argsort(cut, kind="stable")
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * cut[order[end]] <= self._positions:
                end += 1
            yield order[start:end]
            start = end
