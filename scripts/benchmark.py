"""Measure the project beside what its users would pick instead, and beside this machine's limits.

    python scripts/benchmark.py [--quick] [--only PART ...] [--json OUT] [--plot OUT] [--data DIR]

Each part runs in a process of its own. Results are mostly ratios of two things timed in turns in
one process, because machines are noisy and differ. ``docs/performance.md`` holds a table of them.
``--data`` is a folder with ``imdb_unlabeled.csv.xz`` (column ``review``); without it, texts of the
bundled sample are joined to reviews of IMDB's length.
"""

import argparse
import dataclasses
import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.growth_plot import draw_growth
from benchmarks.rows import Row, Scale, check_system
from sentiment.runtime.environment import device_name, versions

# Part: the module that measures it, and its function.
PARTS = {
    "start": ("start", "measure"),
    "encoder": ("encoder", "measure"),
    "gpu": ("gpu", "measure"),
    "corpus": ("corpus", "measure"),
    "vectors": ("corpus", "measure_vectors"),
    "prediction": ("prediction", "measure"),
    "serving": ("serving", "measure"),
    "training": ("training", "measure"),
    "growth": ("training", "measure_growth"),
}


def measured_here(part: str, scale: Scale) -> list[Row]:
    """Measure a part in this process."""
    module, function = PARTS[part]
    rows: list[Row] = getattr(importlib.import_module(f"benchmarks.{module}"), function)(scale)
    return rows


def measured_apart(part: str, scale: Scale) -> list[Row]:
    """Measure a part in a process of its own."""
    options = ["--quick"] * scale.quick + (["--data", scale.data] if scale.data else [])
    done = subprocess.run(
        [sys.executable, __file__, "--in-process", part, *options],
        check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "TQDM_DISABLE": "1"},
    )  # fmt: skip
    return [Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | figure | goal | against | wrong if |", "| --- | ---: | --- | --- | --- |"]
    for row in rows:
        figure = f"{row.value:,.2f}" if row.value < 10 else f"{row.value:,.0f}"
        goal = {None: row.goal, True: f"{row.goal} ✓", False: f"{row.goal} ✗"}[row.met]
        lines.append(
            f"| {row.name} | {figure} {row.unit} | {goal} | {row.against} | {row.falsified} |"
        )
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the project's speed and memory.")
    parser.add_argument("--quick", action="store_true", help="small sizes: a look, no result")
    here = [part for part in PARTS if part != "gpu" or torch.cuda.is_available()]
    parser.add_argument("--only", nargs="+", choices=here, default=here, metavar="PART",
                        help=f"of {', '.join(here)}")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the rows as JSON")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="write the table as Markdown")
    parser.add_argument("--plot", type=Path, metavar="OUT", help="draw how cost grows, as PNG")
    parser.add_argument("--data", metavar="DIR", help="a folder with imdb_unlabeled.csv.xz")
    parser.add_argument("--in-process", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure every part and print the table."""
    parsed = parse_arguments()
    check_system()
    scale = Scale(quick=parsed.quick, data=parsed.data)
    if parsed.in_process:
        rows = measured_here(parsed.in_process, scale)
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
        return
    rows = []
    for part in parsed.only:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        rows += measured_apart(part, scale)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = f"{device_name(device)}; {platform.system()}; torch {versions()['torch']}"
    print(f"{machine}\n\n{table(rows)}")
    if parsed.markdown:
        parsed.markdown.write_text(f"{machine}\n\n{table(rows)}\n", encoding="utf-8")
    if parsed.plot:
        draw_growth(rows, parsed.plot)
    if parsed.json:
        content = {
            "machine": machine,
            "versions": versions(),
            "rows": [dataclasses.asdict(row) | {"met": row.met} for row in rows],
        }
        parsed.json.write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
