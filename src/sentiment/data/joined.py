"""Reviews of several files as one set, batched together without a copy of their text."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from sentiment.data.batching import Batch, TokenisedReviews


class JoinedReviews(Dataset[Batch]):
    """Several sets of reviews, one after the other; an item is as of ``TokenisedReviews``.

    Batches tell the folds of their reviews where all sets have folds.

    Args:
        parts: the sets, whose ids are of one vocabulary.
    """

    def __init__(self, parts: Sequence["TokenisedReviews | JoinedReviews"]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each review as batches hold them, (n,)."""
        return np.concatenate([part.lengths for part in self._parts])

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        chosen = np.asarray(positions)
        origin = np.searchsorted(self._ends, chosen, side="right")
        places, batches = [], []
        for number in np.unique(origin).tolist():
            part = self._parts[number]
            places.append(np.flatnonzero(origin == number))
            batches.append(part[(chosen[places[-1]] - self._ends[number] + len(part)).tolist()])
        order = torch.from_numpy(np.argsort(np.concatenate(places)))
        time = max(batch.token_ids.shape[1] for batch in batches)
        padded = [
            torch.nn.functional.pad(batch.token_ids, (0, time - batch.token_ids.shape[1]))
            for batch in batches
        ]
        folds = [batch.folds for batch in batches if batch.folds is not None]
        return Batch(
            token_ids=torch.cat(padded)[order],
            lengths=torch.cat([batch.lengths for batch in batches])[order],
            labels=torch.cat([batch.labels for batch in batches])[order],
            folds=torch.cat(folds)[order] if len(folds) == len(batches) else None,
        )
