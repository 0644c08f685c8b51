"""One trained classifier (a network or a baseline), from tokens to logits.

Imports no torch: a network of an ONNX file needs none.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.data.padding import pad_reviews
from sentiment.data.tokenizer import EncodedTexts, with_torch
from sentiment.predict.hub import local_checkpoint
from sentiment.predict.logits import Floats, Network
from sentiment.predict.saved import SavedData
from sentiment.runtime.errors import InputError, needing
from sentiment.runtime.files import is_onnx

if TYPE_CHECKING:
    from sentiment.predict.ngram_classifier import NgramClassifier

_Ints = npt.NDArray[np.int64]

# On a CPU a batch of n texts and t time steps takes as long as (n + 4) * t + 300 positions, about
# so with layers of 8 to 256 units. Finding the fastest batches takes a time quadratic in the texts.
_STEP_OVERHEAD, _BATCH_OVERHEAD = 4, 300
_MOST_TO_DIVIDE = 256
LIMIT_WITHOUT_MAX_LENGTH = 1 << 18  # tokens of a text; for checkpoints that have no limit


class Member:
    """A loaded classifier, alone or in an ensemble.

    Args:
        classifier: what computes the logits.
        data: its vocabulary, labels, tokenizer settings and other facts about its data.
        run: numbers of its training.
        path: its file, for messages.

    Attributes:
        classifier, data, run, path: as given.
        tokenizer_settings: how texts are split into tokens.
        labels: names of the classes, in the order of the logits.
    """

    def __init__(
        self,
        classifier: "Network | NgramClassifier",
        data: SavedData,
        run: Mapping[str, int | float | None],
        path: Path,
    ) -> None:
        self.classifier, self.data, self.run, self.path = classifier, data, run, path
        self.labels = data.labels
        self.tokenizer_settings = data.tokenizer
        self._ids = {word: index for index, word in enumerate(data.vocabulary)}
        self._max_length = data.max_length or LIMIT_WITHOUT_MAX_LENGTH

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> "Member":
        """Load a checkpoint of ``sentiment.train`` or ``sentiment.baseline``, or an ONNX file.

        Arguments as for ``load_members``.

        Raises:
            InputError: see ``load_members``; or it is an ensemble.
        """
        members, weights, _ = load_members(path, device)
        if weights is not None:
            raise InputError(
                f"{path}: an ensemble; give one of the checkpoints that it was made of"
            )
        return members[0]

    def logits(self, encoded: EncodedTexts) -> Floats:
        """The logits of texts, (texts, classes).

        Args:
            encoded: the texts, tokenised with ``tokenizer_settings``.
        """
        word_to_id = self._word_ids(encoded)
        if not self.classifier.padded:
            return self.classifier.logits(word_to_id[encoded.token_ids], encoded.lengths)
        rows: list[_Ints] = []
        logits = np.empty((len(encoded.lengths), len(self.labels)), np.float32)
        batches = self._batches(self.classifier, encoded, word_to_id, rows)
        found = self.classifier.logits(batches)
        for own, values in zip(rows, found, strict=True):
            logits[own] = values
        return logits

    def attributions(self, encoded: EncodedTexts, label: str) -> Floats:
        """How much each token of one text moves the log odds of a label, (tokens,).

        Tokens that the classifier does not read, because the text is too long, have 0.

        Args:
            encoded: the text, tokenised with ``tokenizer_settings``.
            label: one of ``labels``.
        """
        classifier, index = self.classifier, self.labels.index(label)
        token_ids = self._word_ids(encoded)[encoded.token_ids]
        weights = np.zeros(len(token_ids), np.float32)
        if not len(token_ids):
            return weights
        if not classifier.padded:
            return classifier.attributions(token_ids, index)
        start = np.zeros(1, np.int64)
        (read,), _ = pad_reviews(
            np.arange(len(token_ids)),
            start,
            start + len(token_ids),
            max_length=self._max_length,
            keep=self.data.keep,
        )
        weights[read] = classifier.attributions(token_ids[read], index)
        return weights

    def _word_ids(self, encoded: EncodedTexts) -> _Ints:
        """The vocabulary index of each distinct word, (words,)."""
        unknown = self.classifier.unknown_index
        return np.array([self._ids.get(word, unknown) for word in encoded.words], np.int64)

    def known_tokens(self, encoded: EncodedTexts) -> _Ints:
        """How many tokens of each text are in the vocabulary, (texts,)."""
        known = np.array([word in self._ids for word in encoded.words], bool)
        before = np.zeros(len(encoded.token_ids) + 1, np.int64)  # known tokens before each
        np.cumsum(known[encoded.token_ids], out=before[1:])
        ends = np.cumsum(encoded.lengths)
        counts: _Ints = before[ends] - before[ends - encoded.lengths]
        return counts

    def _batches(
        self, network: Network, encoded: EncodedTexts, word_to_id: _Ints, rows: list[_Ints]
    ) -> Iterator[tuple[_Ints, _Ints]]:
        """Yield padded batches of texts of similar length, and append their indices to ``rows``."""
        starts = np.cumsum(encoded.lengths) - encoded.lengths
        cut = np.minimum(np.maximum(encoded.lengths, 1), self._max_length)
        order = np.argsort(cut, kind="stable")
        for start, end in _groups(cut[order], network):
            rows.append(order[start:end])
            yield pad_reviews(
                encoded.token_ids,
                starts[rows[-1]],
                encoded.lengths[rows[-1]],
                max_length=self._max_length,
                keep=self.data.keep,
                word_to_id=word_to_id,
                empty=network.unknown_index,
            )


class Loaded(NamedTuple):
    """What a file holds: a classifier, or an ensemble.

    Attributes:
        members: the classifiers.
        weights: of the members of an ensemble; None of a single classifier.
        temperature: what the logarithms of an ensemble's averaged probabilities are divided by.
    """

    members: list[Member]
    weights: list[float] | None = None
    temperature: float = 1.0


def load_members(path: str | Path, device: str = "cpu") -> Loaded:
    """Load a checkpoint of a training, a baseline or an ensemble, or an ONNX file.

    Args:
        path: the file; a run folder, of which the best checkpoint is loaded; a published
            folder; or ``hf:USER/NAME@REVISION``.
        device: where a network of torch computes; all others compute on the CPU.

    Raises:
        InputError: see ``load_computed`` and ``load_onnx``.
    """
    path = local_checkpoint(path)
    if is_onnx(path):
        from sentiment.predict.onnx_network import load_onnx

        return Loaded([Member(*load_onnx(path, device), path)])
    with needing("train", f"{path}: unlike an .onnx file, it"), with_torch():
        from sentiment.predict.torch_network import load_computed

    found, weights, temperature = load_computed(path, device)
    return Loaded([Member(*each) for each in found], weights, temperature)


def _groups(lengths: _Ints, network: Network) -> Iterator[tuple[int, int]]:
    """Yield where batches of texts of sorted lengths start and end."""
    if network.device == "cpu" and 1 < len(lengths) <= _MOST_TO_DIVIDE:
        yield from _fastest_groups(lengths, network.positions)
        return
    start = 0
    while start < len(lengths):
        end = start + 1
        while end < len(lengths) and (end + 1 - start) * lengths[end] <= network.positions:
            end += 1
        yield start, end
        start = end


def _fastest_groups(lengths: _Ints, positions: int) -> list[tuple[int, int]]:
    """Batches of texts of sorted lengths whose padding and overhead take least time in all.

    Args:
        lengths: in tokens, (texts,).
        positions: padded tokens of a batch, at most, unless it is one text.
    """
    least = np.zeros(len(lengths) + 1)  # the time of the first texts
    starts = np.zeros(len(lengths) + 1, np.int64)  # of the batch that ends with each text
    for end in range(1, len(lengths) + 1):
        sizes = np.arange(end, 0, -1)
        time = least[:end] + (sizes + _STEP_OVERHEAD) * lengths[end - 1] + _BATCH_OVERHEAD
        time[(sizes > 1) & (sizes * lengths[end - 1] > positions)] = np.inf
        starts[end] = time.argmin()
        least[end] = time[starts[end]]
    groups = []
    end = len(lengths)
    while end > 0:
        groups.append((int(starts[end]), end))
        end = groups[-1][0]
    return groups[::-1]
