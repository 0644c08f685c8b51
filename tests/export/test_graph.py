import copy
import random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sentiment.model.classifier import SentimentClassifier
from sentiment.model.encoder import CELLS, MERGES
from sentiment.model.pooling import POOLINGS

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'sentiment[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

WORDS = 30
LENGTHS = torch.tensor([9, 1, 4, 7])


def classifier_of(seed: int = 1, **settings: Any) -> SentimentClassifier:
    """A network with random weights, a temperature, and three classes."""
    torch.manual_seed(seed)
    sizes = {"vocabulary_size": WORDS, "num_classes": 3, "embedding_size": 6, "hidden_size": 5}
    classifier = SentimentClassifier(**(sizes | settings)).eval()
    for weights in classifier.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    classifier.temperature.fill_(1.7)
    return classifier


def batch_of(lengths: torch.Tensor, seed: int = 2) -> torch.Tensor:
    """Random token ids, (batch, time), padded with zeros."""
    torch.manual_seed(seed)
    ids = torch.randint(1, WORDS, (len(lengths), int(lengths.max())))
    return ids.masked_fill(torch.arange(ids.shape[1]) >= lengths[:, None], 0)


def session_of(classifier: SentimentClassifier) -> Any:
    from sentiment.export.graph import network_graph

    model = network_graph(classifier)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


def run(session: Any, ids: torch.Tensor, lengths: torch.Tensor) -> npt.NDArray[np.float32]:
    (logits,) = session.run(None, {"token_ids": ids.numpy(), "lengths": lengths.numpy()})
    assert logits.dtype == np.float32
    return np.asarray(logits)


def check(classifier: SentimentClassifier, ids: torch.Tensor, lengths: torch.Tensor) -> None:
    """Both compute the same logits, of a batch and of each of its texts alone."""
    session = session_of(classifier)
    with torch.inference_mode():
        expected = classifier(ids, lengths).numpy()
    found = run(session, ids, lengths)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for row, length in enumerate(lengths.tolist()):
        alone = run(session, ids[row : row + 1, :length], lengths[row : row + 1])
        np.testing.assert_allclose(alone, found[row : row + 1], atol=1e-5)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_graph_computes_what_its_network_computes(
    cell: str, pooling: str, num_layers: int, bidirectional: bool
) -> None:
    for merge in MERGES:
        settings: dict[str, Any] = {
            "num_layers": num_layers,
            "bidirectional": bidirectional,
            "merge": merge,
        }
        classifier = classifier_of(cell=cell, pooling=pooling, **settings)
        check(classifier, batch_of(LENGTHS), LENGTHS)


def test_a_head_has_its_hidden_layer() -> None:
    check(classifier_of(head_size=7), batch_of(LENGTHS), LENGTHS)


@pytest.mark.parametrize("sizes", [[1], [13, 9], [13, 9, 5], [16, 8, 0], [13, 0, 0, 0]])
def test_features_of_n_grams_are_found(sizes: list[int]) -> None:
    classifier = classifier_of(ngrams=len(sizes), ngram_sizes=sizes, num_classes=2)
    assert classifier.ngrams is not None
    keys = [torch.arange(WORDS)[torch.randperm(WORDS)[: sizes[0]]].sort().values]
    for size in sizes[1:]:
        all_keys = len(keys[-1]) * WORDS
        keys.append(torch.randperm(all_keys)[:size].sort().values if size else keys[-1][:0])
    features = torch.randn(sum(sizes), 2)
    classifier.ngrams.load(keys, features, features[None])
    lengths = torch.tensor([40, 3, 25])
    ids = batch_of(lengths)
    for length in range(2, 1 + sum(size > 0 for size in sizes)):  # n-grams at two positions
        words: list[int] = []
        key = int(keys[length - 1][0])
        for shorter in reversed(keys[: length - 1]):
            words.insert(0, key % WORDS)
            key = int(shorter[key // WORDS])
        for row, first in ((0, 0), (2, 25 - length)):
            ids[row, first : first + length] = torch.tensor([key, *words])
        found = classifier.ngrams(ids)[..., 2 * length - 2 : 2 * length]
        assert (found[0, length - 1] != 0).all()
        check(classifier, ids, lengths)
    check(classifier, ids, lengths)


def test_any_batch_size_and_length_will_do() -> None:
    classifier = classifier_of()
    session = session_of(classifier)
    for lengths in (torch.tensor([1]), torch.tensor([300, 2]), torch.arange(1, 41)):
        ids = batch_of(lengths)
        with torch.inference_mode():
            expected = classifier(ids, lengths).numpy()
        np.testing.assert_allclose(run(session, ids, lengths), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_agree_on_random_batches(seed: int) -> None:
    draw = random.Random(seed)
    classifier = classifier_of(
        seed,
        cell=CELLS[seed % len(CELLS)],
        pooling=draw.choice(POOLINGS),
        merge=draw.choice(MERGES),
        num_layers=draw.randint(1, 2),
        bidirectional=draw.random() < 0.7,
        head_size=draw.choice([None, 7]),
    )
    session = session_of(classifier)
    for number in range(4):
        lengths = torch.tensor([draw.randint(1, 400) for _ in range(draw.randint(1, 32))])
        ids = batch_of(lengths, number)
        with torch.inference_mode():
            expected = classifier(ids, lengths).numpy()
        np.testing.assert_allclose(run(session, ids, lengths), expected, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_int8_keeps_each_row_in_127_steps(cell: str) -> None:
    classifier = classifier_of(cell=cell, num_layers=2)
    rounded = copy.deepcopy(classifier)
    with torch.no_grad():  # what each row would be if it were kept in 8 bits
        weights = [rounded.embedding.weight]
        weights += [weight for each in rounded.encoder.rnn.all_weights for weight in each[:2]]
        for weight in weights:
            scale = weight.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
            weight.copy_((weight / scale).round() * scale)
        expected = rounded(batch_of(LENGTHS), LENGTHS)
    from sentiment.export.graph import network_graph

    model = network_graph(classifier, int8=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = run(session, batch_of(LENGTHS), LENGTHS)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert not np.allclose(found, run(session_of(classifier), batch_of(LENGTHS), LENGTHS))
