"""The routes of the server: predictions, health, metrics, and the page.

No handler computes: each awaits the thread of the ``Batcher``.
"""

import asyncio
import hmac
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import sentiment
from sentiment.runtime.errors import InputError, first_words
from sentiment.serve.batcher import Answers, Batcher, Closed, QueueFull
from sentiment.serve.metrics import Metrics
from sentiment.serve.request import Limits, parse, read_body

_PAGES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_COUNTED = {*_PAGES, "/predict", "/health", "/metrics", "/openapi.json"}


class Prediction(BaseModel):
    """The answer for a text; label and score are null for one that is blank."""

    label: str | None
    score: float | None
    scores: dict[str, float]
    tokens: int
    known_tokens: int


class Health(BaseModel):
    """What is served. ``queue``: texts without an answer; ``max_text``: characters of a text."""

    status: str
    version: str
    labels: list[str]
    queue: int
    max_text: int
    max_texts: int
    needs_key: bool


class Problem(BaseModel):
    """What is wrong with a request, and what to do."""

    detail: str


class _Measured:
    """Counts every request by its status, and times those that get predictions."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        path = scope["path"] if scope["path"] in _COUNTED else "other"

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count(path, message["status"])
                if path == "/predict" and message["status"] == 200:
                    self._metrics.time(time.perf_counter() - start)
            await send(message)

        await self._app(scope, receive, sending)


def build_app(
    batcher: Batcher,
    labels: Sequence[str],
    *,
    limits: Limits,
    api_key: str | None = None,
) -> FastAPI:
    """The application, which closes the batcher when it is shut down.

    Args:
        batcher: predicts the texts.
        labels: names of the classes.
        limits: what a request may hold.
        api_key: what a request must carry; None is nothing.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(
        title="sentiment",
        version=sentiment.__version__,
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy with TLS they would lead to http://
        lifespan=lifespan,
    )
    app.add_middleware(_Measured, metrics=metrics)
    # For the API's description; _check_key checks.
    keys: list[Any] = [
        HTTPBearer(auto_error=False),
        APIKeyHeader(name="X-API-Key", auto_error=False),
    ]
    needed = [] if api_key is None else [Depends(key) for key in keys]

    @app.post(
        "/predict",
        dependencies=needed,
        responses={
            200: {"model": Prediction | list[Prediction]},
            **{status: {"model": Problem} for status in (400, 401, 408, 413, 415, 422, 500, 503)},
        },
        openapi_extra={"requestBody": _body_schema(limits)},
    )
    async def predict(request: Request) -> Response:
        """Predict a text, or each of several; the answers have the order of the texts."""
        _check_key(request, api_key)
        given = parse(await read_body(request, limits), limits)
        texts = [given] if isinstance(given, str) else given
        answers = await _predicted(batcher, texts)
        metrics.texts += len(answers)
        content = json.dumps(answers if texts is given else answers[0], ensure_ascii=False)
        return Response(content, media_type="application/json")

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> Health:
        """Whether the server runs, and what it serves."""
        return Health(
            status="ok",
            version=sentiment.__version__,
            labels=list(labels),
            queue=batcher.waiting,
            max_text=limits.text,
            max_texts=limits.texts,
            needs_key=api_key is not None,
        )

    @app.get(
        "/metrics",
        dependencies=needed,
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            401: {"model": Problem},
        },
    )
    async def measured(request: Request) -> Response:
        """Requests, texts, queue and latencies, in the text format of Prometheus."""
        _check_key(request, api_key)
        return Response(metrics.text(batcher.waiting), media_type="text/plain; version=0.0.4")

    for path, (name, kind) in _PAGES.items():
        page = _page(name, kind)
        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
    return app


async def _predicted(batcher: Batcher, texts: list[str]) -> Answers:
    try:
        return await asyncio.wrap_future(batcher.submit(texts))
    except QueueFull:
        raise HTTPException(
            503, "too many texts are waiting; send it again in a second", {"Retry-After": "1"}
        ) from None
    except (Closed, asyncio.CancelledError):  # uvicorn cancels what it no longer waits for
        raise HTTPException(503, "the server is stopping", {"Retry-After": "5"}) from None
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    except Exception as error:
        sys.stderr.write(f"error: {type(error).__name__}: {first_words(error)}\n")
        raise HTTPException(500, "the prediction failed; the server's log says why") from error


def _page(name: str, kind: str) -> Any:
    content = files("sentiment.serve").joinpath(name).read_bytes()

    async def page() -> Response:
        return Response(content, media_type=kind, headers=_PAGE_HEADERS)

    return page


def _check_key(request: Request, key: str | None) -> None:
    """Raise HTTPException if a key is needed, and the request has another or none."""
    if key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        given = request.headers.get("x-api-key", "")
    if not hmac.compare_digest(given.strip().encode(), key.encode()):
        raise HTTPException(
            401,
            f"{'wrong API key' if given else 'no API key'}; send the header Authorization: Bearer"
            " KEY, or X-API-Key: KEY",
            {"WWW-Authenticate": "Bearer"},
        )


def _body_schema(limits: Limits) -> dict[str, Any]:
    """The body of a request for predictions, which is read here and not by FastAPI."""
    text = {"type": "string", "maxLength": limits.text}
    texts = {"type": "array", "items": text, "minItems": 1, "maxItems": limits.texts}
    either = [
        {
            "type": "object",
            "properties": {name: schema},
            "required": [name],
            "additionalProperties": False,
        }
        for name, schema in (("text", text), ("texts", texts))
    ]
    return {"required": True, "content": {"application/json": {"schema": {"oneOf": either}}}}
