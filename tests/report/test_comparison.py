from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import TEST_FINGERPRINT, VAL_FINGERPRINT
from conftest import ended_run as run
from sentiment.report.comparison import compare_runs, told_left_out
from sentiment.report.runs import Run
from sentiment.runtime.errors import InputError


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
    assert [row["folders"] for row in compare_runs(runs, by_run=True).rows] == [
        ["s/0"], ["g/0"], ["g/1"], ["s/1"],
    ]  # fmt: skip
    assert comparison.notes == []


def test_runs_of_one_seed_in_one_row_are_told() -> None:
    runs = [run("a"), run("b"), run("c", seed=2), run("d", 0.8, model="gru")]
    (note,) = compare_runs(runs).notes
    assert note.startswith("more runs than seeds in #1: made twice, or apart in what no setting")
    assert compare_runs(runs, by_run=True).notes == []
    seedless: dict[str, Any] = {"results": {"seed": None}, "model": "tfidf"}
    assert "in #1: made twice" in compare_runs([run(name, **seedless) for name in "ab"]).notes[0]
    assert compare_runs([run("a", **seedless)]).notes == []


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
    assert comparison.usual == {"model.hidden_size": "128"}
    assert [row["settings"] for row in comparison.rows] == [
        {"model.hidden_size": "64"},
        {},
        {},
        {"trainer.precision": "bf16"},  # nobody asked, but they differ
        {"trainer.precision": "32"},
    ]


def test_a_usual_value_that_one_row_has_stands_beside_it() -> None:
    runs = [
        run("a", 0.9, overrides={"model.hidden_size": "64"}),
        run("b", 0.8, settings={"model.hidden_size": "128"}),
    ]
    comparison = compare_runs(runs)
    assert comparison.usual == {}
    assert [row["settings"] for row in comparison.rows] == [
        {"model.hidden_size": "64"}, {"model.hidden_size": "128"},
    ]  # fmt: skip


def chosen(folder: str, test: float, data: str, settings: dict[str, str], **others: Any) -> Run:
    """A run with an option of the data, which settles ``data.csv`` if nobody else does."""
    given = others.pop("overrides", {})
    own = run(folder, test, overrides=given, settings=settings, **others)
    return replace(own, choices={**own.choices, "data": data, **others.get("choices", {})})


def test_only_what_every_row_has_is_shared() -> None:
    """Kinds of runs differ in what settings they have at all."""
    data = {"data": "csv", "data.csv": "r.csv"}
    vectors = {"embeddings.path": "imdb.txt"}
    runs = [
        chosen("a", 0.9, "csv", {}, overrides={**data, **vectors}),
        chosen("b", 0.8, "csv", {}, overrides=data, model="gru"),
        chosen("c", 0.7, "csv", {}, overrides=data, model="tfidf"),
    ]
    comparison = compare_runs(runs)
    assert comparison.shared == data
    assert [row["settings"] for row in comparison.rows] == [vectors, {}, {}]


def test_the_data_stand_beside_every_row_or_none() -> None:
    epochs = {"trainer.max_epochs": "2"}
    sample = {"data.csv": "sample", "data.text_column": "review", "data.train_csv": "null",
              "data.max_length": "null"}  # fmt: skip
    imdb = {"data": "imdb", "data.train_csv": "t.csv"}
    mine = {"data": "csv", "data.csv": "r.csv", "data.text_column": "body", "data.max_length": "9"}
    runs = [
        chosen("a", 0.9, "sample", sample, overrides=epochs),
        chosen("b", 0.8, "sample", sample, overrides=epochs, model="birnn"),
        chosen("c", 0.7, "csv", {**epochs, "data.train_csv": "null"}, overrides=mine),
        chosen("d", 0.6, "imdb", {"data.csv": "null", "data.text_column": "review"},
               overrides=imdb, model="tfidf"),
    ]  # fmt: skip
    comparison = compare_runs(runs)
    assert [row["settings"] for row in comparison.rows] == [
        {"data": "sample"}, {"data": "sample"}, mine, imdb,
    ]  # fmt: skip
    assert comparison.shared == {}
    assert comparison.usual == epochs


def test_an_experiment_that_departs_from_the_default_says_so() -> None:
    plain = {"optimizer.lr": "0.002"}
    runs = [
        run("a", 0.9, settings=plain),
        run("b", 0.8, settings=plain, model="gru"),
        replace(own := run("c", 0.7, settings={"optimizer.lr": "0.004"}),
                choices={**own.choices, "experiment": "imdb"}),
        run("d", 0.6, overrides={"optimizer.lr": "0.1"}, model="rnn"),
    ]  # fmt: skip
    comparison = compare_runs(runs)
    assert comparison.usual == plain
    assert [row["settings"].get("optimizer.lr") for row in comparison.rows] == [
        None, None, "0.004", "0.1",
    ]  # fmt: skip


def test_null_is_told_where_it_was_given() -> None:
    runs = [
        run("a", 0.9, settings={"data.max_length": "400"}),
        run("b", 0.8, settings={"data.max_length": "400"}, model="gru"),
        run("c", 0.7, overrides={"data.max_length": "null"}, model="rnn"),
    ]
    comparison = compare_runs(runs)
    assert [row["settings"] for row in comparison.rows] == [{}, {}, {"data.max_length": "null"}]


def test_other_reviews_are_told_in_one_line() -> None:
    runs = [
        run("a", 0.9),
        run(
            "b",
            0.8,
            model="gru",
            results={"fingerprints": {"test": "other", "val": VAL_FINGERPRINT}},
        ),
        run(
            "c",
            0.7,
            model="rnn",
            results={"fingerprints": {"test": TEST_FINGERPRINT, "val": "other"}},
        ),
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


def limited_run(folder: str, test: float, batches: int) -> Run:
    setting, prints = f"trainer.limit_test_batches={batches}", {"test": f"t:{16 * batches}"}
    results = {"limited": {"test": setting}, "test_reviews": 16 * batches, "fingerprints": prints}
    return run(folder, test, results=results, overrides={"trainer.limit_test_batches": batches})


def test_limited_runs_do_not_stand_beside_whole_ones() -> None:
    comparison = compare_runs([limited_run("a", 0.99, 1), run("b", 0.8)])
    assert [row["folders"] for row in comparison.rows] == [["b"]]
    (told,) = told_left_out(comparison.left_out)
    assert "limit_test_batches=1" in told
    assert "(a)" in told
    alike = compare_runs([limited_run("a", 0.7, 1), limited_run("b", 0.8, 1)], by_run=True)
    assert [row["folders"] for row in alike.rows] == [["b"], ["a"]]
    assert "limit_test_batches=1" in alike.notes[-1]
    other = compare_runs([limited_run("a", 0.7, 1), limited_run("b", 0.8, 2)])
    assert len(other.rows) == 2
    assert "the test reviews differ" in other.notes[0]
