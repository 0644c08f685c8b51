"""On what a result was made: device and versions."""

import importlib.metadata
import platform

import torch

import sentiment


def device_name(device: torch.device) -> str:
    """The kind of device and what it is called."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    return f"{device.type}: {name}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Versions of what decides the results."""
    packages = ("torch", "lightning", "torchmetrics", "torchtext", "spacy", "numpy", "pandas")
    return {
        "sentiment": sentiment.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }
