"""``python -m sentiment.distill``: see ``command.py``."""

from sentiment.runtime.program import start

if __name__ == "__main__":
    start("sentiment.distill.command")
