import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from sentiment import Predictor
from sentiment.data.csv_format import CsvFormat
from sentiment.data.reviews import column_names, output_separator, read_table
from sentiment.predict.command import lines_as_they_come, main, predict_csv
from sentiment.predict.options import check_options
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.errors import InputError

GOOD = "the film number 1 was lovely , and so was act 1"
BAD = "the film number 2 was awful , and so was act 2"


def predict_in_ascii(checkpoint: Path, *texts: str | bytes) -> subprocess.CompletedProcess[bytes]:
    """The command line in a locale that knows ASCII alone."""
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    return subprocess.run(
        [sys.executable, "-m", "sentiment.predict", str(checkpoint), *texts],
        capture_output=True, check=False, input="thé\n".encode(),
        env={**kept, "OMP_NUM_THREADS": "1", **ascii_alone},
    )  # fmt: skip


@pytest.mark.parametrize(("argument", "text"), [("café €", "café €"), ("-", "thé")])
def test_json_is_utf_8_in_any_locale(checkpoint: Path, argument: str, text: str) -> None:
    done = predict_in_ascii(checkpoint, argument.encode())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode())["text"] == text


def test_an_argument_that_is_no_utf_8_is_refused(checkpoint: Path) -> None:
    done = predict_in_ascii(checkpoint, GOOD, b"caf\xe9")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: text 2 of the command line is no UTF-8")
    assert done.stderr.count(b"\n") == 1


def test_csv_rows_get_a_label_and_a_score(checkpoint: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    texts = [GOOD, None, BAD]
    pd.DataFrame({"id": ["007", "8", "9"], "text": texts}).to_csv(source, index=False)
    main([str(checkpoint), "--csv", str(source), "--out", str(target), "--text-column", "text"])
    out = pd.read_csv(target, dtype=str)
    assert out.columns.tolist() == ["id", "text", "label", "score"]
    assert out["id"].tolist() == ["007", "8", "9"]
    assert out["label"].fillna("").tolist() == ["lovely", "", "awful"]
    assert out["score"].dropna().astype(float).between(0.5, 1).all()


def test_columns_of_these_names_stay_as_they_are(
    checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    source, target, third = (tmp_path / name for name in ("in.csv", "out.csv", "third.csv"))
    source.write_text(f'text,label\n"{GOOD}",awful\n"{BAD}",7\n')
    options = ["--text-column", "text"]
    main([str(checkpoint), "--csv", str(source), "--out", str(target), *options])
    assert capsys.readouterr().err == (
        f"wrote 2 rows to {target}, one for each of {source}, with predicted_label and"
        " predicted_score added\n"
    )
    out = pd.read_csv(target, dtype=str)
    assert out.columns.tolist() == ["text", "label", "predicted_label", "predicted_score"]
    assert out["text"].tolist() == [GOOD, BAD]
    assert out["label"].tolist() == ["awful", "7"]
    assert out["predicted_label"].tolist() == ["lovely", "awful"]
    assert out["predicted_score"].astype(float).between(0.5, 1).all()
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), "--csv", str(target), "--out", str(third), *options])
    assert stopped.value.code == 2
    told = "has columns label, predicted_label, predicted_score already; rename label\n"
    assert capsys.readouterr().err == f"error: {target}: {told}"
    assert not third.exists()


def test_a_file_without_rows_is_told(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("review\n")
    main([str(checkpoint), "--csv", str(source), "--out", str(target)])
    assert capsys.readouterr().err == (
        f"wrote 0 rows to {target}, as {source} has none below its header, with label and score"
        " added\n"
    )
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
    assert "quoting 'some' is unknown" in capsys.readouterr().err


def test_options_may_stand_between_texts(checkpoint: Path, capsys: Any) -> None:
    main([str(checkpoint), "--device", "cpu", GOOD])
    assert json.loads(capsys.readouterr().out)["text"] == GOOD


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
    ("target", "told"),
    [
        ("", "a folder; name a file in it"),
        ("in.csv", "the file that is read"),
        ("link.csv", "the file that is read"),
        ("linked.ckpt", "the checkpoint; give another file"),
        ("of another.ckpt", "this writes CSV"),
        ("nowhere/out.csv", "there is no folder"),
        ("in.csv/out.csv", "there is no folder"),
        ("pipe", "a device or a pipe"),
        ("out.csv.zst", "this writes CSV"),
        ("a" * 250, "cannot be written (File name too long)"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_at_once(
    checkpoint: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    told: str,
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("review\na\n")
    (tmp_path / "link.csv").symlink_to(source)
    (tmp_path / "linked.ckpt").symlink_to(checkpoint)
    os.mkfifo(tmp_path / "pipe")
    before, weights = sorted(tmp_path.iterdir()), checkpoint.read_bytes()
    monkeypatch.setattr(Predictor, "member_logits", None)  # nothing is predicted
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), "--csv", str(source), "--out", str(tmp_path / target)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / target}: {told}")
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


def test_lines_come_as_they_are_there() -> None:
    stream = io.BytesIO(b"a\r\n\nb, \xc3\xa9")
    assert [line for lines in lines_as_they_come(stream) for line in lines] == ["a", "", "b, é"]
    with pytest.raises(InputError, match="line 2: byte 1"):
        list(lines_as_they_come(io.BytesIO(b"a\nb\xff\n")))


class Dripping(io.BytesIO):
    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(512)


def test_lines_that_come_in_pieces_are_joined() -> None:
    lines = ["é" * 700, "", "b" * 512, "c\td", "e"]
    groups = lines_as_they_come(Dripping("\n".join(lines).encode()))
    assert [line for group in groups for line in group] == lines


def test_a_line_is_answered_before_the_next_one_is_written(checkpoint: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sentiment.predict", str(checkpoint), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text, label in ((GOOD, "lovely"), (BAD, "awful")):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert (answer["text"], answer["label"]) == (text, label)
        process.stdin.close()
        assert process.wait(30) == 0


def test_predicting_imports_neither_hydra_nor_lightning(checkpoint: Path) -> None:
    code = (
        "import sys; from sentiment.predict.command import main; main(sys.argv[1:]);"
        "import sentiment.evaluate;"
        "heavy = {'hydra', 'omegaconf', 'lightning', 'pytorch_lightning', 'torchtext',"
        " 'torch._dynamo'};"
        "sys.exit(len(heavy & set(sys.modules)))"
    )
    sentence = 'Fine, "really" fine = {yes}, [no]'
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint), sentence],
        capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == sentence


def test_a_device_that_is_not_there_is_refused(checkpoint: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), GOOD, "--device", "foo"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: device 'foo'")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "the following arguments are required: checkpoint"),
        (["a.ckpt"], "give either texts"),
        (["a.ckpt", "text", "--csv", "x"], "give either texts"),
        (["a.ckpt", "--csv", "x"], "--csv and --out go together"),
        (["a.ckpt", "./a.ckpt", "text"], "a.ckpt: is given twice"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(
    arguments: list[str], told: str, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {told}")
    assert error.count("\n") == 1


def test_a_text_that_looks_like_a_file_is_noted(
    checkpoint: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my reviews").write_text("review\n")
    texts = ["out.csv", "nope.ckpt", "my reviews", "as in a.csv", "a\0b", "a" * 9_999, "."]
    main([str(checkpoint), "a film", *texts])
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 8
    assert [line.split(";")[0] for line in said.err.splitlines()] == [
        "note: 'out.csv' is predicted as a text, but looks like a file",
        "note: 'nope.ckpt' is predicted as a text, but looks like a file",
        "note: 'my reviews' is predicted as a text, but a file of that name exists",
    ]


def test_leading_checkpoints_predict_together(
    checkpoint: Path, baselines: Path, tmp_path: Path, capsys: Any
) -> None:
    other = baselines / "tfidf" / "checkpoints" / "best.ckpt"
    text = "the film number 1 was lovely"
    scores = []
    for paths in ([checkpoint], [other], [checkpoint, other]):
        main([*map(str, paths), text])
        scores.append(json.loads(capsys.readouterr().out)["scores"]["lovely"])
    assert scores[2] == pytest.approx((scores[0] + scores[1]) / 2, abs=2e-6)
    main([str(checkpoint), str(other), text, "--weights", "3", "1"])
    weighted = json.loads(capsys.readouterr().out)["scores"]["lovely"]
    assert weighted == pytest.approx(0.75 * scores[0] + 0.25 * scores[1], abs=2e-6)
    # Only those that come first are checkpoints.
    main([str(checkpoint), text, "see other.ckpt"])
    assert len(capsys.readouterr().out.splitlines()) == 2
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f"review\n{text}\n")
    main([str(checkpoint), str(other), "--csv", str(source), "--out", str(target)])
    (row,) = csv.DictReader(target.open())
    assert float(row["score"]) == pytest.approx(scores[2], abs=2e-6)


@pytest.mark.parametrize("text", ["a text", "-1,2", "1,2", "-.5x"])
def test_what_is_no_number_among_the_weights_is_named(text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["a.ckpt", "--weights", "1", text])
    assert stopped.value.code == 2
    assert f"{text!r} is no number; give the weights last" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-awful", "--awful", "-hello", "-h ello", "-…", "-1e5"])
def test_a_text_that_begins_with_a_dash_comes_after_two(
    checkpoint: Path, capsys: Any, text: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), text])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert f"{text!r} is no option; a text that begins with a dash comes after --" in error
    assert error.count("\n") == 1
    main([str(checkpoint), "--", text])
    assert json.loads(capsys.readouterr().out)["text"] == text
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "A text that begins with a dash comes after --" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argument",
    ["", "-", "a", "-5", "-2.5", "-.5", "-5.", "-1e5", "-1,2", "-a b", "-5 b", "--a b", "-h b",
     "-hx", "-…", "--out", "--o", "--o=x y", "--out=x", "-o", "--ou t", "--nope=x y", "a -b"],
)  # fmt: skip
def test_an_option_is_what_argparse_takes_for_one(argument: str) -> None:
    parser = OneLineParser(prog="x")
    parser.add_argument("texts", nargs="*")
    parser.add_argument("--out", nargs="?")

    def passes(check: Callable[[list[str]], object]) -> bool:
        try:
            check([argument])
        except SystemExit:
            return False
        return True

    assert passes(lambda arguments: check_options(parser, arguments)) == passes(parser.parse_args)


@pytest.mark.parametrize("text", ["-awful film", "-5", "-2.5", "a-b"])
def test_what_is_no_option_to_anyone_needs_no_dashes(
    checkpoint: Path, capsys: Any, text: str
) -> None:
    main([str(checkpoint), text])
    assert json.loads(capsys.readouterr().out)["text"] == text
