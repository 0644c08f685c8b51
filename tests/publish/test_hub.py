"""Pushing and loading, against a stub of the Hub on this machine."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, hf_api

from sentiment import InputError, Predictor
from sentiment.export.command import main as export
from sentiment.predict.hub import fetch_from_hub
from sentiment.publish.command import main

COMMIT = "0123456789abcdef" * 2 + "01234567"


class Hub(BaseHTTPRequestHandler):
    """One repository, me/reviews, whose files are kept in memory."""

    files: dict[str, bytes]
    private: list[bool]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        home = f"http://{self.headers['Host']}/me/reviews"
        if self.path == "/api/repos/create":
            self.private.append("private" in body.decode())
            self._answer({"url": home, "name": "me/reviews"})
        elif self.path.endswith("/preupload/main"):
            paths = [each["path"] for each in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self._answer({"files": [{"path": path, **modes} for path in paths]})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            self._answer({"commitOid": COMMIT, "commitUrl": f"{home}/commit/{COMMIT}"})
        else:
            self._answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if self.path.startswith(f"/api/models/me/reviews/tree/{COMMIT}"):
            self._answer(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": COMMIT}
                    for path, content in self.files.items()
                ]
            )
        elif self.path.startswith("/api/models/me/reviews"):
            siblings = [{"rfilename": path} for path in self.files]
            self._answer({"id": "me/reviews", "sha": COMMIT, "siblings": siblings})
        elif self.path.startswith("/me/reviews/resolve/") and name in self.files:
            self._answer(self.files[name])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _answer(self, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    stub = type("Stub", (Hub,), {"files": {}, "private": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), stub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hf_api.api, "endpoint", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield stub
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_pushed_is_loaded_by_its_name(
    tmp_path: Path,
    checkpoint: Path,
    hub: type[Hub],
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([str(checkpoint), str(tmp_path / "x"), "--push", "me/reviews", "--private"])
    name = f"hf:me/reviews@{COMMIT}"
    assert name in capsys.readouterr().out
    assert hub.private == [True]
    assert hub.files.keys() == {
        "README.md", "config.json", "model.safetensors", "vocabulary.json",
    }  # fmt: skip
    assert Predictor.load(name)("lovely") == Predictor.load(checkpoint)("lovely")
    assert "may change" not in capsys.readouterr().err
    export([name, str(tmp_path / "model.onnx")])
    assert Predictor.load(tmp_path / "model.onnx").labels == Predictor.load(name).labels
    fetch_from_hub("hf:me/reviews")
    assert "may change at any time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "expected"),
    [("hf:me", "give hf:USER/NAME@REVISION"), ("hf:me/nothere@main", "cannot be downloaded")],
)
def test_what_is_not_on_the_hub_is_one_line(hub: type[Hub], name: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        Predictor.load(name)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'sentiment\[hub\]'"):
        Predictor.load("hf:me/reviews@main")
