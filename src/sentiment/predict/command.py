"""Predict with trained checkpoints: a sentence, a CSV file, or lines from standard input.

Loads torch and spaCy, but neither Hydra nor Lightning, so that it starts fast.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sentiment.predict.options import (
    add_csv_options,
    add_weights_option,
    check_distinct,
    check_options,
    csv_format_from,
    hint_at_file,
)
from sentiment.predict.predictor import Predictor
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.environment import keep_freed_memory, limit_threads
from sentiment.runtime.errors import InputError
from sentiment.runtime.program import exit_on_input_error, write_utf8

if TYPE_CHECKING:
    from sentiment.data.csv_format import CsvFormat


# Suffixes that promise what is not written.
_NO_CSV = {".ckpt", ".zst", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".parquet", ".feather"}

# Names of what is added, and those for a file that has one of the first.
_NEW_COLUMNS = (("label", "score"), ("predicted_label", "predicted_score"))


class Written(NamedTuple):
    """What ``predict_csv`` has written."""

    rows: int
    without_text: int  # how many of them had no text, and so have no label
    columns: tuple[str, str]  # names of the new columns: the label, its score


def predict_csv(
    predictor: Predictor, source: Path, target: Path, csv_format: "CsvFormat"
) -> Written:
    """Copy a CSV file with the columns ``label`` and ``score`` added, a chunk at a time.

    Where the source has one of these already, the new ones are ``predicted_label`` and
    ``predicted_score``.

    Other processes tokenise a long file ahead of the classifier. Rows without a text keep their
    place, with empty cells, and so does a blank line of a file with a single column: as many rows
    are written as the source has. The target is
    UTF-8, has the separator and the compression that its suffix says (else the source's separator
    and none), and appears only when it is whole.

    Raises:
        InputError: the source cannot be read, or has columns of all these names; or the target
            cannot be written, or is the source or a checkpoint.
    """
    from sentiment.data.reviews import (
        check_columns,
        column_names,
        is_blank,
        output_separator,
        read_table,
    )
    from sentiment.data.workers import available_cores, encode_chunks
    from sentiment.runtime.files import text_when_whole

    check_columns(source, csv_format, [csv_format.text_column])
    names = column_names(source, csv_format)
    columns = _new_columns(source, names)
    text_at = names.index(csv_format.text_column)
    separator = output_separator(source, target, csv_format)
    read = rows = without_text = 0

    def chunks() -> Iterator[_Rows]:
        nonlocal read
        for chunk in read_table(source, csv_format, 1_000, blank_lines=True):
            read += len(chunk.cells)
            texts = [cells[text_at] for cells in chunk.cells]
            yield _Rows(chunk.cells, [None if is_blank(text) else text for text in texts])

    cores = available_cores()
    workers = max(2, cores // 4) if cores > 1 else 1  # tokenising is several times as fast
    with (
        _one_thread_less(),  # for those processes and for reading and writing
        _refusing_unwritable(source, target, [member.path for member in predictor.members]),
        text_when_whole(target) as out,
    ):
        # All is quoted, because a lone carriage return would else break a row in two.
        writer = csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
        if csv_format.header:
            writer.writerow([*names, *columns])
        for chunk, encoded in encode_chunks(chunks(), predictor.tokenizer.settings, workers):
            logits = predictor.combine(predictor.member_logits(chunk.texts, encoded))
            writer.writerows(chunk.with_predictions(logits.softmax(1), predictor.labels))
            rows += len(chunk.cells)
            without_text += len(chunk.cells) - len(chunk.texts)
        if rows != read:  # before the target appears
            raise RuntimeError(f"{source}: {read} rows were read, and {rows} predicted")
    return Written(rows, without_text, columns)


def _new_columns(source: Path, names: Sequence[str]) -> tuple[str, str]:
    """Names for the two columns that are added, which the source does not have."""
    for columns in _NEW_COLUMNS:
        if not set(columns) & set(names):
            return columns
    taken = [name for columns in _NEW_COLUMNS for name in columns if name in names]
    rename = " and ".join(name for name in _NEW_COLUMNS[0] if name in taken)
    raise InputError(f"{source}: has columns {', '.join(taken)} already; rename {rename}")


@contextmanager
def _refusing_unwritable(source: Path, target: Path, checkpoints: Sequence[Path]) -> Iterator[None]:
    """Refuse a target that cannot be written: before anything is predicted, where that is known."""
    folder = target.resolve().parent
    try:
        if target.is_dir():
            raise InputError(f"{target}: a folder; name a file in it, such as {target / 'out.csv'}")
        if target.exists() and target.samefile(source):
            raise InputError(f"{target}: the file that is read; give another for the predictions")
        if target.exists() and any(target.samefile(path) for path in checkpoints):
            raise InputError(f"{target}: the checkpoint; give another file for the predictions")
        if target.exists() and not target.is_file():
            raise InputError(f"{target}: a device or a pipe; give a file, which may be new")
        if not folder.is_dir():
            raise InputError(f"{target}: there is no folder {folder}; make it first")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"{target}: the folder {folder} may not be written; give another")
        if target.suffix.lower() in _NO_CSV:
            raise InputError(
                f"{target}: this writes CSV; use .csv or .tsv, and after it .gz, .bz2, .xz or .zip"
            )
        yield
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror or error}); give another file, or make"
            " room for it"
        ) from error


@contextmanager
def _one_thread_less() -> Iterator[None]:
    """Leave a core to others: threads that wait for one another are slow where cores are short."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Rows:
    """Some rows of a CSV file, those without a text among them."""

    def __init__(self, cells: list[list[str]], texts: Sequence[str | None]) -> None:
        self.cells = cells
        self.texts = [text for text in texts if text is not None]
        self._present = [text is not None for text in texts]

    def with_predictions(self, probabilities: Tensor, labels: list[str]) -> Iterator[list[str]]:
        """The rows with the label and its score; ``probabilities`` is (texts, classes)."""
        scores, classes = probabilities.max(1)
        predicted = zip(classes.tolist(), scores.tolist(), strict=True)
        for cells, present in zip(self.cells, self._present, strict=True):
            if present:
                best, score = next(predicted)
                yield [*cells, labels[best], f"{score:.6f}"]
            else:
                yield [*cells, "", ""]


def predict_lines(predictor: Predictor, groups: Iterable[list[str]], out: IO[str]) -> None:
    """Write a JSON line for each text; the texts of a group are predicted together."""
    for texts in groups:
        for text, prediction in zip(texts, predictor(texts), strict=True):
            rounded = {name: round(score, 6) for name, score in prediction["scores"].items()}
            answer = {
                "text": text,
                "label": prediction["label"],
                "score": rounded[prediction["label"]],
                "scores": rounded,
            }
            out.write(json.dumps(answer, ensure_ascii=False) + "\n")
        out.flush()


def lines_as_they_come(stream: IO[bytes]) -> Iterator[list[str]]:
    """The lines of a stream: as many at a time as are there, so that nothing typed waits.

    Raises:
        InputError: a line is no UTF-8.
    """
    unfinished: list[bytes] = []  # pieces of a line, joined once it has ended
    number = 0
    while block := stream.read1(1 << 16):  # type: ignore[attr-defined]
        ended, newline, rest = block.rpartition(b"\n")
        if newline:
            whole = b"".join([*unfinished, ended]).split(b"\n")
            yield [_decoded(line, number + index) for index, line in enumerate(whole)]
            number += len(whole)
            unfinished.clear()
        unfinished.append(rest)
    if line := b"".join(unfinished):
        yield [_decoded(line, number)]


def _decoded(line: bytes, index: int) -> str:
    try:
        return line.decode().removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(
            f"standard input, line {index + 1}: byte {error.start} of the line is no UTF-8; convert"
            " the text first (iconv -f latin-1 -t utf-8)"
        ) from error


def _decoded_argument(text: str, index: int) -> str:
    """A text of the command line as UTF-8, where the locale could not read all of its bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:  # Python keeps such bytes as lone surrogates
        try:
            return os.fsencode(text).decode()
        except UnicodeError as error:
            raise InputError(
                f"text {index + 1} of the command line is no UTF-8; convert it first (iconv -f"
                " latin-1 -t utf-8)"
            ) from error
    return text


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = OneLineParser(
        prog="python -m sentiment.predict",
        description="Predict labels with a trained checkpoint, or with several together.",
        epilog="A text that begins with a dash comes after --, which ends the options.\n\n"
        "Examples:\n"
        '  python -m sentiment.predict best.ckpt "What a film!"\n'
        '  python -m sentiment.predict a.ckpt b.ckpt "What a film!"\n'
        "  python -m sentiment.predict best.ckpt -- -awful\n"
        "  python -m sentiment.predict best.ckpt --csv in.csv --out out.csv\n"
        "  cat lines.txt | python -m sentiment.predict best.ckpt -",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoints/best.ckpt of a run folder")
    parser.add_argument(
        "text",
        nargs="*",
        help="more checkpoints (all that come first and end in .ckpt), of which the probabilities"
        " are averaged; then texts, each answered by a JSON line; - reads lines from stdin",
    )
    add_weights_option(parser)
    parser.add_argument("--csv", type=Path, metavar="IN", help="predict the rows of a CSV file")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="OUT",
        help="a CSV with the columns label and score added (predicted_label and predicted_score if"
        " IN has one of these), in UTF-8; .tsv, .gz, .bz2, .xz and .zip are heeded",
    )
    add_csv_options(parser, labels=False)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    check_options(parser, sys.argv[1:] if arguments is None else arguments)
    parsed = parser.parse_intermixed_args(arguments)
    others = list(takewhile(lambda text: text.endswith(".ckpt"), parsed.text))
    parsed.checkpoints = [parsed.checkpoint, *map(Path, others)]
    parsed.text = parsed.text[len(others) :]
    if (parsed.csv is None) == (not parsed.text):
        parser.error("give either texts (or - for lines from stdin), or --csv IN --out OUT")
    if (parsed.csv is None) != (parsed.out is None):
        parser.error("--csv and --out go together")
    return parsed


def _report_written(written: Written, parsed: argparse.Namespace) -> None:
    rows, without_text, columns = written
    left = f" ({without_text:,} without a text left empty)" if without_text else ""
    each = f"one for each of {parsed.csv}" if rows else f"as {parsed.csv} has none below its header"
    sys.stderr.write(
        f"wrote {rows:,} rows to {parsed.out}, {each}, with {' and '.join(columns)} added{left}\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: predictions on standard output, one line for what is wrong."""
    parsed = parse_arguments(arguments)
    write_utf8()
    limit_threads()
    with exit_on_input_error():
        check_distinct(parsed.checkpoints)
        predictor = Predictor.load(
            *parsed.checkpoints, device=parsed.device, weights=parsed.weights
        )
        if parsed.csv is not None:
            keep_freed_memory()
            csv_format = csv_format_from(
                parsed, predictor.text_column, None, header=predictor.header
            )
            _report_written(predict_csv(predictor, parsed.csv, parsed.out, csv_format), parsed)
        elif parsed.text == ["-"]:
            predict_lines(predictor, lines_as_they_come(sys.stdin.buffer), sys.stdout)
        else:
            texts = [_decoded_argument(text, index) for index, text in enumerate(parsed.text)]
            for text in texts:
                hint_at_file(text)
            predict_lines(predictor, [texts], sys.stdout)
