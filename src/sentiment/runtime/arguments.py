"""The parser of plain command lines, which says in one line what is wrong."""

import argparse
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments, without the usage of all of them."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"error: {message} ({self.prog} --help says more)\n")
