"""Train, compare and use recurrent sentiment classifiers on your own reviews."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiment.api import baseline, check, compare, distill, evaluate, train
    from sentiment.predict.predictor import Predictor
    from sentiment.runtime.errors import InputError

__version__ = "0.1.0"
__all__ = [
    "InputError", "Predictor", "__version__", "baseline", "check", "compare", "distill",
    "evaluate", "train",
]  # fmt: skip


class Command(ModuleType):
    """The module of a command; calling it calls the function of its name in ``sentiment.api``."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the module by its name, as cloudpickle does other modules."""
        return import_module, (self.__name__,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call that function."""
        return getattr(import_module("sentiment.api"), self.__name__.rpartition(".")[2])(
            *args, **kwargs
        )


def __getattr__(name: str) -> Any:
    """Import everything on first use, so that the command lines start fast."""
    if name == "Predictor":
        return import_module("sentiment.predict.predictor").Predictor
    if name == "InputError":
        return import_module("sentiment.runtime.errors").InputError
    if name in __all__:
        return import_module(f"sentiment.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
