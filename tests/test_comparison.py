import io
import re
from pathlib import Path
from typing import Any

import pytest

from sentiment.errors import InputError
from sentiment.report.comparison import (
    Comparison,
    compare_runs,
    comparison_markdown,
    comparison_table,
    flat_rows,
    told_left_out,
)
from sentiment.report.runs import Run
from sentiment.report.tables import print_table

TEST, VAL = "t" * 24, "v" * 24


def run(folder: str, test: float | None = 0.9, **others: Any) -> Run:
    """A run of ``bilstm`` with the seed 1 unless told otherwise."""
    told: dict[str, Any] = {"seed": 1, "model": "bilstm", "status": "ok", "overrides": {}} | others
    settings = {"model.cell": told["model"], **told["overrides"], **told.pop("settings", {})}
    results = {
        "test/accuracy": test, "test/f1": test, "val/accuracy": 0.8, "fit_seconds": 10,
        "parameters": 1_500_000, "device": "cpu: X, 1 threads", "labels": ["a", "b"],
        "test_reviews": 100, "val_reviews": 10, "seed": told["seed"],
        "fingerprints": {"test": TEST, "val": VAL}, **told.get("results", {}),
    }  # fmt: skip
    choices = {"model": told["model"], "data": "csv"}
    return Run(Path(folder), told["status"], results, told["overrides"], choices, settings)


def lines(comparison: Comparison) -> list[str]:
    file = io.StringIO()
    print_table(comparison_table(comparison), file)
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_seeds_are_one_row_and_the_best_mean_is_first() -> None:
    runs = [
        run("s/0", 0.95, seed=1), run("g/0", 0.93, seed=1, model="gru"),
        run("s/1", 0.85, seed=2), run("g/1", 0.92, seed=2, model="gru"),
    ]  # fmt: skip
    comparison = compare_runs(runs)
    gru, bilstm = comparison.rows
    assert (gru["name"], gru["rank"], gru["n"], gru["seeds"]) == ("gru", 1, 2, [1, 2])
    assert gru["test/accuracy mean"] == pytest.approx(0.925)
    # (0.05 ** 2 + 0.05 ** 2) / (2 - 1), its root
    assert bilstm["test/accuracy spread"] == pytest.approx(0.0707107)
    assert bilstm["folders"] == ["s/0", "s/1"]
    text = lines(comparison)
    assert text[1] == "# run n seeds acc. % F1 % acc. % fit (M)"
    assert text[5:] == [
        "2 bilstm 2 1, 2 90.00 +/- 7.07 90.00 80.00 +/- 0.00 10.0s 1.50",
        "s",
        "cpu: X, 1 threads: #1, #2",
    ]
    assert [row["folders"] for row in compare_runs(runs, by_run=True).rows] == [
        ["s/0"], ["g/0"], ["g/1"], ["s/1"],
    ]  # fmt: skip
    assert comparison.notes == []


def test_only_seeds_are_gathered() -> None:
    runs = [
        run("a"),
        run("b", overrides={"optimizer.lr": "0.1"}),
        run("c", results={"fingerprints": {"test": "other", "val": VAL}}),
        run("d", settings={"trainer.precision": "32-true"}),
    ]
    assert len(compare_runs(runs).rows) == 4
    unknown = [Run(Path(name), "ok", run(name).results, {}, {}, {}) for name in "ef"]
    assert len(compare_runs(unknown).rows) == 2  # what they are is not known


def test_a_row_tells_the_settings_that_set_it_apart() -> None:
    shared = {"data.csv": "r.csv"}
    runs = [
        run("a", 0.9, overrides={**shared, "model.hidden_size": "64"}),
        run("b", 0.8, overrides=shared, settings={"model.hidden_size": "128"}),
        run("c", 0.7, overrides=shared, model="gru", settings={"model.hidden_size": "128"}),
        run("d", 0.6, overrides=shared, model="rnn", settings={"trainer.precision": "bf16"}),
        run("e", 0.5, overrides=shared, model="rnn", settings={"trainer.precision": "32"}),
    ]
    comparison = compare_runs(runs)
    assert comparison.shared == shared
    assert [row["settings"] for row in comparison.rows] == [
        {"model.hidden_size": "64"},
        {"model.hidden_size": "128"},  # the default, beside another
        {},
        {"trainer.precision": "bf16"},  # nobody asked, but they differ
        {"trainer.precision": "32"},
    ]
    assert lines(comparison)[3].startswith("1 bilstm hidden_size=64 1 1 ")


def test_other_reviews_are_told_in_one_line() -> None:
    runs = [
        run("a", 0.9),
        run("b", 0.8, model="gru", results={"fingerprints": {"test": "other", "val": VAL}}),
        run("c", 0.7, model="rnn", results={"fingerprints": {"test": TEST, "val": "other"}}),
    ]
    assert compare_runs(runs).notes == [
        "test figures do not compare, as the test reviews differ: #1, #3 on 100; #2 on 100",
        "validation figures do not compare, as the validation reviews differ: #1, #2 on 10;"
        " #3 on 10",
    ]


def test_names_of_labels_and_old_results_are_no_other_reviews() -> None:
    renamed = run("b", 0.8, model="gru", results={"labels": ["-", "+"]})
    assert compare_runs([run("a"), renamed]).notes == []
    old = run("c", 0.7, model="rnn", results={"fingerprints": None})
    assert compare_runs([run("a"), old]).notes == [
        "no record of which reviews tested #2, only of how many"
    ]
    # An ensemble has no validation figures, and none to compare.
    unseen = run("e", 0.7, model="rnn", results={"val/accuracy": None, "val_reviews": None})
    assert compare_runs([run("a"), unseen]).notes == []
    older = run("d", 0.7, model="lstm", results={"fingerprints": None, "test_reviews": 99})
    assert "test reviews differ: #1 on 100; #2 on 99" in compare_runs([run("a"), older]).notes[0]


def test_what_has_no_row_is_told() -> None:
    runs = [
        run("a"), run("b", None), run("c", status="failed"), run("d", status="pruned"),
        run("e", float("nan")),
    ]  # fmt: skip
    comparison = compare_runs(runs)
    assert [row["folders"] for row in comparison.rows] == [["a"]]
    assert told_left_out(comparison.left_out) == [
        "2 without a test figure (b, e)", "1 failed or still under way (c)", "1 pruned (d)",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"nothing to compare: 1 failed or still under way \(c\)"):
        compare_runs([run("c", status="failed")])


def test_a_search_is_ranked_by_validation() -> None:
    runs = [
        run("a", None, results={"val/accuracy": 0.7}),
        run("b", None, results={"val/accuracy": 0.9}, overrides={"optimizer.lr": "1"}),
    ]
    comparison = compare_runs(runs)
    assert [row["folders"] for row in comparison.rows] == [["b"], ["a"]]
    assert comparison.notes == ["no run has test figures, as in a search: ranked by validation"
                                " accuracy"]  # fmt: skip


def test_markdown_and_flat_rows() -> None:
    piped = run("b", 0.8, seed=None, model="x|y", results={"device": "cuda", "test/ece": 0.0123})
    comparison = compare_runs([run("a"), run("a2", 0.92, seed=2), piped])
    text = comparison_markdown(comparison).splitlines()
    assert text[0] == (
        "| # | run | n | seeds | test acc. % | test F1 % | calib. error % | val acc. % | fit |"
        " param. (M) | device |"
    )
    assert text[2].startswith("| 1 | `bilstm` | 2 | 1, 2 | 91.00 ± 1.41 | 91.00 ± 1.41 | – | 80.")  # noqa: RUF001
    assert text[3].startswith(r"| 2 | `x\|y` | 1 | – | 80.00 | 80.00 | 1.23 |")  # noqa: RUF001
    # No cell has broken its row.
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text}) == 1
    flat = flat_rows(comparison)[0]
    assert (flat["seeds"], flat["labels"], flat["test/accuracy mean"]) == ("1 2", "a b", 0.91)
    assert "fingerprints" not in flat


def test_a_path_is_told_with_its_group() -> None:
    runs = [run(name, overrides={"pretrained.path": f"{name}.ckpt"}) for name in "ab"]
    assert "`bilstm pretrained.path=a.ckpt`" in comparison_markdown(compare_runs(runs))


def test_many_seeds_are_counted() -> None:
    runs = [run(str(seed), seed=seed) for seed in range(7)]
    assert "7 7 of 0 to 6 90.00 +/- 0.00" in lines(compare_runs(runs))[3]
