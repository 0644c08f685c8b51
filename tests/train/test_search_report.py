import io
import logging
import re
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler

from sentiment.report.tables import print_table
from sentiment.train.search.report import log_trial, trade_offs
from sentiment.train.search.study import Search


def search_for(folder: Path, *objectives: str) -> Search:
    return Search(
        url=f"sqlite:///{folder}/study.db",
        name="sentiment",
        objectives=objectives,
        distributions={"lr": FloatDistribution(0, 1)},
        facts={},
        folder=folder,
        alone=True,
        make_sampler=RandomSampler,
        pruner=NopPruner(),
        seed=1,
    )


def test_a_line_logs_how_a_trial_ended_and_how_far_the_search_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    search = search_for(tmp_path, "val/accuracy")
    first = search.tell(search.ask(), {"status": "ok", "val/accuracy": 0.5})
    second = search.ask()
    second.report(0.1, 0)
    second.report(0.2, 1)
    pruned = search.tell(second, {"status": "pruned"})
    failed = search.tell(search.ask(), {"status": "failed", "error": "no such file"})
    same = search.tell_same(search.ask(), first)
    for trial in (pruned, failed, same):
        log_trial(search, trial, of=5)
    best = "best so far: val/accuracy 50.00 % in trial 0; about"
    assert re.fullmatch(
        r"Trial 1 \(lr=0\.\d{1,4}\): pruned after epoch 2 in \d\.\ds\. 4 of 5 trials"
        rf" \(1 pruned, 1 failed\); {best} .* to go",
        caplog.messages[0],
    )
    assert ": failed (no such file) in" in caplog.messages[1]
    assert ": val/accuracy 50.00 %, as trial 0 of the same settings" in caplog.messages[2]


def test_trade_offs_are_those_that_no_other_beats_by_the_first_objective(tmp_path: Path) -> None:
    search = search_for(tmp_path, "val/loss", "latency_ms")
    for loss, latency in ((0.5, 1.0), (0.2, 9.0), (0.3, 9.5), (0.3, 3.0)):
        search.tell(search.ask(), {"status": "ok", "val/loss": loss, "latency_ms": latency})
    file = io.StringIO()
    print_table(trade_offs(search), file)
    rows = [line.split()[:3] for line in file.getvalue().splitlines()[3:]]
    assert rows == [["1", "0.2", "9"], ["3", "0.3", "3"], ["0", "0.5", "1"]]
