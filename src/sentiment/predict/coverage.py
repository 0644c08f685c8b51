"""Count the tokens of texts that a classifier knows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass
class Coverage:
    """How much of the texts that a predictor has read is in its vocabulary.

    Attributes:
        texts: number of texts.
        unknown_texts: those that have tokens, none of which is known.
        tokens: number of tokens.
        known: number of tokens in the vocabulary.
    """

    texts: int = 0
    unknown_texts: int = 0
    tokens: int = 0
    known: int = 0

    def add(self, tokens: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> None:
        """Count some more texts by their tokens, (texts,), and how many of them are known."""
        texts, unknown_texts = len(tokens), int(((known == 0) & (tokens > 0)).sum())
        tokens_in_all, known_in_all = int(tokens.sum()), int(known.sum())
        # Additions that call nothing, so that no other thread runs between reading and writing.
        self.texts += texts
        self.unknown_texts += unknown_texts
        self.tokens += tokens_in_all
        self.known += known_in_all

    @property
    def doubt(self) -> str | None:
        """Why the predictions say little, if over a third of all tokens or texts is unknown."""
        unknown = self.tokens - self.known
        if 3 * unknown <= self.tokens and 3 * self.unknown_texts <= self.texts:
            return None
        without = f", and {self.unknown_texts:,} of {self.texts:,} texts have no known word"
        return (
            f"{unknown:,} of {self.tokens:,} tokens are not in the checkpoint's vocabulary"
            f"{without if self.unknown_texts else ''}; scores of such texts say little: was it"
            " trained on texts of this kind and language?"
        )
