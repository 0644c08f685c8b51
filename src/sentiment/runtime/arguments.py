"""The parser of plain command lines; it prints one line for what is wrong."""

import argparse
from typing import Any, NoReturn

import sentiment
from sentiment.runtime.environment import program_command
from sentiment.runtime.program import write_error


class OneLineParser(argparse.ArgumentParser):
    """Prints one line for arguments that are wrong, without the usage of all of them.

    Args:
        prog: the name of the program's module, such as ``sentiment.predict``.
        others: further arguments of ``ArgumentParser``. ``%(prog)s`` is the program's command line.
    """

    def __init__(self, prog: str, **others: Any) -> None:
        command = program_command(prog) if prog.startswith("sentiment.") else prog
        super().__init__(prog=command, **others)
        version = f"sentiment {sentiment.__version__}"
        self.add_argument("--version", action="version", version=version)

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        write_error(f"{message} ({self.prog} --help says more)")
        self.exit(2)


def count(text: str) -> int:
    """An option's value as a whole number from 1 on; argparse prints the error."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 on")
    return int(text)
