from collections.abc import Iterator
from pathlib import Path

import pytest

from sentiment.data.csv_format import CsvFormat
from sentiment.data.labels import (
    as_in_file,
    equal_labels,
    labels_of_classes,
    likeness,
    order_labels,
)
from sentiment.data.reviews import ReviewChunk
from sentiment.runtime.errors import InputError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"), ("1", "01"), ("1", "1e0"), ("0", "-0.0"), ("1", "\uff11"), ("A", "a"),
        ("very good", "very  good"), ("good\u200b", "good"), ("café", "cafe\u0301"),
        ("fi", "ﬁ"), ("straße", "STRASSE"), ("1\u200b", "1.0"), ("a\u1160", "a"),
        ("\x93a", "\u201ca"), ("a\ufe0f\u2800", "a"), ("nan", "NaN"),
    ],
)  # fmt: skip
def test_labels_that_look_alike_are_likely_the_same(one: str, other: str) -> None:
    assert likeness(one) == likeness(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "-1"), ("1", "10"), ("12345678901234567890", "12345678901234567891"), ("a", "b"),
     ("0", ""), ("1", "one"), ("inf", "1e400"), ("sNaN", "1")],
)  # fmt: skip
def test_others_are_different(one: str, other: str) -> None:
    assert likeness(one) != likeness(other)


@pytest.mark.parametrize(
    ("typed", "found", "label"),
    [
        ("False", ["false", "true"], "false"),
        ("True", ["FALSE", "TRUE"], "TRUE"),
        ("True", ["no", "yes"], "yes"),  # as a YAML file has it
        (None, ["null", "x"], "null"),
        ("1", ["0.0", "1.0"], "1.0"),
        ("1", ["1", "1.0"], "1"),
        ("a", ["A", "b"], "a"),
        ("2", ["0", "1"], "2"),
    ],
)
def test_a_label_is_called_as_in_the_file(typed: str | None, found: list[str], label: str) -> None:
    assert as_in_file(typed, found) == label


def test_several_that_are_equal_are_refused() -> None:
    with pytest.raises(InputError, match=r"'true' or 'TRUE'.*data\.labels=\[\"true\","):
        as_in_file("True", ["true", "TRUE", "false"])


def test_only_numbers_and_words_of_yaml_are_equal() -> None:
    assert equal_labels("1.0", ["0", "1"]) == ["1"]
    assert equal_labels("TRUE", ["True", "yes"]) == ["True"]
    assert equal_labels("A", ["a"]) == []


FOUND = {"r.csv": ["10", "9", "x", "2"]}


def test_labels_are_ordered_by_number_then_name() -> None:
    assert order_labels(FOUND) == ["2", "9", "10", "x"]
    assert order_labels(FOUND, ["x", "10", "9", "2"]) == ["x", "10", "9", "2"]
    odd = {"odd.csv": ["nan", "2", "-1.5", "1e1"]}
    assert order_labels(odd) == ["-1.5", "2", "1e1", "nan"]
    assert order_labels(FOUND | odd) == ["-1.5", "2", "9", "10", "1e1", "nan", "x"]


@pytest.mark.parametrize(
    ("found", "chosen", "facts"),
    [
        (FOUND, ["2", "9", "10"], r"r\.csv: .*'x'.*data\.labels="),
        (FOUND, ["2", "9", "10", "x", "y"], r"r\.csv: .*'y'.*data\.labels=.*; it has '10', '9'"),
        (FOUND, ["2", "2"], r"data\.labels=.*twice"),
        ({"r.csv": ["false", "true"]}, ["True", "True"], r'data\.labels=\["false","true"\]'),
        (
            {"r.csv": ["a", "b"]},
            ["a", "b", *(f"c{n}" for n in range(77))],
            r"'c0', .*'c11' and 65 more of .*; it has 'a', 'b'",
        ),
        ({"r.csv": ["a"]}, None, r"r\.csv: .*'a'.*data\.label_column"),
        ({"r.csv": [f"w{n}" for n in range(1001)]}, None, r"r\.csv: 1,001 .*data\.label_column"),
    ],
)
def test_labels_that_make_no_classes_are_refused(
    found: dict[str, list[str]], chosen: list[str | None] | None, facts: str
) -> None:
    with pytest.raises(InputError, match=facts):
        order_labels(found, chosen)


def test_labels_that_are_likely_the_same_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert order_labels({"r.csv": ["0", "1", "1.0", "2", "a"]}) == ["0", "1", "1.0", "2", "a"]
    (record,) = caplog.records
    for fact in ("r.csv", "'1'", "'1.0'"):
        assert fact in record.getMessage()
    with pytest.raises(InputError):
        order_labels({"r.csv": [f"{n}" for n in range(800)] + [f"{n}.0" for n in range(800)]})
    assert len(caplog.records) == 1


@pytest.mark.parametrize("marker", ["NA", "n/a", "null", "None", r"\N"])
def test_a_class_that_may_be_a_missing_label_is_logged(
    marker: str, caplog: pytest.LogCaptureFixture
) -> None:
    order_labels({"r.csv": ["good", "bad", marker]}, ["good", "bad", marker])
    assert not caplog.records  # as asked
    order_labels({"r.csv": ["good", "bad", marker, "nano"]})
    (record,) = caplog.records
    assert f"r.csv: label {marker!r} " in record.getMessage()


@pytest.mark.parametrize(
    ("texts", "labels", "fact"),
    [
        (["a b c"], [f"{n / 7:.3f}" for n in range(60)], "numbers that are measured"),
        (["a b c"], [f"id{n}" for n in range(60)], "data.label_column"),
        (["good", "bad"], [f"what a film, number {n}" for n in range(60)], "swapped"),
        (["good", "bad"], [f"what a film, number {n}" for n in range(30)], "swapped"),
        (["a b c"], [f"{n}" for n in range(1001)] * 2, "1,001 different"),
    ],
)
def test_labels_that_are_no_classes_are_refused_before_the_rest_is_read(
    texts: list[str], labels: list[str], fact: str
) -> None:
    texts = texts * (len(labels) // len(texts))

    def chunks() -> Iterator[ReviewChunk]:
        yield ReviewChunk(texts, labels, [*range(len(labels))], 0, 0.5)
        raise AssertionError("the rest was read")

    with pytest.raises(InputError, match=rf"r\.csv: .*{fact}"):
        list(labels_of_classes(chunks(), Path("r.csv"), CsvFormat(label_column="stars")))


@pytest.mark.parametrize(
    "labels",
    [
        [f"class {n % 77}" for n in range(90)], [f"{n % 10 / 2}" for n in range(60)],
        [f"{n}" for n in range(9)],
    ],
)  # fmt: skip
def test_labels_that_may_be_classes_pass(labels: list[str]) -> None:
    chunk = ReviewChunk(["a"] * len(labels), labels, [*range(len(labels))], 0, 1.0)
    assert list(labels_of_classes([chunk], Path("r.csv"), CsvFormat())) == [chunk]


def test_labels_of_yaml_are_those_of_the_file() -> None:
    found = {"r.csv": ["false", "true", "null"]}
    assert order_labels(found, ["False", "True", None]) == ["false", "true", "null"]
