"""Scripts without spaces between words: texts that are not split into words; joining tokens."""

import re
from collections.abc import Sequence
from typing import NamedTuple

# What to install for a language of spaCy.
PACKAGES = {"ja": "sudachipy sudachidict_core", "th": "pythainlp"}


class _Script(NamedTuple):
    """A script that is written without spaces between words."""

    name: str
    letters: str  # character class of a regular expression
    longest: int  # characters of a token, on average, where texts are split into words
    remedy: str


_SCRIPTS = (
    _Script(
        "Japanese",
        "\u3041-\u30ff",
        5,
        f"set data.language=ja, after pip install {PACKAGES['ja']}",
    ),
    _Script("Chinese", "\u3400-\u9fff", 5, "set data.language=zh (a token for each character)"),
    _Script(
        "Thai", "\u0e01-\u0e4e", 10, f"set data.language=th, after pip install {PACKAGES['th']}"
    ),
    _Script(
        "Lao, Burmese or Khmer",
        "\u0e81-\u0eff\u1000-\u109f\u1780-\u17ff",
        10,
        "put spaces between their words, and set data.language=xx",
    ),
)


def joined(tokens: Sequence[str], language: str) -> str:
    """Tokens as a text again, about as it was written."""
    if language in ("zh", "ja", "th"):
        return "".join(tokens)
    return re.sub(r" (?=[.,;:!?)\]%…]|n['\u2019]t\b|['\u2019]\w)|(?<=[(\[]) ", "", " ".join(tokens))


def unsplit_script(words: Sequence[str]) -> str | None:
    """The script whose texts the tokenizer has not split into words, and what to do; else None.

    Args:
        words: the distinct tokens of some texts.
    """
    some = words[:20_000]
    text = " ".join(some)
    for script in _SCRIPTS:
        letters = len(re.findall(f"[{script.letters}]", text))
        if letters <= 0.1 * len(text):
            continue
        own = [word for word in some if re.search(f"[{script.letters}]", word)]
        average = sum(map(len, own)) / len(own)
        if 4 * len(own) > len(some) and average > script.longest:
            return (
                f"{script.name} texts are not split into words ({average:.0f} characters a token),"
                f" so most of a new text is unknown: {script.remedy}"
            )
    return None
