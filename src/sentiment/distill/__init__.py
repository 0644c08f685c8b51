"""Train a student on the probabilities of teachers, or a classifier on its own."""

import sys

from sentiment import Command

sys.modules[__name__].__class__ = Command
