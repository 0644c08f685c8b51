import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentiment.report.ranking import compare_runs
from sentiment.report.runs import find_runs, read_run
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import mark_stopped, unmark_stopped


def write_run(
    folder: Path,
    overrides: list[str],
    results: object = None,
    config: dict[str, Any] | None = None,
    choices: dict[str, Any] | None = None,
) -> Path:
    """A run folder as Hydra and a training leave it."""
    (folder / ".hydra").mkdir(parents=True)
    hydra = {"hydra": {"runtime": {"choices": choices or {"model": "bilstm", "experiment": None}}}}
    for name, content in (("overrides", overrides), ("config", config or {}), ("hydra", hydra)):
        (folder / ".hydra" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
    return folder


def names(runs: list[Any]) -> list[str]:
    return [run.folder.name for run in runs]


def test_runs_are_found_at_any_depth_and_once(tmp_path: Path) -> None:
    for name in ("10", "9", "b/c/run"):
        write_run(tmp_path / name, [], {"test/accuracy": 0.5})
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "9")
    (tmp_path / "9" / ".hidden").mkdir()
    (tmp_path / "9" / ".hidden" / "results.json").write_text("{}")
    assert len(find_runs([tmp_path, tmp_path / "9", tmp_path / "again"])) == 3
    (tmp_path / "again").unlink()
    assert names(find_runs([tmp_path])) == ["9", "10", "run"]
    (tmp_path / "10" / "checkpoints").mkdir()
    for path in ("results.json", "checkpoints/best.ckpt"):
        (tmp_path / "10" / path).touch()
        assert names(find_runs([tmp_path / "10" / path])) == ["10"]


def test_how_a_run_ended(tmp_path: Path) -> None:
    write_run(tmp_path / "0", [])
    write_run(tmp_path / "1", [], {"pruned": True})
    write_run(tmp_path / "2", [], {"test/accuracy": 0.5})
    write_run(tmp_path / "3", [], ["no mapping"])
    write_run(tmp_path / "4", [])
    mark_stopped(tmp_path / "4")
    write_run(tmp_path / "5", [])
    mark_stopped(tmp_path / "5")
    unmark_stopped(tmp_path / "5")
    assert [run.status for run in find_runs([tmp_path])] == [
        "failed", "pruned", "ok", "unreadable", "stopped", "failed",
    ]  # fmt: skip


def test_baselines_have_the_config_of_the_folder_above(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "run", ["data.csv=x/r.csv"], None,
        {"data": {"csv": "x/r.csv", "max_length": 9, "lowercase": True}}, {"data": "csv"},
    )  # fmt: skip
    for name in ("tfidf", "naive_bayes"):
        (folder / name).mkdir()
        (folder / name / "results.json").write_text(json.dumps({"model": name}))
    runs = find_runs([tmp_path])
    assert [run.name for run in runs] == ["naive_bayes", "tfidf"]
    # A cut is of networks, and the file is the same wherever it lies.
    assert runs[0].settings == {"data.csv": "r.csv", "data.lowercase": "true"}


def test_the_name_is_what_was_chosen(tmp_path: Path) -> None:
    def name(overrides: list[str], **choices: str | None) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return read_run(write_run(folder, overrides, {}, choices=choices)).name

    assert name([], model="bilstm", experiment=None) == "bilstm"
    assert name(["experiment=imdb"], model="bilstm", experiment="imdb") == "imdb"
    assert name(["+experiment=imdb", "model=gru"], model="gru", experiment="imdb") == "imdb gru"
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "results.json").write_text("{}")
    assert read_run(tmp_path / "moved").name == "moved"


def test_settings_leave_out_what_decides_nothing(tmp_path: Path) -> None:
    config = {
        "seed": 3, "logger": {"tensorboard": {"name": ""}}, "data": {"num_workers": 4},
        "model": {"hidden_size": 8, "head_size": None, "kinds": [1, True]},
        "trainer": {"precision": "${fast:}"},
    }  # fmt: skip
    overrides = ["seed=3", "logger=csv", "++model.hidden_size=8"]
    run = read_run(write_run(tmp_path / "r", overrides, {"precision": "32-true"}, config))
    assert run.settings == {
        "model.hidden_size": "8", "model.head_size": "null", "model.kinds": "[1,true]",
        "trainer.precision": "32-true",
    }  # fmt: skip


def test_a_class_is_known_by_its_name_wherever_it_is_imported_from(tmp_path: Path) -> None:
    for name, module in (("old", "sentiment.data.datamodule"), ("new", "sentiment.train.data")):
        data = {"_target_": f"{module}.SentimentDataModule", "csv": "r.csv"}
        write_run(tmp_path / name, [], {"test/accuracy": 0.5, "seed": len(name + module)},
                  {"data": data})  # fmt: skip
    (row,) = compare_runs(find_runs([tmp_path])).rows
    assert row["n"] == 2


def test_refusals_say_what_and_where(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: .*no such folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(InputError, match=r"no run in it: no results\.json"):
        find_runs([tmp_path])
    with pytest.raises(InputError, match="cannot be read"):
        find_runs([tmp_path / ("x" * 300)])
    for name in ("tfidf", "naive_bayes"):
        write_run(tmp_path / "runs" / "base" / name, [], {})
    for path in ("runs/notes.txt", "runs/base/baseline.log"):
        (tmp_path / path).touch()
        with pytest.raises(
            InputError, match=f"{path}: no run in it: .* is not the folder of one run"
        ):
            find_runs([tmp_path / path])
    shutil.rmtree(tmp_path / "runs")
    folder = write_run(tmp_path / "r", [], {})
    (folder / ".hydra" / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"config\.yaml cannot be read") as caught:
        find_runs([tmp_path])
    assert "\n" not in str(caught.value)
    (folder / ".hydra" / "config.yaml").write_text("a: 1")
    (folder / ".hydra" / "overrides.yaml").write_text("5")
    with pytest.raises(InputError, match=r"overrides\.yaml is not a list"):
        find_runs([tmp_path])


def test_a_folder_of_word_vectors_is_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "0", [], {"test/accuracy": 0.5})
    folder = write_run(tmp_path / "vectors", [])
    hydra = {"hydra": {"job": {"config_name": "vectors"}, "runtime": {"choices": {}}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    assert names(find_runs([tmp_path])) == ["0"]
    with pytest.raises(InputError, match="no run in it"):
        find_runs([folder])


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("data.test_csv", "/x/r.csv", "r.csv"),  # fingerprints show whether it is the same
        ("data.unlabeled_csv", "/w/x/u.csv", "x/u.csv"),
        ("data.unlabeled_csv", ["x/u.csv", "y/../v.csv"], "[x/u.csv,here/v.csv]"),
        ("embeddings.path", "runs/1/vectors.txt", "1/vectors.txt"),
        ("embeddings.path", "vectors.txt", "here/vectors.txt"),
        ("embeddings.path", "../vectors.txt", "w/vectors.txt"),
    ],
)
def test_files_are_known_by_their_names(
    tmp_path: Path, key: str, value: str | list[str], shown: str
) -> None:
    group, name = key.split(".")
    folder = write_run(tmp_path / "r", [], {}, {group: {name: value}})
    hydra = {"hydra": {"runtime": {"choices": {}, "cwd": "/w/here"}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    assert read_run(folder).settings == {key: shown}


def test_vectors_of_one_name_make_two_rows(tmp_path: Path) -> None:
    """``sentiment.vectors`` gives every file the same name."""
    for name in "xy":
        overrides = ["embeddings=file", f"embeddings.path={name}/vectors.txt"]
        config = {"embeddings": {"path": f"{name}/vectors.txt"}}
        write_run(tmp_path / name, overrides, {"test/accuracy": 0.5, "seed": 1}, config)
    rows = compare_runs(find_runs([tmp_path])).rows
    assert [row["n"] for row in rows] == [1, 1]
    assert [row["settings"] for row in rows] == [
        {"embeddings.path": "x/vectors.txt"},
        {"embeddings.path": "y/vectors.txt"},
    ]


def test_sizes_of_a_language_model_are_not_listed(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "model": {"cell": "lstm", "hidden_size": 128, "num_layers": 1, "bidirectional": True,
                  "pooling": "max"},
        "embeddings": {"size": 100}, "pretrained": {"path": None},
    }  # fmt: skip
    plain = read_run(write_run(tmp_path / "plain", [], {}, config))
    assert plain.settings["model.hidden_size"] == "128"
    config["pretrained"]["path"] = "lm.ckpt"
    run = read_run(write_run(tmp_path / "from", [], {}, config))
    assert run.settings == {"model.pooling": "max", "pretrained.path": "lm.ckpt"}


@pytest.mark.parametrize(
    "results",
    [
        {"labels": 5}, {"labels": [["a"]]}, {"fingerprints": {"test": []}}, {"test_reviews": [1]},
        {"val_reviews": {}}, {"fingerprints": "x"}, {"seed": [1]}, {"device": {}},
    ],
    ids=str,
)  # fmt: skip
def test_results_of_odd_types_are_unreadable(tmp_path: Path, results: dict[str, Any]) -> None:
    folder = write_run(tmp_path / "r", [], {"test/accuracy": 0.5, **results})
    assert read_run(folder).status == "unreadable"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hydra", "5"), ("hydra", "[1, 2]"), ("hydra", "hydra: 5"),
        ("hydra", "hydra: {runtime: []}"), ("config", "5"), ("config", "[1, 2]"),
    ],
)  # fmt: skip
def test_a_run_whose_config_is_of_odd_types_is_unreadable(
    tmp_path: Path, name: str, content: str
) -> None:
    folder = write_run(tmp_path / "r", [], {"test/accuracy": 0.5})
    (folder / ".hydra" / f"{name}.yaml").write_text(content)
    (run,) = find_runs([folder])
    assert run.status == "unreadable"


def test_a_weight_column_distinguishes_only_the_runs_that_have_one(tmp_path: Path) -> None:
    results = {"test/accuracy": 0.5, "seed": 1}
    columns: dict[str, dict[str, Any]] = {
        "old": {}, "new": {"weight_column": None}, "w": {"weight_column": "w"},
    }  # fmt: skip
    for name, column in columns.items():
        write_run(tmp_path / name, [], results, {"data": {"min_freq": 1, **column}})
    rows = compare_runs(find_runs([tmp_path])).rows
    assert sorted((row["n"], row["settings"]) for row in rows) == [
        (1, {"data.weight_column": "w"}), (2, {}),
    ]  # fmt: skip
