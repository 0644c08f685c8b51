import pytest

from sentiment.data.labels import as_in_file, equal_labels, likeness
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
def test_labels_that_look_alike_are_likely_one(one: str, other: str) -> None:
    assert likeness(one) == likeness(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "-1"), ("1", "10"), ("12345678901234567890", "12345678901234567891"), ("a", "b"),
     ("0", ""), ("1", "one"), ("inf", "1e400"), ("sNaN", "1")],
)  # fmt: skip
def test_others_are_two(one: str, other: str) -> None:
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
    with pytest.raises(InputError, match=r"'true' or 'TRUE'; quote .* 'data\.labels=\[\"true\","):
        as_in_file("True", ["true", "TRUE", "false"])


def test_only_numbers_and_words_of_yaml_are_equal() -> None:
    assert equal_labels("1.0", ["0", "1"]) == ["1"]
    assert equal_labels("TRUE", ["True", "yes"]) == ["True"]
    assert equal_labels("A", ["a"]) == []
