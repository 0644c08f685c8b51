import contextlib
import functools
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import sentiment.serve.server as servers
from programs import Program
from sentiment import Predictor
from sentiment.serve.command import main

GOOD = "the film number 1 was lovely , and so was act 1"


def address(program: Program) -> str:
    program.wait_for("(Ctrl-C stops)\n")
    found = re.search(r" at (http://\S+)/ ", program.stdout)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    key = tmp_path_factory.mktemp("key") / "key.txt"
    key.write_text("\ufeffsecret\r\n", encoding="utf-8")  # as Windows writes it
    with Program(
        "serve", str(checkpoint), "--port=0", "--threads=1", f"--api-key-file={key}"
    ) as program:
        program.wait_for("(Ctrl-C stops)\n")
        yield program


def connected(program: Program) -> socket.socket:
    host, _, port = address(program).removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def test_a_server_predicts_as_the_predictor(server: Program, predictor: Predictor) -> None:
    headers = {"Authorization": "Bearer secret"}
    url = address(server)
    assert httpx.post(f"{url}/predict", json={"text": GOOD}).status_code == 401
    answer = httpx.post(f"{url}/predict", json={"text": GOOD}, headers=headers)
    assert answer.json() == predictor(GOOD)
    assert httpx.get(f"{url}/health").json()["needs_key"] is True
    assert "server" not in answer.headers
    assert server.stderr == ""


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: secret\r\n"
JSON = HEAD + b"Content-Type: application/json\r\n"
MANY_CHUNKS = b"10000\r\n%b\r\n" % (b"a" * 65536) * 99


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", b"400"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (HEAD + b"X: " + b"a" * 100_000, b"400"),
        (JSON + b"Transfer-Encoding: chunked\r\n\r\nnone\r\n", b"400"),
        (JSON + b"Transfer-Encoding: chunked\r\n\r\n" + MANY_CHUNKS, b"413"),
        (JSON + b"Content-Length: 99999999\r\n\r\n", b"413"),
        (JSON + b"Content-Length: 5\r\n\r\n" + b'{"text": "a"}', b"400"),
    ],
)  # fmt: skip
def test_broken_requests_are_refused(server: Program, sent: bytes, status: bytes) -> None:
    with connected(server) as client:
        with contextlib.suppress(ConnectionError):  # the server does not read all of it
            client.sendall(sent)
        assert client.recv(100).startswith(b"HTTP/1.1 " + status)
    assert server.stderr == ""


def test_requests_of_a_connection_may_follow_without_waiting(server: Program) -> None:
    request = JSON + b'Content-Length: 13\r\n\r\n{"text": "a"}'
    with connected(server) as client:
        client.sendall(request * 2 + request.replace(b"Host", b"Connection: close\r\nHost"))
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 ") == 3


def test_a_client_that_leaves_is_no_error(server: Program) -> None:
    def refused() -> int:
        metrics = httpx.get(f"{address(server)}/metrics", headers={"X-API-Key": "secret"}).text
        found = re.search(r'path="/predict",status="400"} (\d+)', metrics)
        return int(found[1]) if found else 0

    before = refused()
    for sent in (b"", b'{"te'):
        with connected(server) as client:
            client.sendall(JSON + b"Content-Length: 100\r\n\r\n" + sent)
    end = time.monotonic() + 20
    while refused() < before + 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert server.stderr == ""


def held(answer: Path) -> Callable[..., Any]:
    """Instead of ``Predictor.__call__``: predicts reviews once a file is there."""
    predict = Predictor.__call__

    def call(self: Predictor, texts: Any) -> Any:
        while GOOD in texts and not answer.exists():
            time.sleep(0.01)
        return predict(self, texts)

    return call


@pytest.mark.parametrize("in_time", [True, False])
def test_sigterm_answers_all_that_was_accepted_and_nothing_else(
    checkpoint: Path,
    predictor: Predictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_time: bool,
) -> None:
    expected = predictor(GOOD)
    monkeypatch.setattr(Predictor, "__call__", held(tmp_path / "answer"))
    monkeypatch.setattr(servers, "STOP_SECONDS", 30 if in_time else 1)
    with (
        Program("serve", str(checkpoint), "--port=0", "--threads=1") as program,
        ThreadPoolExecutor(32) as pool,
        httpx.Client(base_url=address(program), timeout=60) as other,
    ):
        url = f"{address(program)}/predict"
        ask = functools.partial(httpx.post, url, json={"texts": [GOOD, GOOD]}, timeout=60)
        accepted = [pool.submit(ask) for _ in range(32)]
        end = time.monotonic() + 30
        while other.get("/health").json()["queue"] < 64:
            assert time.monotonic() < end
        program.send_signal(signal.SIGTERM)
        with contextlib.suppress(httpx.TransportError):
            while time.monotonic() < end:
                other.get("/health")
        with pytest.raises(httpx.ConnectError):
            other.post("/predict", json={"text": "late"})
        if in_time:
            assert not any(answer.done() for answer in accepted)
            (tmp_path / "answer").touch()
        answers = [answer.result(60) for answer in accepted]
        (tmp_path / "answer").touch()
        assert program.wait(60) == 0
        assert program.stderr.count("\n") == (0 if in_time else 1)
    assert [answer.status_code for answer in answers] == [200 if in_time else 503] * 32
    for answer in answers if in_time else ():
        for found in answer.json():
            assert found["scores"] == pytest.approx(expected["scores"], abs=1e-5)


def test_ctrl_c_is_one_line(checkpoint: Path) -> None:
    with Program("serve", str(checkpoint), "--port=0", "--threads=1") as program:
        address(program)
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 130
        assert program.stderr == "\nStopped.\n"


def test_a_client_that_sends_its_headers_slowly_is_cut_off(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "HEAD_SECONDS", 0.5)
    with Program("serve", str(checkpoint), "--port=0", "--threads=1") as program:
        for first in (b"", b"POST /predict HTTP/1.1\r\nHost: x\r\n"):
            with connected(program) as client:
                client.sendall(first)
                start = time.monotonic()
                with pytest.raises(OSError, match="."):
                    while time.monotonic() < start + 15:
                        time.sleep(0.1)
                        client.sendall(b"x" if first else b"")
                        client.setblocking(False)
                        try:
                            if client.recv(100) == b"":
                                raise ConnectionResetError("closed")
                        except BlockingIOError:
                            pass
                        client.setblocking(True)
                assert time.monotonic() - start < 10
        answer = httpx.post(f"{address(program)}/predict", json={"text": GOOD})
        assert answer.status_code == 200


def test_a_client_that_does_not_take_its_answers_is_cut_off(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "RECEIVE_SECONDS", 0.5)
    with Program("serve", str(checkpoint), "--port=0", "--threads=1") as program:
        address(program)
        with connected(program) as client:
            client.setblocking(False)
            with pytest.raises(ConnectionError):
                end = time.monotonic() + 15
                while time.monotonic() < end:
                    with contextlib.suppress(BlockingIOError):
                        client.send(b"GET /page.js HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                    start = time.monotonic()
                    assert httpx.get(f"{address(program)}/health").status_code == 200
                    assert time.monotonic() - start < 5  # others do not wait
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
        assert program.stderr == ""


def ended(arguments: list[str], capsys: Any) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error: str = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_wrong_command_lines_are_one_line(
    checkpoint: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = str(checkpoint)
    assert "no such checkpoint" in ended([str(tmp_path / "none.ckpt")], capsys)
    assert "'1.5'" in ended([given, "--threshold", "1.5"], capsys)
    assert "65535" in ended([given, "--port", "70000"], capsys)
    assert "--max-queue" in ended([given, "--max-queue", "0"], capsys)
    assert "--host elsewhere.invalid" in ended([given, "--host", "elsewhere.invalid"], capsys)
    assert "no such file" in ended([given, "--api-key-file", str(tmp_path / "none")], capsys)
    assert "'tpu'" in ended([given, "--port=0", "--device=tpu"], capsys)
    empty = tmp_path / "key.txt"
    empty.write_text("\n")
    assert str(empty) in ended([given, "--api-key-file", str(empty)], capsys)
    for wrong in (b"s\xe9cret", "sécret".encode(), b"two keys", b"two\nkeys"):
        empty.write_bytes(wrong)
        assert str(empty) in ended([given, "--api-key-file", str(empty)], capsys)
    monkeypatch.setenv("SENTIMENT_API_KEY", "sécret")
    assert "SENTIMENT_API_KEY" in ended([given, "--port=0"], capsys)


def test_a_port_in_use_is_one_line(checkpoint: Path, capsys: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = ended([str(checkpoint), "--port", str(port)], capsys)
    assert f"--port {port}" in error
    assert "in use" in error


def test_a_missing_package_is_named(
    checkpoint: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert "pip install 'sentiment[serve]'" in ended([str(checkpoint)], capsys)


def test_an_address_that_others_reach_without_a_key_is_noted(checkpoint: Path) -> None:
    assert "SENTIMENT_API_KEY" not in os.environ
    with Program("serve", str(checkpoint), "--port=0", "--host=0.0.0.0") as program:
        assert address(program).startswith("http://0.0.0.0:")
        assert "--api-key-file" in program.stderr


def test_a_threshold_may_be_given(checkpoint: Path) -> None:
    with Program("serve", str(checkpoint), "--port=0", "--threshold=1") as program:
        answer = httpx.post(f"{address(program)}/predict", json={"text": GOOD}).json()
    assert (answer["label"], answer["abstained"]) == (None, True)
