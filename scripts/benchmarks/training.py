"""Whole trainings: beside a textbook's loop, at Keras's shape, and as the work grows."""

import csv
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from benchmarks.corpus import reviews
from benchmarks.rows import Row, Scale, process

COMMON = (
    "data=csv", "data.csv=reviews.csv", "data.text_column=review", "data.label_column=sentiment",
    "embeddings=learned", "logger=csv", "trainer.max_epochs=1", "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
)  # fmt: skip
TEXTBOOK = ("experiment=imdb_birnn", "data.labels=null", "embeddings.size=100")
KERAS = (
    "model=stacked_bilstm", "model.hidden_size=64", "model.num_layers=2", "embeddings.size=128",
    "data.max_size=20000", "data.max_length=200", "data.batch_size=32",
)  # fmt: skip


def measure(scale: Scale) -> list[Row]:
    """Reviews a second of a textbook's loop, and of ours at the same and at Keras's shape."""
    count = scale.pick(6_000, 1_000)
    texts = reviews(scale, count)
    book = textbook_rate(texts, batches=scale.pick(6, 2))
    ours = trained(texts, TEXTBOOK)["train_reviews_per_second"]
    keras = trained(texts, KERAS)["train_reviews_per_second"]
    return [
        Row(
            "experiment=imdb_birnn against the textbook's loop", ours / book, "x",
            f"{book:,.1f} reviews/s; ours {ours:,.0f}", ">= 10",
            "a loop of that model, batch and order that is faster",
        ),
        Row(
            "the shape of Keras's example (2 x BiLSTM 64)", keras, "reviews/s",
            "Keras on TensorFlow was seen at 300 on a machine of this kind", ">= 600",
            "Keras at a higher rate on the same machine",
        ),
    ]  # fmt: skip


def measure_growth(scale: Scale) -> list[Row]:
    """Time and memory of a bilstm's epoch as reviews and their length grow."""
    rows = []
    base = scale.pick(2_000, 250)
    texts = reviews(scale, 16 * base)
    for times in (1, 4, 16):
        took = trained(texts[: times * base], ("data.max_length=256",))
        name = f"{times * base:,} reviews of up to 256 tokens"
        rows.append(_grown(name, "more reviews", took))
    long = [" ".join(texts[first : first + 8]) for first in range(0, 8 * base, 8)]
    for length in scale.pick((64, 128, 256, 512, 1024, 2048), (64, 512)):
        took = trained(long, (f"data.max_length={length}",))
        name = f"{len(long):,} reviews of up to {length:,} tokens"
        rows.append(_grown(name, "longer reviews", took))
    return rows


def _grown(name: str, series: str, took: dict[str, Any]) -> Row:
    note = f"{took['tokens'] / 1e6:.2f} M tokens, {took['seconds']:.1f} s, {took['memory']:,.0f} MB"
    work = {"series": series} | {key: took[key] for key in ("tokens", "seconds", "memory")}
    rate = took["train_tokens_per_second"] / 1e3
    return Row(name, rate, "k tokens/s", note, falsified="a growth that is steeper", work=work)


def trained(texts: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """Results of a training of one epoch in a process of its own, and its time and memory."""
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "reviews.csv").open("w", newline="") as file:
            labelled = ([text, number % 2] for number, text in enumerate(texts))
            csv.writer(file).writerows([["review", "sentiment"], *labelled])
        # Experiments come first, so that what is common replaces what they set.
        ordered = sorted([*overrides, *COMMON, "hydra.run.dir=run"], key=_experiment_last)
        memory = process("-m", "sentiment.train", *ordered, cwd=folder, SENTIMENT_CACHE=folder)
        results: dict[str, Any] = json.loads((Path(folder) / "run" / "results.json").read_text())
    seconds = results["train_reviews"] / results["train_reviews_per_second"]
    tokens = seconds * results["train_tokens_per_second"]
    return results | {"memory": memory, "seconds": seconds, "tokens": tokens}


def _experiment_last(override: str) -> bool:
    return not override.startswith("experiment=")


class _Textbook(Dataset[tuple[Tensor, int]]):
    """Reviews that are tokenised whenever they are asked for."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.tokenizer = spacy.blank("en").tokenizer
        self.ids: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        words = [token.text.lower() for token in self.tokenizer(self.texts[index])]
        ids = [self.ids.setdefault(word, len(self.ids) % 30_000) for word in words]
        return torch.tensor(ids), index % 2


class _TextbookModel(nn.Module):
    """Two layers of bidirectional GRU of 256 over padded batches."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30_000, 100)
        self.gru = nn.GRU(100, 256, 2, bidirectional=True, dropout=0.5, batch_first=True)
        self.head = nn.Linear(512, 2)

    def forward(self, ids: Tensor) -> Tensor:
        _, final = self.gru(self.embedding(ids))
        logits: Tensor = self.head(torch.cat([final[-2], final[-1]], dim=1))
        return logits


def textbook_rate(texts: Sequence[str], batches: int) -> float:
    """Reviews a second of the classic tutorial's training loop."""
    random.seed(0)
    torch.manual_seed(0)
    loader = DataLoader(
        _Textbook(texts), batch_size=32, shuffle=True,
        collate_fn=lambda pairs: (
            pad_sequence([ids for ids, _ in pairs], batch_first=True),
            torch.tensor([label for _, label in pairs]),
        ),
    )  # fmt: skip
    model = _TextbookModel()
    optimizer = torch.optim.Adam(model.parameters())
    start = time.perf_counter()
    for number, (ids, labels) in enumerate(loader, start=1):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(ids), labels))
        optimizer.step()
        if number == batches:
            break
    return 32 * number / (time.perf_counter() - start)
