from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sentiment.pretrain.progress import Progress


def test_progress_is_logged_of_a_whole_minute_though_it_begins_within_an_epoch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("sentiment.pretrain.progress.time.monotonic", lambda: clock.now)
    trainer: Any = SimpleNamespace(
        accumulate_grad_batches=1, current_epoch=0, num_training_batches=10
    )
    batch = SimpleNamespace(lengths=torch.tensor([300, 300]))
    progress, module = Progress(), SimpleNamespace()
    progress.on_train_start(trainer, module)  # type: ignore[arg-type]
    with caplog.at_level("INFO"):
        for index in range(5, 8):  # 600 tokens in each half minute
            clock.now += 30
            outputs = {"loss": torch.tensor(2.0)}
            progress.on_train_batch_end(trainer, module, outputs, batch, index)  # type: ignore[arg-type]
    (message,) = caplog.messages
    assert message == "  epoch 1: 70 %; perplexity of the last 2 batches 7.4; 20 tokens/s"
