"""The mark of a run that was stopped."""

from pathlib import Path

import pytest

from sentiment.runtime.run_folder import mark_stopped, unmark_stopped, was_stopped


def test_a_run_is_stopped_until_it_continues(tmp_path: Path) -> None:
    mark_stopped(tmp_path)
    assert was_stopped(tmp_path)
    unmark_stopped(tmp_path)
    unmark_stopped(tmp_path)
    assert not was_stopped(tmp_path)


def test_a_run_may_be_stopped_before_it_has_a_folder(tmp_path: Path) -> None:
    mark_stopped(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rank_0_marks_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("RANK", "1")
    mark_stopped(tmp_path)
    assert not was_stopped(tmp_path)
