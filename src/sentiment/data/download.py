"""Download files over https, checked by SHA-256, and Stanford's GloVe archives in particular.

A file appears at its path only when it is complete and verified.
"""

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import requests

from sentiment.data.glove_archives import GLOVE_ARCHIVES, GLOVE_MIRRORS, GloveArchive
from sentiment.runtime.cache import cache_directory, content_digest
from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.files import compression_of, one_at_a_time, replaced_when_whole, uncompressed
from sentiment.runtime.progress_bar import progress_bar

log = logging.getLogger(__name__)

_TIMEOUT = 30  # seconds without an answer, or without a byte
_CHUNK = 1 << 16  # bytes; the most that are lost when a connection breaks off
LOCAL_HOSTS = ("localhost", "127.0.0.1")


def fetch(urls: Sequence[str], *, sha256: str, path: Path) -> Path:
    """Download a file to ``path`` from the first of ``urls`` with the right content.

    An existing file is hashed once (see ``content_digest``), because people may have put it there
    by hand. ``PATH.part``, which a broken connection left, is
    completed. Of several processes that ask at the same time one downloads; the others wait.

    Args:
        urls: mirrors of the same file; https, or http on this machine.
        sha256: digest of the file, 64 hexadecimal digits.
        path: where the file goes; its folder is created.

    Raises:
        InputError: a URL or digest is malformed, no mirror has the file, or it cannot be written.
    """
    sha256 = sha256.lower()
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise InputError(f"sha256 must be 64 hexadecimal digits, not {sha256!r}")
    if not urls:
        raise InputError(f"no URL given to fetch {path.name} from")
    for url in urls:
        if not _is_allowed(url):
            raise InputError(f"cannot fetch from {url!r}: only https:// URLs are allowed")
    try:
        with one_at_a_time(path, f"fetches {path}"):
            if not _is_there(path, sha256):
                _from_mirrors(urls, sha256, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _is_allowed(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    local = parts.scheme == "http" and parts.hostname in LOCAL_HOSTS
    return bool(parts.hostname) and (parts.scheme == "https" or local)


def _is_there(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    found = content_digest(path, path.parent)
    if found != sha256:
        log.warning("%s is replaced: its SHA-256 is %s, not %s", path, found, sha256)
    return found == sha256


def _from_mirrors(urls: Sequence[str], sha256: str, path: Path) -> None:
    failures = []
    for url in urls:
        log.info("fetching %s to %s", url, path)
        reason = _from_mirror(url, sha256, path)
        if reason is None:
            return
        log.warning("cannot fetch %s: %s", url, reason)
        failures.append(f"{url}: {reason}")
    raise InputError(
        f"cannot fetch {path.name} ({'; '.join(failures)}); try again, check the network and "
        f"whether a proxy changes what it passes on, or fetch the file by hand and put it at "
        f"{path} (its SHA-256 is {sha256})"
    )


def _from_mirror(url: str, sha256: str, path: Path) -> str | None:
    """Download from one mirror, as long as every try brings more; return why it failed, or None."""
    part = path.with_name(f"{path.name}.part")
    while True:
        before = _size(part)
        try:
            resumed = _download(url, part)
        except requests.RequestException as error:
            if _size(part) <= before:
                return _reason(error)
            log.warning("%s: %s; resuming at byte %d", url, _reason(error), _size(part))
            continue
        except ValueError as error:  # of a malformed response
            return first_words(error)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == sha256:
            part.replace(path)
            return None
        part.unlink()
        if not resumed:  # otherwise the old part may be wrong: start again
            return f"wrong SHA-256, expected {sha256} but found {found}"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    kinds: list[tuple[type[requests.RequestException], str]] = [
        (requests.exceptions.SSLError, "the TLS certificate was not accepted; is it a proxy's?"),
        (requests.exceptions.ProxyError, "the proxy did not let it through"),
        (requests.Timeout, f"no answer within {_TIMEOUT} s"),
        (requests.exceptions.ChunkedEncodingError, "the connection broke off"),
        (requests.ConnectionError, "no connection, or it was lost"),
    ]
    return next((words for kind, words in kinds if isinstance(error, kind)), first_words(error))


def _download(url: str, part: Path) -> bool:
    """Download into a file that may hold the beginning already; return whether it was used."""
    start = _size(part)
    with _ask(url, start) as response:
        came_from = response.headers.get("Content-Range", "")
        resumed = bool(start) and came_from.startswith(f"bytes {start}-")
        have = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            part.open("ab" if resumed else "wb") as file,
            progress_bar(part.stem, total, "B", initial=have, unit_scale=True) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                bar.update(file.write(chunk))
    if total is not None and _size(part) != total:
        raise requests.exceptions.ChunkedEncodingError(f"{_size(part)} of {total} bytes came")
    return resumed


def _ask(url: str, start: int) -> requests.Response:
    headers = {"Accept-Encoding": "identity"}  # bytes as they are on the server's disk
    if start:
        headers["Range"] = f"bytes={start}-"
    response = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    if start and response.status_code == requests.codes.requested_range_not_satisfiable:
        response.close()
        return _ask(url, 0)
    response.raise_for_status()
    if not _is_allowed(response.url):
        raise requests.exceptions.InvalidURL(f"redirected to {response.url}, not https")
    return response


def check_glove(archive: str, size: int) -> GloveArchive:
    """The GloVe archive; raises InputError if there is none or it lacks the vector size."""
    found = GLOVE_ARCHIVES.get(archive)
    if found is None:
        raise InputError(f"no GloVe archive {archive!r}; choose from {', '.join(GLOVE_ARCHIVES)}")
    if size not in found.members:
        sizes = ", ".join(map(str, found.members))
        raise InputError(f"GloVe {archive} has no vectors of size {size}; choose from {sizes}")
    return found


def fetch_glove(
    *,
    archive: str = "6B",
    size: int = 100,
    cache_dir: str | Path | None = None,
    mirrors: Sequence[str] = GLOVE_MIRRORS,
    sha256: str | None = None,
) -> Path:
    """The text file with vectors of one size, downloaded and unpacked into the cache if necessary.

    Args:
        archive: a key of ``GLOVE_ARCHIVES``.
        size: size of the vectors; each archive has its own sizes.
        cache_dir: see ``cache_directory``.
        mirrors: folders on the web that hold the archive under its own name.
        sha256: digest of the archive, if the mirrors hold another version of it.

    Raises:
        InputError: there is no such archive or size, or it cannot be downloaded or unpacked.
    """
    glove = check_glove(archive, size)
    folder = cache_directory(cache_dir)
    path = folder / glove.members[size]
    if not path.is_file():
        urls = [f"{mirror.rstrip('/')}/{glove.zip_name}" for mirror in mirrors]
        zipped = folder / glove.zip_name
        fetch(urls, sha256=sha256 or glove.sha256, path=zipped)
        with one_at_a_time(path, f"unpacks {path}"):
            if not path.is_file():
                _unpack(zipped, path)
    return path


def _unpack(archive: Path, path: Path) -> None:
    """Write the member of the archive that has the name of ``path`` to ``path``."""

    def member(names: Sequence[str]) -> str:
        if path.name not in names:
            raise InputError(f"{archive} has no member {path.name}")
        return path.name

    try:
        with (
            archive.open("rb") as raw,
            uncompressed(raw, compression_of(archive), member) as read,
            replaced_when_whole(path) as temporary,
            temporary.open("wb") as file,
        ):
            while block := read(_CHUNK):
                file.write(block)
    except OSError as error:
        raise InputError(f"cannot unpack {path.name} from {archive}: {error}") from error
