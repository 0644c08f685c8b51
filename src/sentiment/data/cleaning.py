"""Clean texts of markup and of characters that a reader does not see.

Knows nothing of words or languages. The time is proportional to the length of the text.
"""

import html
import re
import unicodedata

CLEANINGS = (1, 2)  # 1 is that of version 0.1.0 and its checkpoints
CURRENT_CLEANING = CLEANINGS[-1]

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_LEADING_ZEROS = re.compile(r"&#0+(?=[0-9])")
_HUGE_REFERENCE = re.compile(r"&#[0-9]{8,};?")  # Python refuses to read very long numbers
_WRITTEN_BREAK = re.compile(r"(?:\\r)?\\n")

_UNSEEN = (
    (0x00, 0x08), (0x0E, 0x1B), (0x7F, 0x7F),  # controls, but for whitespace
    (0xAD, 0xAD), (0x34F, 0x34F), (0x200B, 0x200B), (0xFEFF, 0xFEFF),  # soft hyphen, no width
    (0x115F, 0x1160), (0x17B4, 0x17B5),  # fillers of Hangul, vowels of Khmer that are not written
    (0x61C, 0x61C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F),  # directions, operators
    (0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF),  # variation selectors
    (0xFFF9, 0xFFFB), (0xE0000, 0xE007F),  # annotations, tags
)  # fmt: skip
_REPLACEMENTS: dict[int, str] = {
    **{code: "" for first, last in _UNSEEN for code in range(first, last + 1)},
    # C1 controls as Windows-1252 characters, as browsers decode them.
    **{code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)},
    **dict.fromkeys((0x2800, 0x3164, 0xFFA0), " "),  # blank, but not whitespace in Unicode
}
_NEVER_IN_ASCII = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")

# Joiners matter between Arabic letters, after Indic ones, and (with width zero) between emoji.
_ARABIC = "\u0600-\u08ff\ufb50-\ufdff\ufe70-\ufefc"  # Syriac and others among them
_INDIC = "\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ua800-\uabff"
_EMOJI = "\u00a9\u00ae\u2100-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_IDLE_JOINER = re.compile(
    f"[\u200c\u200d](?<![{_INDIC}].)(?:(?<![{_ARABIC}].)|(?![{_ARABIC}]))"
    f"(?:(?<![{_EMOJI}]\u200d)|(?![{_EMOJI}]))"
)
# Between letters of scripts without spaces, a space of width zero separates words.
_WORD_BREAK = re.compile("(?<=[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b")

# Longer chunks are composed in pieces: Python's time grows with the square of a run of accents.
_COMPOSED_AT_ONCE = 128


def clean(text: str, *, strip_markup: bool = True, cleaning: int = CURRENT_CLEANING) -> str:
    r"""The part of a text that a reader sees, with single spaces.

    >>> clean("A love\u00adly<br />film &amp; more\\nFin")
    'A lovely film & more Fin'

    Args:
        text: the text.
        strip_markup: whether HTML tags and comments are removed, entities become their characters,
            and (with cleaning 2) a written ``\n`` or ``\r\n`` becomes a space.
        cleaning: 1 changes nothing else. 2 also removes invisible characters, reads C1 controls as
            Windows-1252 characters, and composes letters with their accents (Unicode's NFC).
    """
    if strip_markup:
        text = _without_markup(text)
        if cleaning > 1 and "\\n" in text:
            text = _WRITTEN_BREAK.sub(" ", text)
    if cleaning > 1:
        text = _without_unseen(text)
    return " ".join(text.split())


def starts_character(character: str) -> bool:
    """Whether a character stands alone: not an accent, a vowel sign or a later part of Hangul."""
    return unicodedata.category(character)[0] != "M" and not "\u1160" <= character <= "\u11ff"


def _without_markup(text: str) -> str:
    if "<" in text:
        # After the last "-->", every "<!--" would be searched for an end that is not there.
        head, end, tail = text.rpartition("-->")
        text = _TAG.sub(" ", _COMMENT.sub(" ", head + end) + tail)
    if "&" in text:
        if "&#" in text:
            text = _HUGE_REFERENCE.sub("\ufffd", _LEADING_ZEROS.sub("&#", text))
        text = html.unescape(text)
    return text


def _without_unseen(text: str) -> str:
    """The text composed and without invisible characters."""
    if text.isascii():
        return _NEVER_IN_ASCII.sub("", text)
    if "\u200b" in text:
        text = _WORD_BREAK.sub(" ", text)
    text = text.translate(_REPLACEMENTS)
    if "\u200c" in text or "\u200d" in text:
        text = _IDLE_JOINER.sub("", text)
    chunks = text.split()
    if max(map(len, chunks), default=0) <= _COMPOSED_AT_ONCE:
        return unicodedata.normalize("NFC", text)
    return " ".join(map(_composed, chunks))


def _composed(chunk: str) -> str:
    """A chunk in Unicode's NFC, piece by piece if it is long."""
    pieces, start = [], 0
    while start < len(chunk):
        end = start + _COMPOSED_AT_ONCE // 2
        last = start + _COMPOSED_AT_ONCE
        while end < min(last, len(chunk)) and not starts_character(chunk[end]):
            end += 1
        pieces.append(unicodedata.normalize("NFC", chunk[start:end]))
        start = end
    return "".join(pieces)
