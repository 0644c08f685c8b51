import hashlib
import logging
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests

from sentiment.data import download
from sentiment.data.download import check_glove, fetch, fetch_glove
from sentiment.data.glove_archives import GLOVE_ARCHIVES
from sentiment.runtime.errors import InputError

CONTENT = bytes(range(256)) * 1400
CUT = 2 << 16  # a multiple of what is read at a time
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` under /MODE/NAME; `asked` lists (path, Range header)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.asked: list[tuple[str, str | None]] = []

    def url(self, mode: str, name: str = "file.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{mode}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        mode = self.path.split("/")[1]
        asked = self.headers["Range"]
        self.server.asked.append((self.path, asked))
        content = self.server.content
        start = int(asked[len("bytes=") : -1]) if asked and mode in ("range", "cut") else 0
        if mode == "missing":
            self.send_error(404)
        elif mode == "elsewhere":
            self.send_response(302)
            self.send_header("Location", self.server.url("range"))
            self.end_headers()
        elif start >= len(content):
            self.send_error(416)
        else:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.end_headers()
            stop = {"cut": start + CUT, "short": CUT}.get(mode, len(content))
            body = content[start:stop]
            self.wfile.write(body[::-1] if mode == "wrong" else body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with Server() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "file.bin"


def part_of(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    return part


def left_over(path: Path) -> list[str]:
    names = (file.name for file in path.parent.iterdir() if file.is_file())
    return sorted(name for name in names if name not in (path.name, f".{path.name}.lock"))


def test_fetches_into_a_new_folder_and_leaves_nothing_beside(server: Server, path: Path) -> None:
    assert fetch([server.url("range")], sha256=SHA256.upper(), path=path) == path
    assert path.read_bytes() == CONTENT
    assert left_over(path) == []


def test_a_file_that_is_there_is_checked_and_not_fetched(server: Server, path: Path) -> None:
    for _ in range(3):
        fetch([server.url("range")], sha256=SHA256, path=path)
    assert len(server.asked) == 1
    path.write_bytes(CONTENT)  # by hand
    fetch([server.url("range")], sha256=SHA256, path=path)
    assert len(server.asked) == 1


def test_a_wrong_file_put_there_by_hand_is_replaced(
    server: Server, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    fetch([server.url("range")], sha256=SHA256, path=path)
    assert path.read_bytes() == CONTENT
    assert f"{path} is replaced" in caplog.text


def test_resumes_with_an_earlier_part(server: Server, path: Path) -> None:
    part_of(path, CONTENT[:1000])
    fetch([server.url("range")], sha256=SHA256, path=path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [("/range/file.bin", "bytes=1000-")]
    assert left_over(path) == []


def test_starts_again_if_the_server_ignores_range(server: Server, path: Path) -> None:
    part_of(path, CONTENT[:1000])
    fetch([server.url("plain")], sha256=SHA256, path=path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [("/plain/file.bin", "bytes=1000-")]


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"more"])
def test_starts_again_if_the_part_is_too_long(server: Server, path: Path, part: bytes) -> None:
    part_of(path, part)
    fetch([server.url("range")], sha256=SHA256, path=path)
    assert path.read_bytes() == CONTENT


def test_starts_again_if_the_part_is_of_another_file(server: Server, path: Path) -> None:
    part_of(path, b"x" * 1000)
    fetch([server.url("range")], sha256=SHA256, path=path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=1000-", None]


def test_resumes_after_the_connection_broke_off(
    server: Server, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fetch([server.url("cut")], sha256=SHA256, path=path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=131072-", "bytes=262144-"]
    assert "byte 131072" in caplog.text


def test_keeps_the_part_if_the_connection_always_breaks_off(server: Server, path: Path) -> None:
    with pytest.raises(InputError, match="the connection broke off"):
        fetch([server.url("short")], sha256=SHA256, path=path)
    assert not path.exists()
    assert left_over(path) == ["file.bin.part"]
    fetch([server.url("range")], sha256=SHA256, path=path)
    assert server.asked[-1] == ("/range/file.bin", "bytes=131072-")


def test_removes_a_file_with_a_wrong_checksum_and_says_so(server: Server, path: Path) -> None:
    url, found = server.url("wrong"), hashlib.sha256(CONTENT[::-1]).hexdigest()
    with pytest.raises(InputError) as raised:
        fetch([url], sha256=SHA256, path=path)
    message = str(raised.value)
    assert all(text in message for text in (url, SHA256, found, str(path), "proxy", "try again"))
    assert "\n" not in message
    assert not path.exists()
    assert left_over(path) == []


def test_tries_the_mirrors_in_turn_and_logs_why(
    server: Server, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    modes = ["missing", "wrong", "short", "range", "plain"]
    with caplog.at_level(logging.WARNING, logger=download.__name__):
        fetch([server.url(mode) for mode in modes], sha256=SHA256, path=path)
    assert path.read_bytes() == CONTENT
    assert "/plain/file.bin" not in dict(server.asked)
    assert f"{server.url('missing')}: HTTP 404" in caplog.text
    assert f"{server.url('wrong')}: wrong SHA-256" in caplog.text
    assert f"{server.url('short')}: the connection broke off" in caplog.text


def test_says_what_to_do_without_a_network(server: Server, path: Path) -> None:
    urls = ["http://127.0.0.1:1/file.bin", server.url("missing")]
    with pytest.raises(InputError) as raised:
        fetch(urls, sha256=SHA256, path=path)
    message = str(raised.value)
    assert f"{urls[0]}: no connection" in message
    assert f"{urls[1]}: HTTP 404" in message
    assert f"by hand and put it at {path}" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.exceptions.SSLError("x"), "TLS certificate"),
        (requests.exceptions.ProxyError("x"), "the proxy"),
        (requests.exceptions.ConnectTimeout("x"), "no answer within 30 s"),
        (requests.exceptions.ReadTimeout("x"), "no answer within 30 s"),
        (requests.exceptions.TooManyRedirects("too\nmany"), "too"),
        (ValueError("not what was meant"), "not what was meant"),
    ],
)
def test_gives_the_reason_in_a_few_words(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    asked: list[dict[str, Any]] = []

    def get(url: str, **options: Any) -> None:
        asked.append(options)
        raise error

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(InputError, match=f"https://a/b: .*{words}"):
        fetch(["https://a/b"], sha256=SHA256, path=path)
    assert "verify" not in asked[0]


@pytest.mark.parametrize(
    "url",
    ["http://example.com/file", "http://localhost.example.com/file", "ftp://example.com/file",
     "file:///etc/hosts", "https://", "https://[", "/a/path", ""],
)  # fmt: skip
def test_refuses_urls_that_are_not_https(path: Path, url: str) -> None:
    with pytest.raises(InputError, match=re.escape(repr(url))):
        fetch(["https://example.com/file", url], sha256=SHA256, path=path)


def test_refuses_a_redirect_away_from_https(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch([server.url("elsewhere")], sha256=SHA256, path=path)
    path.unlink()
    monkeypatch.setattr(download, "LOCAL_HOSTS", ("localhost",))
    url = server.url("elsewhere").replace("127.0.0.1", "localhost")
    with pytest.raises(InputError, match=r"redirected to http://127\.0\.0\.1"):
        fetch([url], sha256=SHA256, path=path)


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, SHA256 + "0"])
def test_refuses_a_malformed_digest_and_no_url(path: Path, sha256: str) -> None:
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        fetch(["https://example.com/file"], sha256=sha256, path=path)
    with pytest.raises(InputError, match=r"file\.bin"):
        fetch([], sha256=SHA256, path=path)


def test_says_where_it_cannot_write(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is needed")
    path = tmp_path / "taken" / "file.bin"
    with pytest.raises(InputError, match=re.escape(f"cannot write {path}")):
        fetch([server.url("range")], sha256=SHA256, path=path)


def test_those_who_ask_at_once_wait_for_one_download(server: Server, path: Path) -> None:
    def ask(_: int) -> Path:
        return fetch([server.url("plain")], sha256=SHA256, path=path)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [path] * 4
    assert len(server.asked) == 1


def serve_glove(server: Server, folder: Path, names: list[str]) -> str:
    """Let the server give a zip with the members; return its digest."""
    with zipfile.ZipFile(folder / "made.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in names:
            zipped.writestr(name, f"the 0.1 0.2 {name}\n")
    server.content = (folder / "made.zip").read_bytes()
    return hashlib.sha256(server.content).hexdigest()


def glove(server: Server, cache: Path | None, sha256: str, **options: Any) -> Path:
    mirrors = [server.url("range", "")]
    return fetch_glove(cache_dir=cache, mirrors=mirrors, sha256=sha256, **options)


def test_glove_is_fetched_and_unpacked_once(server: Server, tmp_path: Path) -> None:
    sha256 = serve_glove(server, tmp_path, ["glove.6B.50d.txt", "glove.6B.100d.txt"])
    cache = tmp_path / "cache"
    for _ in range(2):
        path = glove(server, cache, sha256)
        assert path == cache / "glove.6B.100d.txt"
        assert path.read_text() == "the 0.1 0.2 glove.6B.100d.txt\n"
    assert glove(server, cache, sha256, size=50) == cache / "glove.6B.50d.txt"
    assert [asked for asked, _ in server.asked] == ["/range/glove.6B.zip"]
    assert not list(cache.glob("*.tmp")) + list(cache.glob(".*.tmp"))


def test_glove_needs_no_archive_once_unpacked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "mine"))
    sha256 = serve_glove(server, tmp_path, ["glove.840B.300d.txt"])
    path = glove(server, None, sha256, archive="840B", size=300)
    assert path == tmp_path / "mine" / "glove.840B.300d.txt"
    (tmp_path / "mine" / "glove.840B.300d.zip").unlink()
    assert glove(server, None, sha256, archive="840B", size=300) == path
    assert [asked for asked, _ in server.asked] == ["/range/glove.840B.300d.zip"]


def test_glove_says_that_the_archive_is_another(server: Server, tmp_path: Path) -> None:
    sha256 = serve_glove(server, tmp_path, ["readme.txt"])
    with pytest.raises(InputError, match=r"glove\.6B\.zip has no member glove\.6B\.100d\.txt"):
        glove(server, tmp_path, sha256)
    assert not (tmp_path / "glove.6B.100d.txt").exists()


@pytest.mark.parametrize("start", [0, 40])
def test_glove_says_that_the_archive_is_damaged(server: Server, tmp_path: Path, start: int) -> None:
    serve_glove(server, tmp_path, ["glove.6B.100d.txt"])
    content = bytearray(server.content)
    content[start : start + 20] = b"?" * 20
    server.content = bytes(content)
    with pytest.raises(InputError, match=r"cannot unpack glove\.6B\.100d\.txt"):
        glove(server, tmp_path, hashlib.sha256(server.content).hexdigest())
    assert not (tmp_path / "glove.6B.100d.txt").exists()


def test_glove_names_the_archives_and_sizes_there_are() -> None:
    with pytest.raises(InputError, match="'7B'.* 6B, 840B"):
        fetch_glove(archive="7B")
    with pytest.raises(InputError, match="size 100.* 300"):
        fetch_glove(archive="840B", size=100)
    assert check_glove("6B", 200) is GLOVE_ARCHIVES["6B"]
