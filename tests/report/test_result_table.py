import io
import re
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from sentiment.report.result_table import class_tables, length_table, members_table, result_table
from sentiment.report.tables import print_table

RESULTS = {
    "test/accuracy": 0.91837,
    "test/f1": 0.91835,
    "test/auroc": 0.97312,
    "test/loss": 0.21904,
    "test/ece": 0.01234,
    "val/accuracy": 0.916,
    "val/f1": 0.91593,
    "val/loss": 0.2261,
    "labels": ["negative", "positive"],
    "vocabulary_size": 30_002,
    "vector_coverage": 0.9642,
    "train_reviews": 22_500,
    "val_reviews": 2_500,
    "test_reviews": 25_000,
    "dropped_duplicates": 418,
    "fit_seconds": 164.2,
    "train_reviews_per_second": 1234.4,
    "train_tokens_per_second": 361_234.2,
    "parameters": 3_213_570,
    "seed": 0,
    "device": "cpu",
    "precision": "bf16-mixed",
    "epochs": 12,
    "best_epoch": 8,
}


def printed(table: Table) -> str:
    file = io.StringIO()
    print_table(table, file)
    return file.getvalue()


def words(table: Table) -> list[list[str]]:
    return [line.split() for line in printed(table).splitlines()]


def test_result_table_says_what_was_reached_on_what_and_at_what_cost() -> None:
    lines = words(result_table(RESULTS))
    for expected in (
        "training validation test",
        "accuracy - 91.60 % 91.84 %",
        "95 % interval - 90.4 to 92.6 % 91.5 to 92.2 %",
        "macro F1 - 91.59 % 91.83 %",
        "AUROC - - 0.9731",
        "loss - 0.2261 0.2190",
        "ECE - - 1.23 %",
        "reviews 22,500 2,500 25,000",
        "labels negative, positive time 2m 44s",
        "vocabulary 30,002 words epochs 12 (best: 9)",
        "with vectors 96.42 % speed 1,234 reviews/s",
        "duplicates 418 dropped 361,234 tokens/s",
        "seed 0 parameters 3,213,570",
        "device cpu, bf16-mixed",
    ):
        assert expected.split() in lines


@pytest.mark.parametrize("key", RESULTS)
def test_any_result_may_be_missing(key: str) -> None:
    for rest in (
        {name: value for name, value in RESULTS.items() if name != key},
        RESULTS | {key: None},
        {key: RESULTS[key]},
    ):
        text = printed(result_table(rest))
        assert "None" not in text
        assert "nan" not in text


def test_lines_without_a_value_are_left_out() -> None:
    text = printed(result_table({"test/accuracy": 0.5, "test/loss": float("nan")}))
    assert "50.00 %" in text
    for absent in ("loss", "AUROC", "reviews", "data", "cost", "training", "validation"):
        assert absent not in text
    assert printed(result_table({})).strip() == ""


def test_the_table_has_weights_if_members_differ_in_them() -> None:
    members = [
        {"checkpoint": f"{name}.ckpt", "weight": weight, "test/accuracy": 0.5}
        for name, weight in (("a", 2.5), ("b", 1.0))
    ]
    lines = words(members_table(members))
    assert lines[0] == ["alone", "weight", "accuracy"]
    assert lines[2:] == [["a.ckpt", "2.5", "50.00", "%"], ["b.ckpt", "1", "50.00", "%"]]
    alike = [each | {"weight": 2.0} for each in members]
    assert words(members_table(alike))[0] == ["alone", "accuracy"]


def test_lengths_are_ranges_unless_all_are_the_same() -> None:
    rows = [
        {"tokens": [8, 1_234], "reviews": 2_500, "accuracy": 0.9},
        {"tokens": [1_235, 1_235], "reviews": 1, "accuracy": 1.0},
    ]
    assert words(length_table(rows))[-2:] == [
        ["8", "-", "1,234", "2,500", "90.00", "%"],
        ["1,235", "1", "100.00", "%"],
    ]


def test_many_labels_are_counted() -> None:
    assert "40 classes" in printed(result_table({"labels": [f"c{i}" for i in range(40)]}))


def test_text_of_the_user_is_no_markup() -> None:
    assert "[red]a, b" in printed(result_table({"labels": ["[red]a", "b"]}))


def test_result_table_fits_eighty_columns() -> None:
    file = io.StringIO()
    Console(file=file, width=80).print(result_table(RESULTS))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert lines == printed(result_table(RESULTS)).splitlines()
    assert len(lines) <= 18


def test_an_accuracy_stands_beside_what_it_is_judged_by() -> None:
    beside = {"baseline": {"val/accuracy": 0.8, "test/accuracy": 0.81}, "test/largest_class": 0.515}
    lines = words(result_table(RESULTS | beside))
    assert ["most", "frequent", "label", "-", "-", "51.50", "%"] in lines
    assert ["TF-IDF", "baseline", "-", "80.00", "%", "81.00", "%"] in lines


def test_losses_of_two_scales_are_in_two_rows() -> None:
    lines = words(result_table(RESULTS | {"val/calibrated_loss": 0.2241}))
    assert ["loss", "-", "0.2261", "-"] in lines
    assert ["calibrated", "loss", "-", "0.2241", "0.2190"] in lines


def classes(*scores: float | None) -> list[dict[str, Any]]:
    return [
        {"label": f"c{i}", "precision": f1, "recall": f1, "f1": f1, "reviews": 10 * i}
        for i, f1 in enumerate(scores)
    ]


def confusion(size: int) -> Sequence[Sequence[int]]:
    return [[10 * row + column for column in range(size)] for row in range(size)]


def test_few_classes_have_their_confusions_beside_them() -> None:
    (table,) = class_tables(classes(0.5, None, 0.25), confusion(3))
    lines = words(table)
    assert lines[0] == [
        "class",
        "precision",
        "recall",
        "F1",
        "reviews",
        "as",
        "c0",
        "as",
        "c1",
        "as",
        "c2",
    ]
    assert lines[2:] == [
        ["c0", "50.00", "%", "50.00", "%", "50.00", "%", "0", "0", "1", "2"],
        ["c2", "25.00", "%", "25.00", "%", "25.00", "%", "20", "20", "21", "22"],
    ]


@pytest.mark.parametrize(
    ("names", "heads", "first"),
    [
        (["1", "2", "3", "4", "7", "8", "9", "10"], "1 2 3 4 7 8 9 10", "1"),
        (["very negative", *"bcdefgh"], "1 2 3 4 5 6 7 8", "1 very negative"),
        (["a name too long to be read"] * 12, "1 2 3 4 5 6 7 8 9 10 11 12", "1 a na"),
        (["negative", "neutral", "positive"], "1 2 3", "1 negative"),
    ],
)
def test_more_classes_have_a_confusion_matrix_in_eighty_columns(
    names: list[str], heads: str, first: str
) -> None:
    rows = [{**row, "label": name} for row, name in zip(classes(*[0.5] * 12), names, strict=False)]
    counts = [[12345 + 100 * row + column for column in range(len(names))] for row in range(12)]
    _, matrix = class_tables(rows, counts[: len(names)])
    lines = printed(matrix).splitlines()
    assert max(map(len, lines)) <= 80
    head, top = (" ".join(line.split()) for line in (lines[0], lines[2]))
    assert re.fullmatch(rf"class, as? {heads}", head)
    assert re.match(rf"{first}.* 12345 12346 12347", top)


def test_of_many_classes_the_hardest_are_shown() -> None:
    (table,) = class_tables(classes(*(i / 100 for i in range(77, 0, -1))), confusion(77))
    lines = words(table)
    assert lines[0] == ["hardest", "classes", "precision", "recall", "F1", "reviews"]
    assert [line[0] for line in lines[2:]] == [f"c{i}" for i in range(65, 77)]
