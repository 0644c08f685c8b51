import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark
from benchmark import table
from benchmarks.corpus import reviews
from benchmarks.encoder import _flops
from benchmarks.growth_plot import draw_growth
from benchmarks.rows import Row, Scale, medians, peak_memory_of_all, process

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from Linux's /proc"
)
needs_wait4 = pytest.mark.skipif(not hasattr(os, "wait4"), reason="not on Windows")
BENCHMARK = Path(__file__).parents[1] / "scripts" / "benchmark.py"


def test_a_row_knows_whether_its_goal_is_met() -> None:
    assert Row("a", 6.0, "x", goal=">= 6").met is True
    assert Row("a", 5.9, "x", goal=">= 6").met is False
    assert Row("a", 0.3, "s", goal="<= 0.2").met is False
    assert Row("a", 1.0, "GFLOP/s").met is None


def test_the_table_marks_what_falls_short() -> None:
    lines = table([Row("slow", 5.0, "x", "b", ">= 6", "c"), Row("limit", 1234.5, "GFLOP/s")])
    assert "| slow | 5.00 x | >= 6 ✗ | b | c |" in lines
    assert "| limit | 1,234 GFLOP/s |  |  |  |" in lines


def test_calls_take_turns_and_slow_ones_run_once() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    assert medians(calls, rounds=2, warm=1, once=("c",)).keys() == set("abc")
    assert order == ["a", "b", "a", "b", "a", "b", "c"]


def test_operations_are_six_for_each_weight() -> None:
    # LSTM of 8 on 100 values, both directions: 2 * 4 * 8 * (100 + 8) weights.
    assert _flops("lstm", 8, 1) == 6 * 2 * 4 * 8 * 108
    assert _flops("rnn", 8, 2) == 6 * (2 * 8 * 108 + 2 * 8 * 24)


def test_texts_of_the_sample_are_as_long_as_imdbs() -> None:
    texts = reviews(Scale(quick=True, data=None), 400)
    assert len(texts) == 400
    mean = sum(len(text.split()) for text in texts) / 400
    assert 150 < mean < 350


def test_a_system_that_does_not_report_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: False)
    monkeypatch.setattr(sys, "argv", ["benchmark.py"])
    with pytest.raises(SystemExit, match="reads memory from /proc"):
        benchmark.main()


@needs_proc
def test_memory_of_a_process_and_its_children_is_watched() -> None:
    hold = "import time; held = b'x' * 100_000_000; time.sleep(1)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}]); {hold}"
    alone, both = (
        peak_memory_of_all(hold),
        peak_memory_of_all("held = b'x' * 100_000_000; " + child),
    )
    assert 95 < alone < 150  # 100 million bytes, in MiB, and Python
    assert alone + 95 < both < 300
    with pytest.raises(RuntimeError, match="ended with 1"):
        peak_memory_of_all("raise ValueError")


def test_growth_is_drawn(tmp_path: Path) -> None:
    rows = [
        Row("a", 1.0, "x", work={"series": series, "tokens": 1e6 * n, "seconds": n, "memory": 9})
        for series in ("more reviews", "longer reviews")
        for n in (1.0, 4.0)
    ]
    draw_growth([*rows, Row("b", 1.0, "x")], tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


@needs_wait4
def test_a_failed_process_is_reported() -> None:
    assert process("-c", "pass") > 1
    with pytest.raises(RuntimeError, match="ended with 3"):
        process("-c", "raise SystemExit(3)")


@pytest.mark.slow
@needs_wait4
def test_a_quick_look_writes_a_table_and_json(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--quick", "--only", "vectors", "--json", str(out)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| reading 40,000 vectors of 100 |" in done.stdout
    rows = json.loads(out.read_text())["rows"]
    assert [row["unit"] for row in rows] == ["x", "MB"]
    assert all(math.isfinite(row["value"]) for row in rows)
    assert rows[0]["value"] > 0
