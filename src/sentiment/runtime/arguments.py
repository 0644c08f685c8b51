"""The parser of plain command lines; it prints one line for what is wrong."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import sentiment
from sentiment.runtime.environment import program_command
from sentiment.runtime.errors import likely_names
from sentiment.runtime.program import write_error


class OneLineParser(argparse.ArgumentParser):
    """Prints one line for arguments that are wrong, without the usage of all of them.

    Args:
        prog: the name of the program's module, such as ``sentiment.predict``.
        others: further arguments of ``ArgumentParser``. ``%(prog)s`` is the program's command line.
    """

    def __init__(self, prog: str, **others: Any) -> None:
        command = program_command(prog) if prog.startswith("sentiment.") else prog
        super().__init__(prog=command, allow_abbrev=False, **others)
        version = f"sentiment {sentiment.__version__}"
        self.add_argument("--version", action="version", version=version)

    def parse_args(  # type: ignore[override]  # into a new namespace alone
        self, args: Sequence[str] | None = None
    ) -> argparse.Namespace:
        """Parse all arguments."""
        return self._whole(self.parse_known_args(args))

    def parse_intermixed_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None
    ) -> argparse.Namespace:
        """Parse all arguments; options may stand between the others."""
        return self._whole(self.parse_known_intermixed_args(args))

    def _whole(self, known: tuple[argparse.Namespace, list[str]]) -> argparse.Namespace:
        parsed, unknown = known
        if unknown:
            self.refuse(unknown[0])
        return parsed

    def refuse(self, given: str, hint: str = "") -> NoReturn:
        """Exit with code 2 at a wrong argument; says the hint if no option is similar."""
        name = given.partition("=")[0].lstrip("-").replace("_", "-")
        options = [each[2:] for each in self._option_string_actions if each.startswith("--")]
        likely = likely_names(name, options) if given.startswith("--") else []
        meant = f"did you mean --{' or --'.join(likely)}?" if likely else hint
        problem = "is not an option" if given.startswith("-") else "is an argument too many"
        self.error(f"{given[:40]!r} {problem}" + (f"; {meant}" if meant else ""))

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        write_error(f"{message} ({self.prog} --help says more)")
        self.exit(2)


def count(text: str) -> int:
    """An option's value as a whole number from 1 on; argparse prints the error."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 on")
    return int(text)


def whole(text: str) -> int:
    """An option's value as a whole number from 0 on; argparse prints the error."""
    return 0 if text == "0" else count(text)


def fraction(text: str) -> float:
    """An option's value as a number from 0 to 1; argparse prints the error."""
    with suppress(ValueError):
        if 0 <= (value := float(text)) <= 1:
            return value
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 0 to 1")
