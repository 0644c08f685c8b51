"""When two labels are likely meant as one: as numbers, as words of YAML, or to the eye."""

import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

from sentiment.data.cleaning import clean
from sentiment.runtime.errors import InputError

# What YAML and Hydra make one value of, by what that value is called as a string.
_WORDS = {
    "true": ("true", "yes", "on"),
    "false": ("false", "no", "off"),
    "null": ("null", "~"),
}


def number(label: str) -> Decimal | None:
    """The number that a label is, or None where it is none."""
    try:
        value = Decimal(label.strip())
    except InvalidOperation:
        return None
    return None if value.is_nan() else value


def likeness(label: str) -> object:
    """The same for labels that are likely meant as one.

    They are the same number (``1``, ``1.0``, ``01``), or differ in case, whitespace, Unicode form
    or characters that cleaning removes.
    """
    seen = clean(label, strip_markup=False)
    value = number(seen)
    if value is not None:
        return value
    folded = unicodedata.normalize("NFKC", seen).casefold()
    return "".join(unicodedata.normalize("NFKC", folded).split())


def equal_labels(label: str, others: Iterable[str]) -> list[str]:
    """Those of other labels that are the same number, or the same of true, false and null."""
    value, word = number(label), label.casefold()
    return [
        other
        for other in others
        if (value is not None and number(other) == value)
        or (word in _WORDS and other.casefold() == word)
    ]


def as_in_file(label: str | None, found: Iterable[str]) -> str:
    """What a file calls a label that was typed, of which YAML may have made another value.

    ``false`` stands for ``False`` and ``no``, too, and ``1`` for ``1.0``.

    Args:
        label: as YAML gives it, as a string; None for ``null``.
        found: the labels of the file.

    Returns:
        One of those, or the label itself where none is equal.

    Raises:
        InputError: several are.
    """
    name = "null" if label is None else label
    found = list(found)
    if name in found:
        return name
    words = _WORDS.get(name.casefold(), ())
    equal = equal_labels(name, found) or [each for each in found if each.casefold() in words]
    if len(equal) > 1:
        raise InputError(
            f"data.labels: {name} may be {' or '.join(map(repr, equal))}; {quoted_labels(equal)}"
        )
    return equal[0] if equal else name


def quoted_labels(labels: Sequence[str]) -> str:
    """How labels are typed so that they are taken as they are."""
    listed = ",".join(f'"{label}"' for label in labels)
    return f"quote labels that are to be taken as they are: 'data.labels=[{listed}]'"
