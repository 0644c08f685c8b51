from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import BruteForceSampler, TPESampler
from optuna.trial import TrialState

from sentiment.runtime.errors import InputError
from sentiment.train.search.study import Search, open_storage, open_trial

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0, 1),
    "model": CategoricalDistribution(["gru", "lstm"]),
}
FACTS: dict[str, dict[str, Any]] = {
    "space": {"lr": "interval(0,1)"},
    "settings": {"trainer.max_epochs": 4, "seed": 1},
}


def search_in(
    folder: Path,
    *,
    url: str | None = None,
    objectives: tuple[str, ...] = ("val/accuracy",),
    facts: Mapping[str, Any] = FACTS,
    space: Mapping[str, BaseDistribution] = SPACE,
) -> Search:
    folder.mkdir(exist_ok=True)
    return Search(
        url=url or f"sqlite:///{folder}/study.db",
        name="sentiment",
        objectives=objectives,
        distributions=space,
        facts=facts,
        folder=folder,
        alone=url is None,
        make_sampler=lambda seed: TPESampler(seed=seed, n_startup_trials=3),
        pruner=NopPruner(),
        seed=1,
    )


def value_of(params: Mapping[str, Any]) -> float:
    away: float = abs(params["lr"] - 0.3)
    return 1 - away - (0.1 if params["model"] == "gru" else 0.0)


def run(search: Search, count: int) -> None:
    for _ in range(count):
        trial = search.ask()
        search.tell(trial, {"status": "ok", "val/accuracy": value_of(trial.params)})


def test_a_search_that_is_begun_again_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    whole = search_in(tmp_path / "whole")
    run(whole, 10)
    for _ in range(5):
        run(search_in(tmp_path / "parts"), 2)
    parts = search_in(tmp_path / "parts")
    assert [t.params for t in parts.trials] == [t.params for t in whole.trials]
    assert len({tuple(t.params.items()) for t in whole.trials}) > 5


def test_what_was_being_trained_is_left_over(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    run(search, 2)
    drawn = search.ask().params
    again = search_in(tmp_path)
    (left,) = again.left_over()
    assert (left.number, left.params) == (2, drawn)
    again.tell(left, {"status": "ok", "val/accuracy": 0.5})
    assert not search_in(tmp_path).left_over()


def test_machines_that_share_a_study_leave_each_others_trials_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    first, second = search_in(tmp_path / "a", url=url), search_in(tmp_path / "b", url=url)
    first.ask()
    assert not search_in(tmp_path / "b", url=url).left_over()
    assert search_in(tmp_path / "a", url=url).left_over()
    assert first.ask().params != second.ask().params
    assert len(first.trials) == 3


def test_a_folder_that_was_moved_knows_its_trials(tmp_path: Path) -> None:
    drawn = search_in(tmp_path / "here").ask().params
    (tmp_path / "here").rename(tmp_path / "there")
    (left,) = search_in(tmp_path / "there").left_over()
    assert left.params == drawn


def test_a_trial_that_was_killed_while_it_was_drawn_is_not_waited_for(tmp_path: Path) -> None:
    search_in(tmp_path).study.ask(SPACE)
    again = search_in(tmp_path)
    assert not again.left_over()
    assert [trial.state for trial in again.trials] == [TrialState.FAIL]


def test_a_sampler_that_cannot_draw_from_a_space_is_refused(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    search._make_sampler = lambda seed: BruteForceSampler(seed=seed)
    with pytest.raises(InputError, match=r"hydra\.sweeper\.sampler: .*step"):
        search.ask()


def test_many_may_begin_a_study_at_the_same_moment(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: search_in(tmp_path / name, url=url), "abcd"))
    assert search_in(tmp_path / "a", url=url).trials == []


def test_two_that_begin_at_once_do_not_draw_the_same(tmp_path: Path) -> None:
    draws = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        url = f"sqlite:///{tmp_path / name}/study.db"
        search_in(tmp_path / "first", url=url)  # began both studies
        draws.append(search_in(tmp_path / name, url=url).ask().params)
    assert draws[0] != draws[1]


def test_how_trials_end(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    outcomes: list[dict[str, Any]] = [
        {"status": "ok", "val/accuracy": 0.75},
        {"status": "ok", "val/accuracy": float("nan")},
        {"status": "ok"},
        {"status": "failed", "error": "no such file"},
        {"status": "pruned", "val/accuracy": 0.5},
    ]
    ended = [search.tell(search.ask(), outcome) for outcome in outcomes]
    assert [trial.state for trial in ended] == [
        TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.FAIL, TrialState.PRUNED,
    ]  # fmt: skip
    assert ended[3].user_attrs["error"] == "no such file"
    assert "nan" in ended[1].user_attrs["error"]
    assert [trial.number for trial in search.best()] == [0]


def test_the_best_of_a_loss_is_the_lowest_and_trade_offs_are_kept(tmp_path: Path) -> None:
    losses = search_in(tmp_path / "loss", objectives=("val/loss",))
    for loss in (0.5, 0.3, 0.4):
        losses.tell(losses.ask(), {"status": "ok", "val/loss": loss})
    assert [trial.number for trial in losses.best()] == [1]
    both = search_in(tmp_path / "both", objectives=("val/accuracy", "latency_ms"))
    for accuracy, latency in ((0.9, 9.0), (0.8, 1.0), (0.7, 2.0)):
        both.tell(both.ask(), {"status": "ok", "val/accuracy": accuracy, "latency_ms": latency})
    assert {trial.number for trial in both.best()} == {0, 1}


def test_nothing_is_best_before_a_trial_is_completed(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    search.tell(search.ask(), {"status": "failed", "error": "x"})
    assert search.best() == []


def test_a_trial_of_the_same_settings_is_found_and_taken(tmp_path: Path) -> None:
    search = search_in(tmp_path, space={"model": CategoricalDistribution(["gru"])})
    first = search.ask()
    assert search.twin(first) is None
    search.tell(first, {"status": "ok", "val/accuracy": 0.7})
    second = search.ask()
    twin = search.twin(second)
    assert twin is not None
    ended = search.tell_same(second, twin)
    assert (ended.values, ended.user_attrs["same_as"]) == ([0.7], 0)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({**FACTS, "space": {"lr": "interval(0,2)"}}, r"lr=interval\(0,1\), not interval\(0,2\)"),
        ({**FACTS, "space": {}}, "lr=.* in its space, where it is missing now"),
        ({**FACTS, "space": {**FACTS["space"], "x": "choice(1)"}}, r"x not in its space, .*choice"),
        ({**FACTS, "settings": {"trainer.max_epochs": 9, "seed": 1}}, "max_epochs=4, not 9"),
    ],
)
def test_a_study_that_was_begun_with_something_else_is_refused(
    tmp_path: Path, facts: Mapping[str, Any], expected: str
) -> None:
    search_in(tmp_path)
    with pytest.raises(InputError, match=f"'sentiment' was begun with .*{expected}.*study_name"):
        search_in(tmp_path, facts=facts)


def test_other_objectives_are_refused(tmp_path: Path) -> None:
    search_in(tmp_path)
    with pytest.raises(InputError, match=r"was begun with objectives=\['val/accuracy'\]"):
        search_in(tmp_path, objectives=("val/loss",))


@pytest.mark.parametrize("objectives", [(), ("test/accuracy",), ("val/f1", "val/f1")])
def test_objectives_that_are_none_are_refused(tmp_path: Path, objectives: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="give one or more of val/accuracy"):
        search_in(tmp_path, objectives=objectives)


@pytest.mark.parametrize(
    "url",
    ["foo", "foo://bar", "sqlite:////nowhere/at/all.db", "postgresql://me:secret@localhost/x"],
)
def test_a_storage_that_cannot_be_opened_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InputError, match=r"hydra\.sweeper\.storage: .*; give sqlite") as refused:
        open_storage(url)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_of_a_network_drive_can_hold_a_study(tmp_path: Path) -> None:
    run(search_in(tmp_path, url=f"journal:{tmp_path}/study.log"), 2)
    assert len(search_in(tmp_path, url=f"journal:{tmp_path}/study.log").trials) == 2


def test_another_process_reports_to_the_same_trial(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    search = search_in(tmp_path)
    for value in (0.9, 0.8, 0.1):
        number = search.ask().number
        trial = open_trial(url, "sentiment", number, MedianPruner(n_startup_trials=2))
        trial.report(value, 0)
        hopeless = trial.should_prune()
        status = {"status": "pruned" if hopeless else "ok", "val/accuracy": value}
        search.tell(optuna.trial.Trial(search.study, trial._trial_id), status)
    assert [t.intermediate_values[0] for t in search.trials] == [0.9, 0.8, 0.1]
    assert [t.state for t in search.trials][-1] == TrialState.PRUNED


@pytest.mark.parametrize("key", ["trainer.limit_val_batches", "trainer.fast_dev_run"])
def test_what_validates_is_not_searched(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=f"{key}: cannot be searched"):
        search_in(tmp_path, space={key: CategoricalDistribution([1, 2])})
