"""The measurements of ``scripts/benchmark.py``, a module for each part of the project."""
