from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop, SparseAdam

from sentiment.train.optim import LazyRows

WORDS, SIZE = 12, 3
Build = Callable[[Any], Optimizer]


def train(build: Build, batches: list[list[int]], *, lazy: bool, sparse: bool = True) -> Tensor:
    """The embedding after a step on each batch of words; the targets differ from word to word."""
    torch.manual_seed(0)
    embedding = nn.Embedding(WORDS, SIZE, sparse=sparse, padding_idx=0)
    targets = torch.randn(WORDS, SIZE)
    other = nn.Parameter(torch.ones(SIZE))
    groups: Any = [embedding.weight] if not lazy else [{"params": [other]}]
    if lazy:
        groups.append({"params": [embedding.weight]})
    optimizer = build(groups)
    rows = LazyRows(optimizer, embedding.weight) if lazy else None
    for batch in batches:
        words = torch.tensor(batch)
        optimizer.zero_grad()
        loss = (embedding(words) * other.detach() - targets[words]).square().sum()
        torch.autograd.backward(loss)
        if rows is not None:
            rows.take()
        optimizer.step()
    if lazy:
        assert optimizer.param_groups[1]["params"][0] is embedding.weight
        assert set(optimizer.state) <= {embedding.weight}
    return embedding.weight.detach()


SOME = [[1, 2, 2, 3], [3, 4, 0], [1, 5, 5, 5], [3, 1]]
ALL = [list(range(WORDS))] * 4


def test_plain_sgd_is_the_same_as_without() -> None:
    build = partial(SGD, lr=0.1)
    torch.testing.assert_close(
        train(build, SOME, lazy=True), train(build, SOME, lazy=False, sparse=False)
    )


def test_adam_is_torchs_sparse_adam() -> None:
    torch.testing.assert_close(
        train(partial(Adam, lr=0.1), SOME, lazy=True),
        train(partial(SparseAdam, lr=0.1), SOME, lazy=False),
    )


@pytest.mark.parametrize(
    "build",
    [
        partial(Adam, lr=0.1, amsgrad=True),
        partial(AdamW, lr=0.1, weight_decay=0.1),
        partial(AdamW, lr=0.1, fused=True),
        partial(SGD, lr=0.1, momentum=0.9, nesterov=True),
        partial(RMSprop, lr=0.1, momentum=0.5, centered=True),
    ],
    ids=["amsgrad", "adamw", "fused", "momentum", "rmsprop"],
)
def test_words_of_every_batch_are_stepped_as_ever(build: Build) -> None:
    ours = train(build, ALL, lazy=True)
    theirs = train(build, ALL, lazy=False, sparse=False)
    torch.testing.assert_close(ours[1:], theirs[1:])  # padding has no gradient: it waits


def test_words_that_no_batch_has_stay_as_they_are() -> None:
    torch.manual_seed(0)
    before = nn.Embedding(WORDS, SIZE, padding_idx=0).weight.detach().clone()
    after = train(partial(AdamW, lr=0.1, weight_decay=0.5), SOME, lazy=True)
    seen = sorted({word for batch in SOME for word in batch} - {0})
    unseen = [word for word in range(WORDS) if word not in seen]
    assert torch.equal(after[unseen], before[unseen])
    assert not torch.isclose(after[seen], before[seen]).any()


def test_the_state_has_the_optimizers_own_layout() -> None:
    embedding = nn.Embedding(WORDS, SIZE, sparse=True)
    optimizer = AdamW([{"params": [embedding.weight]}], fused=True)
    rows = LazyRows(optimizer, embedding.weight)
    torch.autograd.backward(embedding(torch.tensor([4, 7])).sum())
    rows.take()
    optimizer.step()
    state = optimizer.state_dict()["state"][0]
    assert state["exp_avg"].shape == (WORDS, SIZE)
    assert state["exp_avg"].abs().sum(1).nonzero().flatten().tolist() == [4, 7]
    assert float(state["step"]) == 1


def test_without_a_gradient_nothing_is_taken() -> None:
    embedding = nn.Embedding(WORDS, SIZE, sparse=True)
    optimizer = Adam([{"params": [embedding.weight]}])
    rows = LazyRows(optimizer, embedding.weight)
    before = embedding.weight.detach().clone()
    rows.take()
    optimizer.step()
    assert torch.equal(embedding.weight, before)
