"""The result of a measurement, and what all measurements use to measure."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what was measured.
        value: the result; mostly how many times as fast as ``against``, both timed in one process.
        unit: the unit of the value, such as ``x`` or ``GFLOP/s``.
        against: what it is compared with, and the result of that.
        goal: the goal, such as ``">= 6"`` or ``"<= 2"``; empty for a fact of the machine.
        falsified: what would show that the value is wrong.
        work: in a row about growth, its series, tokens, seconds and memory.
    """

    name: str
    value: float
    unit: str
    against: str = ""
    goal: str = ""
    falsified: str = ""
    work: dict[str, Any] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if not self.goal:
            return None
        sign, number = self.goal.split()
        return self.value >= float(number) if sign == ">=" else self.value <= float(number)


@dataclass(frozen=True)
class Scale:
    """Whether everything is measured, or only a quick look."""

    quick: bool
    data: str | None  # a folder with imdb_train.csv.xz and imdb_unlabeled.csv.xz

    def pick(self, full: Any, quick: Any) -> Any:
        """One of two sizes."""
        return quick if self.quick else full


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def medians(
    calls: Mapping[str, Callable[[], Any]], rounds: int, warm: int = 1, once: Sequence[str] = ()
) -> dict[str, float]:
    """Median wall time of each call; they take turns, so that a slow moment meets them all.

    Those named in ``once`` are too slow to repeat, and run a single time after the others.
    """
    for name, call in calls.items():
        for _ in range(0 if name in once else warm):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if name not in once:
                times[name].append(seconds(call))
    for name in once:
        times[name].append(seconds(calls[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def check_system() -> None:
    """Raise SystemExit if the system does not report the memory of processes."""
    if not Path("/proc/self/smaps_rollup").exists():
        raise SystemExit(
            f"error: the benchmark reads memory from /proc, which {sys.platform} lacks; run it on"
            " Linux or in WSL"
        )


def peak_memory_of_all(code: str) -> float:
    """Run Python code in a process of its own; return the peak memory of its process tree, in MB.

    Memory that processes share counts once (Linux's proportional set size).

    Raises:
        RuntimeError: the process failed.
    """
    peak = 0.0
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as child:
        while child.poll() is None:
            peak = max(peak, _tree_memory_mb(child.pid))
            time.sleep(0.1)
    if child.returncode:
        raise RuntimeError(f"the process ended with {child.returncode}: {code}")
    return peak


def _tree_memory_mb(root: int) -> float:
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # a process that has just ended
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    total = 0
    for process_id in parents:
        ancestor = process_id
        while ancestor not in (root, 0):
            ancestor = parents.get(ancestor, 0)
        with suppress(OSError):
            if ancestor:
                rollup = Path(f"/proc/{process_id}/smaps_rollup").read_text()
                total += int(rollup.partition("\nPss:")[2].split()[0])
    return total / 1024


def process(*arguments: str, cwd: str | None = None, **environment: str) -> float:
    """Run Python with the arguments in a process of its own; return its peak memory in MB.

    Raises:
        RuntimeError: the process failed.
    """
    child = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd, stdout=subprocess.DEVNULL, env={**os.environ, **environment},
    )  # fmt: skip
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {child.returncode}")
    return usage.ru_maxrss / 1024


def matrix_product_gflops(dtype: torch.dtype, size: int = 2048) -> float:
    """The rate of this machine in a square matrix product, in GFLOP/s."""
    left, right = torch.randn(2, size, size).to(dtype).unbind(0)
    took = medians({"product": lambda: left @ right}, rounds=9, warm=3)["product"]
    return 2 * size**3 / took / 1e9
