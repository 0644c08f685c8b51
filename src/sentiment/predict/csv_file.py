"""Predict the rows of a CSV file."""

import csv
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sentiment.data.csv_format import CsvFormat, has_header
from sentiment.data.reviews import (
    check_columns,
    column_names,
    is_blank,
    output_separator,
    read_table,
    row_count,
)
from sentiment.data.workers import Chunk, encode_chunks
from sentiment.predict.logits import Floats, softmax
from sentiment.predict.options import check_top
from sentiment.predict.predictor import Predictor
from sentiment.runtime.environment import available_cores
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import nearest_folder, text_when_whole
from sentiment.runtime.progress_bar import progress_bar

# Suffixes of formats that are not written.
_NO_CSV = {
    ".ckpt", ".onnx", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".ndjson", ".parquet",
    ".feather",
}  # fmt: skip

# Names of the added columns; the second pair is for a file that has one of the first.
_ABSTAINED, _EXPLANATION = "abstained", "explanation"
_NEW_COLUMNS = (["label", "score"], ["predicted_label", "predicted_score"])


class Written(NamedTuple):
    """A summary of the file that ``predict_csv`` has written."""

    rows: int
    without_text: int  # rows that have no label, because they have no text
    columns: list[str]  # names of the new columns


def predict_csv(
    predictor: Predictor,
    source: Path,
    target: Path,
    csv_format: CsvFormat,
    *,
    top: int | None = None,
    scores: bool = False,
    explain: bool = False,
) -> Written:
    """Copy a CSV file with the columns ``label`` and ``score`` added, a chunk at a time.

    Of a classifier that abstains there is a column ``abstained``, true or false, too; where it is
    true, the label is empty, and the score that of the most probable label.

    If the source already has one of these, the new ones are ``predicted_label`` and
    ``predicted_score``. Every row of the source is written; one without a text (also a blank line
    of a file with a single column) gets empty cells. The target is UTF-8 with the separator and
    the compression of its suffix, or else the source's separator and no compression; it appears
    only when it is complete. Other processes tokenise a long file ahead of the classifier.

    Args:
        predictor: the classifiers.
        source: the file with the texts.
        target: the file that is written.
        csv_format: how the source is read.
        top: add ``label_1``, ``score_1``, ``label_2`` ... instead, for this many of the most
            probable labels.
        scores: whether to add a column for each class, too, such as ``score_positive``.
        explain: whether to add the column ``explanation``, with the words that matter most.

    Raises:
        InputError: the source cannot be read, or has columns of these names; ``top`` is more than
            there are labels; or the target cannot be written, or is the source or a checkpoint.
    """
    check_top(top, predictor.labels)
    check_columns(source, csv_format, [csv_format.text_column])
    check_target(source, target, [member.path for member in predictor.members])
    names = column_names(source, csv_format)
    columns = _new_columns(source, names, predictor.labels, top, scores=scores)
    abstains = predictor.thresholds is not None
    for name in [_ABSTAINED] * abstains + [_EXPLANATION] * explain:
        if name in names:
            raise InputError(f"{source}: has a column {name} already; rename it")
        columns = [*columns, name]
    rows_at_a_time = 20 if explain else 1_000
    text_at = names.index(csv_format.text_column)
    separator = output_separator(source, target, csv_format)
    total = row_count(source, csv_format, blank_lines=True)
    read = rows = without_text = 0

    def chunks() -> Iterator[_Rows]:
        nonlocal read
        for chunk in read_table(source, csv_format, rows_at_a_time, blank_lines=True):
            read += len(chunk.cells)
            texts = [cells[text_at] for cells in chunk.cells]
            yield _Rows(chunk.cells, [None if is_blank(text) else text for text in texts])

    with (
        naming_target(target),
        text_when_whole(target) as out,
        progress_bar(f"Predicting {source.name}", total, "row") as bar,
    ):
        # All cells are quoted, because a bare carriage return would split a row.
        writer = csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
        if has_header(source, csv_format):
            writer.writerow([*names, *columns])
        for chunk, logits in predict_chunks(predictor, chunks()):
            added = _added_cells(softmax(logits), predictor, top, scores=scores)
            if explain:
                added = (
                    [*cells, predictor.explain(text).summary(separator=" | ")]
                    for cells, text in zip(added, chunk.texts, strict=True)
                )
            writer.writerows(chunk.with_cells(added, len(columns)))
            rows += len(chunk.cells)
            bar.update(len(chunk.cells))
            without_text += len(chunk.cells) - len(chunk.texts)
        if rows != read:  # before the target appears
            raise RuntimeError(f"{source}: {read} rows were read, and {rows} predicted")
    return Written(rows, without_text, columns)


def predict_chunks(predictor: Predictor, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Floats]]:
    """Yield each chunk and the logits of its texts; other processes tokenise ahead."""
    cores = available_cores()
    workers = max(2, cores // 4) if cores > 1 else 1  # each is several times as fast as a network
    if any(not member.classifier.device.startswith("cpu") for member in predictor.members):
        workers = max(workers, cores - 1)  # together slower than a network on a GPU
    with _one_thread_less():  # leaves a core for those processes, reading and writing
        for chunk, encoded in encode_chunks(chunks, predictor.tokenizer.settings, workers):
            predictor.count_known(encoded)
            yield chunk, predictor.combine(predictor.member_logits(chunk.texts, encoded))


def _new_columns(
    source: Path, names: Sequence[str], labels: Sequence[str], top: int | None, *, scores: bool
) -> list[str]:
    """The names of the new columns, which the source does not have."""
    of_classes = [f"score_{label}" for label in labels] if scores else []
    choices = [[*columns, *of_classes] for columns in _NEW_COLUMNS]
    if top is not None:
        best = [f"{name}_{rank + 1}" for rank in range(top) for name in ("label", "score")]
        if both := [name for name in best if name in of_classes]:
            raise InputError(f"--top and --scores both add a column {both[0]!r}; give one of them")
        choices = [best + of_classes]
    for columns in choices:
        if not set(columns) & set(names):
            return columns
    taken = [name for name in dict.fromkeys(chain(*choices)) if name in names]
    rename = " and ".join([name for name in choices[0] if name in taken][:20])
    raise InputError(f"{source}: has columns {', '.join(taken[:20])} already; rename {rename}")


def check_target(source: Path, target: Path, checkpoints: Sequence[Path]) -> None:
    """Check that a CSV file can be written, before anything is predicted.

    A folder that does not exist yet is made when they are written; ``-`` is standard output.

    Raises:
        InputError: the target cannot be written, or is one of the files that are read.
    """
    if str(target) == "-":
        return
    read = [source] if source.exists() else []
    check_writable(target, read, checkpoints, name_in_it="out.csv")
    if target.suffix.lower() in _NO_CSV:
        raise InputError(
            f"{target}: this writes CSV; use .csv or .tsv, and after it .gz, .bz2, .xz, .zip or"
            " .zst"
        )


def check_writable(
    target: Path, read: Sequence[Path], checkpoints: Sequence[Path], *, name_in_it: str
) -> None:
    """Check that a file can be written, before anything is predicted.

    Args:
        target: the file.
        read: files that are read.
        checkpoints: files and folders of classifiers.
        name_in_it: the name of a file that a message suggests for a folder.

    Raises:
        InputError: the target cannot be written, or is one of the files that are read.
    """
    with naming_target(target):
        exists, folder = target.exists(), nearest_folder(target)
        if target.is_dir():
            problem = f"a folder; name a file in it, such as {target / name_in_it}"
        elif exists and any(map(target.samefile, read)):
            problem = "the file that is read; give another"
        elif exists and any(path.exists() and target.samefile(path) for path in checkpoints):
            problem = "the checkpoint; give another file"
        elif exists and not target.is_file():
            problem = "a device or a pipe; give a file, which may be new, or - for standard output"
        elif not folder.is_dir():
            problem = f"{folder} is a file, not a folder; give another"
        elif not os.access(folder, os.W_OK | os.X_OK):
            problem = f"the folder {folder} may not be written; give another"
        else:
            return
        raise InputError(f"{target}: {problem}")


@contextmanager
def naming_target(target: Path) -> Iterator[None]:
    """Turn an error of the operating system into one line about the target."""
    try:
        yield
    except BrokenPipeError:  # the reader of standard output has closed it
        raise
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error}); give another file, or make"
            " room for it"
        ) from error


@contextmanager
def _one_thread_less() -> Iterator[None]:
    """Leave one core free: torch's threads are slow when they have to wait for a core."""
    if "torch" not in sys.modules:  # the networks of ONNX files compute in one thread
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _added_cells(
    probabilities: Floats, predictor: Predictor, top: int | None, *, scores: bool
) -> Iterator[list[str]]:
    """The new cells of each text; ``probabilities`` is (texts, classes)."""
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, : top or 1]
    for classes, row in zip(ranked.tolist(), probabilities.tolist(), strict=True):
        cells = []
        for label in classes:
            cells += [predictor.labels[label], f"{row[label]:.6f}"]
        cells += [f"{score:.6f}" for score in row] * scores
        if predictor.thresholds is not None:
            abstained = predictor.abstains(classes[0], row[classes[0]])
            if abstained and top is None:
                cells[0] = ""
            cells.append(str(abstained).lower())
        yield cells


class _Rows:
    """Some rows of a CSV file; None stands for a missing text."""

    def __init__(self, cells: list[list[str]], texts: Sequence[str | None]) -> None:
        self.cells = cells
        self.texts = [text for text in texts if text is not None]
        self._present = [text is not None for text in texts]

    def with_cells(self, added: Iterator[list[str]], width: int) -> Iterator[list[str]]:
        """The rows with the cells of each text added; without a text, ``width`` empty ones."""
        for cells, present in zip(self.cells, self._present, strict=True):
            yield cells + (next(added) if present else [""] * width)
