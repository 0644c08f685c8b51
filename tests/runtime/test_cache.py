import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from sentiment.runtime.cache import cache_directory, content_digest, fingerprint


def test_the_cache_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "env"))
    assert cache_directory() == tmp_path / "env"
    assert cache_directory(tmp_path / "set") == tmp_path / "set"
    monkeypatch.setenv("SENTIMENT_CACHE", "")
    assert cache_directory().name == "sentiment"


def test_a_fingerprint_depends_on_values_and_not_on_their_order() -> None:
    first = fingerprint({"a": 1, "b": {"c": [True, None], "d": Path("x")}})
    assert first == fingerprint({"b": {"d": Path("x"), "c": [True, None]}, "a": 1})
    others: list[dict[str, Any]] = [{"a": "1"}, {"a": 1}, {"a": None}, {"a": Path("x")}, {"b": 1}]
    assert len({first, *(fingerprint(other) for other in others)}) == 6


def test_a_digest_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "a", tmp_path / "cache"
    path.write_text("one")
    first = content_digest(path, cache)
    assert first == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)  # reading it again would fail
        assert content_digest(path, cache) == first
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text("two")
    os.utime(path, ns=times)  # as a tool that keeps times leaves it
    assert content_digest(path, cache) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("note", ["", "{", "{}", '{"state": []}', "\udcff"])
def test_a_spoilt_note_is_made_anew(tmp_path: Path, note: str) -> None:
    path, cache = tmp_path / "a", tmp_path / "cache"
    path.write_text("one")
    first = content_digest(path, cache)
    (written,) = (cache / "files").iterdir()
    written.write_bytes(note.encode(errors="surrogateescape"))
    assert content_digest(path, cache) == first
