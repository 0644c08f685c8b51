"""Fetch the Large Movie Review Dataset (Maas et al., 2011) and write it as three CSV files.

imdb_train.csv and imdb_test.csv have the columns review, sentiment (negative, positive) and
rating (1-4, 7-10), imdb_unlabeled.csv the column review; each in a fixed random order.
"""

import argparse
import csv
import logging
import random
import re
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from sentiment.data.download import fetch
from sentiment.runtime.cache import cache_directory
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import replaced_when_whole
from sentiment.runtime.program import exit_on_input_error

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
        with (
            replaced_when_whole(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out-dir", type=Path, default=Path("data"), help="default: data")
    parser.add_argument("--url", default=URL, help=f"default: {URL}")
    parser.add_argument("--sha256", default=SHA256, help="digest of the archive")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch the archive and write the CSV files; exit with code 2 if that fails."""
    arguments = _arguments(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    with exit_on_input_error():
        path = cache_directory() / "aclImdb_v1.tar.gz"
        fetch([arguments.url], sha256=arguments.sha256, path=path)
        for split, rows in read_archive(path).items():
            random.Random(SEED).shuffle(rows)
            target = arguments.out_dir / f"imdb_{split}.csv"
            write_csv(target, _UNLABELED if split == "unlabeled" else _LABELED, rows)
            print(f"{target}: {len(rows):,} reviews")


if __name__ == "__main__":
    main()
