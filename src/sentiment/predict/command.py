"""Predict texts, a CSV file, or lines from standard input with trained checkpoints.

Loads spaCy and, for checkpoints, torch once the arguments are checked, and neither Hydra nor
Lightning.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sentiment.data.file_kinds import likely_encoding
from sentiment.predict.explanation import PAGE_HEAD
from sentiment.predict.options import (
    add_checkpoint_options,
    add_csv_options,
    check_csv,
    check_top,
    csv_format_from,
    hint_at_file,
    is_checkpoint,
    load_predictor,
)
from sentiment.runtime.arguments import OneLineParser, count
from sentiment.runtime.environment import keep_freed_memory, limit_threads
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import is_onnx, is_table, text_when_whole
from sentiment.runtime.program import ending_at_once, exit_on_input_error
from sentiment.runtime.progress_bar import write_note
from sentiment.runtime.run_folder import best_checkpoint

if TYPE_CHECKING:
    from sentiment.predict.predictor import Predictor

_CSV = "a CSV file is given by --csv IN --out OUT"
# What to do instead of an option that there is not, and names that it may have.
_NO_OPTIONS = {
    "the checkpoint comes first, without an option": ("--checkpoint", "--ckpt", "--model"),
    "texts come after the checkpoint, without an option": ("--text", "--texts"),
    _CSV: ("--file", "--input", "--data"),
}
_MOST_NAMED = 12  # new columns that the last message names


def predict_lines(
    predictor: "Predictor",
    groups: Iterable[list[str]],
    out: IO[str],
    *,
    top: int | None = None,
    explain: bool = False,
    page: Callable[[str], None] | None = None,
) -> int:
    """Write a JSON line for each text, and return their number.

    The texts of a group are predicted together.

    Args:
        predictor: the classifiers.
        groups: the texts.
        out: where the lines are written; on a terminal, explanations are texts in colour instead.
        top: the scores of a line are those of this many labels, the most probable first.
        explain: whether to explain each label.
        page: writes the explanations as HTML, too.
    """
    in_colour = explain and out.isatty() and not os.environ.get("NO_COLOR")
    lines = 0
    for texts in groups:
        lines += len(texts)
        for text, prediction in zip(texts, predictor(texts), strict=True):
            rounded = {name: round(score, 6) for name, score in prediction["scores"].items()}
            if top is not None:
                order = sorted(rounded, key=prediction["scores"].__getitem__, reverse=True)
                rounded = {name: rounded[name] for name in order[:top]}
            answer = {"text": text, **prediction, "scores": rounded}
            if answer["score"] is not None:
                answer["score"] = round(answer["score"], 6)
            if explain and answer["score"] is not None:
                explanation = predictor.explain(text)
                answer["explanation"] = explanation.as_dict()
                if page is not None:
                    page(f"{explanation.as_html()}\n")
                if in_colour:
                    out.write(f"{explanation.as_ansi()}\n\n")
                    continue
            if in_colour:
                out.write("(a blank text)\n\n")
                continue
            out.write(json.dumps(answer, ensure_ascii=False) + "\n")
        out.flush()
    return lines


def lines_as_they_come(stream: IO[bytes]) -> Iterator[list[str]]:
    """Yield the lines of a stream, all that are available at a time, so that none has to wait.

    Raises:
        InputError: a line is not UTF-8.
    """
    unfinished: list[bytes] = []  # pieces of a line whose end has not come yet
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
        likely, _ = likely_encoding(line, "utf-8")
        raise InputError(
            f"standard input, line {index + 1}: byte {error.start} of the line is not UTF-8;"
            f" convert the text first (iconv -f {likely} -t utf-8)"
        ) from error


def _decoded_argument(text: str, index: int) -> str:
    """Decode a text of the command line as UTF-8 if the locale could not decode it."""
    try:
        text.encode()
    except UnicodeEncodeError:  # Python keeps such bytes as lone surrogates
        try:
            return os.fsencode(text).decode()
        except UnicodeError as error:
            raise InputError(
                f"text {index + 1} of the command line is not UTF-8; convert it first (iconv -f"
                " latin-1 -t utf-8)"
            ) from error
    return text


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(
        "sentiment.predict",
        description="Predict labels with a trained checkpoint, or with several together.",
        epilog="A text that begins with a dash comes after --, which ends the options.\n\n"
        "Examples:\n"
        '  %(prog)s best.ckpt "What a film!"\n'
        '  %(prog)s a.ckpt b.ckpt "What a film!"\n'
        "  %(prog)s best.ckpt -- -awful\n"
        "  %(prog)s best.ckpt --csv in.csv --out out.csv\n"
        "  cat lines.txt | %(prog)s best.ckpt -",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint", type=Path, help="checkpoints/best.ckpt of a run folder, or the folder"
    )
    parser.add_argument(
        "text",
        nargs="*",
        default=[],
        help="more checkpoints (all that come first), whose probabilities are averaged; then texts,"
        " each answered by a JSON line; - reads lines from stdin",
    )
    add_checkpoint_options(parser)
    parser.add_argument("--csv", type=Path, metavar="IN", help="predict the rows of a CSV file")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="OUT",
        help="a CSV with the columns label and score added (predicted_label and predicted_score if"
        " IN has one of these), in UTF-8; .tsv, .gz, .bz2, .xz and .zip are understood, and - is"
        " standard output",
    )
    parser.add_argument(
        "--scores",
        action="store_true",
        help="add to OUT a column for each class, too, such as score_positive; they sum to 1",
    )
    parser.add_argument(
        "--top",
        type=count,
        metavar="K",
        help="the K most probable labels, best first: the scores of a JSON line, and in OUT the"
        " columns label_1, score_1, label_2 ... instead of label and score",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="how much each word speaks for or against the label: the text in colour on a terminal,"
        " else a weight for each token in the JSON line; in OUT a column with the five heaviest",
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write the explained texts in colour to FILE"
    )
    add_csv_options(parser, labels=False)
    parsed, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        option = unknown[0][:40]
        hint = (
            _CSV
            if any(map(is_table, [*unknown, parsed.checkpoint, *parsed.text]))
            else "a text that begins with a dash comes after --, as in"
            f" {parser.prog} best.ckpt -- {option}"
        )
        for instead, names in _NO_OPTIONS.items():
            if option.partition("=")[0] in names:
                parser.error(f"{option!r} is not an option; {instead}")
        parser.refuse(unknown[0], hint)
    others = list(takewhile(is_checkpoint, parsed.text))
    parsed.checkpoints = [*map(best_checkpoint, (parsed.checkpoint, *others))]
    parsed.text = parsed.text[len(others) :]
    _check_positions(parser, parsed)
    if (parsed.csv is None) == (not parsed.text):
        parser.error("give either texts (or - for lines from stdin), or --csv IN --out OUT")
    if (parsed.csv is None) != (parsed.out is None):
        parser.error("--csv goes with --out OUT, or --out - for standard output")
    if parsed.scores and parsed.csv is None:
        parser.error("--scores adds columns to --out; a JSON line has all scores without it")
    if parsed.html is not None and parsed.csv is not None:
        parser.error("--html goes with texts or lines; --csv IN --out OUT --explain adds a column")
    if parsed.html is not None and parsed.html.suffix.lower() not in (".html", ".htm"):
        parser.error(f"--html {parsed.html}: give a file that ends in .html")
    parsed.explain |= parsed.html is not None
    return parsed


def _check_positions(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Refuse arguments that stand in each other's position."""
    first = parsed.checkpoint
    exists = False
    with suppress(OSError, ValueError):  # a text may be too long for a path
        exists = first.exists()
    if is_table(first) or not (exists or is_checkpoint(first)):
        problem = " stands where the checkpoint belongs, which comes first"
        if not (exists or any(map(is_checkpoint, [*parsed.checkpoints[1:], *parsed.text]))):
            problem = ": no such file or folder"
        parser.error(
            f"{str(first)[:40]!r}{problem}: give checkpoints/best.ckpt of a run folder, or the"
            " folder"
        )
    if parsed.out is not None and parsed.csv is None:
        parser.error("--out goes with --csv IN, the file to predict")
    if "-" in parsed.text and len(parsed.text) > 1:
        parser.error("- stands alone: it reads lines from stdin instead of texts")


def _predict_csv(parsed: argparse.Namespace) -> None:
    """Predict the CSV file of the command line, and report what was written."""
    from sentiment.predict.csv_file import check_target, predict_csv  # not needed for texts

    source, target = parsed.csv, parsed.out
    check_csv(parsed)
    check_target(source, target, parsed.checkpoints)
    predictor = load_predictor(parsed)
    keep_freed_memory()
    rows, without_text, added = predict_csv(
        predictor,
        source,
        target,
        csv_format_from(parsed, predictor),
        top=parsed.top,
        scores=parsed.scores,
        explain=parsed.explain,
    )
    many = len(added) > _MOST_NAMED
    names = f"{len(added)} columns" if many else f"{', '.join(added[:-1])} and {added[-1]}"
    empty = f" ({without_text:,} without a text left empty)" if without_text else ""
    each = f"one for each of {source}" if rows else f"as {source} has none below its header"
    place = "standard output" if str(target) == "-" else target
    sys.stderr.write(f"wrote {rows:,} rows to {place}, {each}, with {names} added{empty}\n")
    _note_doubt(predictor)


def _note_doubt(predictor: "Predictor") -> None:
    if doubt := predictor.coverage.doubt:
        write_note(doubt)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: predictions on standard output, an error in one line."""
    parsed = parse_arguments(arguments)
    with ending_at_once():
        import sentiment.predict.predictor
    if not all(map(is_onnx, parsed.checkpoints)):
        with ending_at_once():
            import sentiment.predict.torch_network  # noqa: F401 (slow)
        limit_threads()
    with exit_on_input_error():
        if parsed.csv is not None:
            _predict_csv(parsed)
            return
        if parsed.html is not None:
            from sentiment.predict.csv_file import check_writable

            check_writable(parsed.html, [], parsed.checkpoints, name_in_it="why.html")
        predictor = load_predictor(parsed)
        check_top(parsed.top, predictor.labels)
        if parsed.text == ["-"]:
            groups = lines_as_they_come(sys.stdin.buffer)
        else:
            texts = [_decoded_argument(text, index) for index, text in enumerate(parsed.text)]
            for text in texts:
                hint_at_file(text)
            groups = iter([texts])
        with _page(parsed.html) as page:
            options = {"top": parsed.top, "explain": parsed.explain, "page": page}
            if not predict_lines(predictor, groups, sys.stdout, **options):
                write_note("standard input is empty: nothing was predicted")
        if parsed.html is not None:
            sys.stderr.write(f"wrote {parsed.html}\n")
        _note_doubt(predictor)


@contextmanager
def _page(path: Path | None) -> Iterator[Callable[[str], None] | None]:
    """Yield what writes to a page, which appears once it is whole; None without a path."""
    if path is None:
        yield None
        return
    from sentiment.predict.csv_file import naming_target

    with ExitStack() as stack:
        with naming_target(path):
            page = stack.enter_context(text_when_whole(path))

        def write(text: str) -> None:
            with naming_target(path):
                page.write(text)
                page.flush()

        write(PAGE_HEAD)
        yield write
