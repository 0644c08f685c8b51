from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import PathPatch
from matplotlib.text import Annotation
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from sentiment.report import parallel_coordinates, search_figures
from sentiment.report.ranking import is_lower_better

ACCURACY = ["val/accuracy"]
LR = FloatDistribution(1e-4, 1e-2, log=True)
DROPOUT = FloatDistribution(0.0, 0.5)
SPACE: dict[str, BaseDistribution] = {"optimizer.lr": LR, "model.dropout": DROPOUT}


def empty_study(objectives: Sequence[str] = ACCURACY) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        directions=["minimize" if is_lower_better(each) else "maximize" for each in objectives]
    )


def add(
    study: optuna.Study,
    *values: float,
    params: Mapping[str, Any] | None = None,
    space: Mapping[str, BaseDistribution] | None = None,
    state: TrialState = TrialState.COMPLETE,
    reports: Mapping[int, float] | None = None,
) -> None:
    """Add a trial; without ``params`` one whose learning rate alone decides how good it is."""
    if params is None:
        number = len(study.trials)
        space = SPACE
        rate = 1e-3 if not values else 10 ** (-4 + 2 * min(max(values[0], 0.0), 1.0))
        params = {"optimizer.lr": rate, "model.dropout": 0.5 * (number * 0.37 % 1)}
    trial = create_trial(
        state=state,
        values=values or None,
        params=dict(params),
        distributions={key: (space or {})[key] for key in params},
        intermediate_values=dict(reports or {}),
    )
    study.add_trial(trial)


def study_of(*values: float, objectives: Sequence[str] = ACCURACY) -> optuna.Study:
    study = empty_study(objectives)
    for value in values:
        add(study, value)
    return study


def searched(space: Mapping[str, BaseDistribution], *trials: Sequence[Any]) -> optuna.Study:
    """A study with a completed trial for each row: the settings' values, and the objective."""
    study = empty_study()
    for *settings, value in trials:
        add(study, value, params=dict(zip(space, settings, strict=True)), space=space)
    return study


def points(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Map the label of each line to its points."""
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]
        for line in axes.lines
    }


def drawn(figure: Figure | None) -> tuple[Figure, Axes]:
    assert figure is not None
    return figure, figure.axes[0]


def parallel(study: optuna.Study, objective: str = "val/accuracy") -> tuple[Figure, Axes]:
    return drawn(parallel_coordinates.parallel_coordinates_figure(study, objective))


def names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def ticks(axes: Axes) -> list[dict[str, float]]:
    """The ticks of each ruler: their texts and heights."""
    found: list[dict[str, float]] = [{} for _ in axes.get_xticks()]
    for text in axes.texts:
        x, y = text.get_position()
        found[int(np.abs(axes.get_xticks() - x).argmin())][text.get_text()] = y
    return found


def lines(axes: Axes) -> list[tuple[str, list[float]]]:
    """Colour and heights on the rulers of each trial's line, in the order of drawing."""
    paths = [patch for patch in axes.patches if isinstance(patch, PathPatch)]
    return [
        (
            to_hex(patch.get_edgecolor()).upper(),
            np.asarray(patch.get_path().vertices)[::3, 1].tolist(),
        )
        for patch in sorted(paths, key=lambda patch: patch.get_zorder())
    ]


def test_a_search_of_one_objective_has_three_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    written = search_figures.draw_search(study_of(0.5, 0.7, 0.6), ACCURACY, folder)
    assert [path.name for path in written] == [
        "history.png",
        "importance.png",
        "parallel_coordinates.png",
    ]
    assert set(folder.iterdir()) == set(written)
    assert imread(folder / "history.png").shape == (672, 1440, 4)


def test_a_search_of_two_objectives_has_its_front_too(tmp_path: Path) -> None:
    objectives = ["val/accuracy", "latency_ms"]
    study = empty_study(objectives)
    add(study, 0.8, 3.0)
    add(study, 0.8, 2.0)  # the first objective is always the same: nothing explains it
    written = search_figures.draw_search(study, objectives, tmp_path)
    assert [path.stem for path in written] == ["history", "parallel_coordinates", "pareto"]
    add(study, 0.9, 5.0)
    assert search_figures.importance_figure(study, "val/accuracy") is not None


@pytest.mark.parametrize("values", [(), (0.5,), (0.5, 0.5, 0.5), (0.5, float("inf"))])
def test_too_little_to_draw_from(values: Sequence[float], tmp_path: Path) -> None:
    study = study_of(*values)
    add(study, state=TrialState.FAIL)
    add(study, 0.4, state=TrialState.PRUNED, reports={0: 0.4})
    assert search_figures.draw_search(study, ACCURACY, tmp_path / "sweep") == []
    assert not (tmp_path / "sweep").exists()


def test_history_places_each_trial_by_how_it_ended() -> None:
    study = study_of(0.5, 0.75)
    add(study, state=TrialState.PRUNED, reports={0: 0.7, 3: 0.25, 1: 0.9})
    add(study, state=TrialState.FAIL, reports={0: 0.99})
    add(study, 0.625)
    add(study, state=TrialState.FAIL)
    study.ask()  # runs still
    figure = search_figures.history_figure(study, "val/accuracy")
    axes = figure.axes[0]

    found = points(axes)
    assert found["Completed"] == [(0, 50), (1, 75), (4, 62.5)]
    assert found["Pruned"] == [(2, 25)]
    assert found["Best so far"] == [(0, 50), (1, 75), (4, 75), (5, 75)]
    assert [number for number, _ in found["Failed"]] == [3, 5]
    failed = next(line for line in axes.lines if line.get_label() == "Failed")
    figure.draw_without_rendering()
    bottoms = failed.get_transform().transform(found["Failed"])[:, 1]
    lowest = axes.transData.transform((2, 25))[1]
    assert all(axes.get_window_extent().y0 < bottom < lowest for bottom in bottoms)
    pruned = next(line for line in axes.lines if line.get_label() == "Pruned")
    assert pruned.get_markerfacecolor() == "white"
    assert list(axes.get_xticks()) == [0, 1, 2, 3, 4, 5]
    assert axes.get_title("left") == "Validation accuracy (%)"
    assert axes.get_title("right") == "best 75.00 % in trial 1"


@pytest.mark.parametrize("reports", [{}, {0: float("nan")}])
def test_what_was_pruned_without_a_report_is_at_the_bottom(reports: dict[int, float]) -> None:
    study = study_of(0.5, 0.75)
    add(study, state=TrialState.PRUNED, reports=reports)
    figure = search_figures.history_figure(study, "val/accuracy")
    assert points(figure.axes[0])["Pruned"] == [(2, 0.03)]
    assert figure.axes[0].get_ylim()[0] > 40  # not drawn down to 0.03 %
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["Completed", "Pruned", "Best so far"]


@pytest.mark.parametrize(
    ("objective", "title", "best", "heights"),
    [
        ("val/loss", "Validation loss", "best 0.25 in trial 1", [0.5, 0.25, 0.25]),
        ("latency_ms", "Latency (ms)", "best 0.25 ms in trial 1", [0.5, 0.25, 0.25]),
        ("parameters", "Parameters (M)", "best 2.5e-07 M in trial 1", [5e-7, 2.5e-7, 2.5e-7]),
        ("val/f1", "Validation macro F1 (%)", "best 75.00 % in trial 2", [50, 50, 75]),
        ("val/auroc", "Validation AUROC", "best 0.75 in trial 2", [0.5, 0.5, 0.75]),
    ],
)
def test_history_knows_what_is_better(
    objective: str, title: str, best: str, heights: list[float]
) -> None:
    study = study_of(0.5, 0.25, 0.75, objectives=[objective])
    axes = search_figures.history_figure(study, objective).axes[0]
    steps = [height for _, height in points(axes)["Best so far"]]
    assert steps == pytest.approx([*heights, heights[-1]])
    assert axes.get_title("left") == title
    assert axes.get_title("right") == best


def test_history_of_several_objectives_is_of_the_first() -> None:
    study = empty_study(["val/accuracy", "latency_ms"])
    add(study, 0.5, 9.0)
    add(study, 1.0, 4.0)
    axes = search_figures.history_figure(study, "val/accuracy").axes[0]
    assert points(axes)["Completed"] == [(0, 50), (1, 100)]
    assert axes.get_ylim()[1] == 100


def test_what_decides_has_the_longest_bar_and_is_on_top() -> None:
    study = study_of(*np.linspace(0.1, 0.9, 12))
    figures = [search_figures.importance_figure(study, "val/accuracy") for _ in range(2)]
    figure, axes = drawn(figures[0])
    figure.draw_without_rendering()

    labels = sorted(axes.get_yticklabels(), key=lambda label: -label.get_window_extent().y0)
    assert [label.get_text() for label in labels] == ["lr", "dropout"]
    widths = [bar.get_width() for bar in axes.containers[0]]
    assert widths[0] > 70
    assert sum(widths) == pytest.approx(100)
    assert [text.get_text() for text in axes.texts] == [f"{width:.0f} %" for width in widths]
    assert axes.get_title("left") == "Importance for validation accuracy"
    assert axes.get_xlabel() == "Share of the variance explained (fANOVA of 12 trials)"
    again = drawn(figures[1])[1].containers[0]
    assert widths == [bar.get_width() for bar in again]


def test_a_guess_from_few_trials_is_called_one() -> None:
    _, axes = drawn(search_figures.importance_figure(study_of(0.5, 0.7), "val/accuracy"))
    assert "2 trials: a rough guess" in axes.get_xlabel()


def test_one_setting_has_no_importance() -> None:
    study = searched({"lr": LR}, (1e-3, 0.5), (1e-2, 0.6), (1e-4, 0.7))
    assert search_figures.importance_figure(study, "val/accuracy") is None


def test_numbers_stand_where_their_interval_and_scale_put_them() -> None:
    space = {"optimizer.lr": LR, "model.dropout": DROPOUT}
    study = searched(space, (1e-4, 0.5, 0.5), (1e-3, 0.125, 0.9), (1e-2, 0.0, 0.6))
    add(study, state=TrialState.PRUNED, reports={0: 0.2})
    add(study, state=TrialState.FAIL)
    _, axes = parallel(study)

    assert names(axes) == ["lr", "dropout", "Validation\naccuracy (%)"]
    rates, dropouts, accuracies = ticks(axes)
    assert rates == pytest.approx(
        {"0.0001": 0, "0.0002": 0.1505, "0.0005": 0.3495, "0.001": 0.5}
        | {"0.002": 0.6505, "0.005": 0.8495, "0.01": 1},
        abs=1e-4,
    )
    assert dropouts == pytest.approx(
        {"0": 0, "0.1": 0.2, "0.2": 0.4, "0.3": 0.6, "0.4": 0.8, "0.5": 1}
    )
    assert accuracies == pytest.approx({"50": 0, "60": 0.25, "70": 0.5, "80": 0.75, "90": 1})
    heights = [height for _, height in lines(axes)]
    assert heights == [
        pytest.approx([0, 1, 0]),
        pytest.approx([1, 0, 0.25]),
        pytest.approx([0.5, 0.25, 1]),
    ]


@pytest.mark.parametrize(("objective", "best"), [("val/accuracy", 1.0), ("val/loss", 0.0)])
def test_the_best_trial_is_drawn_last_in_vermilion_and_the_worst_palest(
    objective: str, best: float
) -> None:
    study = study_of(0.5, 0.9, 0.8, 0.6, 0.7, objectives=[objective])
    found = lines(parallel(study, objective)[1])
    assert [color == "#D55E00" for color, _ in found] == [False] * 4 + [True]
    assert found[-1][1][-1] == best
    assert found[0] == ("#D5DEE6", [*found[0][1][:-1], 1 - best])
    reds = [int(color[1:3], 16) for color, _ in found[:-1]]
    assert reds == sorted(reds, reverse=True)  # better is darker


def test_the_strip_has_the_shade_of_the_best_at_the_best_end() -> None:
    for objective, best_row in (("val/accuracy", -1), ("val/loss", 0)):
        _, axes = parallel(study_of(0.5, 0.9, objectives=[objective]), objective)
        strip = axes.images[0].get_array()
        assert strip is not None
        assert to_hex(np.asarray(strip)[best_row, 0]) == "#0b4f82"


def test_choices_that_are_numbers_rise_and_names_are_read_downwards() -> None:
    space: dict[str, BaseDistribution] = {
        "model.hidden_size": CategoricalDistribution(("128", "64", "1024")),
        "model.pooling": CategoricalDistribution(("max", "mean", "attention")),
        "trainer.max_epochs": IntDistribution(1, 4),
        "loss.balanced": CategoricalDistribution((True, False)),
    }
    study = searched(space, ("128", "mean", 3, True, 0.6), ("64", "max", 1, True, 0.5))
    _, axes = parallel(study)
    found = [sorted(each, key=lambda text: each[text]) for each in ticks(axes)]
    assert found[:4] == [
        ["64", "128", "1024"],
        ["attention", "mean", "max"],
        ["1", "2", "3", "4"],
        ["False", "True"],
    ]
    (_, low), (_, high) = lines(axes)
    sizes, poolings, epochs, balanced = ticks(axes)[:4]
    assert low[:3] == pytest.approx([sizes["64"], poolings["max"], epochs["1"]])
    assert high[:3] == pytest.approx([sizes["128"], poolings["mean"], epochs["3"]])
    # Both have the same choice: side by side around it, the better above.
    assert low[3] < balanced["True"] < high[3]
    assert (low[3] + high[3]) / 2 == pytest.approx(balanced["True"])


def test_many_trials_of_a_choice_stay_with_it() -> None:
    space = {"size": CategoricalDistribution(("1", "2", "3"))}
    trials = [(str(i % 3 + 1), 0.5 + 0.001 * i) for i in range(150)]
    for _, (height, _) in lines(parallel(searched(space, *trials))[1]):
        assert min(abs(height - middle) for middle in (1 / 6, 1 / 2, 5 / 6)) < 0.09


def test_of_many_choices_some_are_named() -> None:
    sizes = [str(2**i) for i in range(16)]
    study = searched({"size": CategoricalDistribution(sizes)}, ("1", 0.5), ("1024", 0.6))
    assert list(ticks(parallel(study)[1])[0]) == sizes[::2]


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (FloatDistribution(1e-7, 1e-1, log=True), ["1e-07", "1e-06", "1e-05", "0.0001"]),
        (FloatDistribution(3e-3, 4e-3, log=True), ["0.003", "0.0032", "0.0034", "0.0036"]),
        (IntDistribution(16, 4096, log=True), ["20", "50", "100", "200"]),
        (IntDistribution(0, 100), ["0", "20", "40", "60"]),
        (FloatDistribution(0.3, 0.3), ["0.3"]),
    ],
)
def test_ticks_are_round_numbers(distribution: BaseDistribution, expected: list[str]) -> None:
    low = distribution.low  # type: ignore[attr-defined]
    high = distribution.high  # type: ignore[attr-defined]
    study = searched({"key": distribution}, (low, 0.5), (high, 0.6))
    _, axes = parallel(study)
    assert list(ticks(axes)[0])[:4] == expected
    assert all(0 <= height <= 1 for _, heights in lines(axes) for height in heights)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["model", "model.hidden_size"], ["model", "hidden_size"]),
        (["optimizer.lr", "scheduler.lr"], ["optimizer.lr", "scheduler.lr"]),
        (["a.x.lr", "b.x.lr", "lr"], ["a.x.lr", "b.x.lr", "lr"]),
        (["+trainer.max_epochs", "+extra"], ["max_epochs", "extra"]),
        (["model.embedding_dropout"], ["embedding_\ndropout"]),
        (["a.supercalifragilisticexpialidocious"], ["supercali…ious"]),
    ],
)
def test_keys_are_as_short_as_they_can_be(keys: list[str], expected: list[str]) -> None:
    space = dict.fromkeys(keys, DROPOUT)
    trials = [[0.1 * i] * len(keys) + [0.5 + 0.1 * i] for i in range(2)]
    assert names(parallel(searched(space, *trials))[1])[:-1] == expected


def wide_space() -> dict[str, BaseDistribution]:
    long = [f"sentiment.model.schedules.a_schedule_of_kind_{i}" for i in range(12)]
    space: dict[str, BaseDistribution] = {
        f"group{i}.a_rather_long_name_{i}": CategoricalDistribution(long[: i + 2]) for i in range(6)
    }
    space |= {f"m{i}": CategoricalDistribution([str(2**k) for k in range(16)]) for i in range(2)}
    space |= {f"optimizer{i}.weight_decay": FloatDistribution(1e-7, 1, log=True) for i in range(4)}
    return space


def test_no_labels_of_twelve_settings_overlap(tmp_path: Path) -> None:
    space = wide_space()
    firsts = [getattr(each, "choices", [1e-3])[0] for each in space.values()]
    lasts = [getattr(each, "choices", [1e-2])[-1] for each in space.values()]
    study = searched(space, (*firsts, 0.81234), (*lasts, 0.86))
    figure, axes = parallel(study)
    figure.draw_without_rendering()
    labels = [*axes.texts, *axes.get_xticklabels()]
    extents = [label.get_window_extent() for label in labels]
    assert len(extents) > 60
    assert not any(one.overlaps(other) for one, other in combinations(extents, 2))
    assert all(figure.bbox.x0 <= each.x0 and each.x1 <= figure.bbox.x1 for each in extents)
    assert all(figure.bbox.y0 <= each.y0 and each.y1 <= figure.bbox.y1 for each in extents)
    # Nor does a tick's text reach over the ruler before its own.
    for left, right in pairwise(axes.get_xticks()[:-1]):
        own = [text for text in axes.texts if left < text.get_position()[0] < right]
        edge = axes.transData.transform((left, 0))[0]
        assert all(text.get_window_extent().x0 > edge for text in own)


def test_of_more_than_twelve_settings_the_important_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = {f"key{i}": DROPOUT for i in range(14)}
    shares = dict.fromkeys(space, 0.05) | {"key13": 0.39, "key2": 0.01, "key5": 0.0}
    monkeypatch.setattr(parallel_coordinates, "importances", lambda _: shares)
    study = searched(space, (*[0.1] * 14, 0.5), (*[0.2] * 14, 0.6))
    drawn_keys = names(parallel(study)[1])[:-1]
    assert drawn_keys == [key for key in space if key not in {"key2", "key5"}]


def test_an_evaluator_that_fails_leaves_its_picture_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("zero total variance in all trees")

    module = import_module("optuna.importance")  # optuna.importance stands in for it
    monkeypatch.setattr(module, "get_param_importances", fail)
    written = search_figures.draw_search(study_of(0.5, 0.6), ACCURACY, tmp_path)
    assert [path.stem for path in written] == ["history", "parallel_coordinates"]


def test_settings_that_some_trials_lack_are_left_out() -> None:
    study = empty_study()
    add(study, 0.5, params={"lr": 1e-3, "dropout": 0.1}, space={"lr": LR, "dropout": DROPOUT})
    add(study, 0.6, params={"lr": 1e-2}, space={"lr": LR})
    assert names(parallel(study)[1])[:-1] == ["lr"]
    add(study, 0.7, params={}, space={})
    assert parallel_coordinates.parallel_coordinates_figure(study, "val/accuracy") is None


def test_dollars_are_no_formula(tmp_path: Path) -> None:
    space = {"model.$name$": CategoricalDistribution(("$\\a$", "$b_$"))}
    study = searched(space, ("$\\a$", 0.5), ("$b_$", 0.6))
    assert len(search_figures.draw_search(study, ACCURACY, tmp_path)) == 2


def pareto(objectives: Sequence[str], *trials: tuple[float, float]) -> Axes:
    study = empty_study(objectives)
    for trial in trials:
        add(study, *trial)
    return drawn(search_figures.pareto_figure(study, objectives))[1]


def test_pareto_front_is_joined_and_numbered() -> None:
    axes = pareto(["val/accuracy", "latency_ms"], (0.9, 8), (0.7, 2), (0.6, 4), (0.8, 5), (0.85, 9))
    assert points(axes) == {
        "Other trials": [(4, 60), (9, 85)],
        "Best trade-offs": [(2, 70), (5, 80), (8, 90)],
    }
    front = axes.lines[1]
    assert front.get_linestyle() == "-"
    assert front.get_drawstyle() == "steps-post"  # 70 % is what up to 5 ms can buy
    assert axes.lines[0].get_linestyle() == "None"
    assert (axes.get_xlabel(), axes.get_title("left")) == (
        "Latency (ms)",
        "Validation accuracy (%)",
    )
    numbers = {t.get_text(): t.xy for t in axes.texts if isinstance(t, Annotation)}
    assert numbers == {"1": (2, 70), "3": (5, 80), "0": (8, 90)}


def test_pareto_front_of_what_is_better_to_the_right() -> None:
    axes = pareto(["parameters", "val/accuracy"], (2e6, 0.8), (1e6, 0.7), (3e6, 0.75))
    assert points(axes)["Best trade-offs"] == [(70, 1), (80, 2)]
    assert axes.lines[1].get_drawstyle() == "steps-pre"
    assert (axes.get_xlabel(), axes.get_title("left")) == (
        "Validation accuracy (%)",
        "Parameters (M)",
    )


def test_numbers_on_the_front_do_not_meet() -> None:
    axes = pareto(
        ["val/accuracy", "latency_ms"], *[(0.5 + 0.001 * i, 5 + 0.01 * i) for i in range(60)]
    )
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    extents = [text.get_window_extent() for text in axes.texts]
    assert 5 < len(extents) < 60
    assert not any(one.overlaps(other) for one, other in combinations(extents, 2))


@pytest.mark.parametrize("objectives", [ACCURACY, ["val/accuracy", "latency_ms", "parameters"]])
def test_a_front_is_of_two_objectives(objectives: list[str]) -> None:
    study = empty_study(objectives)
    add(study, *[0.5] * len(objectives))
    assert search_figures.pareto_figure(study, objectives) is None
