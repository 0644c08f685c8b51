"""A language model with the embedding and the encoder of the classifier.

Depends on torch alone; `sentiment.pretrain` trains it.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sentiment.model.dropout import Dropout
from sentiment.model.encoder import RecurrentEncoder
from sentiment.model.settings import plain, require_limits
from sentiment.model.softmax import CandidateSampler, summed_cross_entropy


class Predictions(NamedTuple):
    """The predictions of one direction for a batch.

    Attributes:
        contexts: (predictions, embedding_size), to be multiplied with the rows of the embedding.
        targets: (predictions,) int64, the words to be predicted.
    """

    contexts: Tensor
    targets: Tensor


class LanguageModel(nn.Module):
    """Predicts each word of a text from all words before it, and again from all words after it.

    The states of the two directions are projected to the size of the embedding, and the score of a
    word is the product with its row there (Press & Wolf 2017, "Using the Output Embedding to
    Improve Language Models") plus a bias. Embedding and encoder have the same names as in
    ``SentimentClassifier``, which can start from their weights (Dai & Le 2015, "Semi-supervised
    Sequence Learning"; both directions as in Peters et al. 2018, "Deep Contextualized Word
    Representations"). The forward direction does not predict the first word, nor the backward one
    the last.

    Args:
        vocabulary_size: Rows of the embedding, special tokens included.
        embedding_size: Size of a token's vector.
        cell: `rnn`, `gru` or `lstm`.
        hidden_size: Size of one direction's state.
        num_layers: Recurrent layers; more than one only if the model reads in one direction.
        bidirectional: Whether to read from both ends.
        embedding_dropout: Probability of dropping each value of the embeddings in training.
        layer_dropout: Probability of dropping each value between recurrent layers in training.
        output_dropout: Probability of dropping each value of the projected states in training.
        padding_index: Token id of padding.

    Raises:
        ValueError: An argument is out of range, or a second layer would see the words that it has
            to predict.

    Example:
        >>> model = LanguageModel(vocabulary_size=9, embedding_size=4, hidden_size=8)
        >>> forward, backward = model(torch.tensor([[5, 7, 2], [8, 0, 0]]), torch.tensor([3, 1]))
        >>> forward.targets.tolist(), backward.targets.tolist()
        ([7, 2], [5, 7])
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        embedding_size: int = 128,
        cell: str = "lstm",
        hidden_size: int = 512,
        num_layers: int = 1,
        bidirectional: bool = True,
        embedding_dropout: float = 0.0,
        layer_dropout: float = 0.0,
        output_dropout: float = 0.0,
        padding_index: int = 0,
    ) -> None:
        arguments = {name: plain(value) for name, value in locals().items() if name != "self"}
        del arguments["__class__"]  # Python's own, for super()
        super().__init__()
        self._settings = arguments
        require_limits(arguments)
        if bidirectional and num_layers > 1:
            raise ValueError(
                f"num_layers={num_layers} with both directions: a second layer would see the words"
                " that it has to predict; give num_layers=1 or bidirectional=false"
            )
        self.embedding = nn.Embedding(vocabulary_size, embedding_size, padding_idx=padding_index)
        self.embedding_dropout = Dropout(embedding_dropout)
        self.encoder = RecurrentEncoder(
            cell=cell,
            input_size=embedding_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=layer_dropout,
        )
        self.projections = nn.ModuleList(
            nn.Linear(hidden_size, embedding_size) for _ in range(1 + bidirectional)
        )
        self.output_dropout = Dropout(output_dropout)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain Python values, enough to build the same model."""
        return dict(self._settings)

    def start(self, embeddings: Tensor, counts: Tensor) -> None:
        """Start from given vectors, and from word frequencies as the prediction.

        Args:
            embeddings: (vocabulary_size, embedding_size); the row of padding becomes zero.
            counts: (vocabulary_size,), how often each word occurs. Padding gets no probability.
        """
        padding = self.embedding.padding_idx
        with torch.no_grad():
            self.embedding.weight.copy_(embeddings)
            self.embedding.weight[padding] = 0
            seen = counts.double().clamp_min(0.5)
            self.bias.copy_((seen / seen.sum()).log())
            self.bias[padding] = -1e4

    def forward(self, token_ids: Tensor, lengths: Tensor) -> list[Predictions]:
        """The predictions for a padded batch: the forward direction, then the backward one.

        Args:
            token_ids: (batch, time) int64, padded at the end of each row.
            lengths: (batch,) int64 on the CPU, the number of tokens in each row, 1 to time.

        Raises:
            ValueError: The shapes disagree, or a length is 0 or above time.
        """
        words = token_ids.t().contiguous()  # time comes first in memory, as the encoder needs it
        embedded = self.embedding_dropout(self.embedding(words).transpose(0, 1))
        states = self.encoder(embedded, lengths).outputs.transpose(0, 1)  # (time, batch, states)
        gaps = torch.arange(len(words) - 1)[:, None] < lengths - 1  # between a word and the next
        at = gaps.flatten().nonzero().squeeze(1).to(words.device, non_blocking=True)
        following = at + len(lengths)  # in the flat (time * batch) steps
        given = [at, following], [following, at]  # indices of states, and of the words they predict
        halves = states.chunk(len(self.projections), dim=-1)
        return [
            Predictions(
                self.output_dropout(projection(half).flatten(0, 1).index_select(0, state)),
                words.flatten().index_select(0, word),
            )
            for projection, half, (state, word) in zip(
                self.projections, halves, given, strict=False
            )
        ]

    def loss(self, predictions: Predictions, sampler: CandidateSampler | None = None) -> Tensor:
        """Sum of the predictions' cross-entropies in nats, a float32 scalar.

        Args:
            predictions: the predictions of one direction, or of both joined.
            sampler: draws the words of the softmax; None uses the whole vocabulary.
        """
        contexts, targets = predictions
        if sampler is None:
            return summed_cross_entropy(contexts, self.embedding.weight, self.bias, targets)
        words, log_probability, indices = sampler(targets)
        rows, bias = self.embedding(words), self.bias[words]
        return summed_cross_entropy(contexts, rows, bias, indices, offset=-log_probability)


def joined(predictions: list[Predictions]) -> Predictions:
    """Concatenate the predictions of all directions."""
    return Predictions(*map(torch.cat, zip(*predictions, strict=True)))
