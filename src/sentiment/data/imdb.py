"""Download the Large Movie Review Dataset (Maas et al., 2011) and write it as three CSV files.

imdb_train.csv and imdb_test.csv have the columns review, sentiment (negative, positive) and
rating (1-4, 7-10), imdb_unlabeled.csv the column review; each in a fixed random order.
"""

import csv
import random
import re
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from sentiment.runtime.cache import cache_directory
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import text_when_whole

URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"
SEED = 0

_MEMBER = re.compile(r"(?:\./)?aclImdb/(train|test)/(neg|pos|unsup)/(\d+)_(\d+)\.txt")
_SENTIMENTS = {"neg": "negative", "pos": "positive"}
_LABELED, _UNLABELED = ("review", "sentiment", "rating"), ("review",)

Row = tuple[str, ...]


def read_archive(path: Path) -> dict[str, list[Row]]:
    """Read the rows of the splits train, test and unlabeled, each sorted by file name.

    The archive is read from front to end; nothing is unpacked, so its paths do no harm.

    Raises:
        InputError: the archive is damaged, or does not hold the data set.
    """
    found: dict[str, list[tuple[str, int, Row]]] = {"train": [], "test": [], "unlabeled": []}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                match = _MEMBER.fullmatch(member.name) if member.isreg() else None
                content = archive.extractfile(member) if match else None
                if match is None or content is None:
                    continue
                split, kind, number, rating = match.groups()
                review = content.read().decode()
                if kind == "unsup":
                    found["unlabeled"].append((kind, int(number), (review,)))
                else:
                    row = (review, _SENTIMENTS[kind], rating)
                    found[split].append((kind, int(number), row))
    except (OSError, EOFError, UnicodeDecodeError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"cannot read the reviews in {path}: {error}") from error
    empty = [split for split, rows in found.items() if not rows]
    if empty:
        raise InputError(
            f"{path} has no {' and no '.join(empty)} reviews: is it aclImdb_v1.tar.gz?"
        )
    return {split: [row for *_, row in sorted(rows)] for split, rows in found.items()}


def write_csv(path: Path, columns: Row, rows: Iterable[Row]) -> None:
    """Write a CSV file that appears only when complete; raises InputError if that fails."""
    try:
        with text_when_whole(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def download_imdb(folder: Path, *, url: str = URL, sha256: str = SHA256) -> dict[Path, int]:
    """Download the archive into the cache, once, and write the CSV files.

    Args:
        folder: gets the files.
        url: where the archive is.
        sha256: its digest, 64 hexadecimal digits.

    Returns:
        The number of reviews in each file.

    Raises:
        InputError: the archive cannot be downloaded or is another one, or a file cannot be written.
    """
    from sentiment.data.download import fetch

    path = fetch([url], sha256=sha256, path=cache_directory() / "aclImdb_v1.tar.gz")
    written = {}
    for split, rows in read_archive(path).items():
        random.Random(SEED).shuffle(rows)
        target = folder / f"imdb_{split}.csv"
        write_csv(target, _UNLABELED if split == "unlabeled" else _LABELED, rows)
        written[target] = len(rows)
    return written
