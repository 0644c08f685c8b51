"""The parser of plain command lines, which says in one line what is wrong."""

import argparse
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments, without the usage of all of them."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"error: {message} ({self.prog} --help tells more)\n")

    def takes(self, name: str) -> bool:
        """Whether an option has this name, or one that it begins."""
        options = self._option_string_actions
        return name in options or (
            name[:2] == "--" and any(option.startswith(name) for option in options)
        )
