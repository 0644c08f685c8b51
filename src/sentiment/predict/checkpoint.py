"""What a checkpoint holds, and reading one that may come from anywhere."""

import pickle
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sentiment.data.cleaning import CLEANINGS
from sentiment.data.dataset import KEEP
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.model.calibration import is_temperature
from sentiment.model.classifier import SentimentClassifier
from sentiment.model.rebuild import all_finite, is_plain, rebuild
from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.files import replaced_when_whole

if TYPE_CHECKING:
    from sentiment.predict.ngram_classifier import NgramClassifier


class Kind(NamedTuple):
    """What a checkpoint is of.

    Attributes:
        name: what it is called.
        data_key: what Lightning files the data module's state under: its class name.
        programs: what writes it; the first goes on with it.
    """

    name: str
    data_key: str
    programs: tuple[str, ...]


CLASSIFIER = Kind("a classifier", "SentimentDataModule", ("sentiment.train", "sentiment.baseline"))

LANGUAGE_MODEL = Kind("a language model", "TextDataModule", ("sentiment.pretrain",))

DATA_KEY = CLASSIFIER.data_key

NGRAMS_KEY = "ngrams"  # under which a baseline has its settings, a network "classifier"

_PREFIX = "classifier."

_SUMS = "train_"  # how the names of a training's sums begin, among those of weights

_ZIP = b"PK\x03\x04"  # how each file of torch.save begins

_KINDS: dict[str, tuple[type, ...]] = {  # what prediction and evaluation ask the data's state for
    "vocabulary": (list,),
    "labels": (list,),
    "raw_labels": (list,),
    "tokenizer": (dict,),
    "max_length": (int, type(None)),
    "keep": (str,),
    "text_column": (str,),
    "label_column": (str,),
    "header": (bool,),
    "train_reviews": (int,),
    "val_reviews": (int,),
    "dropped_duplicates": (int,),
}


@dataclass(frozen=True)
class SavedClassifier:
    """The parts of a checkpoint that prediction needs.

    Attributes:
        classifier: a network in evaluation mode, on the CPU, or a baseline.
        data: the state of ``SentimentDataModule``: vocabulary, labels, tokenizer settings …
        run: what the training told of itself, such as its seed and its best validation accuracy.
    """

    classifier: "SentimentClassifier | NgramClassifier"
    data: dict[str, Any]
    run: dict[str, Any]


class OtherCheckpoint(InputError):  # noqa: N818 (short for its kind)
    """A file that can be opened, but is no checkpoint of what it is to be of.

    Args:
        path: the file.
        what: it is.
        way_out: what to do.
    """

    def __init__(self, path: str | Path, what: str, way_out: str | None = None) -> None:
        super().__init__(f"{path}: {what}" + (f"; {way_out}" if way_out else ""))
        self.what = what


def read_checkpoint(path: str | Path, kind: Kind = CLASSIFIER) -> dict[str, Any]:
    """Open a checkpoint of one of our programs without running any code that it may carry.

    Each byte is compared with the checksums in the file, and all weights are finite.

    Raises:
        InputError: the file is missing, cut off, damaged, or carries code.
        OtherCheckpoint: it is one of another kind, or none of this project.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such checkpoint; {_where_one_is(kind)}")
    if path.is_dir():
        raise InputError(f"{path}: a folder; give a file in it, such as checkpoints/best.ckpt")
    try:
        _verify(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise InputError(
                f"{path}: refused, because it holds code or objects beside tensors and plain"
                f" values; only checkpoints of {' and '.join(kind.programs)} are opened"
            ) from error
        raise InputError(f"{path}: {_unreadable(path, kind)}") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read (permission denied)") from error
    except Exception as error:  # foreign bytes make the reader of pickles fail in any way
        raise InputError(f"{path}: {_unreadable(path, kind)}") from error
    needed = {"state_dict", "hyper_parameters", kind.data_key}
    if isinstance(checkpoint, dict) and needed <= checkpoint.keys():
        for wrong in _wrong_parts(checkpoint, kind):
            raise InputError(f"{path}: {wrong}; use another checkpoint of the run")
        return checkpoint
    for other in (CLASSIFIER, LANGUAGE_MODEL):
        if isinstance(checkpoint, dict) and other.data_key in checkpoint:
            what = f"{other.name}, not {kind.name}"
            raise OtherCheckpoint(path, what, _ways_out(path, kind))
    raise OtherCheckpoint(path, f"a torch file, but not a checkpoint of {kind.programs[0]}")


def _verify(path: Path) -> None:
    """Compare a file of torch.save with the checksums in it, which ``torch.load`` does not.

    Raises:
        BadZipFile: they differ, or it was packed by something else; zipfile raises others too.
    """
    with zipfile.ZipFile(path) as archive:
        # A bit among the attributes would make a record a folder, which torch reads as nothing.
        odd = any(each.external_attr or each.compress_type for each in archive.infolist())
        if odd or archive.testzip() is not None:
            raise zipfile.BadZipFile("damaged")


def _wrong_parts(checkpoint: Mapping[str, Any], kind: Kind) -> Iterator[str]:
    """What is of another type than it should be, and weights that give no numbers."""
    for name in ("state_dict", "hyper_parameters", kind.data_key):
        part = checkpoint[name]
        if not isinstance(part, dict) or not _are_strings(part):
            yield f"its {name!r} is no dictionary with names as keys"
    state: dict[str, Any] = checkpoint["state_dict"]
    for name, value in state.items():
        if not is_plain(value):
            yield f"its weights {name!r} are no plain tensor"
    if diverged := not_finite(state):
        yield f"its weights {diverged!r} are not finite: the training had diverged by then"


def not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The first weights of a module's state that hold NaN or infinity, if any do."""
    weights = (name for name in state if not name.startswith(_SUMS))
    return next((name for name in weights if not all_finite(state[name])), None)


def _unreadable(path: Path, kind: Kind) -> str:
    """What to say of a file that torch cannot read."""
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
    if start == _ZIP:
        return "cut off or damaged; copy it again, or use another checkpoint of the run"
    what = "not a checkpoint" if start else "an empty file, not a checkpoint"
    return f"{what} of {kind.programs[0]}; {_where_one_is(kind)}"


def _where_one_is(kind: Kind) -> str:
    return f"{kind.programs[0]} writes checkpoints/best.ckpt into its run folder"


def _ways_out(path: Path, wanted: Kind) -> str:
    if wanted is CLASSIFIER:
        return f"train a classifier from it: python -m sentiment.train pretrained.path={path}"
    return "python -m sentiment.pretrain writes one"


def load_classifier(path: str | Path) -> SavedClassifier:
    """Rebuild a trained network or a baseline from its checkpoint alone.

    Raises:
        InputError: as ``read_checkpoint``, or its parts do not fit together.
    """
    checkpoint = read_checkpoint(path)
    data, run = checkpoint[DATA_KEY], checkpoint.get("run", {})
    try:
        is_baseline = NGRAMS_KEY in checkpoint["hyper_parameters"]
        classifier = _ngram_classifier(checkpoint) if is_baseline else _network(checkpoint)
        temperature = float(classifier.temperature)
    except Exception as error:  # settings of any kind make torch and NumPy fail in any way
        raise InputError(
            f"{path}: its weights do not fit its settings ({first_words(error)});"
            " was it written by another version?"
        ) from error
    for wrong in chain(
        _wrong_kinds(data, run),
        _wrong_values(data, classifier.settings),
        _wrong_temperature(temperature),
    ):
        raise InputError(
            f"{path}: {wrong}; was it changed, or written by another version? Use another"
            " checkpoint of the run"
        )
    return SavedClassifier(classifier, data, run)


def _network(checkpoint: dict[str, Any]) -> SentimentClassifier:
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    return rebuild(SentimentClassifier, checkpoint["hyper_parameters"]["classifier"], weights)


def _ngram_classifier(checkpoint: dict[str, Any]) -> "NgramClassifier":
    from sentiment.predict.ngram_classifier import (  # scipy, which a network does not need
        NgramClassifier,
    )

    arrays = {name: value.numpy() for name, value in checkpoint["state_dict"].items()}
    return NgramClassifier.from_arrays(arrays, {**checkpoint["hyper_parameters"][NGRAMS_KEY]})


def save_ngram_classifier(
    path: Path, classifier: "NgramClassifier", data: Mapping[str, Any], run: Mapping[str, Any]
) -> None:
    """Write a baseline as a checkpoint that ``load_classifier`` opens.

    Args:
        path: the file.
        classifier: the baseline.
        data: the state of ``SentimentDataModule``; a baseline sees reviews uncut.
        run: what it tells of itself, such as its figures on validation reviews.
    """
    arrays = classifier.arrays()
    vocabulary = data["vocabulary"][: classifier.settings["vocabulary_size"]]
    with replaced_when_whole(path) as part:
        torch.save(
            {
                "state_dict": {name: torch.from_numpy(array) for name, array in arrays.items()},
                "hyper_parameters": {NGRAMS_KEY: classifier.settings},
                DATA_KEY: {**data, "vocabulary": vocabulary, "max_length": None},
                "run": dict(run),
            },
            part,
        )


def _wrong_kinds(data: Any, run: Any) -> Iterator[str]:
    """What is missing or of another type among the parts that are no weights."""
    if not isinstance(run, dict) or not _are_strings(run):
        yield "its 'run' is no dictionary with names as keys"
    for name, value in run.items():
        if not (value is None or type(value) is float or _is_count(value)):
            yield f"its 'run' has a {name!r} that is no number"
    for name, kinds in _KINDS.items():
        if name not in data:
            yield f"it lacks {name!r}"
        if type(data[name]) not in kinds:
            yield f"its {name!r} is of type {type(data[name]).__name__}, not {kinds[0].__name__}"
        if type(data[name]) is int and not _is_count(data[name]):
            yield f"its {name!r} is not from 0 to {sys.maxsize}"
    for name in ("vocabulary", "labels", "raw_labels", "tokenizer"):
        if not _are_strings(data[name]):
            yield f"its {name!r} holds something that is no string"
    shown = [*data["labels"], *data["raw_labels"], data["text_column"], data["label_column"]]
    if any("\ud800" <= character <= "\udfff" for character in "".join(shown)):
        yield "its labels or names of columns hold half a character (a lone surrogate)"


def _wrong_values(data: dict[str, Any], settings: dict[str, Any]) -> Iterator[str]:
    """What does not fit the classifier's settings or this version, where all types are right."""
    for name, size in (
        ("vocabulary", "vocabulary_size"),
        ("labels", "num_classes"),
        ("raw_labels", "num_classes"),
    ):
        if len(data[name]) != settings[size]:
            yield f"its {name!r} has {len(data[name])} entries for {size}={settings[size]}"
        if name != "vocabulary" and len(set(data[name])) < len(data[name]):
            yield f"its {name!r} has an entry twice"
    if data["keep"] not in KEEP:
        yield f"its 'keep' is {data['keep']!r}, none of {', '.join(KEEP)}"
    if data["max_length"] == 0:
        yield "its 'max_length' is 0, not 1 or more"
    known = {name: type(value) for name, value in TokenizerSettings().as_dict().items()}
    for name, value in data["tokenizer"].items():
        if type(value) is not known.get(name):
            yield f"its 'tokenizer' has a setting {name!r} that is unknown or of another type"
        elif name == "cleaning" and value not in CLEANINGS:
            yield f"its 'tokenizer' has cleaning={value}, none of 1 to {CLEANINGS[-1]}"


def _wrong_temperature(temperature: float) -> Iterator[str]:
    if not is_temperature(temperature):
        yield f"its temperature is {temperature}, which no calibration gives"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= sys.maxsize


def _are_strings(values: Iterable[Any]) -> bool:
    return set(map(type, values)) <= {str}
