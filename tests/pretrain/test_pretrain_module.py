import inspect
from functools import partial
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from sentiment.batch import Batch
from sentiment.model.language_model import LanguageModel
from sentiment.model.softmax import CandidateSampler
from sentiment.pretrain.module import LanguageModule
from sentiment.train.optim import ParameterUpdates

WORDS = 30


def small_module(**options: Any) -> LanguageModule:
    """A module; options are its own or those of its ``ParameterUpdates``."""
    torch.manual_seed(0)
    model = LanguageModel(vocabulary_size=WORDS, embedding_size=4, hidden_size=5)
    model.start(torch.randn(WORDS, 4), torch.ones(WORDS))
    of_updates = inspect.signature(ParameterUpdates).parameters.keys() & options.keys()
    updates = ParameterUpdates(model, **{name: options.pop(name) for name in of_updates})
    return LanguageModule(model=model, updates=updates, **options)


def loader(seed: int = 1) -> Any:
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for time in (3, 7, 2):
        ids = torch.randint(2, WORDS // 2, (4, time), generator=generator)
        batches.append(Batch(ids, torch.tensor([time, time, 1, time - 1]), torch.zeros(4)))
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def fit(module: LanguageModule, **options: Any) -> Trainer:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, **({"max_epochs": 1} | options),
    )  # fmt: skip
    trainer.fit(module, loader(), loader(2))
    return trainer


@pytest.mark.parametrize("negatives", [None, 3])
def test_metrics_are_means_over_all_words_of_the_whole_softmax(negatives: int | None) -> None:
    sampler = None if negatives is None else CandidateSampler(torch.ones(WORDS), negatives)
    module = small_module(optimizer=partial(torch.optim.SGD, lr=0.0), sampler=sampler)
    metrics = fit(module).callback_metrics
    losses = torch.zeros(2)
    words = 0
    with torch.no_grad():
        for batch in loader(2):
            directions = module.model(batch.token_ids, batch.lengths)
            losses += torch.stack([module.model.loss(direction) for direction in directions])
            words += len(directions[0].targets)
    forward, backward = (losses / words).exp()
    torch.testing.assert_close(metrics["val/perplexity_forward"], forward)
    torch.testing.assert_close(metrics["val/perplexity_backward"], backward)
    torch.testing.assert_close(metrics["val/perplexity"], (forward * backward).sqrt())
    torch.testing.assert_close(metrics["val/loss"], metrics["val/perplexity"].log())
    torch.testing.assert_close(metrics["train/loss"], metrics["train/perplexity"].log())


def test_a_frozen_embedding_stays_as_it_is() -> None:
    module = small_module(frozen=True)
    before = module.model.embedding.weight.detach().clone()
    bias = module.model.bias.detach().clone()
    fit(module)
    assert torch.equal(module.model.embedding.weight, before)
    assert not torch.equal(module.model.bias, bias)


@pytest.mark.parametrize("sampled", [True, False])
def test_lazy_steps_touch_the_candidates_alone(sampled: bool) -> None:
    counts = torch.zeros(WORDS)
    counts[: WORDS // 2] = 1e9  # so that no other word is ever drawn
    module = small_module(
        optimizer=partial(torch.optim.AdamW, lr=0.1, weight_decay=0.5),
        sampler=CandidateSampler(counts, WORDS // 2) if sampled else None,
        lazy_embedding=sampled,
    )
    before = module.model.embedding.weight.detach().clone()
    fit(module)
    after = module.model.embedding.weight.detach()
    assert torch.equal(after[WORDS // 2 :], before[WORDS // 2 :]) == sampled
    assert not torch.equal(after[2 : WORDS // 2], before[2 : WORDS // 2])
    assert not after[0].any()  # padding
