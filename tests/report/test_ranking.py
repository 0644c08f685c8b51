import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from sentiment.report.ranking import (
    Job,
    has_seeds,
    rank_runs,
    ranking_table,
    seeds_table,
    summarise_seeds,
)
from sentiment.report.tables import print_table
from sentiment.runtime.errors import InputError


def add_run(sweep: Path, name: str, overrides: list[str], results: object = None) -> None:
    hydra = sweep / name / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "overrides.yaml").write_text("".join(f"- {text}\n" for text in overrides) or "[]\n")
    if results is not None:
        (sweep / name / "results.json").write_text(json.dumps(results))


def reached(val: float | None, test: float | None = None, **others: object) -> dict[str, object]:
    return {"val/accuracy": val, "test/accuracy": test, "test/f1": test, **others}


def lines(table: Table) -> list[str]:
    file = io.StringIO()
    print_table(table, file)
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two models with three seeds each; of the second model, seed 2 failed."""
    for number, (model, seed, val) in enumerate(
        [("bilstm", 1, 0.90), ("bilstm", 2, 0.92), ("bilstm", 3, 0.91), ("bigru", 1, 0.93)]
    ):
        add_run(
            tmp_path,
            str(number),
            [f"model={model}", f"seed={seed}", "data=imdb"],
            reached(val, val - 0.01, fit_seconds=60.0 + number, parameters=1_234_567),
        )
    add_run(tmp_path, "4", ["model=bigru", "seed=2", "data=imdb"])
    add_run(
        tmp_path,
        "10",
        ["model=bigru", "seed=3", "data=imdb"],
        reached(0.89, 0.88, fit_seconds=64.0, parameters=1_234_567),
    )
    (tmp_path / "multirun.yaml").write_text("hydra: {}\n")
    (tmp_path / ".submitit").mkdir()
    return tmp_path


def test_runs_are_ranked_and_failed_ones_come_last(sweep: Path) -> None:
    rows = rank_runs(sweep)
    assert [(row["rank"], row["folder"], row["status"]) for row in rows] == [
        (1, "3", "ok"),
        (2, "1", "ok"),
        (3, "2", "ok"),
        (4, "0", "ok"),
        (5, "10", "ok"),
        (None, "4", "failed"),
    ]
    assert rows[0] == {
        "rank": 1,
        "status": "ok",
        "model": "bigru",
        "seed": "1",
        "data": "imdb",
        "val/accuracy": 0.93,
        "test/accuracy": pytest.approx(0.92),
        "test/f1": pytest.approx(0.92),
        "fit_seconds": 63.0,
        "parameters": 1_234_567,
        "folder": "3",
    }
    assert rows[-1]["model"] == "bigru"
    assert rows[-1]["val/accuracy"] is None


@pytest.mark.parametrize(
    ("metric", "best"), [("val/loss", "a"), ("fit_seconds", "b"), ("test/auroc", "b")]
)
def test_other_metrics_and_their_direction(metric: str, best: str, tmp_path: Path) -> None:
    add_run(tmp_path, "a", [], {"val/loss": 0.2, "fit_seconds": 9, "test/auroc": 0.8})
    add_run(tmp_path, "b", [], {"val/loss": 0.3, "fit_seconds": 5, "test/auroc": 0.9})
    rows = rank_runs(tmp_path, metric=metric)
    assert rows[0]["folder"] == best
    assert metric in rows[0]


def test_equal_runs_keep_the_order_of_their_folders(tmp_path: Path) -> None:
    for name in ("10", "9", "0", "named"):
        add_run(tmp_path, name, [], reached(0.9))
    assert [row["folder"] for row in rank_runs(tmp_path)] == ["0", "9", "10", "named"]


def test_runs_without_the_metric_come_before_failed_ones(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    add_run(tmp_path, "1", [], reached(None, 0.9))
    add_run(tmp_path, "2", [], ["no", "mapping"])
    add_run(tmp_path, "3", [], reached(0.6))
    add_run(tmp_path, "4", [])
    (tmp_path / "4" / "results.json").write_text('{"val/accu')
    statuses = [(row["folder"], row["status"]) for row in rank_runs(tmp_path)]
    assert statuses == [
        ("3", "ok"),
        ("1", "no val/accuracy"),
        ("2", "unreadable"),
        ("4", "unreadable"),
        ("0", "failed"),
    ]


def test_pruned_runs_come_after_completed_ones_however_good(tmp_path: Path) -> None:
    add_run(tmp_path, "0", ["lr=1"], reached(0.5))
    add_run(tmp_path, "1", ["lr=2"], {"val/accuracy": 0.9, "pruned": True})
    add_run(tmp_path, "2", ["lr=3"], {"val/accuracy": 0.6, "pruned": True})
    add_run(tmp_path, "3", ["lr=4"])
    add_run(tmp_path, "4", ["lr=5"], {"val/accuracy": 0.95, "pruned": True})
    rows = rank_runs(tmp_path)
    assert [row["folder"] for row in rows] == ["0", "4", "1", "2", "3"]
    assert [row["rank"] for row in rows] == [1, None, None, None, None]
    assert "4 (pruned)" in lines(ranking_table(rows))[4]


def test_a_run_that_never_made_its_folder_is_a_row_that_failed(sweep: Path) -> None:
    lost = ["model=bigru", "+seed=9", "hydra.sweep.subdir=x"]
    jobs = [Job(sweep / "3", [], failed=False), Job(sweep / "a" / "5", lost, failed=True)]
    rows = rank_runs(sweep, jobs=jobs)
    assert len(rows) == 7
    row = next(row for row in rows if row["folder"] == "a/5")
    assert (row["rank"], row["status"], row["model"], row["seed"]) == (None, "failed", "bigru", "9")
    assert "hydra.sweep.subdir" not in row


def test_a_run_that_failed_for_its_process_has_no_figures_of_an_earlier_one(sweep: Path) -> None:
    rows = rank_runs(sweep, jobs=[Job(sweep / "3", ["seed=1"], failed=True)])
    assert [row["folder"] for row in rows if row["status"] == "failed"] == ["3", "4"]


def test_runs_lie_at_any_depth(tmp_path: Path) -> None:
    for name in ("seeds/10", "seeds/9", "x/y/z"):
        add_run(tmp_path, name, [], reached(0.9))
    assert [row["folder"] for row in rank_runs(tmp_path)] == ["seeds/9", "seeds/10", "x/y/z"]


def test_overrides_are_read_as_they_were_written(tmp_path: Path) -> None:
    add_run(tmp_path, "0", ["+a.b=1e-3", "++c='x=y'", "~callbacks.stop"], reached(0.9))
    add_run(tmp_path, "1", ["model=rnn", "a.b=01"], reached(0.8))
    first, second = rank_runs(tmp_path)
    assert (first["a.b"], first["c"], first["~callbacks.stop"]) == ("1e-3", "'x=y'", "")
    assert first["model"] is None
    assert (second["a.b"], second["c"]) == ("01", None)


def test_input_errors_say_the_way_out(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'val/acuracy': choose one of .*val/accuracy"):
        rank_runs(sweep, metric="val/acuracy")
    with pytest.raises(InputError, match="nowhere is no folder"):
        rank_runs(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no runs in it"):
        rank_runs(tmp_path / "empty")


def test_broken_overrides_name_their_file(tmp_path: Path) -> None:
    add_run(tmp_path, "0", ["[unclosed"], reached(0.9))
    with pytest.raises(InputError, match=r"overrides\.yaml cannot be read") as caught:
        rank_runs(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_sweep_that_failed_altogether_is_still_listed(tmp_path: Path) -> None:
    add_run(tmp_path, "0", ["model=rnn"])
    rows = rank_runs(tmp_path)
    assert [row["status"] for row in rows] == ["failed"]
    assert "failed" in "".join(lines(ranking_table(rows)))
    assert summarise_seeds(rows)[0]["n"] == 0


def test_ranking_table_shows_what_varies_and_captions_what_does_not(sweep: Path) -> None:
    text = lines(ranking_table(rank_runs(sweep)))
    assert text[1] == "# model seed acc. % acc. % F1 % time param. run"
    assert text[3] == "1 bigru 1 93.00 92.00 92.00 1m 03s 1.23M 3"
    assert text[8] == "- bigru 2 failed - - - - 4"
    assert text[-1] == "all runs: data=imdb"


def test_ranking_table_fits_eighty_columns(sweep: Path) -> None:
    for table in (
        ranking_table(rank_runs(sweep)),
        seeds_table(summarise_seeds(rank_runs(sweep))),
    ):
        file = io.StringIO()
        Console(file=file, width=80).print(table)
        assert [" ".join(line.split()) for line in file.getvalue().splitlines()] == lines(table)


def test_headings_are_short_where_that_is_not_ambiguous(tmp_path: Path) -> None:
    for number in range(2):
        overrides = [f"optimizer.lr={number}", f"model.size={number}", f"data.size={number}"]
        add_run(tmp_path, str(number), overrides, reached(0.9))
    assert lines(ranking_table(rank_runs(tmp_path)))[1].startswith("# lr model.size data.size ")


def test_override_values_are_no_markup(tmp_path: Path) -> None:
    add_run(tmp_path, "0", ["model.kinds=[lstm,gru]", "data=[imdb]"], reached(0.9))
    add_run(tmp_path, "1", ["model.kinds=[rnn]", "data=[imdb]"], reached(0.8))
    text = lines(ranking_table(rank_runs(tmp_path)))
    assert "[lstm,gru]" in text[3]
    assert text[-1] == "all runs: data=[imdb]"


def test_mean_and_spread_over_seeds(sweep: Path) -> None:
    rows = rank_runs(sweep)
    assert has_seeds(rows)
    # bilstm: 0.90, 0.92, 0.91 has mean 0.91 and s = sqrt((1 + 1 + 0) / 2) = 0.01;
    # bigru: 0.93, 0.89 has mean 0.91 too and s = sqrt((4 + 4) / 1) / 100 = 0.02828.
    by_model = {row["model"]: row for row in summarise_seeds(rows)}
    bilstm, bigru = by_model["bilstm"], by_model["bigru"]
    assert bilstm["n"] == 3
    assert bilstm["failed"] == 0
    assert bilstm["val/accuracy mean"] == pytest.approx(0.91)
    assert bilstm["val/accuracy spread"] == pytest.approx(0.01)
    assert bilstm["test/accuracy mean"] == pytest.approx(0.90)
    assert bilstm["fit_seconds mean"] == pytest.approx(61.0)
    assert (bigru["n"], bigru["failed"]) == (2, 1)
    assert bigru["val/accuracy spread"] == pytest.approx(math.sqrt(8) / 100)
    assert "seed" not in bilstm


def test_configurations_are_ranked_by_their_mean(tmp_path: Path) -> None:
    accuracies = {"lucky": (0.95, 0.80), "steady": (0.90, 0.91), "broken": (None, None)}
    for model, values in accuracies.items():
        for seed, value in enumerate(values):
            results = None if value is None else reached(value, 0.5 if seed else None)
            add_run(tmp_path, f"{model}{seed}", [f"model={model}", f"seed={seed}"], results)
    rows = rank_runs(tmp_path)
    assert rows[0]["model"] == "lucky"
    summary = summarise_seeds(rows)
    assert [(row["rank"], row["model"], row["n"]) for row in summary] == [
        (1, "steady", 2),
        (2, "lucky", 2),
        (None, "broken", 0),
    ]
    assert summary[0]["test/accuracy mean"] is None  # one of the two runs has none
    text = lines(seeds_table(summary))
    assert text[3] == "1 steady 2 90.50 0.71 - - - - -"
    assert text[5] == "- broken 0/2 - - - - - - -"


def test_seeds_of_a_loss_rank_the_lowest_first(tmp_path: Path) -> None:
    for model, loss in (("a", 0.3), ("b", 0.2)):
        add_run(tmp_path, model, [f"model={model}", "seed=1"], {"val/loss": loss})
    summary = summarise_seeds(rank_runs(tmp_path, metric="val/loss"), metric="val/loss")
    assert [row["model"] for row in summary] == ["b", "a"]
    assert summary[0]["val/loss spread"] is None  # a single run has no spread


def test_one_seed_each_is_no_repetition(tmp_path: Path) -> None:
    for seed, model in enumerate(("a", "b")):
        add_run(tmp_path, model, [f"model={model}", f"seed={seed}"], reached(0.9))
    assert not has_seeds(rank_runs(tmp_path))


def limited(accuracy: float, setting: str, **prints: str) -> dict[str, object]:
    limits = {split: setting for split in ("train", "val", "test") if split in setting}
    known = {"val": "v", "test": "t"} | prints
    return reached(accuracy, accuracy, limited=limits, fingerprints=known)


def test_limited_runs_stand_below_whole_ones(tmp_path: Path) -> None:
    add_run(tmp_path, "0", ["seed=1"], limited(0.99, "trainer.limit_test_batches=1", test="t:16"))
    add_run(tmp_path, "1", ["seed=2"], reached(0.6, 0.6, fingerprints={"val": "v", "test": "t"}))
    add_run(tmp_path, "2", ["seed=3"], limited(0.95, "trainer.limit_train_batches=1"))
    add_run(tmp_path, "3", ["seed=4"], reached(0.99, pruned=True))
    rows = rank_runs(tmp_path)
    assert [(row["rank"], row["folder"], row["status"]) for row in rows] == [
        (1, "2", "ok"), (2, "1", "ok"), (None, "0", "limited"), (None, "3", "pruned"),
    ]  # fmt: skip
    assert any(line.endswith("0 (limited)") for line in lines(ranking_table(rows)))
    assert [(row["n"], row["failed"]) for row in summarise_seeds(rows)] == [(2, 1)]


@pytest.mark.parametrize(
    ("other", "ranks"),
    [
        (limited(0.9, "trainer.limit_val_batches=1", val="v:8"), [1, 2]),
        (limited(0.9, "trainer.limit_val_batches=2", val="v:16"), [None, None]),
        (limited(0.9, "trainer.limit_train_batches=2"), [1, None]),
    ],
)
def test_runs_that_are_all_limited_rank_where_they_measure_the_same(
    tmp_path: Path, other: object, ranks: list[int | None]
) -> None:
    add_run(tmp_path, "0", [], limited(0.8, "trainer.limit_val_batches=1", val="v:8"))
    add_run(tmp_path, "1", [], other)
    assert [row["rank"] for row in rank_runs(tmp_path)] == ranks
