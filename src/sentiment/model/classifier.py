"""The classifier: from token ids and lengths to logits.

Depends on torch alone; `sentiment.train` trains it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sentiment.model.dropout import Dropout
from sentiment.model.encoder import RecurrentEncoder
from sentiment.model.ngram_features import NgramFeatures
from sentiment.model.pooling import Pooling, token_mask, widen
from sentiment.model.settings import plain, require_limits


class Inputs(NamedTuple):
    """The input of the encoder for a batch.

    Attributes:
        words: (time, batch, embedding_size) vectors of the tokens, after dropout.
        features: (time, batch, features) of the n-grams that end with them, or None.
        lengths: (batch,) int64 on the CPU.
        mask: (batch, time) bool, true at tokens.
    """

    words: Tensor
    features: Tensor | None
    lengths: Tensor
    mask: Tensor


class SentimentClassifier(nn.Module):
    """Embeds the tokens of a text, encodes them, pools their states and classifies the result.

    The logits of a text do not depend on the batch or the padding. They are divided by the buffer
    ``temperature``, which is 1.0 until it is fitted (see ``calibration.py``).

    Args:
        vocabulary_size: Rows of the embedding, special tokens included.
        num_classes: Number of labels.
        embedding_size: Size of a token's vector.
        cell: `rnn`, `gru` or `lstm`.
        hidden_size: Size of one direction's state.
        num_layers: Recurrent layers.
        bidirectional: Whether to read from both ends.
        merge: How the directions become one vector: `concat`, `sum` or `mean`.
        pooling: `last`, `mean`, `max`, `max+mean` or `attention`.
        embedding_dropout: Probability of dropping each value of the embeddings in training.
        word_dropout: Probability of replacing each token by the unknown word in training; its
            n-gram features stay.
        layer_dropout: Probability of dropping each value between recurrent layers in training.
        head_dropout: Probability of dropping each value before a layer of the head in training.
        head_size: Size of a hidden ReLU layer before the output layer; None for no such layer.
        ngrams: Length of the longest n-grams whose log-count ratios are features of their last
            token, beside its vector; 0 for no such features.
        ngram_sizes: Number of known n-grams of each length, from 1 to ``ngrams``.
        padding_index: Token id of padding.
        unknown_index: Token id of unknown words.

    Raises:
        ValueError: An argument is out of range, or an unknown choice.

    Example:
        >>> classifier = SentimentClassifier(vocabulary_size=9, num_classes=3, hidden_size=8)
        >>> classifier(torch.tensor([[5, 7, 2], [8, 0, 0]]), torch.tensor([3, 1])).shape
        torch.Size([2, 3])
    """

    temperature: Tensor

    def __init__(
        self,
        *,
        vocabulary_size: int,
        num_classes: int,
        embedding_size: int = 100,
        cell: str = "lstm",
        hidden_size: int = 128,
        num_layers: int = 1,
        bidirectional: bool = True,
        merge: str = "concat",
        pooling: str = "max+mean",
        embedding_dropout: float = 0.0,
        word_dropout: float = 0.0,
        layer_dropout: float = 0.0,
        head_dropout: float = 0.0,
        head_size: int | None = None,
        ngrams: int = 0,
        ngram_sizes: Sequence[int] = (),
        padding_index: int = 0,
        unknown_index: int = 1,
    ) -> None:
        arguments = {name: plain(value) for name, value in locals().items() if name != "self"}
        del arguments["__class__"]  # Python's own, for super()
        super().__init__()
        self._settings = arguments
        self._check()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size, padding_idx=padding_index)
        self.embedding_dropout = Dropout(embedding_dropout)
        self.word_dropout = word_dropout
        self.unknown_index = unknown_index
        self.ngrams = _ngram_features(ngram_sizes, num_classes, vocabulary_size)
        self.encoder = RecurrentEncoder(
            cell=cell,
            input_size=embedding_size + (self.ngrams.output_size if self.ngrams else 0),
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=layer_dropout,
            merge=merge,
        )
        self.pooling = Pooling(mode=pooling, input_size=self.encoder.output_size)
        self.head = _head(self.pooling.output_size, head_size, num_classes, head_dropout)
        self.register_buffer("temperature", torch.ones(()))

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain Python values, enough to build the same model."""
        return dict(self._settings)

    def load_embeddings(self, weights: Tensor) -> None:
        """Load pretrained vectors; the row of padding stays zero.

        Args:
            weights: (vocabulary_size, embedding_size), of any floating-point type.

        Raises:
            ValueError: The shape is wrong.
        """
        rows = self.embedding.weight
        if weights.shape != rows.shape:
            raise ValueError(
                f"weights have shape {tuple(weights.shape)}; expected {tuple(rows.shape)}, "
                "(vocabulary_size, embedding_size)"
            )
        with torch.no_grad():
            rows.copy_(weights)
            rows[self.embedding.padding_idx] = 0

    def load_pretrained(self, weights: Mapping[str, Tensor]) -> None:
        """Load weights of a ``LanguageModel`` or of another classifier.

        If the encoder also reads n-gram features, their weights start at zero.

        Args:
            weights: by parameter name in this module, such as `encoder.rnn.weight_ih_l0`.
        """
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, weight in weights.items():
                if own[name].shape != weight.shape:
                    own[name].zero_()
                own[name][..., : weight.shape[-1]] = weight

    def forward(self, token_ids: Tensor, lengths: Tensor, folds: Tensor | None = None) -> Tensor:
        """Classify a padded batch, with calibrated scores if the temperature is fitted.

        Args and Raises as ``raw_logits``.

        Returns:
            Logits divided by the temperature, (batch, num_classes), in float32 or wider.
        """
        return self.raw_logits(token_ids, lengths, folds) / self.temperature

    def raw_logits(self, token_ids: Tensor, lengths: Tensor, folds: Tensor | None = None) -> Tensor:
        """Classify a padded batch without the temperature, as training does.

        Args:
            token_ids: (batch, time) int64, padded at the end of each row.
            lengths: (batch,) int64 on the CPU, the number of tokens in each row, 1 to time.
            folds: (batch,) int64, in training with n-gram features the fold of each text.

        Returns:
            Logits, (batch, num_classes), in float32 or wider.

        Raises:
            ValueError: The shapes disagree, or a length is 0 or above time.
        """
        return self.classify(self.read(token_ids, lengths, folds))

    def read(self, token_ids: Tensor, lengths: Tensor, folds: Tensor | None = None) -> Inputs:
        """Look up the input of the encoder for a padded batch.

        Args as ``raw_logits``.
        """
        steps = lengths.to(token_ids.device, non_blocking=True)
        mask = token_mask(steps, token_ids.shape[1])  # (batch, time)
        words = self._drop_words(token_ids, mask)
        # Time comes first in memory, as the encoder needs it.
        embedded = self.embedding_dropout(self.embedding(words.t().contiguous()))
        features = None
        if self.ngrams is not None:
            features = self.ngrams(token_ids, folds).transpose(0, 1)
        return Inputs(embedded, features, lengths, mask)

    def classify(self, inputs: Inputs) -> Tensor:
        """Classify the result of ``read``, perhaps with changed vectors.

        Returns and Raises as ``raw_logits``.
        """
        steps = inputs.words
        if inputs.features is not None:
            steps = torch.cat([steps, inputs.features.to(steps.dtype)], dim=-1)
        encoded = self.encoder(steps.transpose(0, 1), inputs.lengths)
        pooled = self.pooling(encoded, inputs.mask)
        with torch.autocast(pooled.device.type, enabled=False):  # cheap in full precision
            return widen(self.head(pooled.to(self.embedding.weight.dtype)))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Also load checkpoints that have no temperature."""
        state_dict.setdefault(f"{prefix}temperature", torch.ones(()))
        super()._load_from_state_dict(state_dict, prefix, *others)

    def _drop_words(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        if not self.training or self.word_dropout == 0:
            return token_ids
        dropped = torch.rand(token_ids.shape, device=token_ids.device) < self.word_dropout
        return token_ids.masked_fill(dropped & mask, self.unknown_index)

    def _check(self) -> None:
        """Check the settings, but for choices, which submodules check."""
        settings = self._settings
        require_limits(settings)
        if len(settings["ngram_sizes"]) != settings["ngrams"]:
            raise ValueError(
                f"ngram_sizes={settings['ngram_sizes']}: give one size for each length from 1 to"
                f" ngrams={settings['ngrams']}"
            )
        for name in ("padding_index", "unknown_index"):
            if not 0 <= settings[name] < settings["vocabulary_size"]:
                raise ValueError(
                    f"{name}={settings[name]} is outside the vocabulary; "
                    f"give 0 to {settings['vocabulary_size'] - 1}"
                )


def _ngram_features(
    sizes: Sequence[int], num_classes: int, vocabulary_size: int
) -> NgramFeatures | None:
    """The lookup of n-gram features: two for each class, or only for one of two classes."""
    if not sizes:
        return None
    classes = 1 if num_classes == 2 else num_classes
    return NgramFeatures(sizes=sizes, features=2 * classes, words=vocabulary_size)


def _head(input_size: int, hidden_size: int | None, num_classes: int, dropout: float) -> nn.Module:
    """The layers from the pooled vector to the logits."""
    if hidden_size is None:
        return nn.Sequential(Dropout(dropout), nn.Linear(input_size, num_classes))
    return nn.Sequential(
        Dropout(dropout),
        nn.Linear(input_size, hidden_size),
        nn.ReLU(),
        Dropout(dropout),
        nn.Linear(hidden_size, num_classes),
    )
