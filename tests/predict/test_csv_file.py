import csv
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from sentiment.data.csv_format import CsvFormat
from sentiment.data.reviews import column_names, output_separator, read_table
from sentiment.predict.command import main
from sentiment.predict.csv_file import predict_csv
from sentiment.predict.predictor import Predictor
from sentiment.runtime.errors import InputError
from terminal import on_terminal

GOOD = "the film number 1 was lovely , and so was act 1"
BAD = "the film number 2 was awful , and so was act 2"


def test_csv_rows_get_a_label_and_a_score(checkpoint: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "new" / "folder" / "out.csv"
    texts = [GOOD, None, BAD]
    pd.DataFrame({"id": ["007", "8", "9"], "text": texts}).to_csv(source, index=False)
    main([str(checkpoint), "--csv", str(source), "--out", str(target), "--text-column", "text"])
    out = pd.read_csv(target, dtype=str)
    assert out.columns.tolist() == ["id", "text", "label", "score"]
    assert out["id"].tolist() == ["007", "8", "9"]
    assert out["label"].fillna("").tolist() == ["lovely", "", "awful"]
    assert out["score"].dropna().astype(float).between(0.5, 1).all()


def test_a_terminal_has_a_bar_of_the_rows(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("review\n" + f"{GOOD}\n\n".replace(",", "") * 750)
    terminal = on_terminal(monkeypatch)
    predict_csv(
        predictor, source, tmp_path / "out.csv", CsvFormat(text_column="review", label_column=None)
    )
    for fact in ("Predicting in.csv", "/1500", "row/s"):
        assert fact in terminal.getvalue()
    assert terminal.screen == [""]


def test_columns_of_these_names_stay_as_they_are(
    checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    source, target, third = (tmp_path / name for name in ("in.csv", "out.csv", "third.csv"))
    source.write_text(f'text,label\n"{GOOD}",awful\n"{BAD}",7\n')
    options = ["--text-column", "text"]
    main([str(checkpoint), "--csv", str(source), "--out", str(target), *options])
    report = capsys.readouterr().err
    for fact in ("2 rows", str(target), str(source), "predicted_label and predicted_score"):
        assert fact in report
    out = pd.read_csv(target, dtype=str)
    assert out.columns.tolist() == ["text", "label", "predicted_label", "predicted_score"]
    assert out["text"].tolist() == [GOOD, BAD]
    assert out["label"].tolist() == ["awful", "7"]
    assert out["predicted_label"].tolist() == ["lovely", "awful"]
    assert out["predicted_score"].astype(float).between(0.5, 1).all()
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), "--csv", str(target), "--out", str(third), *options])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {target}: ")
    assert error.endswith("rename label\n")
    assert not third.exists()


def test_every_class_gets_a_column_of_scores(
    checkpoint: Path, baselines: Path, predictor: Predictor, tmp_path: Path, capsys: Any
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f'review,label\n"{GOOD}",a\n,b\n"{BAD}",c\n')
    command = ["--csv", str(source), "--out", str(target), "--scores"]
    main([str(checkpoint), *command])
    report = capsys.readouterr().err
    added = ["predicted_label", "predicted_score", "score_awful", "score_lovely"]
    assert f"{', '.join(added[:-1])} and {added[-1]} added (1 without a text" in report
    out = pd.read_csv(target)
    assert out.columns.tolist() == ["review", "label", *added]
    assert out.iloc[1][added].isna().all()
    for row, text in ((0, GOOD), (2, BAD)):
        expected = predictor(text)["scores"]
        scores = {name: out[f"score_{name}"][row] for name in expected}
        assert scores == pytest.approx(expected, abs=1e-6)
        assert sum(scores.values()) == pytest.approx(1, abs=2e-6)
        assert scores[out["predicted_label"][row]] == out["predicted_score"][row]
    other = str(baselines / "tfidf" / "checkpoints" / "best.ckpt")
    main([str(checkpoint), other, *command])
    together = pd.read_csv(target)
    assert (together["score_lovely"] != out["score_lovely"]).any()


def test_the_most_probable_labels_get_columns_in_order(
    checkpoint: Path, predictor: Predictor, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f'review,label\n"{BAD}",a\n')
    command = [str(checkpoint), "--csv", str(source), "--out", str(target)]
    main([*command, "--top", "2"])
    (row,) = csv.DictReader(target.open())
    assert list(row) == ["review", "label", "label_1", "score_1", "label_2", "score_2"]
    assert (row["label"], row["label_1"], row["label_2"]) == ("a", "awful", "lovely")
    scores = predictor(BAD)["scores"]
    assert float(row["score_2"]) == pytest.approx(scores["lovely"], abs=1e-6)
    main([*command, "--top", "1", "--scores"])
    (row,) = csv.DictReader(target.open())
    assert list(row)[2:] == ["label_1", "score_1", "score_awful", "score_lovely"]


def test_where_a_classifier_abstains_the_label_is_empty(abstaining: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    pd.DataFrame({"id": [1, 2, 3], "review": [GOOD, BAD, ""]}).to_csv(source, index=False)
    command = [str(abstaining), "--csv", str(source), "--out", str(target)]
    main([*command, "--scores"])
    good, bad, blank = csv.DictReader(target.open())
    assert list(good)[2:] == ["label", "score", "score_awful", "score_lovely", "abstained"]
    assert (good["label"], good["abstained"], good["score"]) == ("", "true", good["score_lovely"])
    assert (bad["label"], bad["abstained"]) == ("awful", "false")
    assert (blank["label"], blank["abstained"]) == ("", "")
    main([*command, "--top", "1"])
    good, *_ = csv.DictReader(target.open())
    assert (good["label_1"], good["abstained"]) == ("lovely", "true")


@pytest.mark.parametrize(
    ("columns", "options", "fact"),
    [
        ("review,score_lovely", ["--scores"], "in.csv: has columns score_lovely already; rename"),
        ("review,label_2", ["--top", "2"], "in.csv: has columns label_2 already; rename label_2"),
        ("review", ["--top", "3"], "--top 3: there are 2 labels (awful, lovely); give at most 2"),
    ],
)
def test_columns_that_cannot_be_added_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: Any, columns: str, options: list[str], fact: str
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f"{columns}\nfine\n")
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), "--csv", str(source), "--out", str(target), *options])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert fact in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_more_labels_than_there_are_is_an_error(predictor: Predictor, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("review\na film\n")
    with pytest.raises(InputError, match="3: there are 2 labels"):
        predict_csv(predictor, source, target, CsvFormat(), top=3)
    assert not target.exists()


def test_labels_that_are_numbers_do_not_mix_with_ranks(checkpoint: Path, tmp_path: Path) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    saved["SentimentDataModule"] |= {"labels": ["1", "5"], "raw_labels": ["1", "5"]}
    torch.save(saved, tmp_path / "best.ckpt")
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("review\nfine\n")
    stars = Predictor.load(tmp_path / "best.ckpt")
    with pytest.raises(InputError, match="'score_1'; give one of them"):
        predict_csv(stars, source, target, CsvFormat(), top=1, scores=True)
    written = predict_csv(stars, source, target, CsvFormat(), scores=True)
    assert written.columns == ["label", "score", "score_1", "score_5"]


def test_a_file_without_rows_is_reported(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("review\n")
    main([str(checkpoint), "--csv", str(source), "--out", str(target)])
    assert f"0 rows to {target}, as {source} has none" in capsys.readouterr().err
    assert target.read_text() == '"review","label","score"\n'


AWKWARD = ["a\rb", "c\nd", "e\r\nf", '"g", h\ti', "NA", "null", "nan", "007", "1.50", " x ", "-0"]


@pytest.mark.parametrize("names", [["", "text"], ["text", "text.1", "text.2"]])
def test_every_cell_comes_out_as_it_went_in(
    predictor: Predictor, tmp_path: Path, names: list[str]
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    cells = [[text] * len(names) for text in AWKWARD]
    with source.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([names, *cells])
    assert predict_csv(predictor, source, target, CsvFormat(text_column="text"))[:2] == (11, 0)
    with target.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [*names, "label", "score"]
    assert [row[:-2] for row in rows] == cells
    out = pd.read_csv(target, dtype=str, keep_default_na=False)
    assert out.iloc[:, :-2].to_numpy().tolist() == cells
    assert {row[-2] for row in rows} <= {"lovely", "awful"}


def test_the_header_is_that_of_the_training(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    saved["SentimentDataModule"] |= {"header": False, "text_column": "0"}
    torch.save(saved, tmp_path / "best.ckpt")
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f'"{GOOD}",yes\n"{BAD}",no\n')
    arguments = [str(tmp_path / "best.ckpt"), "--csv", str(source), "--out", str(target)]
    main(arguments)
    assert "wrote 2 rows" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--header"])
    assert "no column '0'" in capsys.readouterr().err


def test_a_cell_of_spaces_is_no_text(predictor: Predictor, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,review\n1,  \n2,fine\n3,\n4,\u200b\n5\n")
    assert predict_csv(predictor, source, target, CsvFormat())[:2] == (5, 4)
    assert target.read_text().splitlines()[-1] == '"5","","",""'
    assert target.read_text().splitlines()[1] == '"1","  ","",""'


def test_a_file_without_quoting_keeps_its_rows(
    checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    source, target = tmp_path / "in.tsv", tmp_path / "out.tsv"
    texts = [f'"{GOOD}', BAD, f'{BAD}"', "fine"]
    source.write_text("\n".join(["review", *texts]) + "\n")
    main([str(checkpoint), "--csv", str(source), "--out", str(target), "--quoting", "none"])
    assert f"wrote 4 rows to {target}, one for each of {source}, with" in capsys.readouterr().err
    with target.open(newline="") as file:
        assert [row[0] for row in csv.reader(file, delimiter="\t")] == ["review", *texts]
    with pytest.raises(SystemExit):
        main([str(checkpoint), "--csv", str(source), "--out", str(target), "--quoting", "some"])
    error = capsys.readouterr().err
    assert "quoting" in error
    assert "'some'" in error


def test_repeated_names_stay_as_they_are(predictor: Predictor, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("a,text,a\n1,fine,2\n")
    predict_csv(predictor, source, target, CsvFormat(text_column="text"))
    assert target.read_text().startswith('"a","text","a","label","score"\n"1","fine","2",')


@pytest.mark.parametrize(
    ("source", "given", "target", "expected"),
    [
        ("in.tsv", None, "out.tsv", "\t"),
        ("in.tsv", None, "out.csv", ","),
        ("in.tsv.gz", None, "out.txt", "\t"),
        ("in.csv", None, "out.tsv", "\t"),
        ("in.csv", ";", "out.csv", ";"),
        ("in.csv", ";", "out.TSV", "\t"),
        ("in.txt", ";", "out.dat", ";"),
        ("in.txt", ";", "out.csv.gz", ","),
    ],
)
def test_the_separator_is_the_source_s_unless_the_suffix_says_otherwise(
    source: str, given: str | None, target: str, expected: str
) -> None:
    csv_format = CsvFormat(separator=given)
    assert output_separator(Path(source), Path(target), csv_format) == expected


@pytest.mark.parametrize(
    ("suffix", "start"),
    [("", b'"id"\t'), (".gz", b"\x1f\x8b"), (".bz2", b"BZh"), (".xz", b"\xfd7z"), (".zip", b"PK")],
)
def test_the_target_is_packed_as_its_suffix_says(
    predictor: Predictor, tmp_path: Path, suffix: str, start: bytes
) -> None:
    source, target = tmp_path / "in.tsv", tmp_path / f"out.tsv{suffix}"
    source.write_text(f"id\treview\n1\t{GOOD}\n2\tthé\n")
    predict_csv(predictor, source, target, CsvFormat(label_column=None))
    assert target.read_bytes().startswith(start)
    assert column_names(target, CsvFormat()) == ["id", "review", "label", "score"]
    (chunk,) = read_table(target, CsvFormat(), 10)
    assert [cells[1] for cells in chunk.cells] == [GOOD, "thé"]
    assert sorted(tmp_path.iterdir()) == [source, target]


@pytest.mark.parametrize(
    ("content", "header", "texts"),
    [
        ("review\na\n\nb\n", True, ["a", "", "b"]),
        ("\n \nreview\n\na\n \n\n", True, ["", "a", " ", ""]),
        ("\na\n\n", False, ["", "a", ""]),
        ('review\r\n""\r\n\r\n"a\r\n\r\nb"', True, ["", "", "a\r\n\r\nb"]),
        ("id,review\n1,a\n\n2,b\n\n", True, ["a", "b"]),
    ],
)
def test_a_blank_line_of_a_single_column_keeps_its_place(
    predictor: Predictor, tmp_path: Path, content: str, header: bool, texts: list[str]
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(content.encode("utf-16"))
    csv_format = CsvFormat(
        text_column="review" if header else "0", header=header, encoding="utf-16"
    )
    empty = sum(not text.strip() for text in texts)
    assert predict_csv(predictor, source, target, csv_format)[:2] == (len(texts), empty)
    with target.open(newline="") as file:
        rows = list(csv.reader(file))[header:]
    assert [row[-3] for row in rows] == texts
    assert [row[-2] == "" for row in rows] == [not text.strip() for text in texts]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("", "a folder; name a file in it"),
        ("in.csv", "the file that is read"),
        ("link.csv", "the file that is read"),
        ("linked.ckpt", "the checkpoint; give another file"),
        ("of another.ckpt", "this writes CSV"),
        ("in.csv/out.csv", "in.csv is a file, not a folder"),
        ("pipe", "a device or a pipe"),
        ("out.ndjson", "this writes CSV"),
        ("a" * 300, "cannot be written (File name too long)"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_at_once(
    checkpoint: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    problem: str,
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("review\na\n")
    (tmp_path / "link.csv").symlink_to(source)
    (tmp_path / "linked.ckpt").symlink_to(checkpoint)
    os.mkfifo(tmp_path / "pipe")
    before, weights = sorted(tmp_path.iterdir()), checkpoint.read_bytes()
    monkeypatch.setattr(Predictor, "load", None)  # not even the checkpoint is loaded
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), "--csv", str(source), "--out", str(tmp_path / target)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / target}: ")
    assert problem in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
    assert source.read_text() == "review\na\n"
    assert checkpoint.read_bytes() == weights


def test_a_folder_that_may_not_be_written_is_refused(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("review\na\n")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match="may not be written"):
        predict_csv(predictor, source, tmp_path / "out.csv", CsvFormat())
    predict_csv(predictor, source, Path("-"), CsvFormat())  # standard output


def test_an_error_while_writing_is_one_line(predictor: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("review\na\n")
    with pytest.raises(InputError, match="cannot be written .*too long"):
        predict_csv(predictor, source, tmp_path / ("a" * 250), CsvFormat())


@pytest.mark.parametrize(
    ("content", "options", "fact"),
    [
        (None, [], "no such file"),
        (b"", [], "empty"),
        (b"PK\x03\x04", [], "in.csv"),
        (b"review\na\n", ["--encoding", "nope"], "nope"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_before_the_checkpoint_is_loaded(
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    options: list[str],
    fact: str,
) -> None:
    monkeypatch.setattr(Predictor, "load", None)
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        main(["best.ckpt", "--csv", str(source), "--out", str(target), *options])
    assert stopped.value.code == 2
    assert fact in capsys.readouterr().err
