"""Resuming a training from its checkpoint: in which folder, and with which settings.

Knows plain settings and checkpoints, neither Hydra nor Lightning.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment.model.metric_names import AUTO
from sentiment.predict.checkpoint import (
    CLASSIFIER,
    NGRAMS_KEY,
    Kind,
    OtherCheckpoint,
    read_checkpoint,
)
from sentiment.runtime.errors import InputError, as_typed, listed
from sentiment.runtime.run_folder import check_unused, holds_results, last_checkpoint, run_folder
from sentiment.runtime.yaml_files import flat

log = logging.getLogger(__name__)

# Settings that determine the trained weights. Files may have moved: the data module compares their
# contents. Device and precision may change with the machine.
_DECIDING = (
    "seed", "data", "embeddings", "model", "pretrained", "loss", "distill", "softmax",
    "held_out_tokens", "optimizer", "scheduler",
)  # fmt: skip

_DECIDING_OF_TRAINER = (
    "max_epochs", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches",
    "check_val_every_n_epoch", "limit_train_batches", "limit_val_batches", "min_epochs",
)  # fmt: skip

_MAY_MOVE = {
    "data.csv", "data.train_csv", "data.val_csv", "data.test_csv", "data.unlabeled_csv",
    "data.soft_csv", "data.splits_dir", "data.cache_dir", "data.num_workers", "data.encoding",
    "data.compression", "data.separator", "data.quoting", "data.escape", "data.file_format",
    "embeddings.path", "embeddings.cache_dir", "embeddings.mirrors", "embeddings.sha256",
}  # fmt: skip

# These spread over all epochs; under the others a training may be prolonged.
_WHOLE_SCHEDULES = ("one_cycle", "cosine")


@dataclass(frozen=True)
class Resumed:
    """The state of a training in the checkpoint from which it is resumed.

    Attributes:
        data: the state of the data module.
        steps: number of optimizer steps so far.
    """

    data: dict[str, Any]
    steps: int


def read_resumable(path: str | Path, kind: Kind = CLASSIFIER) -> dict[str, Any]:
    """Open a checkpoint from which a training is to be resumed.

    Raises:
        InputError: see ``read_checkpoint``.
        OtherCheckpoint: the checkpoint is of another kind, or no training can be resumed from it.
    """
    checkpoint = read_checkpoint(path, kind)
    if NGRAMS_KEY in checkpoint["hyper_parameters"]:
        raise OtherCheckpoint(
            path, "a baseline, which is fitted at once: there is no training to resume"
        )
    if not {"settings", "processes", "global_step"} <= checkpoint.keys():
        raise OtherCheckpoint(path, "written by another version, and cannot be resumed")
    kinds = {"settings": dict, "processes": list, "global_step": int}
    wrong = {name for name, each in kinds.items() if not isinstance(checkpoint[name], each)}
    wrong |= {"vocabulary", "labels", "fingerprints", "position"} - checkpoint[kind.data_key].keys()
    if wrong:
        names = ", ".join(sorted(wrong))
        raise InputError(f"{path}: damaged or changed ({names}); use another checkpoint of the run")
    return checkpoint


def newest_checkpoint(folder: Path, kind: Kind = CLASSIFIER) -> Path | None:
    """The checkpoint of a run folder with the most steps, or None if there is none.

    Files that cannot be opened are skipped with a warning.

    Raises:
        InputError: the folder is another program's, which a training would overwrite.
    """
    found = []
    for path in sorted((folder / "checkpoints").glob("*.ckpt")):
        try:
            steps = int(read_resumable(path, kind)["global_step"])
            found.append((steps, path.stem == "last", path))
        except OtherCheckpoint as error:
            raise InputError(
                f"ckpt_path=auto: {path}: {error.what}; give another hydra.run.dir"
            ) from error
        except InputError as error:
            log.warning("skipped: %s", error)
    return max(found)[2] if found else None


def checkpoint_to_resume(
    chosen: str | None, folder: Path, kind: Kind, *, names_folder: bool
) -> str | None:
    """The checkpoint that was chosen, or for ``auto`` the newest of the run folder, if any.

    Args:
        chosen: ``ckpt_path``; a run folder stands for its ``last.ckpt``.
        folder: the run folder.
        kind: the kind of checkpoint that is needed.
        names_folder: whether the user has chosen the run folder.

    Raises:
        InputError: nothing was chosen and the folder is used, or ``auto`` has no folder, or one
            that holds results without a checkpoint.
    """
    if chosen is None:
        check_unused(folder, resumable=True)
        return None
    if chosen != "auto":
        last = last_checkpoint(Path(chosen))
        return str(last) if last.is_file() else chosen
    if not names_folder:
        raise InputError("ckpt_path=auto: resumes in a run folder: give hydra.run.dir=FOLDER too")
    newest = newest_checkpoint(folder, kind)
    if newest is None and holds_results(folder):
        raise InputError(
            f"ckpt_path=auto: {folder} holds results, but no checkpoint to resume; give another"
            " hydra.run.dir"
        )
    log.info("Resuming from %s", newest) if newest else log.info("Nothing to resume: starting")
    return None if newest is None else str(newest)


def deciding_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a resumed training must have in common with its beginning.

    Args:
        cfg: the config of a training, as plain types.

    Returns:
        Values by full key, such as ``optimizer.lr``.
    """
    chosen = {name: cfg[name] for name in _DECIDING if name in cfg}
    if not cfg["data"].get("soft_csv"):  # without effect, and unknown to older checkpoints
        chosen.pop("distill", None)
    chosen["trainer"] = {name: cfg["trainer"][name] for name in _DECIDING_OF_TRAINER}
    chosen["callbacks"] = {
        "checkpoint": {"monitor": cfg["callbacks"]["checkpoint"]["monitor"]},
        "early_stopping": cfg["callbacks"]["early_stopping"],
    }
    settings = with_class_names(
        {
            key: value if isinstance(value, list) else _plain(value)
            for key, value in flat(chosen)
            if key not in _MAY_MOVE and not key.endswith("_partial_")
        }
    )
    if settings.get("pretrained.path") is None:
        settings = {key: value for key, value in settings.items() if key[:10] != "pretrained"}
    else:
        del settings["pretrained.path"]  # may have moved
        settings["pretrained"] = "a checkpoint"
    for key in ("data.weight_column", "data.score_columns"):
        if settings.get(key) is None:  # as in version 0.1.0
            settings.pop(key, None)
    # Where a term is off, older checkpoints that do not know it can be resumed.
    if not settings.get("loss.virtual_adversarial"):
        settings.pop("loss.perturbation_size", None)
    terms = ("loss.entropy", "loss.virtual_adversarial")
    if not any(settings.get(term) for term in terms):
        settings.pop("loss.unlabeled_ratio", None)
    for term in terms:
        if not settings.get(term, True):
            del settings[term]
    if settings.get("scheduler._target_") not in _WHOLE_SCHEDULES:
        del settings["trainer.max_epochs"]
    return settings


def with_class_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace import paths in settings, which may change, by class names.

    A monitor ``auto`` is replaced too, by the default of version 0.1.0.

    Args:
        settings: values by full key; checkpoints and studies of version 0.1.0 hold import paths.
    """
    named = {
        key: str(value).rpartition(".")[2] if key.endswith("._target_") else value
        for key, value in settings.items()
    }
    automatic = {key for key, value in named.items() if key.endswith(".monitor") and value == AUTO}
    return named | dict.fromkeys(automatic, "val/accuracy")


def _plain(value: Any) -> Any:
    """Enumerations as their names, so that a checkpoint holds plain types."""
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def check_resumable(
    path: str | Path, folder: Path, settings: Mapping[str, Any], kind: Kind = CLASSIFIER
) -> Resumed:
    """Refuse to resume in another folder than the checkpoint's, or with other settings.

    Args:
        path: the checkpoint.
        folder: the run folder.
        settings: the result of ``deciding_settings``.
        kind: the kind of checkpoint that is needed.

    Returns:
        The state to compare data and number of steps with.

    Raises:
        InputError: the folder or a setting differs; or see ``read_resumable``.
    """
    checkpoint = read_resumable(path, kind)
    before = with_class_names(checkpoint["settings"])
    if "pretrained" in before:
        before["pretrained"] = "a checkpoint"  # earlier versions: a language model
    home = run_folder(path)
    if home is None:
        raise InputError(
            f"ckpt_path={path}: a training is resumed in its own run folder, where its best"
            " checkpoint is too; give RUN/checkpoints/last.ckpt"
        )
    if home != folder.resolve():
        raise InputError(
            f"ckpt_path={path}: a training is resumed in its own run folder; leave hydra.run.dir"
            f" out, or set it to {home}"
        )
    if changes := _changes(before, settings):
        change, instead = listed(list(changes.values())), "start anew"
        if [*changes] == ["trainer.max_epochs"]:
            schedule = settings.get("scheduler._target_")
            change += f", over which scheduler={schedule} lowers the learning rate to its end"
            if kind is CLASSIFIER:
                instead = f"train on from it in a new run: pretrained.path={home}"
        raise InputError(
            f"ckpt_path={path}: the training began {change}; resume it with the same settings, or"
            f" {instead}"
        )
    return Resumed(checkpoint[kind.data_key], int(checkpoint["global_step"]))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """What to say of each setting that differs; the settings of another choice are left out."""
    keys = sorted(before.keys() | now.keys(), key=lambda key: (key != "pretrained", key))
    found: dict[str, str] = {}
    for key in keys:
        choice = f"{key.rpartition('.')[0]}._target_"  # sorted before the node's other keys
        if before.get(key) != now.get(key) and choice not in found:
            name = key.removesuffix("._target_")
            began = f"with {name}={as_typed(before[key])}" if key in before else f"without {name}"
            preposition = "" if key in before else "with "
            instead = f"{preposition}{as_typed(now[key])}" if key in now else "without"
            found[key] = f"{began}, not {instead}"
    return found
