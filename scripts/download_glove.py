"""Fetch Stanford's GloVe vectors into the cache, ahead of a training that uses them."""

import argparse
import logging
from collections.abc import Sequence

from sentiment.data.download import fetch_glove
from sentiment.data.glove_archives import GLOVE_ARCHIVES, GLOVE_MIRRORS
from sentiment.runtime.program import exit_on_input_error


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", choices=GLOVE_ARCHIVES, default="6B", help="default: 6B")
    parser.add_argument(
        "--size", type=int, default=100, help="numbers in a vector: 50, 100, 200 or 300 (6B), 300"
    )
    parser.add_argument("--cache-dir", help="default: $SENTIMENT_CACHE, or the user's cache folder")
    parser.add_argument(
        "--mirror", action="append", help="folder on the web to fetch from; can be repeated"
    )
    parser.add_argument("--sha256", help="digest of the archive, if a mirror packs it otherwise")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch and unpack the archive, and print the path of the vectors; exit with code 2 if not."""
    arguments = _arguments(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    with exit_on_input_error():
        path = fetch_glove(
            archive=arguments.archive,
            size=arguments.size,
            cache_dir=arguments.cache_dir,
            mirrors=arguments.mirror or GLOVE_MIRRORS,
            sha256=arguments.sha256,
        )
        print(path)


if __name__ == "__main__":
    main()
