from pathlib import Path

import pytest
import torch

from sentiment import Predictor
from sentiment.errors import InputError
from sentiment.model.module import SentimentModule

GOOD = "the film number 1 was lovely , and so was act 1"
BAD = "the film number 2 was awful , and so was act 2"


def test_a_string_gives_a_prediction_and_a_list_a_list(predictor: Predictor) -> None:
    one = predictor(GOOD)
    assert one["label"] == "lovely"
    assert one["score"] == max(one["scores"].values())
    assert sum(one["scores"].values()) == pytest.approx(1, abs=1e-6)
    assert [answer["label"] for answer in predictor([BAD, GOOD, BAD])] == [
        "awful", "lovely", "awful",
    ]  # fmt: skip
    assert predictor([]) == []
    assert predictor("")["scores"] == predictor("qwertyuiop")["scores"]  # both are one unknown word


def test_a_result_never_depends_on_its_neighbours(predictor: Predictor) -> None:
    alone = predictor.logits([GOOD])
    among = predictor.logits([BAD * 50, GOOD, "", BAD * 300])[1:2]
    torch.testing.assert_close(alone, among, atol=1e-5, rtol=0)


def test_only_strings_are_texts(predictor: Predictor) -> None:
    with pytest.raises(TypeError, match="not float: nan"):
        predictor([GOOD, float("nan")])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="a string or a list of strings, not NoneType"):
        predictor(None)  # type: ignore[call-overload]


def test_half_a_character_is_no_text(predictor: Predictor) -> None:
    with pytest.raises(InputError, match=r"text 2 holds '\\ud800', a lone surrogate"):
        predictor([GOOD, "a \ud800 b"])


def test_lightning_loads_the_checkpoint_without_further_arguments(
    checkpoint: Path, predictor: Predictor
) -> None:
    module = SentimentModule.load_from_checkpoint(checkpoint).eval()
    ids, lengths = torch.tensor([[2, 3, 4]]), torch.tensor([3])
    with torch.no_grad():
        torch.testing.assert_close(module(ids, lengths), predictor.classifier(ids, lengths))
