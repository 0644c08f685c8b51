"""Features of each token from the n-grams that end with it.

This file knows torch alone; `sentiment.data.ngrams` counts what it looks up.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class NgramFeatures(nn.Module):
    """Looks up what is known of the n-grams that end with each token.

    Args:
        sizes: Known n-grams of each length, from single words on.
        features: Values known of each.
        words: Token ids are below this in known n-grams.

    Attributes:
        output_size: Features of a token: those of its n-grams of each length, zero if unknown.
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
        """Take over what was counted.

        Args:
            keys: For each length, the sorted int64 numbers of its n-grams: a word's id, or the
                place of the n-gram without its last word, times ``words``, plus that word's id.
            values: (n-grams of all lengths, features).
            held_out: (folds, n-grams of all lengths, features), for training; for texts that were
                not counted, one fold more of all counts.
        """
        self.keys.copy_(torch.cat(list(keys)))
        self.values[:-1] = values
        self.held_out = nn.functional.pad(held_out, (0, 0, 0, 1)).to(self.values.dtype)

    def forward(self, token_ids: Tensor, folds: Tensor | None = None) -> Tensor:
        """Features of each token.

        Args:
            token_ids: (batch, time) int64.
            folds: (batch,) int64, the fold whose counts leave each text out, in training.

        Returns:
            (batch, time, output_size) float16.
        """
        places = torch.stack(self._places(token_ids), dim=-1)  # (batch, time, lengths)
        if folds is None or self.held_out is None:
            found = self.values[places]
        else:
            found = self.held_out[folds[:, None, None], places]
        return found.flatten(2)  # (batch, time, lengths * features)

    def _places(self, token_ids: Tensor) -> list[Tensor]:
        """For each length, where the n-gram that ends with each token stands; (batch, time)."""
        unknown = len(self.keys)
        places: list[Tensor] = []
        keys, known, first = token_ids, token_ids >= 0, 0
        for own in torch.split(self.keys, self._sizes):
            rank = torch.searchsorted(own, keys).clamp_(max=max(0, len(own) - 1))
            known = known & (token_ids < self._words)
            known = known & (own[rank] == keys) if len(own) else torch.zeros_like(known)
            places.append(torch.where(known, rank + first, unknown))
            # One word more: the n-gram that ended one token before, and this token.
            keys = rank.roll(1, dims=1) * self._words + token_ids
            known = known.roll(1, dims=1)
            known[:, 0] = False
            first += len(own)
        return places
