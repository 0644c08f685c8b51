# mypy: allow-untyped-calls
# (torch's Tensor.backward and Tensor.split are untyped)
"""The classifier: equal logits alone and in a batch, dropout, settings."""

import inspect
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import require_bf16
from sentiment.model.classifier import SentimentClassifier
from sentiment.model.encoder import CELLS, MERGES
from sentiment.model.pooling import POOLINGS


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep small tensors off the thread pool, which is very slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Cell(StrEnum):
    GRU = "gru"


def build(seed: int = 0, **arguments: Any) -> SentimentClassifier:
    torch.manual_seed(seed)
    sizes = {"vocabulary_size": 20, "num_classes": 3, "embedding_size": 6, "hidden_size": 5}
    return SentimentClassifier(**(sizes | arguments))


def batch_of(lengths: list[int], vocabulary_size: int = 20) -> tuple[Tensor, Tensor]:
    token_ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for row, length in enumerate(lengths):
        token_ids[row, :length] = torch.randint(2, vocabulary_size, (length,))
    return token_ids, torch.tensor(lengths)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.fixed_dictionaries(
        {
            "cell": st.sampled_from(CELLS),
            "num_layers": st.integers(1, 3),
            "bidirectional": st.booleans(),
            "merge": st.sampled_from(MERGES),
            "pooling": st.sampled_from(POOLINGS),
            "head_size": st.none() | st.integers(1, 4),
            "ngram_sizes": st.sampled_from([[], [3, 2]]),
        }
    ),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.booleans(),
)
def test_alone_equals_in_a_batch(
    arguments: dict[str, Any], lengths: list[int], one_call: bool
) -> None:
    sizes = arguments["ngram_sizes"]
    classifier = build(**arguments, ngrams=len(sizes)).double()
    if classifier.ngrams is not None:  # the words 3, 5 and 7, and the pairs of 5 with 5 and 7
        keys = [torch.tensor([3, 5, 7]), torch.tensor([25, 27])]
        values = torch.randn(5, 6)
        classifier.ngrams.load(keys, values, values[None])
    classifier.encoder.together = one_call
    token_ids, steps = batch_of(lengths)
    together = classifier(token_ids, steps)
    assert together.shape == (len(lengths), 3)
    for row, length in enumerate(lengths):
        alone = classifier(token_ids[row : row + 1, :length], steps[row : row + 1])
        torch.testing.assert_close(together[row], alone[0])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_a_short_review_among_long_ones(cell: str, num_layers: int, pooling: str) -> None:
    classifier = build(cell=cell, num_layers=num_layers, pooling=pooling, hidden_size=32).eval()
    token_ids, lengths = batch_of([6, 300, 250])
    with torch.inference_mode():
        together = classifier(token_ids, lengths)
        alone = classifier(token_ids[:1, :6], lengths[:1])
    assert (together[0] - alone[0]).abs().max() < 1e-5


def test_padding_ids_may_be_anything() -> None:
    classifier = build().eval()
    token_ids, lengths = batch_of([2, 6])
    expected = classifier(token_ids, lengths)
    token_ids[0, 2:] = 7
    torch.testing.assert_close(classifier(token_ids, lengths), expected)


def ids_embedded(classifier: SentimentClassifier, token_ids: Tensor, lengths: Tensor) -> Tensor:
    """Run the classifier and return the ids that reached the embedding, (batch, time)."""
    seen: list[Tensor] = []
    hook = classifier.embedding.register_forward_hook(
        lambda _module, inputs, _output: seen.append(inputs[0].t())
    )
    classifier(token_ids, lengths)
    hook.remove()
    return seen[0]


def test_word_dropout_replaces_real_tokens_in_training() -> None:
    classifier = build(word_dropout=0.3, unknown_index=1, padding_index=0)
    token_ids, lengths = batch_of([400, 1000])
    seen = ids_embedded(classifier, token_ids, lengths)
    changed = seen != token_ids
    assert set(seen[changed].tolist()) == {1}
    assert not changed[0, 400:].any()
    assert 0.25 < changed.sum() / 1400 < 0.35
    assert not torch.equal(ids_embedded(classifier, token_ids, lengths), seen)
    assert torch.equal(ids_embedded(classifier.eval(), token_ids, lengths), token_ids)


def test_word_dropout_spares_padding_of_any_id() -> None:
    classifier = build(word_dropout=0.99, padding_index=0)
    token_ids, lengths = batch_of([3, 50])
    token_ids[0, 3:] = 9
    assert (ids_embedded(classifier, token_ids, lengths)[0, 3:] == 9).all()


@pytest.mark.parametrize(
    "dropout",
    [
        {"embedding_dropout": 0.5},
        {"word_dropout": 0.5},
        {"layer_dropout": 0.5, "num_layers": 2},
        {"head_dropout": 0.5},
        {"head_dropout": 0.5, "head_size": 8},
    ],
)
def test_dropout_acts_in_training_alone(dropout: dict[str, Any]) -> None:
    classifier = build(**dropout)
    token_ids, lengths = batch_of([9, 30])
    torch.manual_seed(1)
    first = classifier(token_ids, lengths)
    assert not torch.allclose(classifier(token_ids, lengths), first)
    torch.manual_seed(1)
    torch.testing.assert_close(classifier(token_ids, lengths), first)
    classifier.eval()
    torch.testing.assert_close(classifier(token_ids, lengths), classifier(token_ids, lengths))


def test_settings_rebuild_the_classifier(tmp_path: Path) -> None:
    classifier = build(
        cell=Cell.GRU, num_layers=2, merge="sum", pooling="attention", head_size=4,
        head_dropout=0.1, ngrams=2, ngram_sizes=(3, 2),
    )  # fmt: skip
    names = list(inspect.signature(SentimentClassifier).parameters)
    assert list(classifier.settings) == names
    kinds = {type(value) for value in classifier.settings.values()}
    assert kinds == {str, int, float, bool, list}
    assert type(build().settings["head_size"]) is type(None)
    path = tmp_path / "classifier.pt"
    torch.save({"settings": classifier.settings, "weights": classifier.state_dict()}, path)
    saved = torch.load(path, weights_only=True)
    twin = SentimentClassifier(**saved["settings"])
    twin.load_state_dict(saved["weights"])
    assert twin.settings == classifier.settings
    batch = batch_of([4, 9])
    torch.testing.assert_close(twin.eval()(*batch), classifier.eval()(*batch))


def test_settings_are_a_copy() -> None:
    classifier = build()
    classifier.settings["hidden_size"] = 1000
    assert classifier.settings["hidden_size"] == 5


def test_load_embeddings() -> None:
    classifier = build(padding_index=3)
    rows = torch.randn(20, 6, dtype=torch.float64)
    classifier.load_embeddings(rows)
    weights = classifier.embedding.weight
    assert weights.requires_grad
    assert weights[3].count_nonzero() == 0
    torch.testing.assert_close(weights[4:], rows[4:].float())
    with pytest.raises(ValueError, match=r"\(20, 5\).* \(20, 6\)"):
        classifier.load_embeddings(rows[:, :5])


def test_padding_row_learns_nothing() -> None:
    classifier = build()
    classifier(*batch_of([2, 8])).square().sum().backward()
    gradient = classifier.embedding.weight.grad
    assert gradient is not None
    assert gradient[0].count_nonzero() == 0
    assert gradient.count_nonzero() > 0


@pytest.mark.half_precision
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_autocast(cell: str, pooling: str) -> None:
    require_bf16(cell)
    classifier = build(cell=cell, pooling=pooling, num_layers=2, hidden_size=16)
    batch = batch_of([30, 4, 1])
    expected = classifier(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(*batch)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, atol=0.03, rtol=0)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for name, weights in classifier.named_parameters():
        if pooling == "last" or weights.grad is not None:
            assert weights.grad is not None, name
            assert weights.grad.isfinite().all(), name


@pytest.mark.parametrize("pooling", POOLINGS)
def test_weights_in_bfloat16(pooling: str) -> None:
    classifier = build(pooling=pooling).bfloat16()
    logits = classifier(*batch_of([5, 2]))
    assert logits.dtype == torch.float32
    logits.sum().backward()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vocabulary_size", 0), ("num_classes", 0), ("embedding_size", 0), ("head_size", 0),
        ("embedding_dropout", 1.0), ("word_dropout", -0.5), ("layer_dropout", 2.0),
        ("head_dropout", 1.5), ("padding_index", 20), ("unknown_index", -1), ("hidden_size", 0),
    ],
)  # fmt: skip
def test_bad_arguments(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}={value} "):
        build(**{name: value})


@pytest.mark.parametrize("lengths", [[0, 5], [6, 5], [5]])
def test_bad_lengths(lengths: list[int]) -> None:
    token_ids, _ = batch_of([5, 5])
    with pytest.raises(ValueError, match="lengths"):
        build(word_dropout=0.5)(token_ids, torch.tensor(lengths))


def test_a_temperature_divides_logits_and_changes_no_prediction() -> None:
    classifier = build().eval()
    token_ids, lengths = batch_of([5, 2, 9, 4])
    with torch.no_grad():
        raw = classifier.raw_logits(token_ids, lengths)
        assert torch.equal(classifier(token_ids, lengths), raw)  # until it is set
        classifier.temperature.fill_(2.5)
        divided = classifier(token_ids, lengths)
        assert torch.equal(classifier.raw_logits(token_ids, lengths), raw)
    torch.testing.assert_close(divided, raw / 2.5)
    assert torch.equal(divided.argmax(1), raw.argmax(1))


def test_weights_from_before_there_was_a_temperature_have_1() -> None:
    weights = build(seed=1).state_dict()
    old = {name: value for name, value in weights.items() if name != "temperature"}
    classifier = build()
    classifier.temperature.fill_(3)
    classifier.load_state_dict(old)
    assert float(classifier.temperature) == 1
    assert "temperature" not in old
    with pytest.raises(RuntimeError, match="head"):  # nothing else may be missing
        classifier.load_state_dict({k: v for k, v in old.items() if not k.startswith("head")})
