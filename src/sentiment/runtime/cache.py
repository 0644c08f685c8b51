"""Where the results of expensive work are kept between runs, and under which name."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from sentiment.runtime.files import replaced_when_whole


def cache_directory(chosen: str | Path | None = None) -> Path:
    """The cache folder: ``chosen``, else ``$SENTIMENT_CACHE``, else the user's cache folder."""
    return Path(
        chosen or os.environ.get("SENTIMENT_CACHE") or platformdirs.user_cache_dir("sentiment")
    )


def fingerprint(values: Mapping[str, Any]) -> str:
    """A short name that changes with any of the values."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def file_state(path: Path) -> list[int]:
    """What changes when a file is modified: size, modification and change time, and inode."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def content_digest(path: Path, cache: Path) -> str:
    """SHA-256 of a file's content; remembered while its path and ``file_state`` are the same.

    If the cache cannot be written to, nothing new is remembered.
    """
    state = file_state(path)
    note = cache / "files" / f"{fingerprint({'path': path.resolve()})}.json"
    try:
        remembered = json.loads(note.read_text())
        if remembered["state"] == state:
            return str(remembered["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError), replaced_when_whole(note) as temporary:
        temporary.write_text(json.dumps({"path": str(path), "state": state, "sha256": digest}))
    return digest
