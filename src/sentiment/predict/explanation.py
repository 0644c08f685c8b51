"""Why a classifier gives a text its label: a weight for each token, and the text in colour."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

_FOR, _AGAINST = (110, 170, 255), (255, 160, 80)  # blue and orange: everyone can tell them apart
_DECISIVE = 0.25  # a weight has its full colour from here on, if none is larger
_LEAST = 0.08  # of the largest weight; smaller ones have no colour
_BRIGHT = 0.55  # colours on which black letters are easier to read, also on a dark page

PAGE_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Why these labels</title>
<style>
body { max-width: 45rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.6 system-ui, sans-serif }
section { border-top: 1px solid #8886; padding: .5rem 0; overflow-wrap: break-word }
</style>
<h1>Why these labels</h1>
"""


class Token(NamedTuple):
    """A token of a text.

    Attributes:
        token: as it is written there.
        start, end: the indices of its first character, and after its last one.
        weight: how much it moves the log odds of the label; above 0, towards the label.
    """

    token: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True, repr=False)
class Explanation:
    """A weight for each token of a text; in a notebook, the text in colour.

    Attributes:
        text: the text without markup, as it was tokenised.
        label: the explained label.
        score: the probability of the label.
        log_odds: log(p / (1 - p)) of this probability p.
        reference: the log odds of as many unknown words. For integrated gradients, the weights add
            up to ``log_odds - reference``.
        tokens: the tokens with their weights. Those that are not read because the text is too
            long have 0.
        abstained: whether the classifier gives the text no label, as the score is too low.
    """

    text: str
    label: str
    score: float
    log_odds: float
    reference: float
    tokens: Sequence[Token]
    abstained: bool = False

    def __repr__(self) -> str:
        return f"<Explanation of {self.label!r}, {self._percent}: {self.summary()}>"

    @property
    def _percent(self) -> str:
        return f"{100 * self.score:.1f} %"

    def heaviest(self, number: int = 5) -> list[Token]:
        """The tokens that matter most, by absolute weight."""
        return sorted(self.tokens, key=lambda token: -abs(token.weight))[:number]

    def summary(self, number: int = 5, separator: str = ", ") -> str:
        """The heaviest tokens and their weights: ``dull -1.20, a +0.31``."""
        return separator.join(f"{each.token} {each.weight:+.2f}" for each in self.heaviest(number))

    def as_dict(self) -> dict[str, Any]:
        """The explanation as plain Python values, its numbers rounded to 6 decimals."""
        values = {**asdict(self), "tokens": [token._asdict() for token in self.tokens]}
        if not self.abstained:
            del values["abstained"]
        for each in (values, *values["tokens"]):
            each.update({key: round(v, 6) for key, v in each.items() if isinstance(v, float)})
        return values

    def coloured(self) -> str:
        """The text in HTML; the more a word matters, the stronger its colour."""
        parts = []
        for text, colour, strength in self._parts():
            escaped = html.escape(text)
            if strength:
                back = f"background:rgba({','.join(map(str, colour))},{strength:.2f})"
                front = ";color:#000" if strength > _BRIGHT else ""
                escaped = f'<span style="{back}{front}">{escaped}</span>'
            parts.append(escaped)
        return "".join(parts)

    def as_html(self) -> str:
        """The explanation in HTML: label, score, the coloured text, and the heaviest words."""
        label, words = html.escape(self.label), html.escape(self.summary())
        head = f"<strong>{label}</strong> {self._percent}"
        if self.abstained:
            head = f"<strong>no label</strong> ({label} {self._percent})"
        return (
            f"<section><p>{head}</p>"
            f"<p>{self.coloured()}</p><p><small>For (blue) or against (orange) {label}: {words}"
            "</small></p></section>"
        )

    _repr_html_ = as_html

    def as_ansi(self) -> str:
        """The text for a terminal that shows colours."""
        parts = []
        for text, colour, strength in self._parts():
            mixed = ";".join(str(round(255 - (255 - each) * strength)) for each in colour)
            parts.append(f"\x1b[30;48;2;{mixed}m{text}\x1b[0m" if strength else text)
        head = f"\x1b[1m{self.label}\x1b[0m {self._percent}"
        if self.abstained:
            head = f"\x1b[1mno label\x1b[0m ({self.label} {self._percent})"
        return (
            f"{head}\n{''.join(parts)}\n"
            f"\x1b[2mfor (blue) or against (orange) {self.label}: {self.summary()}\x1b[0m"
        )

    def _parts(self) -> Iterator[tuple[str, tuple[int, ...], float]]:
        """Yield the text in pieces, each with its colour and the strength of that, 0 for none."""
        largest = max((_DECISIVE, *(abs(token.weight) for token in self.tokens)))
        end = 0
        for token in self.tokens:
            strength = abs(token.weight) / largest
            yield self.text[end : token.start], _FOR, 0
            yield (
                token.token,
                _FOR if token.weight > 0 else _AGAINST,
                strength * (strength > _LEAST),
            )
            end = token.end
        yield self.text[end:], _FOR, 0


def tokens_of(text: str, words: Sequence[str], weights: Sequence[float]) -> list[Token]:
    """Find the tokens of a text, in their order, in it.

    Args:
        text: the text.
        words: its tokens.
        weights: (tokens,).
    """
    tokens, end = [], 0
    for word, weight in zip(words, weights, strict=True):
        start = text.index(word, end)
        end = start + len(word)
        tokens.append(Token(word, start, end, weight))
    return tokens
