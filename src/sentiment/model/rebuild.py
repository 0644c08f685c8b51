"""Rebuild a module from saved settings and weights, which may be damaged or made up.

Depends on torch alone.
"""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sentiment.model.settings import has_type

_Module = TypeVar("_Module", bound=nn.Module)


class _NoInitialisation(TorchFunctionMode):
    """Skips drawing random values: on the meta device that would only import torch's compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def rebuild(
    kind: type[_Module], settings: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> _Module:
    """Build a module in evaluation mode that holds the saved weights themselves, not copies.

    No other memory is allocated, and settings that ask for more than the weights hold are refused
    before they cost time.

    Args:
        kind: the class of the module.
        settings: arguments of its constructor.
        weights: its state, by parameter name.

    Raises:
        ValueError: settings and weights do not fit together; torch raises other exceptions too.
    """
    parameters = inspect.signature(kind).parameters
    for name, value in settings.items():
        if name in parameters and not has_type(value, parameters[name].annotation):
            expected = inspect.formatannotation(parameters[name].annotation)
            raise ValueError(f"{name} is not a valid {expected}")
        if isinstance(value, list) and len(value) > len(weights):
            raise ValueError(f"{name} has {len(value)} entries for {len(weights)} weights")
    if settings.get("num_layers", 1) > len(weights):  # building each layer would take time
        raise ValueError(f"num_layers={settings['num_layers']} for {len(weights)} weights")
    with torch.device("meta"), _NoInitialisation():
        module = kind(**settings)
    for name, own in module.state_dict().items():
        given = weights.get(name, own)
        if given.dtype != own.dtype or not (given is own or is_plain(given)):
            raise ValueError(f"{name} is not a plain tensor of {own.dtype}")
    module.load_state_dict(weights, assign=True)
    return module.eval()


def is_plain(value: Any) -> bool:
    """Whether a value is a dense tensor with all of its elements in CPU memory."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def all_finite(values: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity; true for an empty one."""
    if not values.is_floating_point() or not values.numel():
        return True
    return all(bool(bound.isfinite()) for bound in values.aminmax())  # NaN if any value is NaN
