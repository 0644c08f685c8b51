"""Run folders: finding them, and reading their settings and how they ended."""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment.model.metric_names import AUTO
from sentiment.runtime.errors import InputError, as_typed
from sentiment.runtime.run_folder import config_folder, was_stopped
from sentiment.runtime.yaml_files import below, flat, parse_overrides, read_yaml

# Settings without effect on the metrics, or shown elsewhere.
_NO_SETTINGS = (
    "seed", "sweep", "hydra", "ckpt_path", "weightings", "data.seed", "data.cache_dir",
    "data.file_format", "data.num_workers", "data.splits_dir", "embeddings.cache_dir",
    "embeddings.mirrors", "logger", "report",
    "callbacks.last", "callbacks.save_minutes", "trainer.enable_progress_bar",
    "trainer.enable_model_summary", "trainer.default_root_dir", "trainer.log_every_n_steps",
    "trainer.profiler",
)  # fmt: skip
OTHERS = ("vectors", "check")  # programs whose folders have no metrics
OF_NETWORKS = (  # without effect on a baseline, which reads whole reviews at once
    "data.max_length", "data.keep", "data.batch_size", "data.tokens_per_batch",
)  # fmt: skip
OF_ENCODER = (  # determined by a pretrained encoder, if there is one, not by the config
    "model.cell", "model.hidden_size", "model.num_layers", "model.bidirectional", "embeddings.size",
)  # fmt: skip
# Files that are compared by the fingerprints in the results, not by their paths.
_LABELLED = {"data.csv", "data.train_csv", "data.val_csv", "data.test_csv"}
# Defaults of keys that runs of version 0.1.0 lack.
_UNSET = {
    "data.weight_column": None, "data.soft_csv": None, "data.score_columns": None,
    "distill.temperature": 1.0, "distill.weight": 0.5,
}  # fmt: skip
_FILES = {"data.unlabeled_csv", "data.soft_csv", "embeddings.path"}  # compared by name


# Values in results that a comparison needs; of another type, they are not ours.
_SCALARS = ("seed", "device", "precision", "train_reviews", "val_reviews", "test_reviews")


@dataclass(frozen=True)
class Run:
    """A training or a baseline, as its folder holds it.

    Attributes:
        folder: where its ``results.json`` is.
        status: ``ok``, ``pruned``, ``unreadable``; without results ``stopped`` by a signal,
            ``failed``, or one of ``OTHERS``.
        results: the content of ``results.json``.
        overrides: the values of its command line, as written, by full key.
        choices: the option of each config group, such as ``model``: ``bilstm``.
        settings: the composed config by full key (``model.hidden_size``), with classes by their
            name alone, and without seed, folders and others that change no metric; empty without a
            config.
    """

    folder: Path
    status: str
    results: Mapping[str, Any]
    overrides: Mapping[str, str]
    choices: Mapping[str, str]
    settings: Mapping[str, str]

    @property
    def name(self) -> str:
        """A baseline's weighting, a training's experiment or model; else the folder's name."""
        if isinstance(self.results.get("model"), str):
            return str(self.results["model"])
        experiment, model = (self.choices.get(group, "null") for group in ("experiment", "model"))
        if experiment != "null":
            return f"{experiment} {model}" if "model" in self.overrides else experiment
        return self.folder.resolve().name if model == "null" else model

    @property
    def data(self) -> str:
        """Its config option of the data, or the name of its file of reviews; "" if unknown."""
        files = (self.settings.get(f"data.{name}") for name in ("test_csv", "csv", "train_csv"))
        option = self.choices.get("data", "csv")
        named = (name for name in files if name not in (None, "null"))
        return option if option != "csv" else next(named, "")


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Read the runs at or below each folder, each once; 2 comes before 10.

    A file of one run, such as its ``results.json`` or a checkpoint, stands for its folder.

    Raises:
        InputError: a path does not exist, has no run in it, or is a file that is not of one run.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        is_file = False
        with suppress(OSError, ValueError):  # too long for a path, or not allowed in one
            is_file = folder.is_file()
        here = folder.parent if is_file else folder
        here = here.parent if here.name == "checkpoints" else here
        runs = {path.resolve(): read_run(path) for path in run_folders(here)}
        others = [run for run in runs.values() if run.status in OTHERS]
        runs = {path: run for path, run in runs.items() if run.status not in OTHERS}
        if is_file:
            runs = {path: run for path, run in runs.items() if path == here.resolve()}
        if not runs:
            reason = f"no results.json in {here} or below" if here.exists() else "no such folder"
            if is_file:
                reason = f"{here} is not the folder of one run; give a run folder or a file in it"
            elif others:
                reason = f"sentiment.{others[0].status} wrote {others[0].folder}, without metrics"
            raise InputError(f"{folder}: no run in it: {reason}")
        found = runs | found
    return list(found.values())


def read_run(folder: Path) -> Run:
    """Read what a run folder holds.

    Raises:
        InputError: its config is not YAML.
    """
    values, status = _read_results(folder)
    home = config_folder(folder)
    try:
        hydra = below(read_yaml(home / ".hydra" / "hydra.yaml"), "hydra")
        runtime = below(hydra, "runtime")
        choices, cwd = below(runtime, "choices"), str(runtime.get("cwd") or "")
        program = below(hydra, "job").get("config_name")
        if status == "failed" and program in OTHERS:
            status = str(program)
        settings = dict(flat(below(read_yaml(home / ".hydra" / "config.yaml"))))
    except (TypeError, RecursionError):
        return Run(folder, "unreadable", {}, {}, {}, {})
    for key, name in {"trainer.precision": "precision", "teachers": "teachers"}.items():
        if settings and name in values:
            settings[key] = values[name]
    without = () if "model" in choices else OF_NETWORKS
    if settings.get("pretrained.path") is not None:
        without = (*without, *OF_ENCODER)
    return Run(
        folder=folder,
        status=status,
        results=values,
        overrides=read_overrides(home),
        choices={
            str(key): as_text(value, str(key), cwd)
            for key, value in choices.items()
            if _decides(str(key))
        },
        settings={
            key: as_text(value, key, cwd)
            for key, value in settings.items()
            if _decides(key) and key not in without and value != _UNSET.get(key, ...)
        },
    )


def _read_results(folder: Path) -> tuple[dict[str, Any], str]:
    """Read a run's results and say how it ended; see ``Run.status``."""
    try:
        values = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        json.dumps(values, ensure_ascii=False).encode()  # half a character cannot be written anew
    except FileNotFoundError:
        return {}, "stopped" if was_stopped(folder) else "failed"
    except (OSError, ValueError, RecursionError):
        return {}, "unreadable"
    if not isinstance(values, dict):
        return {}, "unreadable"
    maps, labels = (
        [values.get(key) or {} for key in ("fingerprints", "limited")],
        values.get("labels"),
    )
    if not all(isinstance(each, dict) for each in maps) or not isinstance(labels or [], list):
        return {}, "unreadable"
    scalars = [values.get(key) for key in _SCALARS] + (labels or [])
    scalars += [value for each in maps for value in each.values()]
    if not all(isinstance(each, str | int | float | None) for each in scalars):
        return {}, "unreadable"
    return values, "pruned" if values.get("pruned") else "ok"


def set_apart(results: Sequence[Mapping[str, Any]]) -> list[bool]:
    """For each run, whether it is not comparable: it validated or tested on fewer reviews.

    If all runs were limited to the same reviews, they are comparable. The training reviews may
    differ, as for a learning curve.
    """
    limited = [bool((each.get("limited") or {}).keys() & {"val", "test"}) for each in results]
    prints = [each.get("fingerprints") or {} for each in results]
    measured = {(each.get("val"), each.get("test")) for each in prints}
    return [each and not (all(limited) and len(measured) == 1) for each in limited]


def read_overrides(folder: Path) -> dict[str, str]:
    """Read a run's command line: keys without Hydra's ``+``, values as text.

    Raises:
        InputError: the file is not a list in YAML.
    """
    path = folder / ".hydra" / "overrides.yaml"
    lines = read_yaml(path) or []
    if not isinstance(lines, list):
        raise InputError(f"{path} is not a list of overrides: fix or remove it")
    return parse_overrides(map(str, lines))


def run_folders(folder: Path) -> Iterator[Path]:
    """The folders at or below one that hold a run; each folder once, despite links."""
    seen: set[Path] = set()

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # it is gone by now
            raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error

    for path, inside, files in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(path)
        if here.resolve() in seen:
            inside.clear()
            continue
        seen.add(here.resolve())
        ended = [name for name in inside if (here / name / "results.json").is_file()]
        if "results.json" in files or (".hydra" in inside and not ended):
            yield here
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        inside.sort(key=lambda name: int(name) if name.isdecimal() else math.inf)  # 2 before 10


def _decides(key: str) -> bool:
    return not re.fullmatch(rf"({'|'.join(_NO_SETTINGS)})([./].*)?", key)


def as_text(value: object, key: str = "", cwd: str = "") -> str:
    """A value as an override has it, but without quotes.

    Args:
        value: a scalar or a list.
        key: the full key of its setting, for a comparison of runs: a class is then written as its
            name, as import paths may change, a file as its name, or with that of its folder.
        cwd: the folder that paths start from.
    """
    if key in _LABELLED and isinstance(value, str):
        return "sample" if value.startswith("${sample_path") else Path(value).name
    if key in _FILES and isinstance(value, str):
        path = Path(os.path.normpath(Path(cwd, value)))
        return str(Path(path.parent.name, path.name))
    if key.endswith("_target_"):
        return str(value).rpartition(".")[2]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(as_text(item, key, cwd) for item in value)}]"
    is_automatic = key.endswith(".monitor") and value == AUTO
    return "val/accuracy" if is_automatic else as_typed(value)  # the default of version 0.1.0
