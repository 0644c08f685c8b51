"""What is planted in small files is found, and clean files are left in peace."""

import csv
import json
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import compose_config
from programs import run_program
from sentiment.check.duplicates import find_repeats
from sentiment.check.findings import label_errors
from sentiment.check.labels import LabelErrors
from sentiment.check.reviews import Reviews
from sentiment.check.run import Checked, open_reviews, run_check
from sentiment.report.runs import find_runs
from sentiment.runtime.errors import InputError

GOOD = ["lovely", "wonderful", "touching", "superb", "charming", "moving", "brilliant"]
BAD = ["awful", "dull", "clumsy", "tedious", "dreadful", "boring", "terrible"]
PLAIN = [
    "the", "film", "story", "actor", "scene", "music", "ending", "camera", "plot", "script",
    "director", "evening", "people", "house", "river", "winter", "summer", "train", "city",
    "garden", "letter", "friend", "father", "mother", "daughter", "night", "window",
]  # fmt: skip


def reviews(rows: int = 160, seed: int = 0, words: int = 30) -> pd.DataFrame:
    """Texts of many plain words and some that say the label, most of the time."""
    draw = random.Random(seed)
    texts, labels = [], []
    for _ in range(rows):
        label = draw.choice(["neg", "pos"])
        moods = [GOOD, BAD] if label == "pos" else [BAD, GOOD]
        own = [draw.choice(moods[draw.random() < 0.1]) for _ in range(9)]
        own += [*draw.choices(PLAIN, k=words - 10), f"title{draw.random()}"]
        draw.shuffle(own)
        texts.append(" ".join(own))
        labels.append(label)
    return pd.DataFrame({"text": texts, "label": labels})


def check(folder: Path, *overrides: str, **tables: pd.DataFrame) -> Checked:
    """Check tables, as files of these names, in a folder."""
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    files = [f"data.{name}={folder / f'{name}.csv'}" for name in tables]
    cfg = compose_config(["data=csv", *files, *overrides], folder / "check", "check")
    return run_check(cfg, folder / "check")


def rows_of(folder: Path, kind: str) -> list[dict[str, str]]:
    with (folder / "check" / "rows.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["kind"] == kind]


def lines_of(checked: Checked, kind: str) -> list[str]:
    return [each.line for each in checked.findings if each.kind == kind]


def row_numbers(folder: Path, kind: str) -> list[int]:
    return [int(row["row"]) for row in rows_of(folder, kind)]


def test_clean_reviews_have_nothing_to_look_at(tmp_path: Path) -> None:
    checked = check(tmp_path, csv=reviews())
    assert checked.findings == []
    assert (tmp_path / "check" / "rows.csv").read_text().startswith("kind,group,file,row,label")
    assert "Nothing was found" in (tmp_path / "check" / "check.html").read_text()


def test_wrong_labels_come_first(tmp_path: Path) -> None:
    table = reviews(300)
    wrong = [10, 50, 90, 200, 250]
    table.loc[wrong, "label"] = table.label[wrong].map({"neg": "pos", "pos": "neg"})
    check(tmp_path, csv=table)
    found = rows_of(tmp_path, "label")
    assert len({int(row["row"]) for row in found[:5]} & {each + 1 for each in wrong}) >= 3
    assert all(row["label"] != row["likely_label"] for row in found)
    assert [float(row["score"]) for row in found] == sorted(float(row["score"]) for row in found)


def test_a_copy_of_a_wrongly_labelled_text_does_not_hide_it(tmp_path: Path) -> None:
    table = reviews(300)
    table.loc[7] = [" ".join(["the", *GOOD, "film"]), "neg"]
    copies = pd.concat([table, *[table.iloc[[7]]] * 20], ignore_index=True)
    check(tmp_path, csv=copies)
    assert {8, *range(301, 321)} <= set(row_numbers(tmp_path, "label"))


def test_repeats_are_found_whatever_their_case_and_markup(tmp_path: Path) -> None:
    table = reviews()
    near = " ".join(["something", *table.text[4].split()[1:]])
    more = pd.DataFrame(
        {"text": [table.text[3].upper() + " <br/>", near], "label": table.label[3:5]}
    )
    checked = check(tmp_path, csv=pd.concat([table, more]))
    assert set(row_numbers(tmp_path, "repeat")) == {4, 161}
    assert set(row_numbers(tmp_path, "near")) == {5, 162}
    groups = {row["group"] for row in rows_of(tmp_path, "near")}
    assert len(groups) == 1
    assert {each.kind for each in checked.findings} <= {"repeat", "near"}
    page = (tmp_path / "check" / "check.html").read_text()
    assert f"<del>{table.text[4].split()[0]}</del> <ins>something</ins>" in page
    assert page.count("<ins>") == 2  # the other one is in the line that explains it
    assert "br/" not in page
    assert all(each.advice in page for each in checked.findings)


def test_the_similarity_of_near_repeats_can_be_set(tmp_path: Path) -> None:
    table = reviews()
    half = " ".join([*table.text[4].split()[:24], *table.text[5].split()[24:]])
    table.loc[6, "text"] = half
    check(tmp_path, "check.similarity=0.5", csv=table)
    assert set(row_numbers(tmp_path, "near")) == {5, 7}
    check(tmp_path, "check.similarity=0.9", csv=table)
    assert row_numbers(tmp_path, "near") == []


def test_texts_from_a_template_are_compared_with_few_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = reviews(1).text[0]
    texts = [f"{template} order {number} was late" for number in range(1000)]
    table = pd.DataFrame({"text": texts, "label": ["neg", "pos"] * 500})
    table.to_csv(tmp_path / "csv.csv", index=False)
    cfg = compose_config(["data=csv", f"data.csv={tmp_path / 'csv.csv'}"], tmp_path, "check")
    opened = open_reviews(cfg)
    tokens, read = Reviews.tokens, []

    def counted(self: Reviews, some: Any) -> Any:
        read.append(len(some))
        return tokens(self, some)

    monkeypatch.setattr(Reviews, "tokens", counted)
    repeats = find_repeats(opened, 0.8)
    assert [len(group) for group in repeats.groups()] == [1000]
    assert (repeats.similarity >= 0.8).all()
    assert sum(read) < 10_000


def test_one_text_with_two_labels_is_serious(tmp_path: Path) -> None:
    table = reviews()
    again = table.iloc[[8]].assign(label="neg" if table.label[8] == "pos" else "pos")
    checked = check(tmp_path, csv=pd.concat([table, again]))
    assert set(row_numbers(tmp_path, "contradiction")) == {9, 161}
    assert checked.findings[0].level == "serious"


def test_texts_of_the_test_file_in_others_are_leaks(tmp_path: Path) -> None:
    train, test, unlabeled = reviews(seed=1), reviews(60, seed=2), reviews(60, seed=3)
    near = " ".join([*test.text[1].split()[:-1], "something"])
    train = pd.concat([train, test.iloc[[0]], test.iloc[[1]].assign(text=near)])
    unlabeled.loc[5, "text"] = test.text[7]
    checked = check(tmp_path, train_csv=train, test_csv=test, unlabeled_csv=unlabeled[["text"]])
    of_test, of_unlabeled = lines_of(checked, "leak")
    assert of_test.startswith("2 of 60")
    assert "1 equal, 1 nearly" in of_test
    assert of_unlabeled.startswith("1 of 60")
    places = {(row["file"], int(row["row"])) for row in rows_of(tmp_path, "leak")}
    assert places == {
        ("train_csv.csv", 161), ("test_csv.csv", 1), ("train_csv.csv", 162), ("test_csv.csv", 2),
        ("unlabeled_csv.csv", 6), ("test_csv.csv", 8),
    }  # fmt: skip
    assert [each.level for each in checked.findings if each.kind == "leak"] == ["serious", "look"]


def test_leaks_that_a_training_drops_are_not_serious(tmp_path: Path) -> None:
    train, test = reviews(seed=1), reviews(60, seed=2)
    checked = check(tmp_path, train_csv=pd.concat([train, test.iloc[[0]]]), test_csv=test)
    (leak,) = [each for each in checked.findings if each.kind == "leak"]
    assert "1 equal, 0 nearly" in leak.line
    assert leak.level == "look"
    assert "too good" not in leak.advice


@pytest.mark.parametrize("val", [False, True])
def test_a_test_file_that_is_the_training_file_is_serious(tmp_path: Path, val: bool) -> None:
    table = reviews(60)
    given = {"val_csv": reviews(60, seed=1)} if val else {}
    checked = check(tmp_path, "check.fail_on=[serious]", train_csv=table, test_csv=table, **given)
    (serious,) = [each for each in checked.findings if each.level == "serious"]
    assert serious.kind == "leak"
    assert serious.line.startswith("a training will not start: 60 of 60 texts of test_csv.csv")
    assert "drops them" not in serious.advice
    assert checked.failed == ["leak"]


def test_only_the_leaks_that_keep_a_training_from_starting_say_so(tmp_path: Path) -> None:
    table, test = reviews(60), reviews(60, seed=1)
    test = pd.concat([test, table.iloc[[0]]])
    inside = table[["text"]].iloc[5:20]
    checked = check(tmp_path, train_csv=table, test_csv=test, unlabeled_csv=inside)
    first, second = [each for each in checked.findings if each.kind == "leak"]
    assert (first.level, second.level) == ("serious", "look")
    assert first.line.startswith("a training will not start: 15 of 15 texts of unlabeled_csv.csv")
    assert "will not start" not in second.line
    assert "refused" not in {each.kind for each in checked.findings}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [(["data.val_size=0.001"], "too few rows"), (["data.weight_column=w"], "the weight 0")],
)
def test_any_other_refusal_is_one_serious_finding(
    tmp_path: Path, overrides: Sequence[str], line: str
) -> None:
    table = reviews(60).assign(w=0.0)
    checked = check(tmp_path, "check.fail_on=[serious]", *overrides, csv=table)
    first = checked.findings[0]
    assert (first.kind, first.level) == ("refused", "serious")
    assert first.line == f"a training will not start: {checked.facts['refusal']}"
    assert line in first.line
    assert checked.failed == ["refused"]


def test_one_cause_is_one_serious_finding(tmp_path: Path) -> None:
    test = reviews(60, seed=2)
    test.loc[3, "label"] = "meh"
    checked = check(tmp_path, train_csv=reviews(seed=1), test_csv=test)
    assert [each.kind for each in checked.findings if each.level == "serious"] == ["mismatch"]
    (few,) = lines_of(checked, "class")
    assert "will not start" not in few


@pytest.mark.parametrize(
    ("unseen", "level", "line"),
    [
        (40, "serious", "was trained on 1 of them and predicts 90.00 % of the 40 others"),
        (20, "note", "was trained on all but 20 of them"),
        (41, "serious", "that predicts 90.00 % of them"),
    ],
)
def test_a_few_rows_of_its_training_do_not_hide_label_errors(
    tmp_path: Path, unseen: int, level: str, line: str
) -> None:
    reviews(41).to_csv(tmp_path / "csv.csv", index=False)
    cfg = compose_config(["data=csv", f"data.csv={tmp_path / 'csv.csv'}"], tmp_path, "check")
    two = np.array([0, 1])
    errors = LabelErrors(41, unseen, 0.9, two, two, np.zeros(2, np.float32))
    (found,) = label_errors(open_reviews(cfg), errors, 10, trained=True)
    assert found.level == level
    assert line in found.line


@pytest.mark.parametrize(
    ("column", "gives_away"),
    [
        (lambda row, label: {"pos": 9, "neg": 2}[label] + row % 2, True),
        (lambda row, label: f"{label}_{row}.txt", True),
        (lambda row, label: f"{row}_{ {'pos': 8, 'neg': 3}[label] }.txt", True),
        (lambda row, label: {"pos": "yes", "neg": ""}[label], True),
        (lambda row, label: row, False),
        (lambda row, label: f"id{row * 7919 % 1000}", False),
        (lambda row, label: random.Random(row).choice("abc"), False),
    ],
)
def test_a_column_that_gives_the_label_away(tmp_path: Path, column: Any, gives_away: bool) -> None:
    table = reviews()
    table["other"] = [column(row, label) for row, label in enumerate(table.label)]
    checked = check(tmp_path, csv=table)
    lines = lines_of(checked, "column")
    assert bool(lines) == gives_away
    assert all("'other'" in line for line in lines)


def test_a_column_of_a_test_file_that_gives_the_label_away(tmp_path: Path) -> None:
    def scored(rows: int, seed: int) -> pd.DataFrame:
        table = reviews(rows, seed)
        return table.assign(stars=table.label.map({"pos": 5, "neg": 1}))

    train = reviews(seed=1).assign(source="web", weight=1.0)
    given = {"val_csv": scored(60, 2), "test_csv": scored(60, 3)}
    checked = check(tmp_path, "data.weight_column=weight", train_csv=train, **given)
    (line,) = lines_of(checked, "column")
    assert line.startswith("val_csv.csv, test_csv.csv: column 'stars'")
    assert "(100.00 % right by it alone, 50.00 % by chance; in val_csv.csv, '" in line
    given["val_csv"].loc[:2, "stars"] = 3
    checked = check(tmp_path, train_csv=train, **given)
    (line,) = lines_of(checked, "column")
    val, test = re.findall(r"([\d.]+) %(?=.* right)", line)
    assert 80 < float(val) < 100 == float(test)


def test_rows_in_the_order_of_their_labels(tmp_path: Path) -> None:
    checked = check(tmp_path, csv=reviews().sort_values("label"))
    assert len(lines_of(checked, "order")) == 1


@pytest.mark.parametrize("texts", [20, 90])
def test_a_tag_gives_the_label_away_and_usual_words_do_not(tmp_path: Path, texts: int) -> None:
    table = reviews(1500, words=200)
    tagged = table.index[table.label == "pos"][:texts]
    table.loc[tagged, "text"] += " rated 10/10"
    checked = check(tmp_path, csv=table)
    (line,) = lines_of(checked, "word")
    assert "10/10" in line
    assert f"{texts} texts" in line


def test_texts_that_were_damaged(tmp_path: Path) -> None:
    table = reviews()
    sound = "It\u2019s a café où l\u2019on mange bien, naïve and über"
    table.loc[1, "text"] = sound
    table.loc[2, "text"] = f"{sound} \u2013 really".encode().decode("cp1252", "replace")
    table.loc[3, "text"] = "This was caf\ufffd music"
    table.loc[4, "text"] = "An &lt;i&gt;odd&lt;/i&gt; film"
    table.loc[5, "text"] = "Well [b]done[/b] indeed"
    table.loc[6, "text"] = "<i>Fine</i> &amp; dandy"
    table.loc[7, "text"] = "ok"
    table.loc[8, "text"] = f"\u201c{sound}\u201d".encode().decode("cp1252", "replace")
    check(tmp_path, csv=table)
    assert row_numbers(tmp_path, "mojibake") == [3, 9]
    assert row_numbers(tmp_path, "replaced") == [4]
    assert ["U+FFFD" in row["why"] for row in rows_of(tmp_path, "mojibake")] == [False, True]
    assert row_numbers(tmp_path, "markup") == [5, 6]
    assert row_numbers(tmp_path, "short") == [8]


def test_texts_in_another_language(tmp_path: Path) -> None:
    english = (
        "This film was one of the best that I have seen in a long time, because of {}.",
        "I would not recommend it to anybody who has something better to do than {}.",
        "The actors do what they can with the script, but there is too much {} in it.",
    )
    texts = [english[row % 3].format(PLAIN[row % 23]) for row in range(120)]
    texts[17] = (
        "Der Film war leider sehr langweilig und die Schauspieler haben mich nicht überzeugt."
    )
    texts[18] = "Tres bien"  # too short to say
    table = pd.DataFrame({"text": texts, "label": ["neg", "pos"] * 60})
    checked = check(tmp_path, csv=table)
    assert row_numbers(tmp_path, "language") == [18]
    assert "German" in lines_of(checked, "language")[0]
    other = check(tmp_path, "data.language=de", csv=table)
    assert "data.language=en" in next(
        each.advice for each in other.findings if each.kind == "tokenizer"
    )


def test_labels_of_several_spellings_are_one_finding(tmp_path: Path) -> None:
    train, test = reviews(seed=1), reviews(60, seed=2)
    train.loc[[4, 7], "label"] = train.label[[4, 7]].str.title()
    same = pd.concat([test, train[:20]]).assign(label=lambda table: table.label.str.upper())
    checked = check(tmp_path, "check.fail_on=[mismatch]", train_csv=train, test_csv=same)
    first = checked.findings[0]
    assert (first.kind, first.level, first.count) == ("mismatch", "serious", 82)
    assert "'NEG'" in first.line
    assert "will not start" in first.line
    assert {each.kind for each in checked.findings} == {"mismatch", "leak"}
    places = [(row["file"], int(row["row"])) for row in rows_of(tmp_path, "mismatch")]
    assert places[:2] == [("train_csv.csv", 5), ("train_csv.csv", 8)]
    assert {row["likely_label"] for row in rows_of(tmp_path, "mismatch")} == {"neg", "pos"}
    results = json.loads((tmp_path / "check" / "check.json").read_text())
    assert results["failed"] == ["mismatch"]
    assert "test_csv.csv" in results["refusal"]


def test_labels_of_other_files_are_one_finding(tmp_path: Path) -> None:
    train, test = reviews(seed=1), reviews(60, seed=2)
    other = pd.concat([test, train[:20]]).assign(
        label=lambda table: table.label.map({"neg": 0, "pos": 1})
    )
    checked = check(tmp_path, train_csv=train, test_csv=other)
    assert [each.kind for each in checked.findings] == ["mismatch", "leak"]
    assert checked.findings[0].level == "serious"
    assert "test_csv.csv ('0', '1')" in checked.findings[0].line
    assert {row["file"] for row in rows_of(tmp_path, "mismatch")} == {"test_csv.csv"}
    third = train.assign(label=train.label.where(train.index > 30, "mixed"))
    checked = check(tmp_path, train_csv=third, test_csv=test)
    assert "test_csv.csv has no 'mixed'" in lines_of(checked, "mismatch")[0]
    assert len(row_numbers(tmp_path, "mismatch")) == 31
    checked = check(tmp_path, "data.labels=[mixed,neg,pos]", train_csv=third, test_csv=test)
    assert lines_of(checked, "mismatch") == []
    assert "'mixed' 0" in lines_of(checked, "class")[0]


def test_a_training_is_offered_where_it_will_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    table = reviews()
    table.loc[[4, 7, 9, 30], "label"] = "Pos"
    checked = check(tmp_path, csv=table)
    assert [each.level for each in checked.findings if each.kind == "mismatch"] == ["look"]
    assert not checked.facts["refusal"]
    assert "sentiment.train" in caplog.text
    assert "make two classes" not in caplog.text
    caplog.clear()
    table.loc[[4, 7, 9], "label"] = "pos"
    checked = check(tmp_path, csv=table)
    assert (checked.findings[0].kind, checked.findings[0].level) == ("mismatch", "serious")
    assert "sentiment.train" not in caplog.text
    assert "too few rows" in caplog.text
    checked = check(tmp_path, csv=table.replace("Pos", "odd"))
    assert (checked.findings[0].kind, checked.findings[0].level) == ("class", "serious")


def test_lengths_and_classes(tmp_path: Path) -> None:
    table = reviews(200)
    table = pd.concat(
        [table, pd.DataFrame({"text": ["so so"], "label": ["neutral"]})], ignore_index=True
    )
    table.loc[0, "text"] = None
    table.loc[[2, 3], "label"] = None
    checked = check(tmp_path, "data.max_length=25", csv=table)
    kinds = {each.kind: each for each in checked.findings}
    assert "'neutral' 1" in kinds["class"].line
    assert kinds["long"].count > 150
    assert "data.max_length=25" in kinds["long"].line
    assert "1 row without text" in kinds["missing"].line
    assert checked.facts["files"][0]["classes"]["neutral"] == 1
    assert row_numbers(tmp_path, "class") == [201]
    missing = [(int(row["row"]), row["label"]) for row in rows_of(tmp_path, "missing")]
    assert missing == [(1, table.label[0]), (3, ""), (4, "")]
    assert rows_of(tmp_path, "missing")[1]["text"] == table.text[2]


def test_the_files_hold_the_same_and_stay_as_they_are(tmp_path: Path) -> None:
    table = pd.concat([reviews(), reviews().iloc[:9]])
    checked = check(tmp_path, "check.rows=4", csv=table)
    results = json.loads((tmp_path / "check" / "check.json").read_text())
    (repeat,) = [each for each in results["findings"] if each["kind"] == "repeat"]
    assert (repeat["count"], repeat["listed"]) == (9, 4)
    assert len(rows_of(tmp_path, "repeat")) == 4
    assert lines_of(checked, "repeat") == [repeat["line"]]
    assert (tmp_path / "csv.csv").read_text() == table.to_csv(index=False)
    with pytest.raises(InputError):
        find_runs([tmp_path / "check"])


def test_few_rows_are_checked_for_what_they_show(tmp_path: Path) -> None:
    rows = [("one", "a"), ("two", "a"), ("three four", "b"), ("<br>", "b"), ("one", "b")]
    check(tmp_path, csv=pd.DataFrame(rows, columns=["text", "label"]))
    assert row_numbers(tmp_path, "contradiction") == [1, 5]
    different = [(f"word{row}", "ab"[row % 2]) for row in range(20)]
    check(tmp_path, csv=pd.DataFrame(different, columns=["text", "label"]))
    assert row_numbers(tmp_path, "contradiction") == []


def test_the_command_prints_the_most_serious_first(tmp_path: Path) -> None:
    table = reviews()
    again = table.iloc[[8, 9]].assign(label=["neg" if table.label[8] == "pos" else "pos", "neg"])
    pd.concat([table, again]).to_csv(tmp_path / "mine.csv", index=False)
    done = run_program("check", "data=csv", "data.csv=mine.csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    kinds = re.findall(r"^  (?:!!|! |  ) (\w+)", done.stdout, re.MULTILINE)
    assert kinds[0] == "contradiction"
    (folder,) = (tmp_path / "checks").iterdir()
    assert {"check.html", "check.json", "check.log", "rows.csv"} <= {
        path.name for path in folder.iterdir()
    }
    assert "sentiment.train data=csv data.csv=mine.csv" in done.stdout
    assert "Decide on one label" in done.stdout


def test_the_command_fails_on_what_is_named(tmp_path: Path) -> None:
    table = reviews()
    pd.concat([table, table.iloc[[8]]]).to_csv(tmp_path / "mine.csv", index=False)
    given = ["data=csv", "data.csv=mine.csv"]
    done = run_program("check", *given, "check.fail_on=[leak,repeat]", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert "check.fail_on: found repeat" in done.stdout
    (folder,) = (tmp_path / "checks").iterdir()
    assert json.loads((folder / "check.json").read_text())["failed"] == ["repeat"]
    done = run_program("check", *given, "check.fail_on=[serious]", cwd=tmp_path)
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("files", "code"), [("repeats.csv,clean.csv", 3), ("wrong.csv", 2)])
def test_checks_in_other_processes_fail_if_one_of_them_does(
    tmp_path: Path, files: str, code: int
) -> None:
    table = reviews()
    table.to_csv(tmp_path / "clean.csv", index=False)
    pd.concat([table, table.iloc[[8]]]).to_csv(tmp_path / "repeats.csv", index=False)
    table.assign(label="pos").to_csv(tmp_path / "wrong.csv", index=False)
    given = ["data=csv", f"data.csv={files}", "check.fail_on=[repeat]", "hydra.launcher.n_jobs=1"]
    done = run_program("check", "-m", "hydra/launcher=joblib", *given, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr


def test_a_script_in_a_review_stays_text(tmp_path: Path) -> None:
    table = reviews()
    attack = "<script>alert(1)</script> <img src=x onerror=alert(2)> {{ 7 * 7 }} "
    table.loc[3, "text"] = attack + table.text[3]
    table.loc[4, "label"] = "<b>bold</b>"
    check(tmp_path, csv=pd.concat([table, table.iloc[[3]]]))
    page = (tmp_path / "check" / "check.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7 * 7 }}" in page
    assert not re.search(r"<(?:script|img|b|link)\b", page)
    assert not re.search(r'(?:src|href)="[^#]', page)


def test_labels_are_checked_by_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    table = pd.read_csv(trained / "reviews.csv")
    table.loc[20, "sentiment"] = "lovely" if table.sentiment[20] == "awful" else "awful"
    table.to_csv(tmp_path / "mine.csv", index=False)
    given = [f"data.csv={tmp_path / 'mine.csv'}", f"check.checkpoint={trained}"]
    run_check(compose_config(given, tmp_path / "check", "check"), tmp_path / "check")
    assert row_numbers(tmp_path, "label")[0] == 21
    results = json.loads((tmp_path / "check" / "check.json").read_text())
    (found,) = [each for each in results["findings"] if each["kind"] == "label"]
    assert found["level"] == "note"
    assert "was trained on all but" in found["line"]
    assert "leave check.checkpoint out" in found["advice"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["check.checkpoint=nope.ckpt"], "nope.ckpt"),
        (["check.similarity=0.2"], "check.similarity=0.2"),
        (["check.rows=0"], "check.rows=0"),
        (["check.fail_on=[leaks]"], "did you mean 'leak'"),
        (["data.text_column=txt"], "no column 'txt'"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, overrides: Sequence[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        check(tmp_path, *overrides, csv=reviews(60))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_other_labels_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'neg'"):
        check(tmp_path, f"check.checkpoint={trained}", csv=reviews(60))


def test_it_starts_without_torch() -> None:
    code = "import sys, sentiment.check.run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(InputError, match=re.escape("pip install 'sentiment[check]'")):
        check(tmp_path, csv=reviews(60))
