"""Where ``conf/`` is found, what it can refer to, and refusals of a wrong config in one line."""

import dataclasses
import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from sentiment.errors import InputError, first_words, valid_names
from sentiment.model.encoder import can_train
from sentiment.model.metrics import best_mode
from sentiment.ranks import rank, started_outside
from sentiment.resume import is_used, run_folder
from sentiment.schemas import SCHEMAS, JoblibLauncherConfig

# Options that need more than the package itself, and the extra that brings it.
_EXTRAS = {"submitit_local": "slurm", "submitit_slurm": "slurm"}
# What Hydra says of an override, and the way out.
_HINTS = {
    "Ambiguous value": " (to run each of several values add -m)",
    "override 'model'": " (a language model is set by model.cell, model.hidden_size, ...)",
}
_LONG = 300  # characters of a line that another library writes


def config_directory() -> Path:
    """Where ``conf/`` is: inside an installed wheel, or at the top of a source tree.

    Raises:
        InputError: it is in neither place.
    """
    package = Path(str(resources.files("sentiment")))
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise InputError(
        f"no conf/train.yaml in {package} or {package.parents[1]}; install the package again"
    )


def sample_path() -> str:
    """The bundled sample of reviews."""
    return str(resources.files("sentiment.data") / "sample_reviews.csv")


def fast_precision(accelerator: str) -> str:
    """A precision that is fast and right on this machine: bf16 where the hardware computes in it.

    On a CPU that is AVX-512 BF16 or AMX, unless oneDNN is held to less (`ONEDNN_MAX_CPU_ISA`); on
    CUDA, compute capability 8.0 and above. Elsewhere fp32.
    """
    if accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available():
        return (
            "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        )
    if accelerator in {"auto", "cpu"} and not torch.backends.mps.is_available():
        capability = torch.cpu.get_capabilities()
        fast = capability.get("avx512_bf16") or capability.get("amx_bf16")
        if fast and can_train("lstm", torch.bfloat16, torch.device("cpu")):
            return "bf16-mixed"
    return "32-true"


def choose_run_folder(parent: str, mode: RunMode | None, ckpt_path: str | None = None) -> str:
    """The folder of the checkpoint to go on from, or else a new one, and its path.

    A new folder is named after date and time, and no other run gets it. Without a mode nothing
    runs, because ``--cfg`` only shows the config: then none is made.
    """
    if ckpt_path is not None and (home := run_folder(ckpt_path)) is not None:
        return str(home)
    stem = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    if mode is None:
        return str(Path(parent) / stem)
    if (processes := started_outside() or 1) > 1:
        raise InputError(f"{processes} processes need one folder; give hydra.run.dir=FOLDER")
    for count in range(1, 10_000):
        folder = Path(parent) / (stem if count == 1 else f"{stem}_{count}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return str(folder)
    raise InputError(f"{parent}: too many runs began in this second; set hydra.run.dir")


def config_folder(ckpt_path: str | None, folder: str | None = None) -> str | None:
    """Where Hydra writes the config within a run folder: that of its beginning stays.

    It stays too where a folder that is used is going to be refused.

    Of several processes that torchrun or srun has started, the first writes it.
    """
    if rank():
        return None
    begun = folder is not None and is_used(Path(folder))
    return ".hydra/resumed" if begun or ckpt_path not in (None, "auto") else ".hydra"


def forget_refused() -> None:
    """Remove the folder that Hydra has made for a run that is refused: it holds no more than that.

    One that the command line names stays, one of a multirun, whose table tells of it, and one with
    anything in it but config and log. Of several processes, the first does this.
    """
    hydra_config = HydraConfig.get()
    if rank() or hydra_config.mode != RunMode.RUN:
        return
    if any(item.startswith("hydra.run.dir=") for item in hydra_config.overrides.hydra):
        return
    folder = Path(hydra_config.runtime.output_dir)
    own = {".hydra", f"{hydra_config.job.name}.log"}
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= own:
        shutil.rmtree(folder, ignore_errors=True)


def register() -> None:
    """Make the schemas and resolvers known to Hydra and OmegaConf (harmless when repeated)."""
    store = ConfigStore.instance()
    for group, name, node in SCHEMAS:
        store.store(group=group, name=name, node=node)
    _register_plugins(store)
    OmegaConf.register_new_resolver("sample_path", sample_path, replace=True)
    OmegaConf.register_new_resolver("fast_precision", fast_precision, replace=True)
    OmegaConf.register_new_resolver("run_folder", choose_run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("config_folder", config_folder, replace=True)
    OmegaConf.register_new_resolver("best_mode", best_mode, replace=True)


def _register_plugins(store: ConfigStore) -> None:
    Plugins.instance()  # what other packages store under these names is stored by now
    from hydra_plugins.sentiment_grid import GridSweeperConfig

    store.store(group="hydra/sweeper", name="basic", node=GridSweeperConfig, provider="sentiment")
    place = "hydra_plugins.sentiment_launchers.submitit_launcher"
    nodes: dict[str, Any] = {"joblib": JoblibLauncherConfig}
    with suppress(ImportError):  # an extra
        from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf

        week = 7 * 24 * 60
        nodes["submitit_local"] = LocalQueueConf(
            _target_=f"{place}.SubmititLocalLauncher", timeout_min=week
        )
        nodes["submitit_slurm"] = SlurmQueueConf(_target_=f"{place}.SubmititSlurmLauncher")
    for name, node in nodes.items():
        store.store(group="hydra/launcher", name=name, node=node, provider="sentiment")


def spell_choices(arguments: Sequence[str]) -> list[str]:
    """Give ``group=none`` for ``group=null`` where that is an option: Hydra takes no null there."""
    spelt = []
    for item in arguments:
        group, equals, values = item.partition("=")
        if equals and "null" in values and "none" in _options(group):
            values = ",".join("none" if each == "null" else each for each in values.split(","))
        spelt.append(f"{group}{equals}{values}")
    return spelt


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """Turn what is said of a wrong config into an InputError with the way out.

    It may be said by Hydra and OmegaConf, by what a node builds, by the system of a path, or by
    whoever finds no memory. Other exceptions are faults of this program, and stay as they are.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # lets the exception through to us
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        raise refusal from error


def _refusal(error: Exception) -> InputError | None:
    wraps = isinstance(error, HydraException | OmegaConfBaseException)
    for link in _chain(error) if wraps else [error]:
        if isinstance(link, InputError):  # one of our resolvers or constructors has refused
            return link
        if isinstance(link, OSError) and (link.filename or (link is error and link.errno)):
            return _place_refused(link)
        if hint := _of_the_system(link):
            return InputError(f"{first_words(link)}{hint}")
    if isinstance(error, InstantiationException):
        return refused_by_target(error)
    if wraps:
        return InputError(_explain(error))
    return InputError(_explain_choice(error)) if _is_hydras(error) else None


def _of_the_system(error: BaseException) -> str | None:
    """The way out where memory has run out, on a CPU or a GPU, or links lead in a circle."""
    told = str(error) if isinstance(error, RuntimeError) else ""
    marks = ("allocate memory", "not enough memory", "out of memory", "size calculation overflowed")
    if isinstance(error, MemoryError) or any(mark in told for mark in marks):
        return ": no memory is left; lower the sizes of the model, of vectors and of batches"
    return "; give another path" if told.startswith("Symlink loop") else None


def refused_by_target(error: InstantiationException, hint: str = "") -> InputError | None:
    """What is said of a node's settings by what it builds; None where it is a fault of ours.

    Another library's constructor speaks of its arguments, however it fails (a logger's also of its
    server); one of ours raises ValueError for them.

    Args:
        error: as Hydra raises it.
        hint: the way out of what a trainer refuses, at the end of the line.
    """
    cause = error.__cause__ or error
    if isinstance(cause, InputError):
        return cause
    reason = " ".join(str(cause).split()) or type(cause).__name__
    key = str(error).partition("full_key:")[2].strip() or "a node"
    ours = "call to target 'sentiment." in str(error)
    expected = isinstance(cause, ValueError | ImportError)
    if ours and not expected and "unexpected keyword argument" not in reason:
        return None
    return InputError(f"config: {key}: {reason}{hint * (key == 'trainer')}")


def _is_hydras(error: Exception) -> bool:
    """Whether Hydra has raised an exception, or composed meanwhile, where no code of ours runs."""
    modules = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return modules[-1].startswith("hydra.") or ConfigLoaderImpl.__module__ in modules


def _explain_choice(error: Exception) -> str:
    """Say what Hydra failed of: most likely an override that is no choice of its group."""
    for item in sys.argv[1:]:
        group, _, value = item.lstrip("+~").partition("=")
        options = _options(group.partition("@")[0])
        if options and value not in options:
            return f"command line: {item}: {valid_names(value, options)}"
    return f"command line or config file: {first_words(error)}"


def _options(group: str) -> list[str]:
    """What can be chosen in a group of ``conf/``."""
    if not re.fullmatch(r"[a-z_]+", group):
        return []
    names = sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))
    return [name for name in names if not name.startswith("_")]


def _place_refused(error: OSError) -> InputError:
    """A file or folder that the system refuses, by the override that names it or one above it."""
    if error.filename is None:
        return InputError(error.strerror)
    place = Path(str(error.filename)).resolve()
    for item in sys.argv[1:]:
        key, _, value = item.partition("=")
        if value and place.is_relative_to(Path(value.strip("'\"")).resolve()):
            return InputError(f"{key}={value}: cannot be used ({error.strerror}); give another")
    return InputError(
        f"{error.filename}: cannot be used ({error.strerror}); if this run writes there, give"
        " another hydra.run.dir"
    )


def _chain(error: BaseException) -> list[BaseException]:
    """An exception, what it came from, and so on."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    return chain


def _explain(error: BaseException) -> str:
    chain = _chain(error)
    for link in chain:
        if isinstance(link, OmegaConfBaseException) and link.object_type is not None:
            known = not isinstance(link, InterpolationResolutionError)  # whose key is the other's
            if known and dataclasses.is_dataclass(link.object_type) and link.key is not None:
                every = [field.name for field in dataclasses.fields(link.object_type)]
                if str(link.key) not in every:
                    names = [name for name in every if not name.startswith("_")]
                    place = link.full_key or str(link.key)
                    return f"config: unknown key {place!r}; {valid_names(str(link.key), names)}"
            if isinstance(link, MissingMandatoryValue):
                return f"config: {link.full_key} has no value; give {link.full_key}=VALUE"
            if link.full_key:
                needed = "is not Optional" in str(link)
                told = "cannot be left out (null)" if needed else _first_line(link)
                if "is not in struct" in told:
                    told = f"no such key; if it is meant, add it by +{link.full_key}=VALUE"
                return f"config: {link.full_key}: {told}"
    if isinstance(error, MissingConfigException) and error.options:
        return _explain_missing(error)
    if isinstance(error, OverrideParseException | ConfigCompositionException):
        told = ""
        if isinstance(error, OverrideParseException):
            told = " (a value with spaces or any of ,;()[]{} needs quotes: \"key='value'\")"
        told += next((hint for mark, hint in _HINTS.items() if mark in str(chain[0])), "")
        return f"command line: {_first_line(chain[0])}{told}"
    told = ""
    if "does not support sweep type" in str(error):
        told = " (an interval has no end of values for a grid; add sweep=optuna)"
    return f"config: {' '.join(str(error).split())}{told}"


def _explain_missing(error: MissingConfigException) -> str:
    options = list(error.options or [])
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    if option in _EXTRAS:
        return f"{group}={option} is not installed: pip install 'sentiment[{_EXTRAS[option]}]'"
    hidden = ("schema", "_base")  # parts of the others
    choices = sorted(name for name in options if not name.endswith(hidden))
    return f"config: no option {option!r} in {group}; {valid_names(option, choices)}"


def _first_line(error: BaseException) -> str:
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    line = " ".join([first, *others[:1]]) if first.endswith(":") else first
    return line if len(line) < _LONG else f"{line[: _LONG - 80]} ... {line[-60:]}"
