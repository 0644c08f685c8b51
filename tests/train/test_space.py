from collections.abc import Mapping
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sentiment.runtime.errors import InputError
from sentiment.train.search.space import Space, as_text, describe, edges, read_space


def space_of(params: Mapping[str, Any], *arguments: str) -> Space:
    return read_space(params, arguments, OverridesParser.create())


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ("interval(1e-4,1e-2)", FloatDistribution(1e-4, 1e-2)),
        ("tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(16,256))", IntDistribution(16, 256)),
        ("tag(log,int(interval(16,256)))", IntDistribution(16, 256, log=True)),
        ("range(16,129,16)", IntDistribution(16, 128, step=16)),
        ("range(1,4)", IntDistribution(1, 3)),
        ("range(9,1,-4)", IntDistribution(5, 9, step=4)),
        ("range(0.1,0.35,0.1)", FloatDistribution(0.1, 0.3, step=0.1)),
        ("choice(max,max+mean)", CategoricalDistribution(["max", "max+mean"])),
        ("bigru,bilstm", CategoricalDistribution(["bigru", "bilstm"])),
        ("choice([1,2],[3])", CategoricalDistribution(["[1,2]", "[3]"])),
    ],
)
def test_a_sweep_in_hydras_grammar_is_a_distribution(
    sweep: str, expected: BaseDistribution
) -> None:
    found = space_of({"x": sweep}).distributions["x"]
    assert found == expected
    assert space_of({}, f"x={sweep}").distributions["x"] == expected


def test_a_list_in_yaml_is_a_choice() -> None:
    found = space_of({"model": ["bigru", "bilstm"], "model.hidden_size": [32, 64]})
    assert found.distributions == {
        "model": CategoricalDistribution(["bigru", "bilstm"]),
        "model.hidden_size": CategoricalDistribution(["32", "64"]),
    }


def test_text_in_a_list_in_yaml_may_hold_anything() -> None:
    space = space_of({"data.csv": ["a, b.csv", "c.csv"]})
    parser = OverridesParser.create()
    found = [
        parser.parse_override(space.overrides({"data.csv": choice})[0]).value()
        for choice in space.distributions["data.csv"].choices  # type: ignore[attr-defined]
    ]
    assert found == ["a, b.csv", "c.csv"]


def test_the_command_line_changes_adds_and_settles() -> None:
    space = space_of(
        {"a": "choice(1,2)", "b": "interval(0,1)"}, "a=7", "b=interval(2,3)", "c=x,y", "d=5"
    )
    assert space.distributions == {
        "b": FloatDistribution(2, 3),
        "c": CategoricalDistribution(["x", "y"]),
    }
    assert space.shared == ["a=7", "d=5"]
    assert space.overrides({"b": 2.123456, "c": "y"}) == ["a=7", "d=5", "b=2.123", "c=y"]


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ("interval(5,1)", "5.0 is not below 1.0"),
        ("interval(1,1)", "1.0 is not below 1.0"),
        ("tag(log,interval(0,1))", "low"),
        ("range(5,1)", "empty"),
        ("tag(log,range(16,129,16))", "step"),
        ("interval(a,1)", "write choice"),
        ("interval(5,", "write choice"),
    ],
)
def test_a_sweep_that_cannot_be_searched_is_refused(sweep: str, expected: str) -> None:
    with pytest.raises(InputError) as refused:
        space_of({"optimizer.lr": sweep})
    assert f"optimizer.lr={sweep}" in str(refused.value)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_to_search_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to search"):
        space_of({"a": "choice(1,2)"}, "a=1")


def test_every_choice_and_both_ends_are_tried_beside_what_is_shared() -> None:
    space = space_of({"a": "choice(x,y)", "b": "interval(8,16)", "c": "range(1,4)"}, "d=5")
    assert edges(space) == [
        ["d=5", "a=x"], ["d=5", "a=y"], ["d=5", "b=8.0"], ["d=5", "b=16.0"],
        ["d=5", "c=1"], ["d=5", "c=3"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00123456, "0.001235"), (8.0, "8.0"), (-3.0, "-3.0"), (1e-7, "1e-07"), (12, "12")],
)
def test_a_value_keeps_its_kind_as_text(value: float, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    "sweep",
    [
        "choice(a,b)",
        "interval(0.1,0.5)",
        "int(interval(16,256))",
        "tag(log,interval(0.0001,0.01))",
        "tag(log,int(interval(16,256)))",
    ],
)
def test_a_distribution_is_described_as_it_is_written(sweep: str) -> None:
    assert describe(space_of({"x": sweep}).distributions["x"]) == sweep
