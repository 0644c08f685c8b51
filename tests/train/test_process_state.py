from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sentiment.model.metrics import ReviewMean
from sentiment.train.process_state import ProcessState

MODULE: Any = SimpleNamespace(device=torch.device("cpu"))


def trainer_of(processes: int) -> Any:
    return SimpleNamespace(world_size=processes, global_step=5)


def saved_by(mean: ReviewMean) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"state_dict": {}}
    ProcessState({"m": mean}).on_save_checkpoint(trainer_of(1), MODULE, checkpoint)
    return checkpoint


def states_of_two() -> list[dict[str, Any]]:
    states = []
    for number, (value, reviews) in enumerate([(1.0, 2), (4.0, 3)]):
        mean = ReviewMean()
        mean.update(torch.tensor(value), reviews)
        torch.manual_seed(number)
        states += saved_by(mean)["processes"]
    return states


def resume(mean: ReviewMean, states: list[dict[str, Any]] | None, processes: int) -> None:
    callback = ProcessState({"m": mean})
    if states is not None:
        callback.on_load_checkpoint(trainer_of(processes), MODULE, {"processes": states})
    callback.on_train_start(trainer_of(processes), MODULE)


def test_processes_go_on_with_their_own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    states = states_of_two()
    monkeypatch.setattr("sentiment.train.process_state.rank", lambda: 1)
    mean = ReviewMean()
    resume(mean, states, 2)
    assert (float(mean.total), float(mean.count)) == (12, 3)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))


def test_the_sums_of_a_checkpoint_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    states = states_of_two()
    monkeypatch.setattr("sentiment.train.process_state.gather", lambda own: states)
    checkpoint = saved_by(ReviewMean())
    assert checkpoint["processes"] == states
    sums = {name: float(value) for name, value in checkpoint["state_dict"].items()}
    assert sums == {"m.total": 14, "m.count": 5}


@pytest.mark.parametrize(("rank", "count"), [(0, 5), (1, 0)])
def test_another_number_of_processes_keeps_the_sums_and_logs_it(
    rank: int, count: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    states = states_of_two()
    monkeypatch.setattr("sentiment.train.process_state.rank", lambda: rank)
    mean = ReviewMean()
    mean.update(torch.tensor(2.8), 5)  # as load_state_dict leaves it in every process
    resume(mean, states, 3)
    assert float(mean.count) == count
    assert "begun by 2 processes and is resumed by 3" in caplog.text


def test_processes_draw_different_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for number in range(4):
        torch.manual_seed(42)
        monkeypatch.setattr("sentiment.train.process_state.rank", lambda number=number: number)
        resume(ReviewMean(), None, 4)
        drawn.append(tuple(torch.rand(4).tolist()))
    assert len(set(drawn)) == 4
