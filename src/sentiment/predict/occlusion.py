"""How much each token of a text matters, by what changes when it becomes an unknown word."""

import numpy as np
import numpy.typing as npt

from sentiment.predict.logits import Floats, Network, log_odds

_Ints = npt.NDArray[np.int64]

_MOST_OCCLUDED = 256  # tokens, or groups of them, of a text


def occlude(network: Network, token_ids: _Ints, label: int) -> Floats:
    """How much the log odds of a label fall if a token becomes an unknown word, (tokens,).

    In texts of over ``_MOST_OCCLUDED`` tokens, neighbours do so together and share the difference.

    Args:
        network: computes logits.
        token_ids: (tokens,) of the text.
        label: index of the class.
    """
    time = len(token_ids)
    groups = np.arange(time) // -(-time // _MOST_OCCLUDED)
    texts = np.tile(token_ids, (groups[-1] + 2, 1))  # the last one is whole
    texts[groups, np.arange(time)] = network.unknown_index
    at_a_time = max(1, network.positions // time)
    batches = [texts[first : first + at_a_time] for first in range(0, len(texts), at_a_time)]
    logits = network.logits((each, np.full(len(each), time)) for each in batches)
    odds = log_odds(np.concatenate(logits), label)
    weights: Floats = (odds[-1] - odds[groups]).astype(np.float32)
    weights /= np.bincount(groups)[groups]
    return weights
