"""Fetch files over https, checked by SHA-256; and Stanford's GloVe archives in particular.

Knows nothing of what the files mean. A file stands at its path only when it is whole and right.
"""

import logging
import re
import shutil
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from sentiment.data.glove_archives import GLOVE_ARCHIVES, GLOVE_MIRRORS, GloveArchive
from sentiment.runtime.cache import cache_directory, content_digest
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import one_at_a_time, replaced_when_whole

logger = logging.getLogger(__name__)
pooch.get_logger().setLevel(logging.WARNING)  # it prints past the program's logging

_TIMEOUT = 30  # seconds without an answer, or without a byte
_CHUNK = 1 << 16  # bytes; what is lost where a connection breaks off
_LOCAL_HOSTS = ("localhost", "127.0.0.1")


def fetch(urls: Sequence[str], *, sha256: str, path: Path, progress: bool = True) -> Path:
    """Fetch a file to `path` from the first of `urls` that gives the right content.

    A file that is there already is hashed once and remembered (see ``content_digest``) rather
    than trusted for its name, because people put files there by hand. What a broken connection
    left in ``PATH.part`` is gone on with. Processes that ask at the same time wait for one another.

    Args:
        urls: mirrors of the same file; https, or http on this machine.
        sha256: digest of the file, 64 hexadecimal digits.
        path: where the file goes; its folder is made.
        progress: show a progress bar where stderr is a terminal.

    Raises:
        InputError: a URL or digest is malformed, no mirror gave the file, or it cannot be written.
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
                _from_mirrors(urls, sha256, path, progress)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _is_allowed(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    local = parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS
    return bool(parts.hostname) and (parts.scheme == "https" or local)


def _is_there(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    found = content_digest(path, path.parent)
    if found != sha256:
        logger.warning("%s is replaced: its SHA-256 is %s, not %s", path, found, sha256)
    return found == sha256


def _from_mirrors(urls: Sequence[str], sha256: str, path: Path, progress: bool) -> None:
    failures = []
    for url in urls:
        logger.info("fetching %s to %s", url, path)
        reason = _from_mirror(url, sha256, path, progress)
        if reason is None:
            return
        logger.warning("cannot fetch %s: %s", url, reason)
        failures.append(f"{url}: {reason}")
    raise InputError(
        f"cannot fetch {path.name} ({'; '.join(failures)}); try again, check the network and "
        f"whether a proxy changes what it passes on, or fetch the file by hand and put it at "
        f"{path} (its SHA-256 is {sha256})"
    )


def _from_mirror(url: str, sha256: str, path: Path, progress: bool) -> str | None:
    """Fetch from one mirror, for as long as every try brings more; return why it failed, or None.

    Pooch checks the digest, moves the file into place if it is right and removes it if not.
    """
    download = _ResumedDownload(path, progress)
    while True:
        before = download.size()
        try:
            pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, downloader=download)
        except requests.RequestException as error:
            if download.size() <= before:
                return _reason(error)
            logger.warning("%s: %s; going on from byte %d", url, _reason(error), download.size())
        except ValueError as error:
            if not download.found:
                return _line(error)
            if not download.resumed:  # otherwise the old part may be to blame: start afresh
                return f"wrong SHA-256, expected {sha256} but found {download.found}"
        else:
            return None


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
    return next((words for kind, words in kinds if isinstance(error, kind)), _line(error))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


class _ResumedDownload:
    """A pooch downloader that keeps what came in `PATH.part` and asks only for the rest.

    Attributes:
        resumed: whether the last download went on from an earlier part.
        found: SHA-256 of the last download, "" if it did not end.
    """

    def __init__(self, path: Path, progress: bool) -> None:
        self.part = path.with_name(f"{path.name}.part")
        self.progress = progress
        self.resumed = False
        self.found = ""

    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        self.found = ""
        with closing(self._ask(url, self.size())) as response:
            self._receive(response)
        self.found = pooch.file_hash(str(self.part))
        self.part.replace(output_file)

    def _ask(self, url: str, start: int) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}  # bytes as they are on the server's disk
        if start:
            headers["Range"] = f"bytes={start}-"
        response = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
        if start and response.status_code == requests.codes.requested_range_not_satisfiable:
            response.close()
            return self._ask(url, 0)
        response.raise_for_status()
        if not _is_allowed(response.url):
            raise requests.exceptions.InvalidURL(f"redirected to {response.url}, not https")
        came_from = response.headers.get("Content-Range", "")
        self.resumed = bool(start) and came_from.startswith(f"bytes {start}-")
        return response

    def _receive(self, response: requests.Response) -> None:
        have = self.size() if self.resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            self.part.open("ab" if self.resumed else "wb") as file,
            tqdm(
                desc=self.part.stem,
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
                disable=None if self.progress else True,
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                bar.update(file.write(chunk))
        if total is not None and self.size() != total:
            raise requests.exceptions.ChunkedEncodingError(f"{self.size()} of {total} bytes came")


def check_glove(archive: str, size: int) -> GloveArchive:
    """Return the facts of an archive; InputError if there is none or it lacks the vector size."""
    facts = GLOVE_ARCHIVES.get(archive)
    if facts is None:
        raise InputError(f"no GloVe archive {archive!r}; choose from {', '.join(GLOVE_ARCHIVES)}")
    if size not in facts.members:
        sizes = ", ".join(map(str, facts.members))
        raise InputError(f"GloVe {archive} has no vectors of size {size}; choose from {sizes}")
    return facts


def fetch_glove(
    *,
    archive: str = "6B",
    size: int = 100,
    cache_dir: str | Path | None = None,
    mirrors: Sequence[str] = GLOVE_MIRRORS,
    sha256: str | None = None,
    progress: bool = True,
) -> Path:
    """Return the text file of one vector size, fetched and unpacked into the cache if need be.

    Args:
        archive: a key of ``GLOVE_ARCHIVES``.
        size: numbers in a vector; the archive says which sizes there are.
        cache_dir: default as ``cache_directory``.
        mirrors: folders on the web that hold the archive under its own name.
        sha256: digest of the archive, if the mirrors hold another packing of it.
        progress: show a progress bar where stderr is a terminal.

    Raises:
        InputError: there is no such archive or size, or it cannot be fetched or unpacked.
    """
    facts = check_glove(archive, size)
    folder = cache_directory(cache_dir)
    path = folder / facts.members[size]
    if not path.is_file():
        urls = [f"{mirror.rstrip('/')}/{facts.zip_name}" for mirror in mirrors]
        zipped = folder / facts.zip_name
        fetch(urls, sha256=sha256 or facts.sha256, path=zipped, progress=progress)
        with one_at_a_time(path, f"unpacks {path}"):
            if not path.is_file():
                _unpack(zipped, path)
    return path


def _unpack(archive: Path, path: Path) -> None:
    """Write the member of `archive` that has the name of `path` to `path`."""
    try:
        with (
            zipfile.ZipFile(archive) as zipped,
            zipped.open(path.name) as member,
            replaced_when_whole(path) as temporary,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(member, file, _CHUNK)
    except KeyError as error:
        raise InputError(f"{archive} has no member {path.name}") from error
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot unpack {path.name} from {archive}: {error}") from error
