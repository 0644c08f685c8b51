"""A training that is killed at any moment resumes to the same weights."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from conftest import TINY, compose_config, write_reviews
from sentiment.train.run import train

forks = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork"
)


def run(folder: Path, reviews: Path, cache: Path) -> None:
    overrides = [
        *TINY, f"data.csv={reviews}", f"data.cache_dir={cache}", "data.batch_size=4",
        "trainer.max_epochs=3", "callbacks.save_minutes=0", "ckpt_path=auto",
        "model.head_dropout=0.3", "embeddings.lazy=true", "data.num_workers=1",
    ]  # fmt: skip
    train(compose_config(overrides, folder), folder)


def killed_after(seconds: float, folder: Path, reviews: Path, cache: Path) -> bool:
    """Run a training in a process of its own; whether it was killed before it ended."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(folder, reviews, cache))
    process.start()
    process.join(seconds)
    if process.is_alive():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.slow
@forks
def test_a_training_killed_at_any_moment_ends_with_the_same_weights(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 80)
    start = time.monotonic()
    assert not killed_after(300, tmp_path / "whole", reviews, tmp_path / "cache")
    whole = time.monotonic() - start
    chance = random.Random(0)
    kills = attempt = 0
    while kills < 20:
        attempt += 1
        folder, cache = tmp_path / f"run{attempt}", tmp_path / f"cache{attempt}"
        while killed_after(chance.uniform(0, whole), folder, reviews, cache):
            kills += 1
        ours, theirs = (
            torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)
            for each in (folder, tmp_path / "whole")
        )
        assert ours["state_dict"].keys() == theirs["state_dict"].keys()
        for name, weight in ours["state_dict"].items():
            assert torch.equal(weight, theirs["state_dict"][name]), name
        left, right = (
            pd.read_csv(each / "metrics.csv").drop(columns="seconds")
            for each in (folder, tmp_path / "whole")
        )
        pd.testing.assert_frame_equal(left, right)
        assert (folder / "results.json").is_file()
