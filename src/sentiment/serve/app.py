"""The routes of the server: predictions, explanations, health, metrics, and the page.

No handler computes: each awaits the thread of the ``Batcher``.
"""

import asyncio
import hmac
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import sentiment
from sentiment.runtime.errors import InputError, first_words
from sentiment.serve.batcher import Batcher, Closed, QueueFull
from sentiment.serve.metrics import Metrics
from sentiment.serve.request import Limits, parse, parse_explained, read_body

T = TypeVar("T")

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
_COUNTED = {*_PAGES, "/predict", "/explain", "/health", "/metrics", "/openapi.json"}


class Prediction(BaseModel):
    """The answer for a text; label and score are null for one that is blank.

    A classifier with thresholds of scores also says whether it abstains: then the label is null.
    """

    label: str | None
    abstained: bool = False
    score: float | None
    scores: dict[str, float]
    tokens: int
    known_tokens: int


class Weight(BaseModel):
    """A token of a text, where it stands, and how much it moves the log odds of the label."""

    token: str
    start: int
    end: int
    weight: float


class Explained(BaseModel):
    """A weight for each token; ``text`` is without markup, and what ``start`` and ``end`` count."""

    text: str
    label: str
    score: float
    log_odds: float
    reference: float
    tokens: list[Weight]


class Health(BaseModel):
    """What is served. ``queue``: texts without an answer; ``max_text``: characters of a text."""

    status: str
    version: str
    labels: list[str]
    queue: int
    max_text: int
    max_texts: int
    max_explained: int
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
    explain: Callable[[str, str | None], dict[str, Any]],
    labels: Sequence[str],
    *,
    limits: Limits,
    api_key: str | None = None,
) -> FastAPI:
    """The application, which closes the batcher when it is shut down.

    Args:
        batcher: predicts the texts.
        explain: explains a label of a text; None is the most probable one.
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

    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem} for status in (400, 401, 408, 413, 415, 422, 500, 503)
    }

    @app.post(
        "/predict",
        dependencies=needed,
        responses={200: {"model": Prediction | list[Prediction]}, **problems},
        openapi_extra={"requestBody": _body_of(*_texts_schemas(limits))},
    )
    async def predict(request: Request) -> Response:
        """Predict a text, or each of several; the answers have the order of the texts."""
        _check_key(request, api_key)
        given = parse(await read_body(request, limits), limits)
        texts = [given] if isinstance(given, str) else given
        answers = await _answer(request, lambda: batcher.submit(texts))
        metrics.texts += len(answers)
        content = json.dumps(answers if texts is given else answers[0], ensure_ascii=False)
        return Response(content, media_type="application/json")

    @app.post(
        "/explain",
        dependencies=needed,
        responses={200: {"model": Explained}, **problems},
        openapi_extra={"requestBody": _body_of(_explained_schema(limits, labels))},
    )
    async def explained(request: Request) -> Response:
        """Say how much each token of a text speaks for or against a label.

        Without ``label`` it is the most probable one.
        """
        _check_key(request, api_key)
        text, label = parse_explained(await read_body(request, limits), limits, labels)
        answer = await _answer(request, lambda: batcher.call(lambda: explain(text, label)))
        return Response(json.dumps(answer, ensure_ascii=False), media_type="application/json")

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
            max_explained=limits.explained,
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


async def _answer(request: Request, submit: "Callable[[], Future[T]]") -> T:
    """What the batcher's thread computes, or the HTTPException for why it does not.

    It is not computed for a client that leaves before its turn.
    """
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        answer = asyncio.wrap_future(submit())
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise HTTPException(400, "the client left before the answer")
        return await answer
    except QueueFull:
        raise HTTPException(
            503, "too many requests are waiting; send it again in a second", {"Retry-After": "1"}
        ) from None
    except (Closed, asyncio.CancelledError):  # uvicorn cancels what it no longer waits for
        raise HTTPException(503, "the server is stopping", {"Retry-After": "5"}) from None
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    except HTTPException:
        raise
    except Exception as error:
        sys.stderr.write(f"error: {type(error).__name__}: {first_words(error)}\n")
        raise HTTPException(500, "it could not be computed; the server's log says why") from error
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    """Return when the client has left. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


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


def _body_of(*schemas: dict[str, Any]) -> dict[str, Any]:
    """The description of a body, which is read here and not by FastAPI."""
    return {"required": True, "content": {"application/json": {"schema": {"oneOf": schemas}}}}


def _texts_schemas(limits: Limits) -> list[dict[str, Any]]:
    text = {"type": "string", "maxLength": limits.text}
    texts = {"type": "array", "items": text, "minItems": 1, "maxItems": limits.texts}
    return [_object_schema({name: each}, name) for name, each in (("text", text), ("texts", texts))]


def _explained_schema(limits: Limits, labels: Sequence[str]) -> dict[str, Any]:
    text = {"type": "string", "maxLength": limits.explained}
    return _object_schema({"text": text, "label": {"enum": [*labels, None]}}, "text")


def _object_schema(properties: dict[str, Any], required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [required],
        "additionalProperties": False,
    }
