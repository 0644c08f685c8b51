"""Text cleaning and spaCy's rule tokenizer.

Knows nothing of files or vocabularies. spaCy is imported on first use, because a cached corpus
trains without it.
"""

import hashlib
import html
import importlib.metadata
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sentiment.errors import InputError

if TYPE_CHECKING:
    from spacy.tokenizer import Tokenizer as SpacyTokenizer

# spaCy remembers every string it has met; past this many a fresh vocabulary bounds the memory.
_MAX_REMEMBERED_STRINGS = 1_000_000

# From so many tokens on, importing pandas is worth its time.
_MANY_TOKENS = 20_000

# Counts up when ``Tokenizer`` changes what it makes of a text: tokenised files are then made anew.
RULES_VERSION = 1

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")


@contextmanager
def without_torch() -> Iterator[None]:
    """Let spaCy be imported without torch, where torch is not imported yet.

    spaCy imports it for its neural parts, of which a rule tokenizer has none: 180 MB and two
    seconds for each process.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


class EncodedTexts(NamedTuple):
    """Tokens of several texts as indices into the distinct words among them."""

    words: list[str]  # the distinct words, in no particular but a repeatable order
    token_ids: npt.NDArray[np.int32]  # (tokens,), all texts one after the other
    lengths: npt.NDArray[np.int64]  # (texts,), tokens of each text
    digests: npt.NDArray[np.uint64]  # (texts, 2), 128 bits that tell two cleaned texts apart
    folded: npt.NDArray[np.uint64]  # (texts, 2), the same of texts lower-cased, if tokens are


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """What decides how a text falls into tokens; stored in every checkpoint.

    Attributes:
        language: a language code of spaCy (``en``, ``de``, ``xx`` …); only its rules are used,
            no trained pipeline.
        lowercase: whether tokens are lower-cased.
        strip_markup: whether HTML tags, comments and entities are resolved first.
    """

    language: str = "en"
    lowercase: bool = True
    strip_markup: bool = True

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain Python types."""
        return asdict(self)


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

    def clean(self, text: str) -> str:
        """The text without markup (if the settings say so), with single spaces."""
        if self.settings.strip_markup:
            if "<" in text:
                text = _TAG.sub(" ", _COMMENT.sub(" ", text))
            if "&" in text:
                text = html.unescape(text)
        return " ".join(text.split())

    def __call__(self, text: str) -> list[str]:
        """The tokens of one text, cleaned first; an empty list when nothing is left."""
        document = self._spacy(self.clean(text))
        return [token.lower_ if self.settings.lowercase else token.text for token in document]

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Tokenise many texts at once, as arrays (several times faster than token by token)."""
        if len(self._spacy.vocab.strings) > _MAX_REMEMBERED_STRINGS:
            self._spacy = _spacy_tokenizer(self.settings.language)
        cleaned = [self.clean(text) for text in texts]
        hashes = [self._spacy(text).to_array([self._attribute]) for text in cleaned]
        flat = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
        unique, token_ids = _distinct(flat)
        strings = self._spacy.vocab.strings
        digests = _digests(cleaned)
        return EncodedTexts(
            words=[strings[int(value)] for value in unique],
            token_ids=token_ids.astype(np.int32),
            lengths=np.array([len(values) for values in hashes], np.int64),
            digests=digests,
            folded=_digests(map(str.lower, cleaned)) if self.settings.lowercase else digests,
        )


def _digests(texts: Iterable[str]) -> npt.NDArray[np.uint64]:
    """128 bits of each text, (texts, 2)."""
    digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def _distinct(
    values: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The distinct values, and the index of each value among them."""
    if len(values) < _MANY_TOKENS:
        return np.unique(values, return_inverse=True)
    from pandas import factorize  # hashes where np.unique sorts; slow to import for one sentence

    indices, distinct = factorize(values)
    return distinct, indices


def spacy_version() -> str:
    """The installed version of spaCy, read without importing it."""
    return importlib.metadata.version("spacy")


def stop_words(language: str) -> set[str]:
    """Words of a language that say little by themselves, in lower case; spaCy's list."""
    import spacy

    return set(spacy.blank(language).Defaults.stop_words)


def _spacy_tokenizer(language: str) -> "SpacyTokenizer":
    import spacy

    try:
        return spacy.blank(language).tokenizer
    except (ImportError, AttributeError) as error:  # some modules there are no languages
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"data.language={language!r}: spaCy cannot tokenise it ({reason}); use a language code"
            " such as en, de, fr, es, or xx for any language written with spaces"
        ) from error
