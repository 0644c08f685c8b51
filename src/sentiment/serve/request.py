"""Read the body of a request for predictions, and check it.

Every error is an ``HTTPException`` whose detail says what is wrong and what to do, in one line.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from sentiment.runtime.errors import listed, valid_names

_SHORT = 40  # characters of a wrong value that a message shows
_BYTES_PER_CHARACTER = 12  # the most that JSON needs: two escaped surrogates


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Attributes:
        text: characters of a text.
        texts: texts of a request.
        explained: characters of a text to explain, which takes as long as hundreds of predictions.
        seconds: how long its body may take to arrive.
    """

    text: int = 100_000
    texts: int = 1_000
    explained: int = 5_000
    seconds: float = 20

    @property
    def body(self) -> int:
        """Bytes of the body."""
        return max(4 << 20, _BYTES_PER_CHARACTER * self.text + 1024)


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read a body of JSON, and no more of it than is allowed.

    Raises:
        HTTPException: 415, it is of another type; 413, it is too large; 408, it takes too long;
            400, it has no end.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(
            415,
            f"the body is {kind[:_SHORT] or 'of no type'}; send JSON, with the header Content-Type:"
            " application/json",
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.body:
        _too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.body:
                    _too_large(limits)
    except TimeoutError:
        raise HTTPException(
            408,
            f"the body took longer than {limits.seconds:g} s; send it at once",
            {"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise HTTPException(400, "the client left before the end of the body") from None
    return bytes(body)


def _too_large(limits: Limits) -> NoReturn:
    raise HTTPException(
        413,
        f"the body is larger than {limits.body:,} bytes; send fewer texts at a time",
        {"Connection": "close"},
    )


def parse(body: bytes, limits: Limits) -> str | list[str]:
    """Find the text or texts in a body: ``{"text": "..."}`` or ``{"texts": ["...", ...]}``.

    Raises:
        HTTPException: 400, it is not UTF-8 or not JSON; 422, it is something else in JSON, or a
            text holds a lone surrogate; 413, a text is too long, or there are too many.
    """
    given = _fields(body, ("text", "texts"))
    if len(given) != 1:
        raise HTTPException(422, 'send either {"text": "..."} or {"texts": ["...", ...]}')
    if "text" in given:
        _check("text", given["text"], limits.text)
        return str(given["text"])
    texts = given["texts"]
    if not isinstance(texts, list):
        raise HTTPException(422, f"texts: must be a list of strings, not {_shown(texts)}")
    if not texts:
        raise HTTPException(422, "texts: the list is empty; send at least one text")
    if len(texts) > limits.texts:
        raise HTTPException(
            413, f"texts: {len(texts):,} of them; send at most {limits.texts:,} at a time"
        )
    for index, text in enumerate(texts):
        _check(f"texts[{index}]", text, limits.text)
    return texts


def parse_explained(body: bytes, limits: Limits, labels: Sequence[str]) -> tuple[str, str | None]:
    """Find the text to explain in a body, and the label, if it names one.

    The body is ``{"text": "..."}`` or ``{"text": "...", "label": "..."}``.

    Raises:
        HTTPException: as ``parse``; or 422, there is no such label.
    """
    given = _fields(body, ("text", "label"))
    if "text" not in given:
        raise HTTPException(422, 'text: is missing; send {"text": "..."}')
    text, label = given["text"], given.get("label")
    _check("text", text, limits.explained)
    if label is not None and label not in labels:
        raise HTTPException(
            422, f"label: {_shown(label)} is not a label; they are {listed(labels)}"
        )
    return text, label


def _fields(body: bytes, names: Sequence[str]) -> dict[str, Any]:
    """The fields of a body, all of which have one of the names."""
    given = _loaded(body)
    if not isinstance(given, dict):
        raise HTTPException(422, f'send {{"text": "..."}}, not {_shown(given)}')
    for name in given:
        if name not in names:
            raise HTTPException(
                422, f"{name[:_SHORT]!r} is no field; {valid_names(name[:_SHORT], names)}"
            )
    return given


def _loaded(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise HTTPException(
            400, f"the body is not UTF-8 (byte {error.start + 1}); encode it in UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        control = error.msg.startswith("Invalid control character")
        problem = "a line break or control character within quotes" if control else error.msg
        remedy = r"write it as \n or \u0000" if control else 'send {"text": "..."}'
        raise HTTPException(
            400, f"the body is not JSON: {problem} (character {error.pos + 1}); {remedy}"
        ) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists
        raise HTTPException(400, 'the body is not JSON of texts; send {"text": "..."}') from None


def _check(name: str, text: object, longest: int) -> None:
    if not isinstance(text, str):
        raise HTTPException(422, f"{name}: must be a string, not {_shown(text)}")
    if len(text) > longest:
        raise HTTPException(413, f"{name}: {len(text):,} characters; send at most {longest:,}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise HTTPException(
            422,
            f"{name}: {half!r} at character {error.start + 1} is half of a character (a lone"
            " surrogate); send both halves, or the character itself",
        ) from None


def _shown(value: object) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= _SHORT else f"{shown[:_SHORT]} ..."
