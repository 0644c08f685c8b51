"""Read and write checkpoints: the format, and reading files that may come from anywhere."""

import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from sentiment.data.cleaning import CLEANINGS
from sentiment.model.classifier import SentimentClassifier
from sentiment.model.rebuild import is_plain, rebuild
from sentiment.model.settings import has_type
from sentiment.predict.published import read_published
from sentiment.predict.saved import build, saved_data
from sentiment.predict.saved_classifier import SavedClassifier, SavedEnsemble, SavedParts
from sentiment.predict.summary import Summary
from sentiment.runtime.environment import program_command
from sentiment.runtime.errors import InputError, first_words, listed
from sentiment.runtime.files import replaced_when_whole
from sentiment.runtime.run_folder import NO_CHECKPOINT, is_published

if TYPE_CHECKING:
    from sentiment.predict.ngram_classifier import NgramClassifier

# Counts up when older versions could misread what is written. Version 0.1.0 wrote no number, which
# counts as 1, and its tokenizer settings may lack the cleaning.
CHECKPOINT_FORMAT = 2


class Kind(NamedTuple):
    """What a checkpoint was saved from.

    Attributes:
        name: what messages call it.
        data_key: the key under which Lightning stores the data module's state, its class name; of
            an ensemble, that of its members.
        programs: the programs that write it. The first can resume from it.
    """

    name: str
    data_key: str
    programs: tuple[str, ...]


CLASSIFIER = Kind("a classifier", "SentimentDataModule", ("sentiment.train", "sentiment.baseline"))
LANGUAGE_MODEL = Kind("a language model", "TextDataModule", ("sentiment.pretrain",))
ENSEMBLE = Kind("an ensemble", "ensemble", ("sentiment.evaluate",))  # no other class has its data

DATA_KEY = CLASSIFIER.data_key

SUMMARY_KEY = "validation"
ONE_MEMBER = "give one of the checkpoints that it was made of"

NGRAMS_KEY = "ngrams"  # the settings of a baseline; those of a network are under "classifier"

_ZIP = b"PK\x03\x04"  # the first bytes of every file that torch.save writes


class OtherCheckpoint(InputError):  # noqa: N818 (short for its kind)
    """A readable torch file that is not the kind of checkpoint that is needed.

    Args:
        path: the file.
        what: what it is instead.
        remedy: what to do, if anything.
    """

    def __init__(self, path: str | Path, what: str, remedy: str | None = None) -> None:
        super().__init__(f"{path}: {what}" + (f"; {remedy}" if remedy else ""))
        self.what = what


def read_checkpoint(path: str | Path, kind: Kind = CLASSIFIER, *others: Kind) -> dict[str, Any]:
    """Open a checkpoint of one of our programs without running any code in it.

    The whole file is verified by its checksums, and the weights are checked to be finite.

    Args:
        path: the file.
        kind: the kind of checkpoint that is needed, which messages name.
        others: further kinds that will do.

    Raises:
        InputError: the file is missing, truncated, damaged, holds code, or was written by a later
            version.
        OtherCheckpoint: it is a checkpoint of another kind or of another project.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: {NO_CHECKPOINT}")
    if path.is_dir():
        raise InputError(f"{path}: {_inside(path, kind)}")
    try:
        _verify(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # arbitrary bytes make unpickling fail in any way
        raise InputError(f"{path}: {_unreadable(path, kind, error)}") from error
    for wanted in (kind, *others):
        if isinstance(checkpoint, dict) and wanted.data_key in checkpoint:
            _check_parts(path, checkpoint, wanted)
            return checkpoint
    for other in (CLASSIFIER, LANGUAGE_MODEL, ENSEMBLE):
        if isinstance(checkpoint, dict) and other.data_key in checkpoint:
            remedy = ONE_MEMBER if other is ENSEMBLE else _remedy(path, kind)
            raise OtherCheckpoint(path, f"{other.name}, not {kind.name}", remedy)
    raise OtherCheckpoint(path, f"a torch file, but not a checkpoint of {kind.programs[0]}")


def _check_parts(path: Path, checkpoint: Mapping[str, Any], kind: Kind) -> None:
    written = checkpoint.get("format", 1)
    if has_type(written, int) and written > CHECKPOINT_FORMAT:
        raise InputError(
            f"{path}: written by a later version (format {written}; this version reads up to"
            f" {CHECKPOINT_FORMAT}); install a newer sentiment"
        )
    data = checkpoint[kind.data_key]
    try:
        build(SavedParts, {"run": {}, **checkpoint, "format": written, "data": data})
    except ValueError as error:
        raise InputError(f"{path}: {error}; use another checkpoint of the run") from error


def _verify(path: Path) -> None:
    """Check a file of ``torch.save`` against its checksums, which ``torch.load`` ignores.

    Raises:
        BadZipFile: they differ, or torch did not write the archive. Arbitrary bytes make zipfile
            raise other exceptions, too.
    """
    with zipfile.ZipFile(path) as archive:
        # A changed attribute could turn a record into a folder, which torch reads as empty.
        odd = any(each.external_attr or each.compress_type for each in archive.infolist())
        if odd or archive.testzip() is not None:
            raise zipfile.BadZipFile("damaged")


def _unreadable(path: Path, kind: Kind, error: Exception) -> str:
    """Say why torch cannot read a file, and what to do."""
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    if "Unsupported global" in str(error) or "Unsupported class" in str(error):
        return (
            "refused, because it holds code or objects beside tensors and plain values; only"
            f" checkpoints of {' and '.join(kind.programs)} are opened"
        )
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
    if start == _ZIP:
        return "truncated or damaged; copy it again, or use another checkpoint of the run"
    what = "not a checkpoint" if start else "an empty file, not a checkpoint"
    return f"{what} of {kind.programs[0]}; {_where_to_find(kind)}"


def _where_to_find(kind: Kind) -> str:
    return f"{kind.programs[0]} writes checkpoints/best.ckpt into its run folder"


def _inside(folder: Path, kind: Kind) -> str:
    """What to give in place of a folder: a checkpoint in it, or below one of its run folders."""
    what = "a folder, not a checkpoint"
    for pattern in ("checkpoints/last.ckpt", "*.ckpt"):
        if found := sorted(folder.glob(pattern)):
            return f"{what}; give a file, such as {found[-1]}"
    for pattern in ("*/checkpoints/best.ckpt", "*/*/checkpoints/best.ckpt"):
        if found := sorted(folder.glob(pattern)):
            runs = listed([str(path.parents[1]) for path in found])
            return f"{what}; give the folder of a run in it: {runs}"
    if (folder / ".hydra").is_dir():
        return "this run has no checkpoint yet; if it was stopped, start it anew without ckpt_path"
    return f"{what}; {_where_to_find(kind)}"


def _remedy(path: Path, wanted: Kind) -> str:
    if wanted is LANGUAGE_MODEL:
        return f"{program_command('sentiment.pretrain')} writes one"
    train = program_command("sentiment.train", f"pretrained.path={path}")
    return f"train a classifier from it: {train}"


def load_classifier(path: str | Path) -> SavedClassifier:
    """Rebuild a trained network or a baseline from its checkpoint or published folder alone.

    Raises:
        InputError: see ``read_checkpoint``; or the weights and settings do not fit together.
    """
    if is_published(path):
        return read_published(Path(path))
    return _classifier(path, read_checkpoint(path))


def load_saved(path: str | Path) -> SavedClassifier | SavedEnsemble:
    """As ``load_classifier``, but an ensemble is rebuilt, too."""
    if is_published(path):
        return read_published(Path(path))
    checkpoint = read_checkpoint(path, CLASSIFIER, ENSEMBLE)
    if DATA_KEY in checkpoint:
        return _classifier(path, checkpoint)
    stored = checkpoint[ENSEMBLE.data_key]
    try:
        parts = build(_EnsembleParts, stored)
        for each in parts.members:
            _check_parts(Path(path), {DATA_KEY: None, **each}, CLASSIFIER)
        members = [_classifier(path, each) for each in parts.members]
        return SavedEnsemble(members, parts.names, parts.weights, parts.temperature)
    except InputError:
        raise
    except (ValueError, LookupError) as error:
        raise InputError(f"{path}: {first_words(error)}; was it changed?") from error


@dataclass(frozen=True)
class _EnsembleParts:
    """What a checkpoint holds of an ``ENSEMBLE``; each member is what a checkpoint of it holds."""

    members: list[dict[str, Any]]
    names: list[str]
    weights: list[float]
    temperature: float


def _classifier(path: str | Path, checkpoint: dict[str, Any]) -> SavedClassifier:
    data = {**checkpoint[DATA_KEY]}
    try:
        if is_plain(data.get("train_digests")):
            data["train_digests"] = data["train_digests"].numpy()
        is_baseline = NGRAMS_KEY in checkpoint["hyper_parameters"]
        classifier = _ngram_classifier(checkpoint) if is_baseline else _network(checkpoint)
        if isinstance(data.get("tokenizer"), dict):  # format 1 may lack the cleaning
            data = {**data, "tokenizer": {"cleaning": CLEANINGS[0], **data["tokenizer"]}}
        return SavedClassifier(classifier, saved_data(data), checkpoint.get("run", {}))
    except Exception as error:  # arbitrary settings make torch and NumPy fail in any way
        raise InputError(
            f"{path}: its parts do not fit together ({first_words(error)}); was it changed? Use"
            " another checkpoint of the run"
        ) from error


def _network(checkpoint: dict[str, Any]) -> SentimentClassifier:
    weights = {
        name.removeprefix("classifier."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("classifier.")
    }
    return rebuild(SentimentClassifier, checkpoint["hyper_parameters"]["classifier"], weights)


def _ngram_classifier(checkpoint: dict[str, Any]) -> "NgramClassifier":
    from sentiment.predict.ngram_classifier import (  # scipy, which a network does not need
        NgramClassifier,
    )

    arrays = {name: value.numpy() for name, value in checkpoint["state_dict"].items()}
    return NgramClassifier.from_arrays(arrays, {**checkpoint["hyper_parameters"][NGRAMS_KEY]})


def stored_summary(summary: Summary | None) -> dict[str, Any] | None:
    """The summary of the validation reviews as a checkpoint keeps it: counts in 32 bits."""
    if summary is None:
        return None
    kept = summary.as_dict()
    for name, value in kept.items():
        if isinstance(value, np.ndarray):
            kind = np.float32 if value.dtype.kind == "f" else np.int32
            kept[name] = torch.from_numpy(value.astype(kind))
    return kept


def read_summary(path: Path) -> Summary | None:
    """The summary of the validation reviews that a checkpoint keeps; None if it has none.

    Raises:
        InputError: see ``read_checkpoint``; or the summary is damaged.
    """
    stored = read_checkpoint(path).get(SUMMARY_KEY)
    if not isinstance(stored, dict):
        return None
    values = {
        name: (value if value.is_floating_point() else value.long()).numpy()
        if is_plain(value)
        else value
        for name, value in stored.items()
    }
    try:
        return build(Summary, values)
    except ValueError as error:
        raise InputError(f"{path}: {error}; use another checkpoint of the run") from error


def save_ngram_classifier(
    path: Path,
    classifier: "NgramClassifier",
    data: Mapping[str, Any],
    run: Mapping[str, Any],
    summary: Summary | None,
) -> None:
    """Write a baseline as a checkpoint that ``load_classifier`` opens.

    Args:
        path: the file.
        classifier: the baseline.
        data: the state of ``SentimentDataModule``. It is saved with the counted words alone and
            without ``max_length``, because a baseline reads whole reviews.
        run: facts of the run, such as its metrics on validation reviews.
        summary: of the validation reviews.
    """
    vocabulary = data["vocabulary"][: classifier.settings["vocabulary_size"]]
    data = {**data, "vocabulary": vocabulary, "max_length": None}
    with replaced_when_whole(path) as part:
        stored = _stored(classifier, data, run) | {SUMMARY_KEY: stored_summary(summary)}
        torch.save(stored, part)


def save_ensemble(path: Path, saved: SavedEnsemble) -> None:
    """Write an ensemble as a checkpoint that ``load_saved`` opens."""
    members = []
    for each in saved.members:
        digests = each.data.train_digests
        tensor = None if digests is None else torch.from_numpy(digests)
        data = {**asdict(each.data), "train_digests": tensor}
        members.append(_stored(each.classifier, data, each.run))
    parts = _EnsembleParts(members, saved.names, saved.weights, saved.temperature)
    empty: dict[str, Any] = {"state_dict": {}, "hyper_parameters": {}, "run": {}}
    with replaced_when_whole(path) as part:
        torch.save({"format": CHECKPOINT_FORMAT, **empty, ENSEMBLE.data_key: vars(parts)}, part)


def _stored(
    classifier: "SentimentClassifier | NgramClassifier",
    data: Mapping[str, Any],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """A classifier as ``load_classifier`` rebuilds it."""
    if isinstance(classifier, SentimentClassifier):
        weights = classifier.state_dict().items()
        state = {f"classifier.{name}": weight.cpu() for name, weight in weights}
        settings = {"classifier": classifier.settings}
    else:
        arrays = classifier.arrays().items()
        state = {name: torch.from_numpy(array) for name, array in arrays}
        settings = {NGRAMS_KEY: classifier.settings}
    return {
        "format": CHECKPOINT_FORMAT,
        "state_dict": state,
        "hyper_parameters": settings,
        DATA_KEY: dict(data),
        "run": dict(run),
    }
