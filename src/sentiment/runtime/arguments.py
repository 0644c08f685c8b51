"""The parser of plain command lines; it prints one line for what is wrong."""

import argparse
from typing import NoReturn

from sentiment.runtime.program import write_error


class OneLineParser(argparse.ArgumentParser):
    """Prints one line for arguments that are wrong, without the usage of all of them."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        write_error(f"{message} ({self.prog} --help says more)")
        self.exit(2)
