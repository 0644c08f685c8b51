"""torchtext's ``Vocab``, built from the training texts only.

torchtext 0.6.0 is the last release in pure Python: later ones are compiled against an old torch.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sentiment.batch import UNK_INDEX
from sentiment.data.splits import Split
from sentiment.runtime.errors import InputError

if TYPE_CHECKING:
    from torchtext.vocab import Vocab

PAD, UNK = "<pad>", "<unk>"


def build_vocabulary(
    train: Split,
    unlabeled: Sequence[Split] = (),
    *,
    min_freq: int = 1,
    max_size: int | None = None,
) -> "Vocab":
    """The most frequent words of the training split, after ``<pad>`` (0) and ``<unk>`` (1).

    Args:
        train: the training split.
        unlabeled: reviews without labels whose words count, too.
        min_freq: words that occur less often are left out.
        max_size: largest number of words, not counting the two special ones.

    Raises:
        InputError: no word is left.
    """
    from torchtext.vocab import Vocab

    frequencies = count_words([train, *unlabeled])
    vocabulary = Vocab(frequencies, max_size=max_size, min_freq=min_freq, specials=[PAD, UNK])
    if len(vocabulary) <= 2:
        raise InputError(
            f"{train.corpus.path}: no word of the training split occurs"
            f" data.min_freq={min_freq} times; lower it"
        )
    return vocabulary


def given_vocabulary(words: Sequence[str], texts: Sequence[Split]) -> "Vocab":
    """A vocabulary of these words in their order; the texts give only the word counts.

    Args:
        words: ``<pad>`` and ``<unk>`` first.
        texts: the reviews whose words are counted.
    """
    from torchtext.vocab import Vocab

    vocabulary = Vocab(Counter(), specials=[])
    vocabulary.itos = list(words)
    vocabulary.stoi.update({word: index for index, word in enumerate(words)})
    vocabulary.freqs = count_words(texts)
    return vocabulary


def count_words(splits: Sequence[Split]) -> Counter[str]:
    """Count each word in the whole reviews of some splits."""
    frequencies: Counter[str] = Counter()
    for split in splits:
        counts = split.corpus.word_counts(split.reviews)
        for index in np.flatnonzero(counts):
            frequencies[split.corpus.words[index]] += int(counts[index])
    return frequencies


def vocabulary_ids(words: Sequence[str], vocabulary: "Vocab") -> npt.NDArray[np.int64]:
    """The vocabulary index of each word, ``UNK_INDEX`` for unknown words; (words,)."""
    known = vocabulary.stoi
    # Indexing instead of .get would add the unknown words to the vocabulary.
    return np.array([known.get(word, UNK_INDEX) for word in words], np.int64)
