"""Classifiers on the Hugging Face Hub, which are named ``hf:USER/NAME@REVISION``."""

import re
from pathlib import Path
from typing import Any

from sentiment.runtime.errors import InputError, first_words, needing
from sentiment.runtime.progress_bar import write_note
from sentiment.runtime.run_folder import PUBLISHED_FILES, best_checkpoint

PREFIX = "hf:"
_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_on_hub(path: str | Path) -> bool:
    """Whether a path names a classifier on the Hub."""
    return str(path).startswith(PREFIX)


def local_checkpoint(path: str | Path) -> Path:
    """What a path names on this machine: of a run folder, its best checkpoint.

    A classifier on the Hub is downloaded, and its folder returned.

    Raises:
        InputError: see ``fetch_from_hub``.
    """
    return fetch_from_hub(Path(path).as_posix()) if is_on_hub(path) else best_checkpoint(path)


def fetch_from_hub(name: str) -> Path:
    """Download a classifier, unless it is in the Hub's cache; returns its folder.

    Raises:
        InputError: the name is malformed, the package is missing, or there is no such classifier.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{name}: not a name on the Hub; give hf:USER/NAME@REVISION")
    repository, revision = match.groups()
    hub = hub_package(name)
    if revision is None or not _COMMIT.fullmatch(revision):
        write_note(
            f"{name} may change at any time; hf:{repository}@COMMIT, with the 40 digits of a"
            " commit, is always the same"
        )
    try:
        folder = hub.snapshot_download(
            repository, revision=revision, allow_patterns=[*PUBLISHED_FILES]
        )
    except Exception as error:  # of the network, of HTTP, and of the package itself
        raise InputError(f"{name}: cannot be downloaded ({first_words(error)})") from error
    return Path(folder)


def hub_package(what: str) -> Any:
    """The package ``huggingface_hub``, which is an extra.

    Args:
        what: what needs it, for the message.

    Raises:
        InputError: it is not installed.
    """
    with needing("hub", what):
        import huggingface_hub
    return huggingface_hub
