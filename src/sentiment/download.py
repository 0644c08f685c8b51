"""Download data sets and vectors that trainings use: the IMDB reviews and Stanford's GloVe."""

if __name__ == "__main__":
    from sentiment.runtime.program import start

    start("sentiment.download")

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from sentiment.data import imdb
from sentiment.data.glove_archives import GLOVE_ARCHIVES, GLOVE_MIRRORS
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.program import exit_on_input_error


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser("sentiment.download", description=__doc__)
    sources = parser.add_subparsers(dest="source", metavar="{imdb,glove}", required=True)
    reviews = sources.add_parser(
        "imdb",
        help="50,000 labelled and 50,000 unlabelled reviews (84 MB), as three CSV files",
        description=imdb.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reviews.add_argument("--out-dir", type=Path, default=Path("data"), help="default: data")
    reviews.add_argument("--url", default=imdb.URL, help=f"default: {imdb.URL}")
    reviews.add_argument("--sha256", default=imdb.SHA256, help="digest of the archive")
    vectors = sources.add_parser(
        "glove",
        help="word vectors (822 MB), ahead of a training that uses them",
        description="Download GloVe vectors into the cache, and print the path of the file.",
    )
    vectors.add_argument("--archive", choices=GLOVE_ARCHIVES, default="6B", help="default: 6B")
    vectors.add_argument(
        "--size", type=int, default=100, help="numbers in a vector: 50, 100, 200 or 300 (6B), 300"
    )
    vectors.add_argument(
        "--cache-dir", help="default: $SENTIMENT_CACHE, or the user's cache folder"
    )
    vectors.add_argument(
        "--mirror", action="append", help="folder on the web to download from; can be repeated"
    )
    vectors.add_argument("--sha256", help="digest of the archive, if a mirror packs it otherwise")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: the files on standard output, an error in one line."""
    parsed = parse_arguments(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    with exit_on_input_error():
        if parsed.source == "imdb":
            written = imdb.download_imdb(parsed.out_dir, url=parsed.url, sha256=parsed.sha256)
            for path, count in written.items():
                sys.stdout.write(f"{path}: {count:,} reviews\n")
            return
        from sentiment.data.download import fetch_glove

        path = fetch_glove(
            archive=parsed.archive,
            size=parsed.size,
            cache_dir=parsed.cache_dir,
            mirrors=parsed.mirror or GLOVE_MIRRORS,
            sha256=parsed.sha256,
        )
        sys.stdout.write(f"{path}\n")
