import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sentiment import Predictor
from sentiment.data.csv_format import CsvFormat
from sentiment.evaluate import evaluate, main
from sentiment.runtime.errors import InputError
from terminal import on_terminal


def test_a_checkpoint_gives_the_metrics_of_its_training(trained: Path, capsys: Any) -> None:
    results = json.loads((trained / "results.json").read_text())
    checkpoint = trained / "checkpoints" / "best.ckpt"
    main([str(checkpoint), str(trained / "splits" / "test.csv"), "--json"])
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated.keys() - results.keys() == set()
    for name in ("test/accuracy", "test/f1", "test/auroc", "test/loss", "test/ece",
                 "val/accuracy", "val/ece"):  # fmt: skip
        assert evaluated[name] == pytest.approx(results[name], abs=1e-6), name
    for name in ("labels", "vocabulary_size", "train_reviews", "test_reviews", "seed", "versions",
                 "test/by_length", "temperature"):  # fmt: skip
        assert evaluated[name] == results[name], name
    assert evaluated["fingerprints"]["test"] == results["fingerprints"]["test"]
    main([str(checkpoint), str(trained / "splits" / "test.csv")])
    printed = capsys.readouterr().out
    assert "100.00 %" in printed
    assert "validation" in printed
    for of_training in ("training", "duplicates", "with vectors"):  # and not of this file
        assert of_training not in printed
    assert printed.split("accuracy")[-1].split()[-4:] == ["12", "24", "100.00", "%"]  # by length


def test_a_file_may_call_the_labels_otherwise(trained: Path, tmp_path: Path, capsys: Any) -> None:
    checkpoint = str(trained / "checkpoints" / "best.ckpt")
    table = pd.read_csv(trained / "splits" / "test.csv")
    table["sentiment"] = table["sentiment"].map({"awful": -1, "lovely": 1})
    table.to_csv(tmp_path / "r.csv", index=False)
    main([checkpoint, str(tmp_path / "r.csv"), "--json", "--labels", "-1", "1"])
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["test/accuracy"] == 1
    assert evaluated["labels"] == ["awful", "lovely"]
    main([checkpoint, str(tmp_path / "r.csv"), "--json", "--labels", "1", "-1"])
    assert json.loads(capsys.readouterr().out)["test/accuracy"] == 0
    for labels in (["1"], ["1", "1"], ["1", "2", "3"]):
        with pytest.raises(SystemExit):
            main([checkpoint, str(tmp_path / "r.csv"), "--labels", *labels])
        error = capsys.readouterr().err
        assert f"--labels: {', '.join(map(repr, labels))} given; " in error
        assert "awful, lovely" in error
    with pytest.raises(SystemExit):
        main([checkpoint, str(tmp_path / "r.csv"), "--labels", "awful", "lovely"])
    error = capsys.readouterr().err
    for fact in ("r.csv, row 1", "'1'", "'sentiment'", "'awful', 'lovely'", "--labels"):
        assert fact in error


def test_equal_labels_of_a_file_are_noted(trained: Path, tmp_path: Path, capsys: Any) -> None:
    table = pd.read_csv(trained / "splits" / "test.csv")
    for names, labels, noted in (
        ({"awful": "0.0", "lovely": "1.0"}, ["0", "1"], "label '1.0' is taken for '1'"),
        ({"awful": "FALSE", "lovely": "TRUE"}, ["false", "true"], "'TRUE' is taken for 'true'"),
    ):
        path = tmp_path / "r.csv"
        table.assign(sentiment=table["sentiment"].map(names)).to_csv(path, index=False)
        main([str(trained / "checkpoints" / "best.ckpt"), str(path), "--json", "--labels", *labels])
        printed = capsys.readouterr()
        assert json.loads(printed.out)["test/accuracy"] == 1
        assert printed.err.count(noted) == 1
        assert f"{len(table)} rows read\n" in printed.err


def test_a_terminal_has_a_bar_with_notes_above_it(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.read_csv(trained / "splits" / "test.csv")
    table["sentiment"] = table["sentiment"].map({"awful": "0.0", "lovely": "1.0"})
    table.to_csv(tmp_path / "r.csv", index=False)
    terminal = on_terminal(monkeypatch)
    checkpoint = str(trained / "checkpoints" / "best.ckpt")
    main([checkpoint, str(tmp_path / "r.csv"), "--json", "--labels", "0", "1"])
    for fact in ("Evaluating r.csv", f"/{len(table)}", "row/s"):
        assert fact in terminal.getvalue()
    notes = [line for line in terminal.screen if "note: " in line]
    assert len(notes) == 3
    assert all(line.startswith("note: ") for line in notes)


def test_what_a_file_lacks_is_noted(trained: Path, tmp_path: Path, capsys: Any) -> None:
    table = pd.read_csv(trained / "splits" / "test.csv")
    table = table[table["sentiment"] == "lovely"]
    table.loc[table.index[0], "sentiment"] = None
    table.to_csv(tmp_path / "r.csv", index=False)
    main([str(trained / "checkpoints" / "best.ckpt"), str(tmp_path / "r.csv"), "--json"])
    printed = capsys.readouterr()
    evaluated = json.loads(printed.out)
    assert evaluated["test/auroc"] is None
    assert evaluated["dropped_missing"] == 1
    assert evaluated["test_reviews"] == len(table) - 1
    absent, left_out = printed.err.splitlines()
    assert "awful" in absent
    assert f"{len(table)} rows read, 1 of them left out" in left_out


@pytest.mark.parametrize("name", ["trained", "baselines"])
def test_reviews_that_were_in_training_are_noted(
    name: str, trained: Path, request: pytest.FixtureRequest, tmp_path: Path, capsys: Any
) -> None:
    run = trained if name == "trained" else request.getfixturevalue(name) / "tfidf"
    splits = [pd.read_csv(trained / "splits" / f"{name}.csv") for name in ("train", "test")]
    splits[0]["review"] = splits[0]["review"].str.upper()  # texts in another case are the same
    both = tmp_path / "both.csv"
    pd.concat(splits).to_csv(both, index=False)
    main([str(run / "checkpoints" / "best.ckpt"), str(both), "--json"])
    noted = capsys.readouterr().err
    assert f"note: both.csv: {len(splits[0])} of these reviews were in training" in noted
    main([str(run), str(trained / "splits" / "test.csv"), "--json"])
    assert "in training" not in capsys.readouterr().err


def test_a_label_of_another_kind_is_refused(trained: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "r.csv"
    pd.DataFrame({"text": ["a", "b"], "stars": ["awful", "grand"]}).to_csv(path, index=False)
    options = ["--text-column", "text", "--label-column", "stars"]
    with pytest.raises(SystemExit) as stopped:
        main([str(trained / "checkpoints" / "best.ckpt"), str(path), *options])
    assert stopped.value.code == 2
    assert "row 2: label 'grand'" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_refused(trained: Path, capsys: Any) -> None:
    checkpoint, reviews = trained / "checkpoints" / "best.ckpt", trained / "splits" / "test.csv"
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), str(reviews), "--device", "foo"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: device 'foo'")
    assert error.count("\n") == 1


@pytest.mark.parametrize("weighting", ["tfidf", "naive_bayes"])
def test_a_baseline_gives_its_metrics_exactly(
    trained: Path, baselines: Path, weighting: str, capsys: Any
) -> None:
    results = json.loads((baselines / weighting / "results.json").read_text())
    checkpoint = baselines / weighting / "checkpoints" / "best.ckpt"
    main([str(checkpoint), str(trained / "splits" / "test.csv"), "--json"])
    evaluated = json.loads(capsys.readouterr().out)
    for name in ("test/accuracy", "test/f1", "val/accuracy", "parameters", "train_reviews"):
        assert evaluated[name] == results[name], name
    # Other sums of the same numbers, as the file has them in another order.
    assert evaluated["test/loss"] == pytest.approx(results["test/loss"], rel=1e-6)


def test_several_checkpoints_are_measured_together_and_alone(
    trained: Path, baselines: Path, capsys: Any
) -> None:
    paths = [
        str(trained / "checkpoints" / "best.ckpt"),
        str(baselines / "tfidf" / "checkpoints" / "best.ckpt"),
    ]
    reviews = str(trained / "splits" / "test.csv")
    together = {}
    for name, weights in (("even", []), ("first", ["1e6", "1"])):
        main([*paths, "--json", reviews, *(["--weights", *weights] if weights else [])])
        together[name] = json.loads(capsys.readouterr().out)
    alone = together["even"]["members"]
    assert [each["checkpoint"] for each in alone] == paths
    assert alone[0]["test/loss"] != alone[1]["test/loss"]
    # The probability of the right class is never below the smaller of the two.
    losses = [each["test/loss"] for each in alone]
    assert together["even"]["test/loss"] < max(losses)
    assert together["first"]["test/loss"] == pytest.approx(losses[0], rel=1e-4)
    assert "seed" not in together["even"]
    assert [each["weight"] for each in alone] == [1, 1]
    assert [each["weight"] for each in together["first"]["members"]] == [1e6, 1]
    main([*paths, reviews])
    printed = capsys.readouterr().out
    assert printed.count("best.ckpt") == 2
    for absent in ("training", "validation", "weight"):
        assert absent not in printed.split("alone")[0] + printed.split("alone")[1].splitlines()[0]
    main([*paths, reviews, "--weights", "2", "1"])
    assert "alone" in (printed := capsys.readouterr().out)
    assert printed.split("alone")[1].split()[0] == "weight"


def test_a_checkpoint_that_is_given_twice_is_refused(
    trained: Path, tmp_path: Path, capsys: Any
) -> None:
    checkpoint, link = trained / "checkpoints" / "best.ckpt", tmp_path / "link.ckpt"
    link.symlink_to(checkpoint)
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), str(link), str(trained / "splits" / "test.csv")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {checkpoint}: is given twice; --weights")


def test_a_column_that_is_not_there_names_the_options(
    trained: Path, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "r.csv"
    path.write_text("film,note\na,awful\n")
    command = [str(trained / "checkpoints" / "best.ckpt"), str(path)]
    for options, way_out in (
        ([], "--no-header"),
        (["--no-header"], "--header"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*command, *options])
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        for option in ("--text-column", "--label-column", "--separator", way_out):
            assert option in error
        assert "data." not in error


def test_a_run_folder_stands_for_its_best_checkpoint(trained: Path, capsys: Any) -> None:
    main([str(trained), str(trained / "splits" / "test.csv"), "--json"])
    assert json.loads(capsys.readouterr().out)["test/accuracy"] == 1


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ([], "give at least two files: checkpoints first, the CSV file last"),
        (["{run}/checkpoints/best.ckpt"], "give at least two files"),
        (["a.ckpt", "--labels", "0", "1", "r.csv"], "give at least two files"),
        (["a.ckpt", "b.ckpt"], "b.ckpt stands where the CSV file belongs"),
        (["r.csv", "a.ckpt"], "a.ckpt stands where the CSV file belongs"),
        (["r.csv", "{run}"], "{run} stands where the CSV file belongs"),
        (["a.ckpt", "r.csv", "s.csv"], "r.csv stands where a checkpoint belongs"),
        (["a.ckpt", "--csv", "r.csv"], "'--csv' is not an option; files come without one"),
        (
            ["a.ckpt", "r.csv", "--text", "x"],
            "'--text' is not an option; did you mean --text-column?",
        ),
    ],
)
def test_files_in_another_order_are_one_line(
    trained: Path, capsys: Any, arguments: list[str], fact: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([argument.format(run=trained) for argument in arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {fact.format(run=trained)}")
    assert error.count("\n") == 1
    assert ("--labels or --weights, which take all" in error) == ("--labels" in arguments)


@pytest.mark.parametrize("together", [False, True])
def test_the_misclassified_reviews_are_written_with_the_worst_first(
    trained: Path, baselines: Path, tmp_path: Path, capsys: Any, together: bool
) -> None:
    paths = [trained / "checkpoints" / "best.ckpt"]
    paths += [baselines / "tfidf" / "checkpoints" / "best.ckpt"] * together
    table = pd.read_csv(trained / "splits" / "test.csv", dtype=str)
    texts, labels = table["review"].tolist(), table["sentiment"].tolist()
    flipped = [1, 4, 9]  # these labels are wrong, so that right predictions are misclassified
    for row in flipped:
        labels[row] = {"awful": "lovely", "lovely": "awful"}[labels[row]]
    texts[0] = ""  # left out, but a row
    texts[4] += ' "é",\nand more'
    pd.DataFrame({"text": texts, "sentiment": labels}).to_csv(tmp_path / "r.csv", index=False)
    target = tmp_path / "new" / "wrong.tsv.gz"
    options = ["--errors", str(target), "--text-column", "text", "--json"]
    main([*map(str, paths), str(tmp_path / "r.csv"), *options])
    printed = capsys.readouterr()
    assert f"{len(flipped)} misclassified reviews are in {target}" in printed.err
    assert json.loads(printed.out)["test/accuracy"] == pytest.approx(1 - 3 / (len(table) - 1))
    errors = pd.read_csv(target, sep="\t")
    assert errors.columns.tolist() == ["row", "text", "label", "predicted_label", "score"]
    assert sorted(errors["row"]) == [row + 1 for row in flipped]
    assert errors["score"].is_monotonic_decreasing
    assert errors["text"].tolist() == [texts[row - 1] for row in errors["row"]]
    assert errors["label"].tolist() == [labels[row - 1] for row in errors["row"]]
    predict = Predictor.load(*paths)
    for text, label, score in zip(
        errors["text"], errors["predicted_label"], errors["score"], strict=True
    ):
        assert predict(text)["label"] == label
        assert predict(text)["score"] == pytest.approx(score, abs=1e-6)


def test_without_misclassified_reviews_their_file_has_a_header_alone(
    trained: Path, tmp_path: Path, capsys: Any
) -> None:
    checkpoint, reviews = trained / "checkpoints" / "best.ckpt", trained / "splits" / "test.csv"
    main([str(checkpoint), str(reviews), "--errors", str(tmp_path / "e.csv")])
    assert "0 misclassified reviews" in capsys.readouterr().err
    assert (tmp_path / "e.csv").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("name", "fact"),
    [("r.csv", "the file that is read"), ("r.csv/e.csv", "r.csv is a file, not a folder")],
)
def test_a_file_for_errors_that_cannot_be_written_is_refused(
    trained: Path, tmp_path: Path, capsys: Any, name: str, fact: str
) -> None:
    reviews = tmp_path / "r.csv"
    reviews.write_text("review,sentiment\nfine,awful\n")
    checkpoint = str(trained / "checkpoints" / "best.ckpt")
    with pytest.raises(SystemExit) as stopped:
        main([checkpoint, str(reviews), "--errors", str(tmp_path / name)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / name}: ")
    assert fact in error


@pytest.mark.parametrize("read", ["r.csv", "best.ckpt"])
def test_a_file_that_is_read_stays_as_it_is(trained: Path, tmp_path: Path, read: str) -> None:
    reviews, checkpoint = tmp_path / "r.csv", tmp_path / "best.ckpt"
    reviews.write_text("review,sentiment\nfine,awful\n")
    shutil.copy(trained / "checkpoints" / "best.ckpt", checkpoint)
    before = (tmp_path / read).read_bytes()
    csv_format = CsvFormat(text_column="review", label_column="sentiment")
    predictor = Predictor.load(checkpoint)
    with pytest.raises(InputError, match=read):
        evaluate(predictor, reviews, csv_format, errors=tmp_path / read)
    with pytest.raises(InputError, match="--errors -: give a file"):
        evaluate(predictor, reviews, csv_format, errors=Path("-"))
    assert (tmp_path / read).read_bytes() == before


def test_no_file_of_errors_appears_where_a_label_is_unknown(
    trained: Path, tmp_path: Path, capsys: Any
) -> None:
    reviews = tmp_path / "r.csv"
    reviews.write_text("review,sentiment\nfine,awful\nbad,neutral\n")
    checkpoint = str(trained / "checkpoints" / "best.ckpt")
    with pytest.raises(SystemExit):
        main([checkpoint, str(reviews), "--errors", str(tmp_path / "e.csv")])
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]


def test_texts_of_unknown_words_are_noted(trained: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "r.csv"
    path.write_text("review,sentiment\nqwertyuiop asdfgh,awful\nthe film was lovely,lovely\n")
    main([str(trained / "checkpoints" / "best.ckpt"), str(path), "--json"])
    printed = capsys.readouterr()
    assert json.loads(printed.out)["test_reviews"] == 2
    (note,) = [line for line in printed.err.splitlines() if "tokens" in line]
    assert "2 of 6 tokens" in note
    assert "1 of 2 texts" in note


def test_a_file_is_doubted_by_its_own_words(trained: Path, tmp_path: Path, capsys: Any) -> None:
    predictor = Predictor.load(trained)
    for text, notes in (("qwertyuiop", 1), ("the film was lovely", 0)):
        (tmp_path / "r.csv").write_text(f"review,sentiment\n{text},lovely\n{text} 1,awful\n")
        evaluate(predictor, tmp_path / "r.csv", CsvFormat())
        assert capsys.readouterr().err.count("vocabulary") == notes
