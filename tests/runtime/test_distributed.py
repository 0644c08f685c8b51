import os

import pytest
import torch

from sentiment.runtime import distributed as ranks
from sentiment.runtime.errors import InputError

CPU = torch.device("cpu")
NAMES = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_PROCID",
    "SLURM_LOCALID", "SLURM_JOB_NAME", "SENTIMENT_PARENT",
)  # fmt: skip


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process that was started by neither torchrun nor srun."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_one_process_is_the_first_and_reports(alone: pytest.MonkeyPatch) -> None:
    assert (ranks.rank(), ranks.external_world_size(), ranks.started_by_another_rank()) == (
        0,
        None,
        False,
    )
    assert ranks.is_reporting_rank()
    assert ranks.is_first_survivor()
    assert ranks.gather("a") == ["a"]
    assert ranks.all_reduce_max(7) == 7
    ranks.leave_group()  # from nobody


@pytest.mark.parametrize(
    ("environment", "rank", "started", "reports"),
    [
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, 0, 4, 1),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, 3, 4, 0),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, 2, 4, 1),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}, 1, 2, 0),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"}, 0, None, 1),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "SENTIMENT_PARENT": f"{os.getppid()}"}, 1, None, 1),
    ],
    ids=["first", "second machine", "first there", "srun", "interactive", "by Lightning"],
)
def test_a_process_knows_its_rank_before_it_has_joined(
    alone: pytest.MonkeyPatch,
    environment: dict[str, str],
    rank: int,
    started: int | None,
    reports: int,
) -> None:
    for name, value in environment.items():
        alone.setenv(name, value)
    assert (ranks.rank(), ranks.external_world_size()) == (rank, started)
    assert ranks.is_reporting_rank() == bool(reports)


def test_the_first_survivor_reports_a_loss(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("LOCAL_RANK", "1")
    alone.setenv("SENTIMENT_PARENT", str(os.getppid()))
    assert not ranks.is_first_survivor()  # the first process is there and reports it
    alone.setenv("SENTIMENT_PARENT", "1234567890")
    assert ranks.is_first_survivor()


def test_the_first_problem_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks.raise_together(None)
    with pytest.raises(InputError, match=r"^no such file$"):
        ranks.raise_together(InputError("no such file"))
    monkeypatch.setattr(ranks, "gather", lambda value: [None, None, ("node7", "no such file")])
    with pytest.raises(InputError, match=r"^process 2 on node7: no such file$"):
        ranks.raise_together(None)


def test_a_lost_connection_differs_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = "[gloo/transport/tcp/pair.cc:537] Read error [::1]:1: Connection closed by peer"
    with pytest.raises(RuntimeError, match="closed by peer"), ranks.translate_lost_connection():
        raise RuntimeError(closed)  # of something else: there is no other process
    monkeypatch.setattr(ranks, "in_process_group", lambda: True)
    with pytest.raises(ranks.ProcessLost), ranks.translate_lost_connection():
        raise RuntimeError(closed)
    with pytest.raises(RuntimeError, match="out of memory"), ranks.translate_lost_connection():
        raise RuntimeError("out of memory")
