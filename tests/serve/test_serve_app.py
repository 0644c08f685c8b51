import asyncio
import json
import operator
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sentiment import Predictor
from sentiment.runtime.errors import InputError
from sentiment.serve.app import Explained, Health, Prediction, Problem, build_app
from sentiment.serve.batcher import Answers, Batcher
from sentiment.serve.request import Limits

GOOD = "the film number 1 was lovely , and so was act 1"
BAD = "the film number 2 was awful , and so was act 2"

Ask = Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]


def said(texts: list[str]) -> Answers:
    """Answers as a predictor gives, or an error of one."""
    for text in texts:
        if text == "broken":
            raise RuntimeError("a broken model")
        if text == "refused":
            raise InputError("a refused text")
    scores = {"bad": 0.25, "good": 0.75}
    one = {"label": "good", "score": 0.75, "scores": scores, "tokens": 1, "known_tokens": 1}
    return [one] * len(texts)


def explained(text: str, label: str | None) -> dict[str, Any]:
    """An explanation as a predictor gives."""
    said([text])
    token = {"token": text, "start": 0, "end": len(text), "weight": 1.0}
    one = {"text": text, "label": label or "good", "score": 0.75, "tokens": [token] if text else []}
    return {**one, "log_odds": 1.1, "reference": 0.1}


class Served:
    """Runs clients against the application, without a socket."""

    def __init__(self, batcher: Batcher, **options: Any) -> None:
        given = {"explain": explained, "labels": ["bad", "good"], "limits": Limits(), **options}
        self.app = build_app(batcher, **given)

    def __call__(self, ask: Ask) -> Any:
        async def run() -> Any:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await ask(client)

        return asyncio.run(run())

    def post(self, content: bytes | str, path: str = "/predict", **headers: str) -> httpx.Response:
        kind = {"Content-Type": "application/json"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}

        async def ask(client: httpx.AsyncClient) -> Any:
            return await client.post(path, content=content, headers=kind | given)

        answer: httpx.Response = self(ask)
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        answer: httpx.Response = self(lambda client: client.get(path, headers=given))
        return answer


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher(said)
    yield batcher
    batcher.close()


@pytest.mark.parametrize("abstains", [False, True])
def test_answers_are_those_of_the_predictor(checkpoint: Path, abstains: bool) -> None:
    predictor = Predictor.load(checkpoint, threshold=1.0 if abstains else None)
    batcher = Batcher(predictor)
    served = Served(batcher, labels=predictor.labels)
    one = served.post(json.dumps({"text": GOOD}))
    several = served.post(json.dumps({"texts": [BAD, GOOD, " "]}))
    batcher.close()
    assert one.status_code == several.status_code == 200
    assert one.headers["content-type"] == "application/json"
    assert one.json() == predictor(GOOD)
    assert several.json() == predictor([BAD, GOOD, " "])
    assert several.json()[2]["label"] is None
    assert one.json().get("abstained", False) == (one.json()["label"] is None) == abstains


def test_explanations_are_those_of_the_predictor(predictor: Predictor) -> None:
    batcher = Batcher(predictor)

    def explain(text: str, label: str | None) -> dict[str, Any]:
        return predictor.explain(text, label).as_dict()

    served = Served(batcher, explain=explain, labels=predictor.labels)
    for body in ({"text": GOOD}, {"text": GOOD, "label": "awful"}, {"text": BAD, "label": None}):
        answer = served.post(json.dumps(body), "/explain")
        assert answer.status_code == 200
        expected = explain(str(body["text"]), body.get("label"))
        assert answer.json() == json.loads(json.dumps(expected))
    batcher.close()


@pytest.mark.parametrize(
    ("body", "status", "facts"),
    [
        (b'{"label": "good"}', 422, ["text", "missing"]),
        (b'{"text": 3}', 422, ["text", "string"]),
        (b'{"text": "a", "label": "fine"}', 422, ["label", "fine", "bad, good"]),
        (b'{"text": "a", "label": ["good"]}', 422, ["label", "good"]),
        (b'{"texts": ["a"]}', 422, ["'texts'", "'text'"]),
        (b'{"text": "' + b"a" * 101 + b'"}', 413, ["text", "101", "100"]),
        (b'{"text": "refused"}', 422, ["a refused text"]),
        (b'{"text": "broken"}', 500, ["log"]),
    ],
)
def test_what_cannot_be_explained_gets_one_line(
    batcher: Batcher, body: bytes, status: int, facts: list[str]
) -> None:
    answer = Served(batcher, limits=Limits(explained=100)).post(body, "/explain")
    assert answer.status_code == status
    detail = answer.json()["detail"]
    assert all(fact in detail for fact in facts), detail


@pytest.mark.parametrize(
    ("body", "status", "facts"),
    [
        (b'{"text": "a"', 400, ["JSON", "character 13"]),
        (b"", 400, ["JSON", "text"]),
        (b'{"text": "a\nb"}', 400, ["control character", "character 12", r"\n"]),
        (b'{"text": "caf\xe9"}', 400, ["UTF-8", "byte 14"]),
        (b"[" * 100_000, 400, ["JSON"]),
        (b'{"text": ' + b"1" * 5_000 + b"}", 400, ["JSON"]),
        (b'["a"]', 422, ['["a"]', '{"text": "..."}']),
        (b'{"text": 3}', 422, ["text", "string", "3"]),
        (b'{"text": null}', 422, ["text", "string", "null"]),
        (b'{"texts": "a"}', 422, ["texts", "list", '"a"']),
        (b'{"texts": []}', 422, ["texts", "empty"]),
        (b'{"texts": ["a", 1]}', 422, ["texts[1]", "string"]),
        (b'{"txt": "a"}', 422, ["'txt'", "'text'"]),
        (b'{"text": "a", "texts": ["a"]}', 422, ["either"]),
        (b"{}", 422, ["either"]),
        (b'{"texts": ["a", "b \\ud83d"]}', 422, ["texts[1]", "ud83d", "character 3"]),
        (b'{"text": "' + b"a" * 101 + b'"}', 413, ["text", "101", "100"]),
        (b'{"texts": ["a", "b", "c", "d"]}', 413, ["texts", "4", "3"]),
        (b'{"text": "refused"}', 422, ["a refused text"]),
    ],
)
def test_what_cannot_be_predicted_gets_one_line(
    batcher: Batcher, body: bytes, status: int, facts: list[str]
) -> None:
    answer = Served(batcher, limits=Limits(text=100, texts=3)).post(body)
    assert answer.status_code == status
    detail = answer.json()["detail"]
    assert all(fact in detail for fact in facts), detail
    assert "\n" not in detail


def test_control_characters_are_read_as_the_predictor_reads_them(predictor: Predictor) -> None:
    batcher = Batcher(predictor)
    answer = Served(batcher).post(json.dumps({"text": "\0 lovely \x07"}))
    batcher.close()
    assert answer.json() == predictor("\0 lovely \x07")


def test_a_body_of_another_type_is_refused(batcher: Batcher) -> None:
    answer = Served(batcher).post('{"text": "a"}', Content_Type="text/plain")
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_large_body_is_not_read_to_its_end(batcher: Batcher, declared: bool) -> None:
    limits = Limits(text=100)
    parts = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal parts
        for _ in range(1_000):
            parts += 1
            yield b"a" * (1 << 20)

    headers = {"Content-Type": "application/json"}
    if declared:
        headers["Content-Length"] = str(1_000 << 20)

    async def ask(client: httpx.AsyncClient) -> Any:
        return await client.post("/predict", content=body(), headers=headers)

    answer = Served(batcher, limits=limits)(ask)
    assert answer.status_code == 413
    assert f"{limits.body:,}" in answer.json()["detail"]
    assert parts <= (limits.body >> 20) + 1


def test_a_body_that_does_not_come_is_not_waited_for(batcher: Batcher) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"text": '
        await asyncio.sleep(30)

    async def ask(client: httpx.AsyncClient) -> Any:
        headers = {"Content-Type": "application/json"}
        return await client.post("/predict", content=body(), headers=headers)

    answer = Served(batcher, limits=Limits(seconds=0.1))(ask)
    assert answer.status_code == 408
    assert answer.headers["connection"] == "close"


def test_a_full_queue_and_a_stopping_server_ask_to_come_again() -> None:
    may_go = threading.Event()

    def predict(texts: list[str]) -> Answers:
        assert may_go.wait(10)
        return said(texts)

    batcher = Batcher(predict, max_queue=2)
    served = Served(batcher)

    async def ask(client: httpx.AsyncClient) -> tuple[Any, Any]:
        waiting = asyncio.create_task(client.post("/predict", json={"texts": ["a", "b"]}))
        while batcher.waiting < 2:
            await asyncio.sleep(0.01)
        full = await client.post("/predict", json={"text": "c"})
        may_go.set()
        return full, await waiting

    full, accepted = served(ask)
    assert (full.status_code, full.headers["retry-after"]) == (503, "1")
    assert (accepted.status_code, len(accepted.json())) == (200, 2)
    batcher.close()
    stopping = served.post('{"text": "a"}')
    assert (stopping.status_code, "retry-after" in stopping.headers) == (503, True)


def test_a_failing_model_is_one_line_in_the_log(batcher: Batcher, capsys: Any) -> None:
    answer = Served(batcher).post('{"text": "broken"}')
    assert answer.status_code == 500
    assert "broken model" not in answer.text
    assert capsys.readouterr().err == "error: RuntimeError: a broken model\n"


def test_without_the_key_there_is_no_prediction(batcher: Batcher) -> None:
    served = Served(batcher, api_key="secret")
    body = '{"text": "a"}'
    wrong: list[dict[str, Any]] = [
        {}, {"X_API_Key": "other"}, {"Authorization": "Basic secret"},
        {"Authorization": "Bearer sécret".encode()},
    ]  # fmt: skip
    for headers in wrong:
        answer = served.post(body, **headers)
        assert answer.status_code == 401
        assert "X-API-Key" in answer.json()["detail"]
        assert "secret" not in answer.text
    for headers in ({"X_API_Key": "secret"}, {"Authorization": "bearer secret"}):
        assert served.post(body, **headers).status_code == 200
    assert served.get("/metrics").status_code == 401
    assert served.get("/metrics", X_API_Key="secret").status_code == 200
    assert served.get("/health").json()["needs_key"] is True
    assert served.get("/").status_code == 200


def test_health_says_what_is_served(batcher: Batcher) -> None:
    health = Served(batcher, limits=Limits(text=7, texts=5)).get("/health").json()
    assert (health["status"], health["labels"], health["queue"]) == ("ok", ["bad", "good"], 0)
    assert (health["max_text"], health["max_texts"], health["needs_key"]) == (7, 5, False)


def test_metrics_count_requests_texts_and_seconds(batcher: Batcher) -> None:
    served = Served(batcher)
    served.post('{"text": "a"}')
    served.post('{"texts": ["a", "b"]}')
    served.post("{")
    served.get("/nothing")
    answer = served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'sentiment_requests_total{path="/predict",status="200"} 2' in lines
    assert 'sentiment_requests_total{path="/predict",status="400"} 1' in lines
    assert 'sentiment_requests_total{path="other",status="404"} 1' in lines
    assert "sentiment_texts_total 3" in lines
    assert "sentiment_queue_texts 0" in lines
    assert 'sentiment_request_seconds_bucket{le="+Inf"} 2' in lines
    assert "sentiment_request_seconds_count 2" in lines
    assert all(re.fullmatch(r"#.*|[a-z_]+(\{.*\})? [0-9.]+", line) for line in lines)


def test_the_api_describes_itself(batcher: Batcher) -> None:
    served = Served(batcher, limits=Limits(text=7))
    api = served.get("/openapi.json").json()
    schema = api["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert [*schema["schema"]["oneOf"][0]["properties"]] == ["text"]
    assert schema["schema"]["oneOf"][0]["properties"]["text"]["maxLength"] == 7
    assert served.get("/docs").status_code == 404
    assert "security" not in api["paths"]["/predict"]["post"]
    secured = Served(batcher, api_key="secret").get("/openapi.json").json()
    schemes = secured["components"]["securitySchemes"].values()
    assert {scheme.get("name") or scheme.get("scheme") for scheme in schemes} == {
        "X-API-Key", "bearer"
    }  # fmt: skip
    for path, method in (("/predict", "post"), ("/metrics", "get")):
        assert len(secured["paths"][path][method]["security"]) == 2  # either of them


STRINGS = st.text(st.characters(exclude_categories=()), max_size=25)  # lone surrogates too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=6,
)
ALMOST = st.fixed_dictionaries(
    {},
    optional={
        "text": STRINGS | VALUES,
        "texts": st.lists(STRINGS) | VALUES,
        "label": STRINGS | VALUES,
    },
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bytes, JSON, and JSON that is damaged."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary())
    given = json.dumps(draw(ALMOST | VALUES), ensure_ascii=draw(st.booleans()))
    body = given.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-16"])), "surrogatepass")
    cut = draw(st.none() | st.integers(0, len(body)))
    return body if cut is None else body[:cut] + draw(st.binary(max_size=3))


def test_random_requests_are_answered_as_described(batcher: Batcher) -> None:
    served = Served(batcher, limits=Limits(text=4, texts=2, explained=3), api_key="secret")
    api = served.get("/openapi.json").json()["paths"]
    models: dict[str, TypeAdapter[Any]] = {
        "/predict": TypeAdapter(Prediction | list[Prediction]),
        "/explain": TypeAdapter(Explained),
        "/health": TypeAdapter(Health),
    }
    seen = set()

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(
        path=st.sampled_from(["/predict"] * 8 + ["/explain"] * 4 + ["/health", "/metrics"]),
        body=bodies(),
        kind=st.sampled_from(["application/json"] * 9 + ["text/plain", ""]),
        key=st.sampled_from(["secret"] * 9 + ["other", ""]),
    )
    @example("/predict", b'{"text": "a"}', "application/json", "secret")
    @example("/predict", b'{"text": "12345"}', "application/json", "secret")
    @example("/explain", b'{"text": "a"}', "application/json", "secret")
    def check(path: str, body: bytes, kind: str, key: str) -> None:
        method = "post" if path in ("/predict", "/explain") else "get"
        headers = {"Content-Type": kind, "X-API-Key": key}

        async def ask(client: httpx.AsyncClient) -> Any:
            return await client.request(method, path, content=body, headers=headers)

        answer = served(ask)
        status = answer.status_code
        seen.add((path, status))
        assert status < 500
        described = api[path][method]["responses"][str(status)]["content"]
        assert answer.headers["content-type"].partition(";")[0] in described
        if status != 200:
            detail = Problem.model_validate_json(answer.content, strict=True).detail
            assert detail.isprintable()  # one line
        elif path in models:
            models[path].validate_json(answer.content, strict=True)

    check()
    assert {("/predict", status) for status in (200, 400, 401, 413, 415, 422)} <= seen
    assert {("/explain", status) for status in (200, 400, 401, 415, 422)} <= seen


def test_a_mark_of_byte_order_is_no_error(batcher: Batcher) -> None:
    assert Served(batcher).post(b'\xef\xbb\xbf{"text": "a"}').status_code == 200


def test_a_monitor_may_ask_for_headers_alone(batcher: Batcher) -> None:
    served = Served(batcher)
    for path in ("/health", "/"):
        ask = operator.methodcaller("head", path)
        assert served(ask).status_code == 200


def test_another_path_is_no_redirect(batcher: Batcher) -> None:
    assert Served(batcher).get("/health/").status_code == 404


def test_the_page_loads_nothing_from_elsewhere(batcher: Batcher) -> None:
    served = Served(batcher)
    pages = {path: served.get(path) for path in ("/", "/page.css", "/page.js")}
    for answer in pages.values():
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"https?:|//[a-z]", answer.text)
    page = pages["/"].text
    assert not re.search(r"<script>| style=| on[a-z]+=", page)
    identifiers = set(re.findall(r' id="([^"]+)"', page))
    assert set(re.findall(r' for="([^"]+)"', page)) <= identifiers
    script = pages["/page.js"].text
    assert set(re.findall(r'at\("([^"]+)"\)', script)) <= identifiers
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_other_sites_get_no_access(batcher: Batcher) -> None:
    async def ask(client: httpx.AsyncClient) -> Any:
        headers = {"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST"}
        return await client.options("/predict", headers=headers)

    answer = Served(batcher)(ask)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_nothing_is_computed_for_a_client_that_has_left() -> None:
    entered, may_go, explanations = threading.Event(), threading.Event(), 0

    def predict(texts: list[str]) -> Answers:
        entered.set()
        assert may_go.wait(10)
        return said(texts)

    def explain(text: str, label: str | None) -> dict[str, Any]:
        nonlocal explanations
        explanations += 1
        return explained(text, label)

    batcher = Batcher(predict)
    app = Served(batcher, explain=explain).app

    async def ask() -> None:
        body = [{"type": "http.request", "body": b'{"text": "a"}', "more_body": False}]
        left = asyncio.Event()

        async def receive() -> Any:
            if body:
                return body.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        scope = {
            "type": "http", "method": "POST", "path": "/explain", "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }  # fmt: skip
        request = asyncio.create_task(app(scope, receive, send))
        while batcher.waiting < 2:
            await asyncio.sleep(0.01)
        left.set()
        await request

    held = batcher.submit(["held"])
    assert entered.wait(10)
    asyncio.run(ask())
    may_go.set()
    held.result(10)
    batcher.close()
    assert explanations == 0
