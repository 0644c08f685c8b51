import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from sentiment.config.checks import check_class_weights
from sentiment.data.pipeline import DataFacts
from sentiment.model.encoder import can_train
from sentiment.runtime.errors import InputError
from sentiment.train.build import build_trainer, class_weights


def facts_of(class_counts: list[int]) -> DataFacts:
    return DataFacts(
        vocabulary=["<pad>", "<unk>"], word_counts=np.zeros(2, np.int64), labels=["a", "b", "c"],
        class_counts=class_counts, train_reviews=sum(class_counts), val_reviews=1, test_reviews=1,
        dropped_duplicates=0, dropped_missing=0, fingerprints={},
    )  # fmt: skip


def loss_of(**settings: Any) -> DictConfig:
    return OmegaConf.create({"balanced": False, "class_weights": None, **settings})


def test_balanced_weights_are_inverse_to_the_counts() -> None:
    weights = class_weights(loss_of(balanced=True), facts_of([10, 30, 60]))
    assert weights == pytest.approx([100 / 30, 100 / 90, 100 / 180])
    counts = [10, 30, 60]
    assert np.average(weights or [], weights=counts) == pytest.approx(1)  # over the reviews
    assert class_weights(loss_of(), facts_of(counts)) is None
    assert class_weights(loss_of(class_weights=[1.0, 2.0, 3.0]), facts_of(counts)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "counts", "expected"),
    [
        ({"balanced": True}, [10, 0, 60], "loss.balanced: no training review has the label 'b'"),
        ({"class_weights": [1.0, 2.0]}, [10, 30, 60], "give one weight for each of a, b, c"),
        ({"class_weights": [1.0] * 3, "balanced": True}, [10, 30, 60], "loss.balanced=false"),
        *(
            ({"class_weights": [1.0, weight, 1.0]}, [10, 30, 60], "must be numbers above 0")
            for weight in (0.0, -1.0, 1e-60, 1e60, math.inf, math.nan)
        ),
    ],
)
def test_weights_that_cannot_be_are_refused(
    settings: dict[str, Any], counts: list[int], expected: str
) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        check_class_weights(loss_of(**settings), ["a", "b", "c"], counts)
    assert "\n" not in str(caught.value)


@pytest.mark.half_precision
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_precision_that_the_machine_cannot_train_in_is_refused(
    cell: str, precision: str, composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    cfg = composed(f"model={cell}", "trainer=cpu", f"trainer.precision={precision}", "logger=csv")
    in_bf16 = can_train(cell, torch.bfloat16, torch.device("cpu"))
    if precision == "bf16-mixed" and in_bf16:
        assert build_trainer(cfg, tmp_path, []).precision == precision
        return
    with pytest.raises(InputError) as caught:  # on a CPU, Lightning takes bf16 for fp16
        build_trainer(cfg, tmp_path, [])
    for fact in (f"trainer.precision={precision}", "CPU", "32-true"):
        assert fact in str(caught.value)
