"""``python -m sentiment`` and ``sentiment``: list the commands, or run one of them."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import sentiment
from sentiment.runtime import program
from sentiment.runtime.errors import valid_names


def main() -> NoReturn:
    """Run the command that the first argument names, with the arguments after it.

    Raises:
        SystemExit: with code 2 if there is no such command.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help") and sys.argv[2:]:
        name, sys.argv[1:] = sys.argv[2], [sys.argv[2], "--help"]
    if name in ("--version", "-V", "--help", "-h", "help"):
        answer = _help() if "h" in name else f"sentiment {sentiment.__version__}"
        sys.stdout.write(f"{answer}\n")
        sys.exit()
    if name not in program.COMMANDS:
        program.write_error(f"{name!r} is no command; {valid_names(name, program.COMMANDS)}")
        sys.exit(2)
    del sys.argv[1]
    # By this, Lightning starts the other processes of a training.
    sys.modules["__main__"].__spec__ = find_spec(f"sentiment.{name}")
    getattr(program, name)()
    sys.exit()


def _help() -> str:
    called = "sentiment" if Path(sys.argv[0]).stem == "sentiment" else "python -m sentiment"
    width = max(map(len, program.COMMANDS))
    rows = [f"  {name:{width}}  {what}" for name, what in program.COMMANDS.items()]
    return "\n".join(
        [
            f"Usage: {called} COMMAND ...",
            "",
            "Train, compare and use recurrent sentiment classifiers on your own reviews.",
            "",
            "Commands:",
            *rows,
            "",
            f"{called} COMMAND --help says more of each, {called} --version which version this is.",
        ]
    )


if __name__ == "__main__":
    main()
