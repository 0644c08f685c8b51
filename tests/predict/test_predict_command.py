import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from programs import error_line
from sentiment.predict.command import lines_as_they_come, main
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
    assert done.stderr.startswith(b"error: text 2 of the command line is not UTF-8")
    assert done.stderr.count(b"\n") == 1


def test_options_may_stand_between_texts(checkpoint: Path, capsys: Any) -> None:
    main([str(checkpoint), "--device", "cpu", GOOD])
    assert json.loads(capsys.readouterr().out)["text"] == GOOD


def test_the_most_probable_labels_come_first(
    checkpoint: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    main([str(checkpoint), "--top", "2", GOOD, BAD])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(line["scores"]) for line in lines] == [["lovely", "awful"], ["awful", "lovely"]]
    assert all(sum(line["scores"].values()) == pytest.approx(1, abs=2e-6) for line in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    main([str(checkpoint), "--top", "1", "-"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["scores"] == {"lovely": answer["score"]}


def test_a_classifier_that_abstains_says_so(
    checkpoint: Path, abstaining: Path, capsys: Any
) -> None:
    main([str(abstaining), BAD, GOOD, " ", "--explain"])
    bad, good, blank = map(json.loads, capsys.readouterr().out.splitlines())
    assert (bad["label"], bad["abstained"]) == ("awful", False)
    assert (good["label"], good["abstained"]) == (None, True)
    assert good["score"] == max(good["scores"].values())
    assert good["explanation"]["label"] == "lovely"
    assert (blank["label"], blank["abstained"], blank["score"]) == (None, False, None)
    main([str(checkpoint), GOOD])
    assert "abstained" not in json.loads(capsys.readouterr().out)
    for path, threshold, expected in ((abstaining, "0", "lovely"), (checkpoint, "1", None)):
        main([str(path), GOOD, "--threshold", threshold])
        assert json.loads(capsys.readouterr().out)["label"] == expected
    main([str(abstaining), str(checkpoint), GOOD])  # together they have no threshold
    assert "abstained" not in json.loads(capsys.readouterr().out)


def test_the_rows_of_a_csv_go_to_standard_output(
    checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f'id,text\n1,"{GOOD}"\n2,"{BAD}"\n')
    given = [str(checkpoint), "--csv", str(source), "--text-column", "text", "--out"]
    main([*given, str(target)])
    capsys.readouterr()
    main([*given, "-"])
    printed = capsys.readouterr()
    assert printed.out == target.read_text()
    assert "2 rows to standard output" in printed.err


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
    ("arguments", "fact"),
    [
        ([], "the following arguments are required: checkpoint"),
        (["a.ckpt"], "give either texts"),
        (["a.ckpt", "text", "--csv", "x"], "give either texts"),
        (["a.ckpt", "--csv", "x"], "--csv goes with --out OUT, or --out -"),
        (["a.ckpt", "--text", "x"], "'--text' is not an option; texts come after the checkpoint"),
        (["--model", "a.ckpt", "x"], "'--model' is not an option; the checkpoint comes first"),
        (["a.ckpt", "--file", "x.csv"], "'--file' is not an option; a CSV file is given by --csv"),
        (
            ["a.ckpt", "--text_column", "x"],
            "'--text_column' is not an option; did you mean --text-",
        ),
        (["a.ckpt", "-awful"], "'-awful' is not an option; a text that begins with a dash comes"),
        (["a.ckpt", "--out", "x"], "--out goes with --csv IN"),
        (["a.ckpt", "in.csv", "--out", "x"], "--out goes with --csv IN"),
        (["--csv", "x", "--out", "y"], "the following arguments are required: checkpoint"),
        (["in.csv", "a.ckpt"], "'in.csv' stands where the checkpoint belongs"),
        (["a film", "a.ckpt"], "'a film' stands where the checkpoint belongs"),
        (["x/in.CSV.gz", "a.ckpt"], "'x/in.CSV.gz' stands where the checkpoint belongs"),
        (["runs/mnie", "a film"], "'runs/mnie': no such file or folder"),
        (["a film" * 999], "'a filma filma"),
        (["a.ckpt", "text", "-"], "- stands alone"),
        (["a.ckpt", "text", "--scores"], "--scores adds columns to --out"),
        (["a.ckpt", "text", "--top", "0"], "argument --top: '0' is not a whole number from 1 on"),
        (["a.ckpt", "./a.ckpt", "text"], "a.ckpt: is given twice"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(
    arguments: list[str], fact: str, capsys: Any
) -> None:
    assert error_line(main, arguments, capsys).startswith(f"error: {fact}")


def test_a_run_folder_stands_for_its_best_checkpoint(
    trained: Path, baselines: Path, capsys: Any
) -> None:
    folders = [trained, baselines / "tfidf"]
    main([*map(str, folders), GOOD])
    printed = capsys.readouterr().out
    main([*(str(folder / "checkpoints" / "best.ckpt") for folder in folders), GOOD])
    assert capsys.readouterr().out == printed
    assert len(printed.splitlines()) == 1
    with pytest.raises(SystemExit):
        main([str(trained), str(trained / "checkpoints" / "best.ckpt"), GOOD])
    assert "is given twice" in capsys.readouterr().err


def test_a_folder_without_a_best_checkpoint_names_another(
    baselines: Path, tmp_path: Path, capsys: Any
) -> None:
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "new" / ".hydra").mkdir(parents=True)
    for folder, fact in (
        (tmp_path / "new", "no checkpoint yet; if it was stopped, start it anew without ckpt_path"),
        (baselines, f"in it: {baselines / 'naive_bayes'}, {baselines / 'tfidf'}"),
        (tmp_path / "stopped", f"such as {last}"),
        (tmp_path / "empty", "writes checkpoints/best.ckpt into its run folder"),
    ):
        error = error_line(main, [str(folder), GOOD], capsys)
        assert error.startswith(f"error: {folder}: ")
        assert error.endswith(fact)


def test_an_empty_standard_input_is_noted(
    checkpoint: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    main([str(checkpoint), "-"])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "note: standard input is empty: nothing was predicted\n"


def test_a_text_that_looks_like_a_file_is_noted(
    checkpoint: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my reviews").write_text("review\n")
    texts = ["out.csv", "nope.ckpt", "my reviews", "as in a.csv", "a\0b", "a" * 9_999, "."]
    main([str(checkpoint), "a film", *texts])
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 8
    assert [line.split(";")[0] for line in said.err.splitlines()[:-1]] == [
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


@pytest.mark.parametrize("text", ["a text", "1,2"])
def test_what_is_no_number_among_the_weights_is_named(text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["a.ckpt", "--weights", "1", text])
    assert stopped.value.code == 2
    assert f"--weights: {text!r} is not a number" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["-awful", "--awful", "-…", "-1,5"])
def test_a_text_that_begins_with_a_dash_comes_after_two(
    checkpoint: Path, capsys: Any, text: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), text])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert repr(text) in error
    assert f"best.ckpt -- {text}" in error
    assert error.count("\n") == 1
    main([str(checkpoint), "--", text])
    assert json.loads(capsys.readouterr().out)["text"] == text


@pytest.mark.parametrize("options", [["--data", "r.csv"], ["--data=r.csv"], ["--input", "r.csv"]])
def test_an_option_of_another_name_for_a_csv_file_is_one_line(
    checkpoint: Path, capsys: Any, options: list[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), *options])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "--csv IN --out OUT" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("text", ["-awful film", "-5", "-2.5", "a-b"])
def test_what_is_no_option_to_anyone_needs_no_dashes(
    checkpoint: Path, capsys: Any, text: str
) -> None:
    main([str(checkpoint), text])
    assert json.loads(capsys.readouterr().out)["text"] == text


@pytest.mark.parametrize(
    ("texts", "facts"),
    [
        ([GOOD, "film qwertyuiop asdfgh"], []),
        ([GOOD, "", " "], []),
        ([GOOD, "qwertyuiop"], ["1 of 13 tokens", "1 of 2 texts"]),
        ([GOOD, "qwertyuiop", GOOD], []),
        (["the qwertyuiop", "film asdfgh"], ["2 of 4 tokens"]),
    ],
)
def test_texts_of_unknown_words_are_noted(
    checkpoint: Path, tmp_path: Path, capsys: Any, texts: list[str], facts: list[str]
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([["review", "id"], *([text, "1"] for text in texts)])
    for arguments in (texts, ["--csv", str(source), "--out", str(target)]):
        main([str(checkpoint), *arguments])
        out, error = capsys.readouterr()
        notes = [line for line in error.splitlines() if line.startswith("note: ")]
        assert len(notes) == bool(facts)
        assert all(fact in notes[0] for fact in facts)
        assert all(json.loads(line) for line in out.splitlines())
    main([str(checkpoint), *texts])
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    with target.open(newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert [answer["label"] or "" for answer in answers] == labels
    assert [answer["score"] is None for answer in answers] == [label == "" for label in labels]
    assert all(answer["known_tokens"] <= answer["tokens"] for answer in answers)
