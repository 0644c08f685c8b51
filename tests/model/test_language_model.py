import math
from typing import Any

import pytest
import torch
from torch import nn

from sentiment.model.classifier import SentimentClassifier
from sentiment.model.language_model import LanguageModel, joined
from sentiment.model.softmax import CandidateSampler

WORDS = 13
TEXTS = torch.tensor([[5, 7, 2, 9, 4], [8, 3, 6, 0, 0], [12, 0, 0, 0, 0]])
LENGTHS = torch.tensor([5, 3, 1])


def build(**settings: Any) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(
        vocabulary_size=WORDS, **({"embedding_size": 6, "hidden_size": 8} | settings)
    )
    model.start(torch.randn(WORDS, 6), torch.arange(WORDS))
    return model.eval()


def test_each_direction_predicts_the_word_on_its_side() -> None:
    forward, backward = build()(TEXTS, LENGTHS)
    # Time first: the second word of each text, then the third ...
    assert forward.targets.tolist() == [7, 3, 2, 6, 9, 4]
    assert backward.targets.tolist() == [5, 8, 7, 3, 2, 9]
    assert forward.contexts.shape == backward.contexts.shape == (6, 6)
    (only,) = build(bidirectional=False)(TEXTS, LENGTHS)
    assert only.targets.tolist() == forward.targets.tolist()


@pytest.mark.parametrize(
    "settings", [{}, {"cell": "gru"}, {"bidirectional": False, "num_layers": 2}]
)
def test_no_direction_sees_the_word_that_it_predicts(settings: dict[str, Any]) -> None:
    model, text, length = build(**settings), torch.tensor([[5, 7, 2, 9, 4, 3]]), torch.tensor([6])
    before = model(text, length)
    for index in range(6):
        changed = text.clone()
        changed[0, index] = 11
        for direction, (old, new) in enumerate(zip(before, model(changed, length), strict=True)):
            moved = (old.contexts - new.contexts).abs().amax(1) > 1e-7
            # Forward, prediction i is of word i + 1, from words 0 to i; backward, of word i.
            seen = [index <= i if direction == 0 else index > i for i in range(5)]
            assert moved.tolist() == seen


def test_padding_never_matters() -> None:
    model = build()
    longer = nn.functional.pad(TEXTS, (0, 4), value=11)
    for one, other in zip(model(TEXTS, LENGTHS), model(longer, LENGTHS), strict=True):
        torch.testing.assert_close(one.contexts, other.contexts)
        assert one.targets.equal(other.targets)
    whole = model.loss(joined(model(TEXTS, LENGTHS)))
    alone = sum(
        model.loss(joined(model(text[None, :length], length[None])))
        for text, length in zip(TEXTS, LENGTHS, strict=True)
    )
    torch.testing.assert_close(whole, alone)


def test_a_batch_of_single_words_has_no_loss_and_no_gradient() -> None:
    model = build()
    for sampler in (None, CandidateSampler(torch.ones(WORDS), 4)):
        loss = model.loss(joined(model(TEXTS[2:], LENGTHS[2:])), sampler)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss == 0
    assert all((weight.grad is None or not weight.grad.any()) for weight in model.parameters())


def test_it_begins_with_the_frequencies_of_the_words() -> None:
    model = build()
    for weight in model.projections.parameters():
        nn.init.zeros_(weight)
    counts = torch.arange(WORDS).double()
    targets = joined(model(TEXTS, LENGTHS)).targets
    expected = -(counts[targets] / counts.sum()).log().sum()
    loss = model.loss(joined(model(TEXTS, LENGTHS)))
    torch.testing.assert_close(loss, expected.float(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("negatives", [None, 5])
def test_a_text_is_learned_by_heart(negatives: int | None) -> None:
    model = build(hidden_size=32).train()
    sampler = None if negatives is None else CandidateSampler(torch.ones(WORDS), negatives)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        predictions = joined(model(TEXTS[:2], LENGTHS[:2]))
        loss = model.loss(predictions, sampler) / len(predictions.targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for direction in model(TEXTS[:2], LENGTHS[:2]):
        # The words after different beginnings differ, so each can be known.
        assert math.exp(model.loss(direction).item() / len(direction.targets)) < 1.05


@pytest.mark.parametrize("ngrams", [0, 2])
def test_a_classifier_begins_with_its_states(ngrams: int) -> None:
    model = build()
    sizes = [3, 4][:ngrams]
    classifier = SentimentClassifier(
        vocabulary_size=WORDS, num_classes=2, embedding_size=6, hidden_size=8,
        ngrams=ngrams, ngram_sizes=sizes,
    )  # fmt: skip
    shared = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(("embedding.", "encoder."))
    }
    classifier.load_pretrained(shared)
    extra = classifier.encoder.rnn.input_size - 6
    assert (extra > 0) == (ngrams > 0)
    inputs = torch.cat([classifier.embedding(TEXTS), torch.randn(3, 5, extra)], dim=-1)
    expected = model.encoder(model.embedding(TEXTS), LENGTHS).outputs
    torch.testing.assert_close(classifier.encoder(inputs, LENGTHS).outputs, expected)


def test_a_second_layer_of_both_directions_is_refused() -> None:
    with pytest.raises(ValueError, match="give num_layers=1 or bidirectional=false"):
        build(num_layers=2)
    with pytest.raises(ValueError, match="output_dropout=1"):
        build(output_dropout=1.0)
