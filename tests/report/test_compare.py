import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_runs import write_run

from sentiment.compare import main


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs with test metrics, and one that failed."""
    for name, test in (("0", 0.8), ("1", 0.9)):
        results = {"test/accuracy": test, "seed": 1, "test_reviews": 10}
        write_run(tmp_path / name, [f"model.size={name}"], results, {"model": {"size": name}})
    write_run(tmp_path / "2", [])
    return tmp_path


def test_the_table_comes_with_what_was_left_out(runs: Path, capsys: Any) -> None:
    main([str(runs)])
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines() if line[:1].isdigit()]
    assert [row[:3] for row in rows] == [
        ["1", "bilstm", "model.size=1"],
        ["2", "bilstm", "model.size=0"],
    ]
    assert "Note: left out: 1 failed or still under way" in printed.out
    assert printed.err == ""
    main([str(runs), "--markdown"])
    printed = capsys.readouterr()
    left_out = f"left out: 1 failed or still under way ({runs / '2'})\n"
    assert printed.out.endswith(f"\n\nNote: {left_out}")
    assert printed.err == ""
    for form in ("--json", "--csv"):
        main([str(runs), form])
        printed = capsys.readouterr()
        assert "Note" not in printed.out
        assert f"note: {left_out}" in printed.err


def test_long_rows_are_wrapped(runs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"model.setting_{number}=a_long_value_of_{number}" for number in range(20)]
    config = {"model": {key.partition(".")[2]: value for key, _, value in
                        (word.partition("=") for word in words)}}  # fmt: skip
    results = {"test/accuracy": 0.5, "seed": 1, "test_reviews": 10}
    write_run(runs / "3", words, results, config)
    for columns in (100, 150):
        monkeypatch.setenv("COLUMNS", str(columns))
        main([str(runs)])
        lines = capsys.readouterr().out.splitlines()
        assert columns - 30 < max(map(len, lines)) <= columns
        assert sum("a_long_value" in line for line in lines) > 5


def test_a_language_model_is_left_out(runs: Path, pretrained: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main([str(pretrained)])
    reason = f"1 with a language model, which has a perplexity and no accuracy ({pretrained})"
    assert f"error: nothing to compare: left out: {reason}" in capsys.readouterr().err
    main([str(runs), str(pretrained), "--json"])
    assert reason in capsys.readouterr().err


def test_metrics_can_be_read_by_programs(runs: Path, capsys: Any) -> None:
    main([str(runs), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert [row["test/accuracy mean"] for row in printed["rows"]] == [0.9, 0.8]
    assert printed["left_out"] == {"failed or still under way": [str(runs / "2")]}
    main([str(runs), "--csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["test/accuracy mean"] for row in rows] == ["0.9", "0.8"]
    main([str(runs), "--markdown"])
    assert "| 1 | `bilstm model.size=1` |" in capsys.readouterr().out


def test_a_trained_run_is_compared(trained: Path, capsys: Any) -> None:
    main([str(trained), "--json"])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    results = json.loads((trained / "results.json").read_text())
    assert row["test/accuracy mean"] == results["test/accuracy"]
    assert row["fingerprints"] == results["fingerprints"]
    assert len(set(row["fingerprints"].values())) == 3


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "nope")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_it_starts_without_torch(runs: Path) -> None:
    probe = (
        "import sys; from sentiment.compare import main; main([sys.argv[1]]);"
        "print({'torch', 'hydra', 'omegaconf', 'lightning'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, str(runs)], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\nset()\n")
