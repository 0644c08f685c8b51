"""Tokens by spaCy's rules, in time that is linear in the length of any text.

Knows nothing of files or vocabularies. spaCy is imported on first use, because training on a cached
corpus does not need it.
"""

import hashlib
import importlib.metadata
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.data.cleaning import CLEANINGS, CURRENT_CLEANING, clean, starts_character
from sentiment.data.scripts import PACKAGES
from sentiment.runtime.errors import InputError, first_words

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer as SpacyTokenizer

# spaCy keeps every string, at about 400 bytes each. A new vocabulary at this number, which takes a
# third of a second, bounds the memory.
MAX_REMEMBERED_STRINGS = 100_000
MAX_LONG_CHARACTERS = 50_000_000  # the same for tokens of any length

# From this number of tokens on, pandas saves more time than its import takes.
MANY_TOKENS = 20_000

# Increase this if ``Tokenizer`` returns other tokens for a text: files are then tokenised again.
RULES_VERSION = 2

# spaCy takes one mark at a time off the ends of a chunk (the text between two spaces), and searches
# the whole rest each time. So it gets longer chunks in pieces.
_LONGEST_CHUNK = 100
_PIECE = 24  # divisible by the length of most patterns that people repeat, such as :-) or !?
_TEXT_AT_A_TIME = 50_000  # characters; spaCy takes hundreds of bytes for each token
_JAPANESE_AT_A_TIME = 12_000  # its tokenizer takes 49,149 bytes

# A word, or a run of one other character.
_UNIT = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*|(?P<mark>.)(?P=mark)*", re.DOTALL)
_ENDS_IN_MARK = re.compile(r"[^\W_][\W_]$")
_ADDRESS = re.compile(r"[\W_]*((?:https?://|www\.)\S*[\w/])", re.IGNORECASE)


_importing = RLock()


@contextmanager
def without_torch() -> Iterator[None]:
    """Let spaCy be imported without torch, unless torch is imported already.

    spaCy imports it for its neural networks, which a rule-based tokenizer does not have; it would
    take 180 MB and two seconds in each process.
    """
    with _importing:
        if "torch" in sys.modules:
            yield
            return
        sys.modules["torch"] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules["torch"]


@contextmanager
def with_torch() -> Iterator[None]:
    """Let torch be imported, when no other thread is in ``without_torch``."""
    with _importing:
        yield


class EncodedTexts(NamedTuple):
    """Tokens of several texts as indices into their distinct words."""

    words: list[str]  # the distinct words, in an arbitrary but repeatable order
    token_ids: npt.NDArray[np.int32]  # (tokens,), all texts one after the other
    lengths: npt.NDArray[np.int64]  # (texts,), tokens of each text
    digests: npt.NDArray[np.uint64]  # (texts, 2), a 128-bit hash of each cleaned text
    folded: npt.NDArray[np.uint64]  # (texts, 2), the same in lower case if tokens are lower-cased


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """How texts are split into tokens; stored in every checkpoint.

    Attributes:
        language: a language code of spaCy (``en``, ``de``, ``xx`` …); only its rules are used,
            no trained pipeline.
        lowercase: whether tokens are lower-cased.
        strip_markup: whether HTML markup is removed first; see ``cleaning.clean``.
        cleaning: version of the other rules that clean texts; see ``cleaning.clean``.

    Raises:
        InputError: the cleaning is unknown.
    """

    language: str = "en"
    lowercase: bool = True
    strip_markup: bool = True
    cleaning: int = CURRENT_CLEANING

    def __post_init__(self) -> None:
        if self.cleaning not in CLEANINGS:
            raise InputError(
                f"cleaning={self.cleaning!r}: this version cleans texts by rules"
                f" {CLEANINGS[0]} to {CLEANINGS[-1]}; was the checkpoint written by a later one?"
            )

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain Python types."""
        return asdict(self)

    @classmethod
    def of_checkpoint(cls, saved: Mapping[str, Any]) -> "TokenizerSettings":
        """The settings in a checkpoint; those of version 0.1.0 have no cleaning."""
        return cls(**{"cleaning": CLEANINGS[0], **saved})


class Tokenizer:
    """Splits texts into tokens by spaCy's rules for a language.

    >>> Tokenizer(TokenizerSettings())("It wasn't bad!<br />Really.")
    ['it', 'was', "n't", 'bad', '!', 'really', '.']

    Raises:
        InputError: spaCy has no such language, or needs a package that is not installed.
    """

    def __init__(self, settings: TokenizerSettings) -> None:
        self.settings = settings
        self._attribute = "LOWER" if settings.lowercase else "ORTH"
        self._spacy = _spacy_tokenizer(settings.language)
        self._outgrown: SpacyTokenizer | None = None  # the tokenizer that a thread is replacing
        self._blank_strings = len(self._spacy.vocab.strings)
        self._long_characters = 0

    def clean(self, text: str) -> str:
        """The cleaned text; see ``cleaning.clean``."""
        settings = self.settings
        return clean(text, strip_markup=settings.strip_markup, cleaning=settings.cleaning)

    def __call__(self, text: str) -> list[str]:
        """The tokens of one text, cleaned first; empty if nothing is left."""
        spacy = self._current()
        strings = spacy.vocab.strings
        return [strings[int(value)] for value in self._hashes(spacy, self.clean(text))]

    def as_written(self, cleaned: str) -> list[str]:
        """The tokens of a cleaned text as it writes them, in upper and lower case."""
        spacy = self._current()
        parts = _parts(spacy, cleaned)
        return [
            token
            for part, is_token in parts
            for token in ([part] if is_token else [each.text for each in spacy(part)])
        ]

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Tokenise many texts into arrays, several times as fast as token by token."""
        spacy = self._current()  # one for the whole call: another thread may replace it
        cleaned = [self.clean(text) for text in texts]
        hashes = [self._hashes(spacy, text) for text in cleaned]
        flat = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
        unique, token_ids = _distinct(flat)
        strings = spacy.vocab.strings
        digests = _digests(cleaned)
        return EncodedTexts(
            words=[strings[int(value)] for value in unique],
            token_ids=token_ids.astype(np.int32),
            lengths=np.array([len(values) for values in hashes], np.int64),
            digests=digests,
            folded=_digests(map(str.lower, cleaned)) if self.settings.lowercase else digests,
        )

    def _current(self) -> "SpacyTokenizer":
        """The current tokenizer of spaCy, or a new one if it holds too many strings.

        While one thread makes the new one, others use the old one; a race only makes two.
        """
        spacy = self._spacy
        limit = max(MAX_REMEMBERED_STRINGS, self._blank_strings + 100)
        full = len(spacy.vocab.strings) > limit or self._long_characters > MAX_LONG_CHARACTERS
        if full and spacy is not self._outgrown:
            self._outgrown = spacy
            try:
                self._spacy = spacy = _spacy_tokenizer(self.settings.language)
                self._long_characters = 0
            finally:
                self._outgrown = None
        return spacy

    def _hashes(self, spacy: "SpacyTokenizer", text: str) -> npt.NDArray[np.uint64]:
        """The hashes by spaCy of the tokens of a cleaned text, (tokens,)."""
        hashes = []
        for part, is_token in _parts(spacy, text):
            if is_token:
                token = part.lower() if self.settings.lowercase else part
                hashes.append(np.array([spacy.vocab.strings.add(token)], np.uint64))
                self._long_characters += len(token)
            else:
                hashes.append(spacy(part).to_array([self._attribute]))
        return hashes[0] if len(hashes) == 1 else np.concatenate(hashes)


def _parts(spacy: "SpacyTokenizer", text: str) -> Iterator[tuple[str, bool]]:
    """Cut a cleaned text into parts that spaCy tokenises in linear time, and whole tokens.

    Ordinary text is one part. Yields each part and whether it is a token by itself.
    """
    chunks = text.split(" ")
    most = _JAPANESE_AT_A_TIME if hasattr(spacy, "split_mode") else _TEXT_AT_A_TIME
    if len(text) <= most and max(map(len, chunks)) <= _LONGEST_CHUNK:
        yield text, False
        return
    waiting: list[str] = []
    size = 0
    for chunk in chunks:
        is_long = len(chunk) > _LONGEST_CHUNK
        for piece, is_token in _cut(spacy, chunk) if is_long else [(chunk, False)]:
            if waiting and (is_token or size + len(piece) > most):
                yield " ".join(waiting), False
                waiting, size = [], 0
            if is_token:
                yield piece, True
            else:
                waiting.append(piece)
                size += len(piece) + 1
    if waiting:
        yield " ".join(waiting), False


def _cut(spacy: "SpacyTokenizer", chunk: str) -> Iterator[tuple[str, bool]]:
    """Cut a long chunk between words and marks, mostly as spaCy does.

    Long words, addresses, and runs of a mark that spaCy does not split are single tokens.
    """
    if not hasattr(spacy, "prefix_search"):  # splits by character, without rules, as for Chinese
        yield from ((chunk[at : at + 1000], False) for at in range(0, len(chunk), 1000))
        return
    address = _ADDRESS.match(chunk)
    if address is not None:
        if address.start(1):
            yield from _cut(spacy, chunk[: address.start(1)])
        yield address[1], len(address[1]) > _LONGEST_CHUNK
    piece = ""
    for unit in _UNIT.finditer(chunk, 0 if address is None else address.end()):
        part = unit.group()
        is_run = unit["mark"] is not None and len(part) >= _PIECE // 2
        full = len(piece) + len(part) > _PIECE and starts_character(part[0])
        if piece and (full or is_run or len(piece) + len(part) > _LONGEST_CHUNK):
            if unit["mark"] and not is_run and piece[-1].isalnum():
                piece, part = piece + part, ""
            # spaCy separates words from a mark between them, but not always from one at an end.
            if _ENDS_IN_MARK.search(piece) and starts_character(piece[-1]):
                yield piece[:-1], False
                piece = piece[-1]
            yield piece, False
            piece = ""
        if is_run and len(spacy(part[:3])) > 1:
            yield from ((part[at : at + _PIECE], False) for at in range(0, len(part), _PIECE))
        elif is_run or len(part) > _LONGEST_CHUNK:
            yield part, True
        else:
            piece += part
    if piece:
        yield piece, False


def _digests(texts: Iterable[str]) -> npt.NDArray[np.uint64]:
    """128 bits of each text, (texts, 2)."""
    digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def _distinct(
    values: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The distinct values, and the index of each value among them."""
    if len(values) >= MANY_TOKENS:
        with suppress(ImportError):  # hashes where np.unique sorts; slow to import for one sentence
            from pandas import factorize

            indices, distinct = factorize(values)
            return distinct, indices
    return np.unique(values, return_inverse=True)


def spacy_version() -> str:
    """The installed version of spaCy, read without importing it."""
    return importlib.metadata.version("spacy")


def stop_words(language: str) -> set[str]:
    """The stop words of a language according to spaCy, in lower case."""
    import spacy

    return set(spacy.blank(language).Defaults.stop_words)


def _spacy_tokenizer(language: str) -> "SpacyTokenizer":
    import spacy

    try:
        return spacy.blank(language).tokenizer
    except (ImportError, AttributeError) as error:  # some modules of spacy.lang are no languages
        if language in PACKAGES:
            raise InputError(
                f"data.language={language}: needs further packages: pip install"
                f" {PACKAGES[language]}"
            ) from error
        reason = f"spaCy cannot tokenise it ({first_words(error)}); "
        if "E048" in reason:  # no such language
            code, named = re.split("[-_]", language.lower())[0], f"class {language.title()}("
            files = Path(spacy.__file__).parent.glob("lang/*/__init__.py")
            each = ((path.parent.name, path.read_text()) for path in files)
            likely = [known for known, source in each if known == code or named in source]
            reason = f"did you mean {likely[0]}? " if likely else "spaCy knows no such language; "
        raise InputError(
            f"data.language={language!r}: {reason}use a"
            " language code such as en, de, zh, or xx for any language written with spaces"
        ) from error
