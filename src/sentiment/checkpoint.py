"""What a checkpoint holds, and reading one that may come from anywhere. Knows torch alone."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sentiment.errors import InputError, first_words
from sentiment.model.classifier import SentimentClassifier

_DATA = "SentimentDataModule"  # Lightning files the data module's state under its class name
_PREFIX = "classifier."


@dataclass(frozen=True)
class SavedClassifier:
    """The parts of a checkpoint that prediction needs.

    Attributes:
        classifier: in evaluation mode, on the CPU.
        data: the state of ``SentimentDataModule``: vocabulary, labels, tokenizer settings …
        run: what the training told of itself, such as its seed and its best validation accuracy.
    """

    classifier: SentimentClassifier
    data: dict[str, Any]
    run: dict[str, Any]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Open a checkpoint of a training without running any code that it may carry.

    Raises:
        InputError: the file is missing, cut off, no checkpoint of this project, or carries code.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path}: no such checkpoint; a training writes checkpoints/best.ckpt into its run"
            " folder"
        )
    if path.is_dir():
        raise InputError(f"{path}: a folder; give a file in it, such as checkpoints/best.ckpt")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise InputError(
                f"{path}: refused, because it holds code or objects beside tensors and plain"
                " values; only checkpoints written by sentiment.train are opened"
            ) from error
        raise InputError(f"{path}: not a checkpoint of sentiment.train") from error
    except Exception as error:  # foreign bytes make the reader of pickles fail in any way
        raise InputError(
            f"{path}: cut off or not a checkpoint at all ({first_words(error)});"
            " copy it again, or use another checkpoint of the run"
        ) from error
    needed = {"state_dict", "hyper_parameters", _DATA}
    if not isinstance(checkpoint, dict) or not needed <= checkpoint.keys():
        raise InputError(f"{path}: a torch file, but not a checkpoint of sentiment.train")
    return checkpoint


class _Undrawn(TorchFunctionMode):
    """Draws no random values: on the meta device they would only import torch's compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def load_classifier(path: str | Path) -> SavedClassifier:
    """Rebuild a trained classifier from its checkpoint alone.

    Raises:
        InputError: as ``read_checkpoint``, or its parts do not fit together.
    """
    checkpoint = read_checkpoint(path)
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    try:
        with torch.device("meta"), _Undrawn():  # no time is spent on first weights
            classifier = SentimentClassifier(**checkpoint["hyper_parameters"]["classifier"])
        classifier.load_state_dict(weights, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: its weights do not fit its settings ({first_words(error)});"
            " was it written by another version?"
        ) from error
    return SavedClassifier(classifier.eval(), checkpoint[_DATA], checkpoint.get("run", {}))
