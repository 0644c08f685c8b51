"""Serving: texts a second beside ``sentiment.predict --csv``, and latencies at a given rate.

    python scripts/benchmark.py --only serving
    python -m benchmarks.serving http://127.0.0.1:8000 reviews.csv --rate 50 80  # in scripts/

The second sends the rows of a CSV file to a server that runs already: first from 64 clients, each
of which sends its next text once it has its answer; then at each given rate, at times fixed in
advance, whether or not there are answers, so that a slow moment counts for every request that was
due in it.
"""

import argparse
import asyncio
import csv
import functools
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.corpus import reviews
from benchmarks.rows import Row, Scale, process

CLIENTS = 64
TEXT_SECONDS = 30  # the longest that an answer may take


@dataclass
class Load:
    """What a load found: the seconds of each answered request, and the number of others."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    took: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.took

    def quantile(self, share: float) -> float:
        """A quantile of the latencies, in milliseconds."""
        if not self.seconds:
            raise SystemExit(f"error: no answers, {self.failed:,} failed; does the server run?")
        return 1000 * float(np.quantile(self.seconds, share))


class Client:
    """One connection to a server, which is kept open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def status_of(self, text: str) -> int:
        """Send a text; returns the status of the answer, 0 if there was none."""
        body = json.dumps({"text": text}).encode()
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            writer.write(
                f"POST /predict HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json"
                f"\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            writer.write(body)
            async with asyncio.timeout(TEXT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
            return int(head.split()[1])
        except (OSError, EOFError, TimeoutError, ValueError):
            self.close()
            return 0

    def close(self) -> None:
        """Close the connection; the next text opens another."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def closed_loop(url: str, texts: Sequence[str], clients: int, seconds: float) -> Load:
    """Clients that send a text once they have the answer of the one before, for some seconds."""
    load, source = Load(), itertools.cycle(texts)
    start = time.perf_counter()

    async def ask() -> None:
        client = Client(url)
        while (sent := time.perf_counter()) < start + seconds:
            _note(load, await client.status_of(next(source)), sent)
        client.close()

    await asyncio.gather(*(ask() for _ in range(clients)))
    load.took = time.perf_counter() - start
    return load


async def open_loop(url: str, texts: Sequence[str], rate: float, seconds: float) -> Load:
    """Requests at random times (a Poisson process), whether or not the last ones have answers.

    Latencies count from the time at which a request was due.
    """
    load, idle, tasks = Load(), list[Client](), set[asyncio.Task[None]]()
    gaps = np.random.default_rng(0).exponential(1 / rate, int(rate * seconds))
    start = time.perf_counter()

    async def ask(text: str, due: float) -> None:
        client = idle.pop() if idle else Client(url)
        _note(load, await client.status_of(text), due)
        idle.append(client)

    for due, text in zip(start + np.cumsum(gaps), itertools.cycle(texts), strict=False):
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.add(asyncio.create_task(ask(text, due)))
    await asyncio.gather(*tasks)
    load.took = time.perf_counter() - start
    for client in idle:
        client.close()
    return load


def _note(load: Load, status: int, since: float) -> None:
    if status == 200:
        load.seconds.append(time.perf_counter() - since)
    else:
        load.failed += 1


def measure(scale: Scale) -> list[Row]:
    """A bilstm of the default size, trained for one epoch on the sample, on one core."""
    texts = reviews(scale, scale.pick(6_000, 1_500))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "run"
        process(
            "-m", "sentiment.train", "trainer.max_epochs=1", "logger=csv", f"hydra.run.dir={run}"
        )
        return measured(run, texts, folder, scale.pick(20, 6))


def measured(run: Path, texts: Sequence[str], folder: Path, seconds: float) -> list[Row]:
    """The rows of a checkpoint: the server and the command compute on one core, in one thread."""
    source = folder / "in.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([["review"], *([text] for text in texts)])
    core = min(os.sched_getaffinity(0))
    of_file = len(texts) / (
        _on_core(core, _predict_csv(run, source)) - _on_core(core, _predict_csv(run, None))
    )
    with running(run, core) as (url, server):
        asyncio.run(closed_loop(url, texts, CLIENTS, 1))  # warms up
        before = cpu_seconds(server)
        full = asyncio.run(closed_loop(url, texts, CLIENTS, seconds))
        busy = (cpu_seconds(server) - before) / full.took
        half = asyncio.run(open_loop(url, texts, full.rate / 2, seconds))
    against = f"predict --csv: {of_file:,.0f} texts/s of the core's time"
    return [
        Row(
            f"texts of {CLIENTS} clients on one core", full.rate / busy / of_file, "x",
            f"{against}; {full.rate:,.0f} answers/s, {100 * busy:.0f} % of a core,"
            f" {full.failed} failed", ">= 0.7", "answers that differ from predict's",
        ),
        Row(
            f"latency of {CLIENTS} clients, p99", full.quantile(0.99), "ms",
            f"p50 {full.quantile(0.5):.0f} ms",
        ),
        Row(
            f"latency at {full.rate / 2:,.0f} requests/s, p99", half.quantile(0.99), "ms",
            f"p50 {half.quantile(0.5):.1f} ms, {half.failed} failed",
        ),
    ]  # fmt: skip


def _predict_csv(run: Path, source: Path | None) -> list[str]:
    """The command that predicts a file; without one, what takes as long to start."""
    command = [sys.executable, "-m", "sentiment.predict", str(run)]
    if source is None:
        return [*command, "A text."]
    return [*command, "--csv", str(source), "--text-column", "review", "--out", "-"]


def _on_core(core: int, command: list[str]) -> float:
    """Run a command on one core; returns the seconds that it computed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with _started(core, command, subprocess.DEVNULL) as child:
        if child.wait():
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _started(core: int, command: list[str], stdout: int) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        command, stdout=stdout, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    os.sched_setaffinity(child.pid, {core})
    return child


def cpu_seconds(pid: int) -> float:
    """The seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(run: Path, core: int) -> Iterator[tuple[str, int]]:
    """A server on one core, as its address and process id."""
    command = [sys.executable, "-m", "sentiment.serve", str(run), "--port", "0", "--threads", "1"]
    server = _started(core, command, subprocess.PIPE)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().partition(" at ")[2].split()[0]
        yield url, server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def main() -> None:
    """Send the texts of a CSV file to a running server, and print what was found."""
    parser = argparse.ArgumentParser(description="Send texts to a server, and time the answers.")
    parser.add_argument("url", help="such as http://127.0.0.1:8000")
    parser.add_argument("csv", type=Path)
    parser.add_argument("--column", default="review")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument(
        "--rate",
        type=float,
        nargs="+",
        help="requests a second; default: 25, 50 and 80 %% of what the clients got",
    )
    parser.add_argument("--seconds", type=float, default=10, help="of each load; default: 10")
    parser.add_argument(
        "--repeat", type=int, default=1, help="how often each is measured; the best is printed"
    )
    parsed = parser.parse_args()
    with parsed.csv.open(newline="") as file:
        texts = [row[parsed.column] for row in csv.DictReader(file)]

    def best(name: str, loading: Callable[[], Coroutine[Any, Any, Load]]) -> Load:
        loads = [asyncio.run(loading()) for _ in range(parsed.repeat)]
        load = min(loads, key=lambda load: (load.failed, load.quantile(0.99)))
        print(
            f"{name}: {load.rate:,.0f} answers/s, p50 {load.quantile(0.5):.1f} ms,"
            f" p99 {load.quantile(0.99):.1f} ms, {load.failed:,} failed",
            flush=True,
        )
        return load

    full = best(
        f"{parsed.clients} clients",
        lambda: closed_loop(parsed.url, texts, parsed.clients, parsed.seconds),
    )
    for rate in parsed.rate or [full.rate * share for share in (0.25, 0.5, 0.8)]:
        best(
            f"{rate:,.0f} requests/s",
            functools.partial(open_loop, parsed.url, texts, rate, parsed.seconds),
        )


if __name__ == "__main__":
    main()
