"""Runs in one ranked table: those of a sweep, and any others."""

import io
import math
import re
from pathlib import Path
from typing import Any

import pytest
from test_runs import write_run

from conftest import TEST_FINGERPRINT, VAL_FINGERPRINT
from conftest import ended_run as run
from sentiment.report.comparison_table import comparison_markdown, flat_rows, print_comparison
from sentiment.report.ranking import Comparison, Job, compare_runs, sweep_rows, sweep_runs
from sentiment.report.runs import Run


def printed(comparison: Comparison, width: int = 120) -> list[str]:
    file = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        print_comparison(comparison, file)
    return file.getvalue().splitlines()


def named(comparison: Comparison) -> list[str]:
    """The run and its settings as the Markdown table has them."""
    return re.findall(r"^\| \d+ \| `(.*?)`", comparison_markdown(comparison), re.MULTILINE)


def folders(comparison: Comparison) -> list[list[str]]:
    return [row["folders"] for row in comparison.rows]


SEEDS = [
    run("s/0", 0.95, seed=1), run("g/0", 0.93, seed=1, model="gru"),
    run("s/1", 0.85, seed=2), run("g/1", 0.92, seed=2, model="gru"),
]  # fmt: skip


def test_seeds_are_one_row_and_the_best_mean_is_first() -> None:
    comparison = compare_runs(SEEDS)
    gru, bilstm = comparison.rows
    assert (gru["name"], gru["rank"], gru["n"], gru["seeds"]) == ("gru", 1, 2, [1, 2])
    assert gru["test/accuracy mean"] == pytest.approx(0.925)
    # (0.05 ** 2 + 0.05 ** 2) / (2 - 1), its root
    assert bilstm["test/accuracy spread"] == pytest.approx(0.0707107)
    assert comparison.notes == []
    each = compare_runs(SEEDS, by_run=True)
    assert folders(each) == [["s/0"], ["g/0"], ["g/1"], ["s/1"]]
    assert each.rows[0]["test/accuracy spread"] is None


def test_a_mean_is_of_all_runs_or_missing() -> None:
    runs = [run("a", seed=1), run("b", seed=2, results={"test/f1": math.nan})]
    (row,) = compare_runs(runs).rows
    assert (row["n"], row["test/f1 mean"], row["test/f1 spread"]) == (2, None, None)


def test_only_seeds_are_gathered() -> None:
    runs = [
        run("a"),
        run("b", overrides={"optimizer.lr": "0.1"}),
        run("c", results={"fingerprints": {"test": "other", "val": VAL_FINGERPRINT}}),
        run("d", settings={"trainer.precision": "32-true"}),
    ]
    assert len(compare_runs(runs).rows) == 4
    unknown = [Run(Path(name), "ok", run(name).results, {}, {}, {}) for name in "ef"]
    assert len(compare_runs(unknown).rows) == 2  # what they are is not known
    (note,) = compare_runs([run("a"), run("b"), run("c", seed=2)]).notes
    assert "#1" in note
    assert "--by-run" in note


def test_a_row_is_named_by_what_differs() -> None:
    shared = {"data.csv": "r.csv"}
    runs = [
        run("a", 0.9, overrides={**shared, "model.hidden_size": "64"}),
        run("b", 0.8, overrides=shared, settings={"model.hidden_size": "128"}),
        run("c", 0.7, overrides=shared, model="gru", settings={"model.hidden_size": "128"}),
        run("d", 0.6, overrides=shared, model="rnn", settings={"trainer.precision": "bf16"}),
        run("e", 0.5, overrides=shared, model="rnn", settings={"trainer.precision": "32"}),
    ]
    assert named(compare_runs(runs)) == [
        "bilstm hidden_size=64", "bilstm", "gru", "rnn precision=bf16",
        "rnn precision=32",
    ]  # fmt: skip
    both = [run(name, overrides={"a.path": name, "a.size": name, "b.size": name}) for name in "ab"]
    assert named(compare_runs(both))[0] == "bilstm a.path=a a.size=a b.size=a"


def test_defaults_are_not_in_a_name() -> None:
    both = {"data.max_size": "null", "data.min_freq": "1"}
    given: tuple[dict[str, str], ...] = (
        {},
        {"data.max_size": "9"},
        {"data.min_freq": "2"},
        {"data.min_freq": "1", "lr": "3"},
    )
    runs = [
        run(str(index), index / 9, overrides=each, settings={"lr": "5", **both, **each})
        for index, each in enumerate(given)
    ]
    assert named(compare_runs(runs)) == [
        "bilstm lr=3", "bilstm min_freq=2", "bilstm max_size=9", "bilstm",
    ]  # fmt: skip
    swept = [run(size, overrides={"size": size}, settings={"size": size}) for size in "12"]
    assert named(compare_runs(swept)) == ["bilstm size=1", "bilstm size=2"]  # no default is known


def test_an_option_stands_for_what_it_settles() -> None:
    runs = [
        run(data, choices={"data": data}, overrides={"data": data},
            settings={"data": data, "data.csv": data, **stop})
        for data, stop in (("csv", {"stop": "null"}), ("imdb", {"stop.at": "2"}))
    ]  # fmt: skip
    assert named(compare_runs(runs)) == ["bilstm data=csv", "bilstm data=imdb"]
    runs = [run("a", settings={"stop": "null"}), run("b", settings={"stop.at": "1", "stop.x": "2"})]
    assert named(compare_runs(runs)) == ["bilstm stop=null", "bilstm"]


def test_of_equal_runs_the_one_of_the_lower_validation_loss_is_better() -> None:
    runs = [
        run(name, settings={"x": name}, results={"val/loss": loss})
        for name, loss in (("a", 0.3), ("b", 0.1), ("c", None), ("d", 0.2))
    ]
    assert [row["folders"] for row in compare_runs(runs).rows] == [["b"], ["d"], ["a"], ["c"]]
    rows = sweep_rows(runs, "val/accuracy")
    assert [(row["folder"], row["rank"]) for row in rows] == [
        ("b", 1), ("d", 2), ("a", 3), ("c", 4),
    ]  # fmt: skip


def test_runs_rank_among_those_with_the_same_test_reviews() -> None:
    others: list[dict[str, Any]] = [
        {"fingerprints": {"test": "other", "val": VAL_FINGERPRINT}},
        {"fingerprints": {"test": TEST_FINGERPRINT, "val": "other"}},
        {"fingerprints": None, "val/accuracy": None, "test_reviews": 7},
    ]
    runs = [
        run(str(index), index / 9, model=f"model {index}", results=results,
            choices={"data": "csv"}, settings={"data.csv": "r.csv", "lr": str(results == {})})
        for index, results in enumerate([{}, *others], start=1)
    ]  # fmt: skip
    comparison = compare_runs(runs)
    assert [(row["data_set"], row["rank"], row["name"]) for row in comparison.rows] == [
        ("r.csv, 100 test reviews", 1, "model 3"),
        ("r.csv, 100 test reviews", 2, "model 1"),
        ("r.csv, 100 test reviews (2)", 1, "model 2"),
        ("r.csv, 7 test reviews (no record of which)", 1, "model 4"),
    ]
    (val,) = comparison.notes
    assert val.startswith("r.csv, 100 test reviews: validation metrics do not compare")
    assert val.endswith("#1 on 10; #2 on 10")
    text = printed(comparison)
    for name in ("r.csv, 100 test reviews", "r.csv, 100 test reviews (2)"):
        assert text.count(name) == 1
    assert sum(line.startswith("1 ") for line in text) == 3
    markdown = comparison_markdown(comparison)
    assert markdown.count("| # | run |") == 3
    assert markdown.index("(2)**") < markdown.index("`model 2`")
    assert flat_rows(comparison)[2]["data_set"] == "r.csv, 100 test reviews (2)"
    renamed = run("b", 0.8, model="gru", results={"labels": ["-", "+"]})
    together = compare_runs([run("a"), renamed])
    assert [row["rank"] for row in together.rows] == [1, 2]
    assert together.notes == []
    assert not any("test reviews" in line for line in printed(together))


def test_data_sets_of_one_file_are_named_by_what_makes_them() -> None:
    runs = [
        run(seed, choices={"data": "csv"}, overrides={"data.split_seed": seed},
            settings={"data.csv": "r.csv", "data.split_seed": seed},
            results={"fingerprints": {"test": seed, "val": seed}})
        for seed in "12"
    ]  # fmt: skip
    assert [row["data_set"] for row in compare_runs(runs).rows] == [
        "r.csv, 100 test reviews, data.split_seed=1", "r.csv, 100 test reviews, data.split_seed=2",
    ]  # fmt: skip


def test_a_data_set_is_named_by_what_all_its_runs_have() -> None:
    runs = [
        run(f"{label} {size}", choices={"data": "csv"}, results={"fingerprints": {"test": label}},
            settings={"data.csv": "r.csv", "data.label_column": label, "data.max_length": size})
        for label, size in (("stars", "5"), ("stars", "9"), ("mood", "5"), ("mood", "9"))
    ]  # fmt: skip
    runs.append(run("b", choices={"data": "csv"}, results={"fingerprints": {"test": "mood"}},
                    settings={"data.csv": "r.csv", "data.label_column": "mood"}))  # fmt: skip
    assert {row["data_set"] for row in compare_runs(runs).rows} == {
        f"r.csv, 100 test reviews, data.label_column={label}" for label in ("stars", "mood")
    }


def test_what_a_pretrained_encoder_settles_does_not_name_other_runs() -> None:
    runs = [
        run("a", settings={"model.hidden_size": "64", "pretrained.path": "null"}),
        run("b", settings={"pretrained.path": "lm.ckpt"}),
    ]
    assert named(compare_runs(runs)) == [
        "bilstm pretrained.path=null", "bilstm pretrained.path=lm.ckpt",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [3, 10, 20])
def test_long_names_stay_readable_in_80_columns(count: int) -> None:
    runs = [
        run(f"sweeps/2026-11-20_10-00-33/{index}", index / 99, model="stacked_bigru",
            choices={"experiment": "imdb_lstm_dropout"},
            settings={"embeddings.path": f"vectors/of_the_unlabeled_reviews_of_imdb_{index}.txt",
                      "optimizer.lr": f"0.00{index}"})
        for index in range(count)
    ]  # fmt: skip
    lines = printed(compare_runs(runs), 80)
    assert max(map(len, lines)) <= 80
    words = {word for line in lines for word in line.split()}
    assert {f"sweeps/2026-11-20_10-00-33/{index}" for index in range(count)} <= words
    assert "embeddings.path=vectors/" in words  # broken after punctuation
    assert f"of_the_unlabeled_reviews_of_imdb_{count - 1}.txt" in words
    assert {"acc.", "fit", "n"} <= words


def test_runs_without_a_row_are_named_with_the_reason() -> None:
    limited = {"limited": {"test": "trainer.limit_test_batches=1"}}
    runs = [
        run("a"), run("b", None), run("c", status="failed"), run("d", status="pruned"),
        run("e", math.nan), run("f", 0.99, results=limited),
    ]  # fmt: skip
    comparison = compare_runs(runs)
    assert folders(comparison) == [["a"]]
    assert list(comparison.left_out.values()) == [["b", "e"], ["c"], ["d"], ["f"]]
    for reason, word in zip(comparison.left_out, ("accuracy", "failed", "pruned", "limit_test"),
                            strict=True):  # fmt: skip
        assert word in reason
    assert "(b, e)" in comparison.notes[-1]
    alone = compare_runs([run("f", results=limited), run("g", results=limited)])
    assert len(alone.rows) == 1
    assert "limit_test_batches=1" in alone.notes[-1]


def test_a_search_is_ranked_by_validation_or_its_objective() -> None:
    runs = [
        run("a", None, results={"val/accuracy": 0.7, "val/loss": 0.1}),
        run("b", None, results={"val/accuracy": 0.9, "val/loss": 0.2}, model="gru"),
    ]
    comparison = compare_runs(runs)
    assert folders(comparison) == [["b"], ["a"]]
    assert "validation accuracy" in comparison.notes[0]
    comparison = compare_runs(runs, metric="val/loss")
    assert folders(comparison) == [["a"], ["b"]]
    assert "0.1" in printed(comparison)[3].split()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_has_metrics_folders_and_devices(width: int) -> None:
    text = printed(compare_runs(SEEDS), width)
    assert max(map(len, text)) <= width
    assert [" ".join(line.split()) for line in text[1:2] + text[3:]] == [
        "# run n seeds acc. % F1 % acc. % fit param.",
        "1 gru 2 1, 2 92.50 92.50 80.00 10.0s 1.50M",
        "in g +/- 0.71 +/- 0.00",
        "2 bilstm 2 1, 2 90.00 90.00 80.00 10.0s 1.50M",
        "in s +/- 7.07 +/- 0.00",
        "cpu: X, 1 thread",
    ]
    many = compare_runs([run(str(seed), seed=seed) for seed in range(70)])
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 58 more" in printed(many, 200)[3]
    other = compare_runs([run("a"), run("b", 0.8, model="gru", results={"device": "cuda"})])
    assert printed(other)[-2:] == ["cpu: X, 1 thread: #1", "cuda: #2"]


def test_text_of_the_user_is_no_markup() -> None:
    runs = [run(f"[{kind}]", overrides={"model.kinds": f"[{kind}]"}) for kind in ("lstm", "red")]
    text = "\n".join(printed(compare_runs(runs)))
    assert text.count("[red]") == 2


def test_markdown_and_flat_rows() -> None:
    piped = run("b", 0.8, seed=None, model="x|y", results={"test/ece": 0.0123})
    comparison = compare_runs([run("a"), run("a2", 0.92, seed=2), piped])
    text = comparison_markdown(comparison).splitlines()
    assert text[2].startswith("| 1 | `bilstm` | 2 | 1, 2 | 91.00 ± 1.41 | 91.00 ± 1.41 | - | 80.")
    assert text[3].startswith(r"| 2 | `x\|y` | 1 | - | 80.00 | 80.00 | 1.23 |")
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text[:4]}) == 1
    flat = flat_rows(comparison)[0]
    assert (flat["seeds"], flat["labels"], flat["test/accuracy mean"]) == ("1 2", "a b", 0.91)
    assert "fingerprints" not in flat


def add(sweep: Path, name: str, results: object, *overrides: str) -> None:
    config = {"a": dict(item.lstrip("+").split("=") for item in overrides)}
    write_run(sweep / name, list(overrides), results, config)


def test_a_sweep_has_a_row_for_each_run_and_the_best_first(tmp_path: Path) -> None:
    add(tmp_path, "10", {"val/accuracy": 0.5}, "model=gru", "+seed=1")
    add(tmp_path, "9", {"val/accuracy": 0.5, "parameters": 7}, "model=gru", "seed=2")
    add(tmp_path, "x/0", {"val/accuracy": 0.9}, "model=lstm")
    add(tmp_path, "1", {"val/accuracy": 0.9, "pruned": True}, "model=lstm")
    add(tmp_path, "2", {"val/accuracy": None}, "model=lstm")
    add(tmp_path, "3", ["no mapping"])
    add(tmp_path, "4", None, "model=lstm")
    limits = {"val": "trainer.limit_val_batches=1"}
    add(tmp_path, "5", {"val/accuracy": 1, "limited": limits}, "seed=3")
    add(tmp_path, "7", {"val/accuracy": 1}, "seed=4")
    jobs = [
        Job(tmp_path / "7", ["seed=5"], failed=True),
        Job(tmp_path / "8" / "8", ["+seed=6", "hydra.sweep.subdir=8/8"], failed=True),
        Job(tmp_path / "9", [], failed=False),
    ]
    runs = sweep_runs(tmp_path, jobs)
    rows = sweep_rows(runs, "val/accuracy")
    assert [(row["rank"], row["folder"], row["status"]) for row in rows] == [
        (1, "x/0", "ok"), (2, "9", "ok"), (3, "10", "ok"), (None, "5", "limited"),
        (None, "1", "pruned"), (None, "2", "no val/accuracy"), (None, "3", "unreadable"),
        (None, "4", "failed"), (None, "7", "failed"), (None, "8/8", "failed"),
    ]  # fmt: skip
    assert rows[1] == {
        "rank": 2, "status": "ok", "model": "gru", "seed": "2", "val/accuracy": 0.5,
        "test/accuracy": None, "test/f1": None, "fit_seconds": None, "parameters": 7, "folder": "9",
    }  # fmt: skip
    assert (rows[-1]["model"], rows[-1]["seed"]) == (None, "6")


def test_what_a_sweep_varies_sets_its_runs_apart(tmp_path: Path) -> None:
    for workers in "01":
        overrides = [f"data.num_workers={workers}", "seed=1"]
        write_run(tmp_path / workers, overrides, {"val/accuracy": 0.5}, {"a": {"b": 1}})
    comparison = compare_runs(sweep_runs(tmp_path, []), metric="val/accuracy")
    assert named(comparison) == ["bilstm num_workers=0", "bilstm num_workers=1"]


def test_a_resumed_run_of_a_sweep_is_in_the_row_of_its_settings(tmp_path: Path) -> None:
    for seed, resumed in ((1, []), (2, ["ckpt_path=auto"])):
        results = {"val/accuracy": 0.5, "seed": seed}
        write_run(tmp_path / str(seed), [f"seed={seed}", *resumed], results, {"a": {"b": 1}})
    runs = sweep_runs(tmp_path, [])
    assert [row["seeds"] for row in compare_runs(runs, metric="val/accuracy").rows] == [[1, 2]]
    assert "ckpt_path" not in sweep_rows(runs, "val/accuracy")[0]


@pytest.mark.parametrize(
    ("batches", "ranks"), [((1, 1), [1, 2]), ((1, 2), [None, None]), ((1, None), [1, None])]
)
def test_runs_that_are_all_limited_rank_where_they_measure_the_same(
    batches: tuple[int | None, ...], ranks: list[int | None]
) -> None:
    runs = [
        run(str(index), None, results={
            "limited": {"val": f"trainer.limit_val_batches={count}"} if count else {},
            "fingerprints": {"val": f"v:{count}"},
        })
        for index, count in enumerate(batches)
    ]  # fmt: skip
    assert [row["rank"] for row in sweep_rows(runs, "val/accuracy")] == ranks
