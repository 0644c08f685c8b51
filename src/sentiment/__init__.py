"""Train, compare and use recurrent sentiment classifiers on your own reviews."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiment.predict.predictor import Predictor

__version__ = "0.1.0"
__all__ = ["Predictor", "__version__"]


def __getattr__(name: str) -> Any:
    """Import ``Predictor`` on first use, so that the command lines start fast."""
    if name == "Predictor":
        from sentiment.predict.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
