"""Write a checkpoint's network, and all that prediction needs beside it, to one ONNX file."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from sentiment.model.classifier import SentimentClassifier
from sentiment.predict.checkpoint import load_classifier
from sentiment.predict.csv_file import naming_target
from sentiment.predict.onnx_network import FACTS_KEY, sealed
from sentiment.predict.saved_classifier import SavedClassifier
from sentiment.predict.torch_network import TorchNetwork
from sentiment.runtime.errors import InputError, needing
from sentiment.runtime.files import is_onnx, replaced_when_whole
from sentiment.runtime.run_folder import best_checkpoint


def export(checkpoint: str | Path, target: str | Path, *, int8: bool = False) -> None:
    """Write the network of a checkpoint to an ONNX file that ``Predictor.load`` opens.

    Args:
        checkpoint: a checkpoint of ``sentiment.train``, or its run folder.
        target: the file, which appears when it is complete.
        int8: whether to round weights to 8 bits, for a file of a quarter of the size.

    Raises:
        InputError: see ``load_classifier``; the checkpoint is a baseline's; the target cannot be
            written; or onnx is not installed.
    """
    checkpoint = best_checkpoint(checkpoint)
    write_onnx(load_classifier(checkpoint), checkpoint, Path(target), int8=int8)


def write_onnx(
    saved: SavedClassifier, checkpoint: Path, target: Path, *, int8: bool = False
) -> None:
    """Write the network of a checkpoint that is loaded already; other arguments as ``export``.

    Raises:
        InputError: see ``export``.
    """
    if not is_onnx(target):
        raise InputError(f"{target}: give a file that ends in .onnx")
    content = _onnx_content(saved, checkpoint, int8=int8)
    with naming_target(target), replaced_when_whole(target) as part:
        part.write_bytes(content)


def _onnx_content(saved: SavedClassifier, checkpoint: Path, *, int8: bool) -> bytes:
    if not isinstance(saved.classifier, SentimentClassifier):
        raise InputError(
            f"{checkpoint}: a baseline, which cannot be exported; it predicts from its checkpoint,"
            " and also together with ONNX files"
        )
    with needing("onnx", "export"):
        from sentiment.export.graph import network_graph
    network = TorchNetwork(saved.classifier)
    facts = {
        "data": asdict(replace(saved.data, train_digests=None)),  # large
        "run": saved.run,
        "temperature": network.temperature,
        "num_parameters": network.num_parameters,
        "unknown_index": network.unknown_index,
    }
    model = network_graph(saved.classifier, int8=int8)
    entry = model.metadata_props.add()
    entry.key, entry.value = FACTS_KEY, json.dumps(facts, separators=(",", ":"))
    return sealed(model.SerializeToString(deterministic=True))
