"""Read the texts as written for what their tokens do not show: languages, encodings, markup."""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment.check.reviews import CheckedFile, Ints, Origin, Reviews
from sentiment.data.cleaning import clean
from sentiment.data.reviews import column_names, is_blank, read_table, row_count
from sentiment.runtime.errors import needing
from sentiment.runtime.progress_bar import progress_bar

_CHUNK = 1_000  # rows
# Characters by which the language is found: of every text, and of one that seems to be in another.
_BEGINNING, _DOUBTED = 100, 2_000
_LETTERS = 40  # bytes of letters; a text with fewer says too little
_SURE = 0.9  # probability of another language
_NONE = {"pcm", "zxx"}  # Nigerian Pidgin, for which English is taken, and no language at all
_MOST_TEXTS = 100_000  # whose language is found
_MOST_ROWS = 5_000  # of a file, whose other columns are kept
_NO_LETTERS = re.compile(r"<[^>]*>|&\w+;|[\W\d_]+")
_MARKUP = {
    "markup that is escaped": r"&lt;\s*/?[a-zA-Z]|&amp;(?:#\d+|[a-zA-Z]{2,8});",
    "square-bracket markup": r"\[/?(?:b|i|u|url|quote|img|code|color|size)(?:=[^\]]*)?\]",
}
_TAGS = {"HTML tags": r"</?[a-zA-Z][^<>]*>", "HTML entities": r"&(?:#\d+|[a-zA-Z]{2,8});"}
_EXCERPT = 300  # characters


@dataclass
class TextFacts:
    """What the texts show, by review.

    Attributes:
        languages: the codes of the languages found.
        language: (reviews,) index into ``languages``; -1 if the text says too little.
        mojibake: (reviews,) whether a text was decoded by a wrong encoding.
        replaced: (reviews,) whether a text has U+FFFD, which stands for lost characters.
        markup: for each kind of markup that remains, the reviews that have it.
        blank: for each file, how many rows have no text.
        left_out: for each file, the first of its rows without a text or a label.
        cells: for each file, cells of its other columns by name, of ``sampled`` reviews; none of
            files without labels.
        sampled: for each file, the reviews whose cells were kept.
    """

    language: Ints
    mojibake: npt.NDArray[np.bool_]
    replaced: npt.NDArray[np.bool_]
    languages: list[str] = field(default_factory=list)
    markup: dict[str, list[int]] = field(default_factory=dict)
    blank: list[int] = field(default_factory=list)
    left_out: list[list[Origin]] = field(default_factory=list)
    cells: list[dict[str, list[str]]] = field(default_factory=list)
    sampled: list[Ints] = field(default_factory=list)


def read_texts(reviews: Reviews, *, strip_markup: bool, seed: int, most: int) -> TextFacts:
    """Read the texts of all files once more, and the other columns of those with labels.

    Args:
        reviews: the reviews.
        strip_markup: whether a training removes markup.
        seed: of the sample of rows whose other columns are kept.
        most: rows without a text or a label that are kept of each file.
    """
    size = len(reviews)
    facts = TextFacts(np.full(size, -1), np.zeros(size, bool), np.zeros(size, bool))
    draw = np.random.default_rng(seed)
    identified = np.zeros(size, bool)
    identified[draw.permutation(size)[:_MOST_TEXTS]] = True
    note = _notes(facts, identified, strip_markup=strip_markup)
    total = sum(row_count(file.corpus.path, file.csv_format) for file in reviews.files)
    with progress_bar("Reading texts", total, "row") as bar:
        for at, file in enumerate(reviews.files):
            names = column_names(file.corpus.path, file.csv_format)
            text_at = names.index(file.csv_format.text_column)
            others = _other_columns(reviews, file, names)
            kept = np.sort(draw.permutation(len(file.corpus))[:_MOST_ROWS]) + reviews.firsts[at]
            if not others:
                kept = kept[:0]
            wanted = set(kept.tolist())
            cells: dict[str, list[str]] = {name: [] for name in others}
            blank = 0
            left_out: list[Origin] = []
            for number, (review, row) in enumerate(_rows(reviews, at), 1):
                bar.update()
                if review is None:
                    blank += is_blank(row[text_at])
                    if len(left_out) < most:
                        label = (
                            row[names.index(file.csv_format.label_column or "")]
                            if file.labeled
                            else ""
                        )
                        left_out.append(Origin(file, number, label, excerpt(row[text_at])))
                    continue
                note(review, row[text_at])
                if review in wanted:
                    for name, column in others.items():
                        cells[name].append(row[column])
            facts.blank.append(blank)
            facts.left_out.append(left_out)
            facts.cells.append(cells)
            facts.sampled.append(kept)
    return facts


def _rows(reviews: Reviews, at: int) -> Iterator[tuple[int | None, list[str]]]:
    """The rows of a file, each with its review; None if it was left out."""
    corpus, csv_format = reviews.files[at].corpus, reviews.files[at].csv_format
    first, kept = int(reviews.firsts[at]), iter(corpus.rows.tolist())
    following, review = next(kept, None), first
    for chunk in read_table(corpus.path, csv_format, _CHUNK):
        for row, cells in enumerate(chunk.cells, chunk.first):
            if row == following:
                yield review, cells
                following, review = next(kept, None), review + 1
            else:
                yield None, cells


def _notes(
    facts: TextFacts, identified: npt.NDArray[np.bool_], *, strip_markup: bool
) -> Callable[[int, str], None]:
    """A function that notes what the text of a review shows."""
    with needing("check", "check: checking texts"):
        from ftfy.badness import is_bad
    kinds = _MARKUP if strip_markup else _TAGS | _MARKUP
    patterns = {kind: re.compile(pattern) for kind, pattern in kinds.items()}
    identify = _identifier()

    def note(review: int, text: str) -> None:
        if not text.isascii():
            facts.replaced[review] = "\ufffd" in text
            facts.mojibake[review] = is_bad(clean(text, strip_markup=False))
        if "&" in text or "[" in text or "<" in text:
            for kind, pattern in patterns.items():
                if pattern.search(text):
                    facts.markup.setdefault(kind, []).append(review)
        if identified[review] and (code := identify(text)):
            if code not in facts.languages:
                facts.languages.append(code)
            facts.language[review] = facts.languages.index(code)

    return note


def _other_columns(reviews: Reviews, file: CheckedFile, names: Sequence[str]) -> dict[str, int]:
    """The other columns of a file with labels, and where they are."""
    used = {file.csv_format.text_column, file.csv_format.label_column}
    # The column of weights, which only training files are read with.
    used |= {each.csv_format.weight_column for each in reviews.files}
    return {name: at for at, name in enumerate(names) if name not in used} if file.labeled else {}


def _identifier() -> Callable[[str], str]:
    """A function that returns the code of a text's language, or "" where it is not sure."""
    model = _language_model()
    usual: dict[str, int] = {}

    def identify(text: str) -> str:
        code, probability = model.classify(
            _NO_LETTERS.sub(" ", text[: 2 * _BEGINNING])[:_BEGINNING]
        )
        if usual and code == max(usual, key=usual.__getitem__):
            usual[code] += 1
            return str(code)
        letters = _NO_LETTERS.sub(" ", text[:_DOUBTED])
        if len(letters.encode()) < _LETTERS:
            return ""
        code, probability = model.classify(letters)
        if probability < _SURE or code in _NONE:
            return ""
        usual[code] = usual.get(code, 0) + 1
        return str(code)

    return identify


@functools.cache
def _language_model() -> Any:
    with needing("check", "check: finding languages"):
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def some_texts(reviews: Reviews, wanted: Ints) -> Iterator[tuple[int, str]]:
    """Some reviews and their texts as written."""
    for at, file in enumerate(reviews.files):
        own = wanted[(wanted >= reviews.firsts[at]) & (wanted < reviews.firsts[at + 1])]
        if not len(own):
            continue
        left = set(own.tolist())
        text_at = column_names(file.corpus.path, file.csv_format).index(file.csv_format.text_column)
        for review, row in _rows(reviews, at):
            if review is not None and review in left:
                yield review, row[text_at]


def excerpt(text: str) -> str:
    """The beginning of a text, in one line."""
    line = " ".join(text[: 2 * _EXCERPT].split())
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}…"


def language_name(code: str) -> str:
    """The English name of a language code where it is a common one, else the code."""
    return _NAMES.get(code, code)


_NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian",
    "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian",
    "nb": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip
