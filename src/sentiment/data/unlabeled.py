"""Reviews without labels: those of their texts that no split has, each once."""

import logging
from collections.abc import Sequence

import numpy as np

from sentiment.data.batching import NO_CLASS
from sentiment.data.corpus import Corpus
from sentiment.data.splits import Split, Splits, first_of_each, without
from sentiment.errors import InputError

log = logging.getLogger(__name__)


def unlabeled_splits(corpora: Sequence[Corpus], splits: Splits) -> list[Split]:
    """The reviews of each corpus whose text is new: neither test nor validation text may train.

    Args:
        corpora: of files without labels.
        splits: of the labeled reviews.

    Returns:
        A split for each corpus, whose classes are ``NO_CLASS``.

    Raises:
        InputError: no text of a corpus is new.
    """
    kept: list[Split] = []
    for corpus in corpora:
        everything = Split(corpus, np.arange(len(corpus)), np.full(len(corpus), NO_CLASS))
        new, tested = without(everything, splits.test)
        new, validated = without(new, splits.val)
        new, _ = first_of_each(new)
        for other in (splits.train, *kept):
            new, _ = without(new, other)
        repeated = len(everything) - len(new) - tested - validated
        log.info(
            "%s: %s rows read, %s unlabeled reviews; dropped: %s in the test split, %s in the"
            " validation split, %s repeated, %s for a missing text",
            corpus.path,
            f"{len(corpus) + corpus.missing:,}",
            *(f"{count:,}" for count in (len(new), tested, validated, repeated, corpus.missing)),
        )
        if len(new) == 0:
            raise InputError(
                f"{corpus.path}: every text of this unlabeled file also stands in a split or in"
                " another unlabeled file, so none is left; leave it out of data.unlabeled_csv"
            )
        kept.append(new)
    return kept
