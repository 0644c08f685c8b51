"""Find ``conf/``, and register its resolvers and schemas with Hydra."""

from contextlib import suppress
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Self

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import OmegaConf

from sentiment.config.schemas import SCHEMAS
from sentiment.model.metric_names import best_mode
from sentiment.runtime.distributed import external_world_size, rank
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import is_used, run_folder


def sample_path() -> str:
    """The bundled sample of reviews."""
    return str(resources.files("sentiment.data") / "sample_reviews.csv")


def fast_precision(accelerator: str) -> str:
    """A precision that is fast and right on this machine: bf16 where the hardware computes in it.

    On a CPU that is AVX-512 BF16 or AMX, unless oneDNN is limited to less (`ONEDNN_MAX_CPU_ISA`);
    on CUDA, compute capability 8.0 and above. Elsewhere fp32.
    """
    import torch

    from sentiment.model.encoder import can_train

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


_made: list[Path] = []  # by ``choose_run_folder``, the inner ones first


def choose_run_folder(parent: str, mode: RunMode | None, ckpt_path: str | None = None) -> str:
    """Choose the run folder: that of the checkpoint to resume, else a new one; returns its path.

    A new folder is named after date and time, and no other run gets it. Without a mode, as with
    ``--cfg``, nothing runs, and no folder is made.
    """
    if ckpt_path is not None and (home := run_folder(ckpt_path)) is not None:
        return str(home)
    stem = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    if mode is None:
        return str(Path(parent) / stem)
    if (processes := external_world_size() or 1) > 1:
        raise InputError(f"{processes} processes need one folder; give hydra.run.dir=FOLDER")
    for count in range(1, 10_000):
        folder = Path(parent) / (stem if count == 1 else f"{stem}_{count}")
        new = [each for each in (folder, *folder.parents) if not each.exists()]
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        _made.extend(new)
        return str(folder)
    raise InputError(f"{parent}: too many runs began in this second; set hydra.run.dir")


def remove_empty_folders() -> None:
    """Remove the folders that ``choose_run_folder`` has made, if nothing is in them."""
    for folder in _made:
        with suppress(OSError):
            folder.rmdir()


def config_folder(ckpt_path: str | None, folder: str | None = None) -> str | None:
    """The folder within a run folder into which Hydra writes the config, or None for none.

    The config with which a run began is never replaced, even where its folder is going to be
    refused. Of several processes that torchrun or srun has started, the first writes.
    """
    if rank():
        return None
    begun = folder is not None and is_used(Path(folder))
    return ".hydra/resumed" if begun or ckpt_path not in (None, "auto") else ".hydra"


class _Shared(dict[str, Any]):
    """Schemas that Hydra copies whenever it lists a group; what it loads of them it copies too."""

    def __deepcopy__(self, memo: object) -> Self:
        return self


def register() -> None:
    """Make the schemas and resolvers known to Hydra and OmegaConf (harmless when repeated)."""
    store = ConfigStore.instance()
    store.repo = _Shared(store.repo)
    for group, name, node in SCHEMAS:
        store.store(group=group, name=name, node=node)
    _register_plugins(store)
    OmegaConf.register_new_resolver("sample_path", sample_path, replace=True)
    OmegaConf.register_new_resolver("fast_precision", fast_precision, replace=True)
    OmegaConf.register_new_resolver("run_folder", choose_run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("config_folder", config_folder, replace=True)
    OmegaConf.register_new_resolver("best_mode", best_mode, replace=True)


def _register_plugins(store: ConfigStore) -> None:
    Plugins.instance()  # lets other packages store under these names first
    from hydra_plugins.sentiment_grid import GridSweeperConfig
    from hydra_plugins.sentiment_launchers.joblib_launcher import JoblibLauncherConfig

    store.store(group="hydra/sweeper", name="basic", node=GridSweeperConfig, provider="sentiment")
    module = "hydra_plugins.sentiment_launchers.submitit_launcher"
    nodes: dict[str, Any] = {"joblib": JoblibLauncherConfig}
    with suppress(ImportError):  # an extra
        from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf

        week = 7 * 24 * 60
        nodes["submitit_local"] = LocalQueueConf(
            _target_=f"{module}.SubmititLocalLauncher", timeout_min=week
        )
        nodes["submitit_slurm"] = SlurmQueueConf(_target_=f"{module}.SubmititSlurmLauncher")
    for name, node in nodes.items():
        store.store(group="hydra/launcher", name=name, node=node, provider="sentiment")
