"""Train word vectors on the texts of a training, for it to start from."""

import importlib.metadata
import itertools
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.text import Text

from sentiment.config.checks import check_config
from sentiment.config.overrides import CommandLine, train_command
from sentiment.config.resolvers import sample_path
from sentiment.config.schemas import VectorsConfig
from sentiment.data.datamodule import SentimentDataModule
from sentiment.data.pipeline import paths_of
from sentiment.data.tokenizer import stop_words
from sentiment.report.results import log_data
from sentiment.report.tables import format_duration, new_table, print_table, write_json
from sentiment.runtime.environment import available_cores, require_memory, versions
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import nearest_folder
from sentiment.runtime.overrides import override
from sentiment.runtime.run_folder import check_unused
from sentiment.train.pretrained import vectors_note
from sentiment.vectors.skipgram import (
    SkipGramSettings,
    WordList,
    frequent_words,
    neighbours,
    require_gensim,
    train_vectors,
    write_lines,
    write_vectors,
)

log = logging.getLogger(__name__)

# Of the table at the end. A word with a larger fraction of all tokens occurs beside all others, so
# that its neighbours mean little; rare words are noise among neighbours.
_EXAMPLES, _NEIGHBOURS = 3, 6

_LARGEST_FRACTION, _KNOWN_WORDS = 1e-3, 20_000


def run_vectors(
    cfg: DictConfig,
    folder: Path,
    *,
    command_line: CommandLine | None = None,
    stopping: Callable[[], bool] = bool,
) -> Path:
    """Train word vectors, write them, and print how to train with them.

    Args:
        cfg: a config as ``conf/vectors.yaml`` composes it.
        folder: gets ``vectors.txt``, unless ``cfg.output`` names a file.
        command_line: what the run was started with, for the command that is logged at the end;
            None if it was started from Python.
        stopping: called after each epoch; returns whether to stop.

    Returns:
        The file of the vectors; a JSON file of the same stem describes how they were made.

    Raises:
        InputError: the data or the settings cannot be used, gensim is missing, the file cannot be
            written, or the folder is another program's.
    """
    check_unused(folder)
    require_gensim()
    check_config(cfg, VectorsConfig)
    datamodule: SentimentDataModule = instantiate(cfg.data, _convert_="object")
    output = Path(cfg.output) if cfg.output is not None else folder / "vectors.txt"
    _check_output(output, cfg)
    settings = SkipGramSettings(
        size=cfg.size, window=cfg.window, negatives=cfg.negatives, epochs=cfg.epochs,
        min_count=cfg.min_count, sample=cfg.sample, seed=cfg.seed,
        workers=available_cores() if cfg.workers is None else cfg.workers,
    )  # fmt: skip
    datamodule.prepare_data()
    datamodule.setup()
    sample = cfg.data.csv == sample_path()
    log_data("vectors", datamodule.facts, 0.0, sample=sample, pretrained=False)
    start = time.perf_counter()
    words, vectors = _train(datamodule, settings, output, stopping)
    left_out = write_vectors(output, words.words, vectors)
    seconds = time.perf_counter() - start
    results = _results(datamodule, settings, words, seconds, left_out)
    write_json(vectors_note(output), results)
    given = command_line or CommandLine()
    _log_end(output, words, vectors, seconds, left_out, cfg.data.language, given)
    return output


def _check_output(output: Path, cfg: DictConfig) -> None:
    """Refuse, before the work is done, a file that cannot be written or must not be replaced."""
    if output.is_dir():
        raise InputError(
            f"output={output}: a folder; give a file, such as {output / 'vectors.txt'}"
        )
    if output.suffix in (".json", ".zip") or output.name == "-":
        raise InputError(
            f"output={output}: give a file that ends otherwise, such as in .txt or .txt.gz; the"
            " settings go into a .json file beside it"
        )
    keys = ("csv", "train_csv", "val_csv", "test_csv", "unlabeled_csv")
    inputs = [path for key in keys for path in paths_of(cfg.data[key])]
    if any(output.resolve() == path.resolve() for path in inputs):
        raise InputError(f"output={output}: is a file of reviews, which would be replaced")
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(output)):
            pass
    except OSError as error:
        raise InputError(
            f"output={output}: cannot be written there ({error.strerror}); give another file"
        ) from error


def _train(
    datamodule: SentimentDataModule,
    settings: SkipGramSettings,
    output: Path,
    stopping: Callable[[], bool],
) -> tuple[WordList, npt.NDArray[np.float32]]:
    texts = datamodule.training_texts()
    words = frequent_words(texts, settings.min_count)
    require_memory(f"size={settings.size}", 8 * settings.size * len(words.words))
    log.info(
        "Vectors of size %s for %s words that occur %s times or more in %s texts: %s tokens,"
        " epochs: %s, workers: %s",
        settings.size,
        f"{len(words.words):,}",
        settings.min_count,
        f"{sum(map(len, texts)):,}",
        f"{words.counts.sum():,}",
        settings.epochs,
        settings.workers,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        lines = Path(temporary) / "lines.txt"
        line_count = write_lines(texts, words.words, lines)
        vectors = train_vectors(lines, line_count, words.counts, settings, stopping=stopping)
        return words, vectors


def _results(
    datamodule: SentimentDataModule,
    settings: SkipGramSettings,
    words: WordList,
    seconds: float,
    left_out: int,
) -> dict[str, Any]:
    """The content of the JSON file beside the vectors."""
    facts = datamodule.facts
    return {
        **asdict(settings),
        "words": len(words.words) - left_out,
        "running_words": int(words.counts.sum()),
        "train_reviews": facts.train_reviews,
        "unlabeled_reviews": facts.unlabeled_reviews,
        "held_out": {name: facts.fingerprints[name] for name in ("val", "test")},
        "seconds": seconds,
        "versions": {**versions(), "gensim": importlib.metadata.version("gensim")},
    }


def _log_end(
    output: Path,
    words: WordList,
    vectors: npt.NDArray[np.float32],
    seconds: float,
    left_out: int,
    language: str,
    command_line: CommandLine,
) -> None:
    if left_out:
        log.info("%s words with a space or line break in them are not in the file", left_out)
    table = new_table()
    table.add_column("word")
    table.add_column("nearest by cosine")
    for index in content_words(words, stop_words(language), _EXAMPLES):
        known = vectors[: max(_KNOWN_WORDS, index + 1)]
        near = [words.words[other] for other in neighbours(known, index, _NEIGHBOURS)]
        table.add_row(Text(words.words[index]), Text(", ".join(near)))
    if table.row_count:
        print_table(table)
    size = output.stat().st_size / 1e6
    log.info("%s: %.1f MB, made in %s. Train with it:", output, size, format_duration(seconds))
    embeddings = ["embeddings=file", override("embeddings.path", str(output))]
    log.info("  %s", train_command(*command_line.data(), *embeddings))


def content_words(words: WordList, stops: set[str], count: int) -> list[int]:
    """Indices of the most frequent words, without stop words, short and ubiquitous ones."""
    first = int(np.sum(words.counts > _LARGEST_FRACTION * words.counts.sum()))
    indices = (
        index
        for index, word in enumerate(words.words[first:], first)
        if len(word) > 2 and word.isalpha() and word.lower() not in stops
    )
    return list(itertools.islice(indices, count))
