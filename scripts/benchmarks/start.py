"""Processor time until a command answers, beside that of the smallest program with Hydra."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.rows import Row, Scale

_SMALLEST_APP = """
import hydra
@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    pass
main()
"""


def measure(scale: Scale) -> list[Row]:
    """The time of ``sentiment.train --help`` beside that of the smallest program with Hydra."""
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app.py"
        app.write_text(_SMALLEST_APP)
        calls = {
            "train": ("-m", "sentiment.train", "--help"),
            "app": (str(app), "--help"),
            "hydra": ("-c", "import hydra"),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(scale.pick(7, 1)):
            for name, arguments in calls.items():
                times[name].append(_processor_seconds(*arguments))
    train, app_alone, hydra = (statistics.median(times[name]) for name in calls)
    return [
        Row(
            "start: sentiment.train --help, processor time",
            train / app_alone,
            "x",
            f"a program of 5 lines with Hydra, {app_alone:.2f} s (import hydra {hydra:.2f} s)",
            "<= 1.5",
            "python -X importtime -m sentiment.train --help lists torch",
        )
    ]


def _processor_seconds(*arguments: str) -> float:
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime
