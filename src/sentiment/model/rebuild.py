"""Modules from the settings and weights that were saved, which may be damaged or made up.

This file knows torch alone.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_Module = TypeVar("_Module", bound=nn.Module)


class _Undrawn(TorchFunctionMode):
    """Draws no random values: on the meta device they would only import torch's compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def rebuild(
    kind: type[_Module], settings: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> _Module:
    """A module in evaluation mode with weights that were saved, which it takes over uncopied.

    Nothing is allocated beside them, and settings that ask for more than there is are refused
    before they cost time.

    Args:
        kind: the class of the module.
        settings: the arguments of its constructor.
        weights: by their names in it.

    Raises:
        ValueError: they do not fit together; torch raises other exceptions for the same reason.
    """
    parameters = inspect.signature(kind).parameters
    for name, value in settings.items():
        if name in parameters and not _is_of(value, parameters[name].annotation):
            raise ValueError(f"{name} is of type {type(value).__name__}")
        if isinstance(value, list) and len(value) > len(weights):
            raise ValueError(f"{name} has {len(value)} entries for {len(weights)} weights")
    if settings.get("num_layers", 1) > len(weights):  # each layer would take its time
        raise ValueError(f"num_layers={settings['num_layers']} for {len(weights)} weights")
    with torch.device("meta"), _Undrawn():  # no time is spent on first weights
        module = kind(**settings)
    for name, own in module.state_dict().items():
        given = weights.get(name, own)
        if given.dtype != own.dtype or not (given is own or is_plain(given)):
            raise ValueError(f"{name} is no plain tensor of {own.dtype}")
    module.load_state_dict(weights, assign=True)
    return module.eval()


def is_plain(value: Any) -> bool:
    """Whether a tensor has each of its values in the memory of the CPU."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def all_finite(values: Tensor) -> bool:
    """Whether no value of a tensor, if it has any, is NaN or infinite."""
    if not values.is_floating_point() or not values.numel():
        return True
    return all(bool(bound.isfinite()) for bound in values.aminmax())  # fast, and NaN where one is


def _is_of(value: Any, declared: Any) -> bool:
    """Whether a setting is of the type that a constructor declares."""
    if get_origin(declared) is Sequence:
        return isinstance(value, list) and all(
            _is_of(each, get_args(declared)[0]) for each in value
        )
    kinds = get_args(declared) or (declared,)
    return type(value) in kinds or (float in kinds and type(value) is int)
