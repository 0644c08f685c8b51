"""The network of a checkpoint as an ONNX graph.

Built node by node: torch's exporter cannot express that the lengths of a padded batch count.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from sentiment.model.classifier import SentimentClassifier
from sentiment.model.pooling import Pooling

OPSET, IR_VERSION = 18, 8  # onnxruntime reads them from 1.14 on

# For each cell: the operator, the order of torch's gates in ONNX, and further attributes.
_CELLS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),  # i, f, g, o in torch; i, o, f, c in ONNX
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # r, z, n in torch; z, r, h in ONNX
    "rnn": ("RNN", (0,), {}),
}
_UNKNOWN = -(1 << 62)  # a key that no n-gram has, even after a token id is added

_Array = npt.NDArray[Any]


class _Graph:
    """The nodes and weights of a graph, in the order in which they are computed."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, values: _Array) -> str:
        """Add weights, and return their name."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def outputs(
        self, operator: str, *inputs: "str | _Array", count: int, **others: Any
    ) -> list[str]:
        """Add a node, and return the names of its outputs.

        Args:
            operator: such as ``Gather``.
            inputs: names of outputs, or weights; "" leaves an optional input out.
            count: the number of outputs.
            others: attributes of the operator, or its ``domain``.
        """
        names = [f"{operator}_{len(self.nodes)}_{index}" for index in range(count)]
        given = [each if isinstance(each, str) else self.weight(each) for each in inputs]
        self.nodes.append(helper.make_node(operator, given, names, **others))
        return names

    def __call__(self, operator: str, *inputs: "str | _Array", **others: Any) -> str:
        """Add a node with one output, and return its name."""
        return self.outputs(operator, *inputs, count=1, **others)[0]


def network_graph(classifier: SentimentClassifier, *, int8: bool = False) -> onnx.ModelProto:
    """The graph of a network: from token ids and lengths to calibrated logits.

    Its inputs are ``token_ids``, (batch, time) int64, and ``lengths``, (batch,) int64, each from 1
    to time; its output is ``logits``, (batch, classes) float32. The logits of a text do not depend
    on the batch or the padding.

    Args:
        classifier: the network.
        int8: keep the vectors of words and the weights of the layers in 8 bits, each row with a
            scale of its own. The network computes in float32, from the rounded weights.
    """
    graph = _Graph()
    ids = graph("Transpose", "token_ids", perm=[1, 0])  # (time, batch)
    steps = _embed(graph, _values(classifier.embedding.weight), ids, int8=int8)
    features = _ngram_features(graph, classifier, ids)
    if features:
        steps = graph("Concat", steps, *features, axis=2)
    states, final = _encode(graph, classifier, steps, int8=int8)
    pooled = _pool(graph, classifier, states, final)
    for layer in classifier.head.children():
        if isinstance(layer, nn.Linear):
            weight, bias = _values(layer.weight), _values(layer.bias)
            pooled = graph("Gemm", pooled, weight, bias, transB=1)
        elif isinstance(layer, nn.ReLU):
            pooled = graph("Relu", pooled)
    graph.nodes.append(
        helper.make_node("Div", [pooled, graph.weight(_values(classifier.temperature))], ["logits"])
    )
    classes = classifier.settings["num_classes"]
    whole = helper.make_graph(
        graph.nodes,
        "sentiment",
        [
            helper.make_tensor_value_info("token_ids", TensorProto.INT64, ["batch", "time"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        graph.weights,
    )
    return helper.make_model(
        whole,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sentiment",
    )


def _values(weights: Tensor) -> _Array:
    return weights.detach().float().numpy()


def _embed(graph: _Graph, vectors: _Array, ids: str, *, int8: bool) -> str:
    """The vectors of tokens, (time, batch, embedding_size); int8 rounds each vector by itself."""
    if not int8:
        return graph("Gather", vectors, ids)
    rounded, scales = _rounded(vectors)
    words = graph("Cast", graph("Gather", rounded, ids), to=TensorProto.FLOAT)
    return graph("Mul", words, graph("Gather", scales[:, None], ids))


def _rounded(weights: _Array) -> tuple[_Array, _Array]:
    """Weights as int8, and the scales to multiply them by: one for each row along the last axis."""
    scales = np.abs(weights).max(-1) / 127
    scales[scales == 0] = 1
    return np.rint(weights / scales[..., None]).astype(np.int8), scales


def _restored(graph: _Graph, weights: _Array) -> str:
    """Weights that are kept as int8, which onnxruntime multiplies by their scales when it loads."""
    rounded, scales = _rounded(weights)
    return graph("Mul", graph("Cast", rounded, to=TensorProto.FLOAT), scales[..., None])


def _ngram_features(graph: _Graph, classifier: SentimentClassifier, ids: str) -> list[str]:
    """The features of the n-grams of each length that end with each token, (time, batch, features).

    As ``NgramFeatures``, but an n-gram without a key passes ``_UNKNOWN`` on to the longer ones.
    """
    if classifier.ngrams is None:
        return []
    features, first = [], 0
    values = graph.weight(classifier.ngrams.values.numpy())
    unknown = np.array(len(classifier.ngrams.keys))
    wanted = ids
    sizes = classifier.settings["ngram_sizes"]
    for keys in torch.split(classifier.ngrams.keys, sizes):
        index, found = _search(graph, keys.numpy(), wanted)
        row = graph("Where", found, graph("Add", index, np.array(first)), unknown)
        features.append(graph("Cast", graph("Gather", values, row), to=TensorProto.FLOAT))
        # One word longer: the n-gram that ended one token earlier, and this token.
        words = np.array(classifier.settings["vocabulary_size"])
        ended = graph("Where", found, graph("Mul", index, words), np.array(_UNKNOWN))
        earlier = graph("Pad", ended, np.array([1, 0, -1, 0]), np.array(_UNKNOWN))
        wanted = graph("Add", earlier, ids)
        first += len(keys)
    return features


def _search(graph: _Graph, keys: _Array, wanted: str) -> tuple[str, str]:
    """Search sorted keys for values, by halving: their indices, and whether they are there."""
    bits = max(0, len(keys) - 1).bit_length()
    padding = np.full((1 << bits) - len(keys), np.iinfo(np.int64).max)
    table = graph.weight(np.concatenate([keys, padding]))
    index = graph.weight(np.array(0))
    for bit in reversed(range(bits)):
        later = graph("Add", index, np.array(1 << bit))
        is_later = graph("LessOrEqual", graph("Gather", table, later), wanted)
        index = graph("Where", is_later, later, index)
    return index, graph("Equal", graph("Gather", table, index), wanted)


def _encode(
    graph: _Graph, classifier: SentimentClassifier, steps: str, *, int8: bool
) -> tuple[str, str]:
    """Run the recurrent layers.

    Returns:
        The states of the top layer, (time, directions, batch, hidden_size), and the last state of
        each direction, (directions, batch, hidden_size).
    """
    settings = classifier.settings
    operator, order, attributes = _CELLS[settings["cell"]]
    directions = 2 if settings["bidirectional"] else 1
    lengths = graph("Cast", "lengths", to=TensorProto.INT32)
    weights = [list(map(_values, each)) for each in classifier.encoder.rnn.all_weights]
    states = final = ""
    for first in range(0, len(weights), directions):
        if states:
            turned = graph("Transpose", states, perm=[0, 2, 1, 3])
            steps = graph("Reshape", turned, np.array([0, 0, -1]))
        own = [
            [_reordered(each, order) for each in some]
            for some in weights[first : first + directions]
        ]
        given = [np.stack([each[0] for each in own]), np.stack([each[1] for each in own])]
        bias = np.stack([np.concatenate(each[2:]) for each in own])
        states, final = graph.outputs(
            operator,
            steps,
            *([_restored(graph, each) for each in given] if int8 else given),
            bias,
            lengths,
            count=2,
            hidden_size=settings["hidden_size"],
            direction="bidirectional" if directions == 2 else "forward",
            **attributes,
        )
    return states, final


def _reordered(weights: _Array, order: Sequence[int]) -> _Array:
    """Weights with the gates, along their first axis, in another order."""
    gates = np.split(weights, len(order))
    return np.concatenate([gates[gate] for gate in order])


def _pool(graph: _Graph, classifier: SentimentClassifier, states: str, final: str) -> str:
    """The pooled vector of each text, (batch, size), as ``Pooling``; arguments from ``_encode``."""
    merge, mode = classifier.encoder.merge, classifier.pooling.mode
    if merge != "concat":
        reduce = "ReduceMean" if merge == "mean" else "ReduceSum"
        states = graph(reduce, states, np.array([1]))
        final = graph(reduce, final, np.array([0]))
    if mode == "last":
        return _joined(graph, final)
    time = graph("Gather", graph("Shape", "token_ids"), np.array(1))
    positions = graph("Range", np.array(0), time, np.array(1))
    positions = graph("Unsqueeze", positions, np.array([1]))
    mask = graph("Less", positions, "lengths")  # (time, batch)
    if mode == "attention":
        return _attend(graph, classifier.pooling, states, graph("Unsqueeze", mask, np.array([2])))
    mask = graph("Unsqueeze", mask, np.array([1, 3]))
    pooled = []
    if "max" in mode:
        words = graph("Where", mask, states, np.array(-np.inf, np.float32))
        largest = graph("ReduceMax", words, np.array([0]), keepdims=0)
        pooled.append(_joined(graph, largest))
    if "mean" in mode:
        total = graph("ReduceSum", states, np.array([0]), keepdims=0)  # zero at padding
        counts = graph("Cast", "lengths", to=TensorProto.FLOAT)
        counts = graph("Unsqueeze", counts, np.array([1]))
        pooled.append(_joined(graph, graph("Div", total, counts)))
    return graph("Concat", *pooled, axis=1)


def _joined(graph: _Graph, vectors: str) -> str:
    """Concatenate (directions, batch, size) vectors to (batch, directions * size)."""
    return graph("Reshape", graph("Transpose", vectors, perm=[1, 0, 2]), np.array([0, -1]))


def _attend(graph: _Graph, pooling: Pooling, states: str, mask: str) -> str:
    """The average of the states by attention, (batch, size); ``mask`` is (time, batch, 1)."""
    turned = graph("Transpose", states, perm=[0, 2, 1, 3])
    states = graph("Reshape", turned, np.array([0, 0, -1]))  # (time, batch, size)
    projected = graph("MatMul", states, _values(pooling.projection.weight).T)
    hidden = graph("Tanh", graph("Add", projected, _values(pooling.projection.bias)))
    scores = graph("MatMul", hidden, _values(pooling.query.weight).T)
    scores = graph("Where", mask, scores, np.array(-np.inf, np.float32))
    weighted = graph("Mul", states, graph("Softmax", scores, axis=0))
    return graph("ReduceSum", weighted, np.array([0]), keepdims=0)
