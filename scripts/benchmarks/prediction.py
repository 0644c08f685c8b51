"""Prediction: one sentence, one process, one file."""

import csv
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.corpus import reviews
from benchmarks.rows import Row, Scale, medians, process
from sentiment.data.csv_format import CsvFormat
from sentiment.data.padding import pad_reviews
from sentiment.predict.csv_file import predict_csv
from sentiment.predict.predictor import Predictor
from sentiment.predict.torch_network import TorchNetwork
from sentiment.runtime.environment import available_cores

SENTENCE = "This movie was fantastic! I really enjoyed it."


def measure(scale: Scale) -> list[Row]:
    """A bilstm of the default size, trained for one epoch on the sample."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        process(
            "-m", "sentiment.train", "trainer.max_epochs=1", "logger=csv", f"hydra.run.dir={run}"
        )
        checkpoint, model = run / "checkpoints" / "best.ckpt", Path(folder) / "model.onnx"
        process("-m", "sentiment.export", str(checkpoint), str(model))
        return [*_one(checkpoint, model, scale), *_file(checkpoint, model, Path(folder), scale)]


def _one(checkpoint: Path, model: Path, scale: Scale) -> list[Row]:
    predictor, without_torch = Predictor.load(checkpoint), Predictor.load(model)
    each = {"torch": lambda: predictor(SENTENCE), "onnx": lambda: without_torch(SENTENCE)}
    warm = medians(each, rounds=scale.pick(500, 100), warm=20)

    times = medians(
        {
            "imports": lambda: process("-c", "import torch, spacy"),
            "predict": lambda: process("-m", "sentiment.predict", str(checkpoint), SENTENCE),
            "onnx": lambda: process("-m", "sentiment.predict", str(model), SENTENCE),
        },
        rounds=scale.pick(7, 3),
    )
    return [
        Row(
            "one warm sentence, median", 1000 * warm["torch"], "ms", "", "<= 2",
            "a slower median elsewhere",
        ),
        Row(
            "one warm sentence of an ONNX file, median", 1000 * warm["onnx"], "ms", "", "<= 0.5",
            "a slower median elsewhere",
        ),
        Row(
            "a process that predicts one sentence by ONNX", times["onnx"] / times["predict"],
            "x", f"by the checkpoint: {times['predict']:.2f} s", "<= 0.6",
            "another ratio of the two processes",
        ),
        Row(
            "a process that predicts one sentence", times["predict"] / times["imports"], "x",
            f'python -c "import torch, spacy" takes {times["imports"]:.2f} s', "<= 1.3",
            "a process that imports both and is slower than this ratio says",
        ),
    ]  # fmt: skip


def _file(checkpoint: Path, model: Path, folder: Path, scale: Scale) -> list[Row]:
    predictor = Predictor.load(checkpoint)
    texts = reviews(scale, scale.pick(20_000, 6_000))
    source = folder / "in.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([["review"], *([text] for text in texts)])
    few = texts[:1_000]
    tokens = sum(len(predictor.tokenizer.encode([text]).token_ids) for text in few) / len(few)
    forward = _training_forward_rate(predictor, few)
    csv_format = CsvFormat(text_column="review", label_column=None)
    rates = {}
    loaded = {"cpu": predictor, "onnx": Predictor.load(model)}
    if torch.cuda.is_available():
        loaded["cuda"] = Predictor.load(checkpoint, device="cuda")
    for name, each in loaded.items():
        each(few)  # kernels are loaded at their first use
        start = time.perf_counter()
        predict_csv(each, source, folder / "out.csv", csv_format)
        rates[name] = tokens * len(texts) / (time.perf_counter() - start)
    what = f"a CSV of {len(texts):,} reviews on {available_cores()} cores"
    rows = [
        Row(
            what, rates["cpu"] / forward, "x",
            f"a training's forward pass alone, float32: {forward / 1e3:,.0f} k tokens/s", ">= 1",
            "labels that differ from those of single texts",
        ),
        Row(
            f"{what} by an ONNX file", rates["onnx"] / rates["cpu"], "x",
            f"by the checkpoint: {rates['cpu'] / 1e3:,.0f} k tokens/s", ">= 1.3",
            "labels that differ from those of the checkpoint",
        ),
    ]  # fmt: skip
    if "cuda" in rates:
        rows.append(
            Row(
                f"{what} and CUDA", rates["cuda"] / rates["cpu"], "x",
                f"the same on the CPU: {rates['cpu'] / 1e3:,.0f} k tokens/s", ">= 2",
                "labels that differ from those on the CPU",
            )
        )  # fmt: skip
    return rows


def _training_forward_rate(predictor: Predictor, texts: list[str]) -> float:
    """Tokens a second of the forward passes of a training over these texts, 32 in a batch."""
    network = predictor.members[0].classifier
    assert isinstance(network, TorchNetwork)
    classifier = network.module
    encoded = predictor.tokenizer.encode(texts)
    starts = np.cumsum(encoded.lengths) - encoded.lengths
    size = int(classifier.settings["vocabulary_size"] or 1)
    batches = []
    for chosen in np.array_split(np.argsort(encoded.lengths), len(texts) // 32):
        ids, lengths = pad_reviews(
            encoded.token_ids % size, starts[chosen], encoded.lengths[chosen]
        )
        batches.append((torch.from_numpy(ids), torch.from_numpy(lengths)))

    def forward() -> None:
        for ids, lengths in batches:
            classifier(ids, lengths)

    classifier.train().requires_grad_(True)
    took = medians({"forward": forward}, rounds=3)["forward"]
    classifier.eval().requires_grad_(False)
    return len(encoded.token_ids) / took
