"""Features of each token from the n-grams that end with it.

Depends on torch alone; `sentiment.data.ngrams` counts the n-grams.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class NgramFeatures(nn.Module):
    """Looks up values, such as log-count ratios, of the n-grams that end with each token.

    Args:
        sizes: Number of known n-grams of each length, from single words on.
        features: Values of each n-gram.
        words: Upper bound (exclusive) of the token ids in known n-grams.

    Attributes:
        output_size: Values of a token: those of its n-gram of each length, zero if unknown.
    """

    def __init__(self, *, sizes: Sequence[int], features: int, words: int) -> None:
        super().__init__()
        self.output_size = len(sizes) * features
        self._words = words
        self._sizes = list(sizes)
        self.keys: Tensor
        self.values: Tensor
        self.register_buffer("keys", torch.zeros(sum(sizes), dtype=torch.int64))
        self.register_buffer("values", torch.zeros(sum(sizes) + 1, features, dtype=torch.float16))
        self.held_out: Tensor | None
        self.register_buffer("held_out", None, persistent=False)

    def load(self, keys: Sequence[Tensor], values: Tensor, held_out: Tensor) -> None:
        """Load n-grams and their values.

        Args:
            keys: For each length, the sorted int64 keys of its n-grams. The key of a word is its
                id; that of a longer n-gram is the index of the n-gram without its last word, times
                ``words``, plus the last word's id.
            values: (n-grams of all lengths, features).
            held_out: (folds, n-grams of all lengths, features), for training; an additional last
                fold has the values from all texts, for texts that were not counted.
        """
        self.keys.copy_(torch.cat(list(keys)))
        self.values[:-1] = values
        self.held_out = nn.functional.pad(held_out, (0, 0, 0, 1)).to(self.values.dtype)

    def forward(self, token_ids: Tensor, folds: Tensor | None = None) -> Tensor:
        """Look up the values of each token.

        Args:
            token_ids: (batch, time) int64.
            folds: (batch,) int64, in training the fold whose values exclude each text.

        Returns:
            (batch, time, output_size) float16.
        """
        indices = torch.stack(self._indices(token_ids), dim=-1)  # (batch, time, lengths)
        if folds is None or self.held_out is None:
            found = self.values[indices]
        else:
            found = self.held_out[folds[:, None, None], indices]
        return found.flatten(2)  # (batch, time, lengths * features)

    def _indices(self, token_ids: Tensor) -> list[Tensor]:
        """For each length, the index of the n-gram that ends with each token; (batch, time)."""
        unknown = len(self.keys)
        indices: list[Tensor] = []
        keys, known, first = token_ids, token_ids >= 0, 0
        for own in torch.split(self.keys, self._sizes):
            rank = torch.searchsorted(own, keys).clamp_(max=max(0, len(own) - 1))
            known = known & (token_ids < self._words)
            known = known & (own[rank] == keys) if len(own) else torch.zeros_like(known)
            indices.append(torch.where(known, rank + first, unknown))
            # One word longer: the n-gram that ended one token earlier, and this token.
            keys = rank.roll(1, dims=1) * self._words + token_ids
            known = known.roll(1, dims=1)
            known[:, 0] = False
            first += len(own)
        return indices
