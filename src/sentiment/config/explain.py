"""Turn the exceptions that a wrong config causes into one line: key, value and what to do."""

import dataclasses
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from sentiment.config.overrides import group_options
from sentiment.runtime.errors import InputError, first_words, valid_names

# Options that need more than the package itself, and the extra that brings it.
_EXTRAS = {"submitit_local": "slurm", "submitit_slurm": "slurm"}

# Words in Hydra's message about an override, and a hint for each.
_HINTS = {
    "Ambiguous value": " (to run each of several values add -m)",
    "override 'model'": " (a language model is set by model.cell, model.hidden_size, ...)",
}

_LONG = 300  # characters of a line that another library writes


@contextmanager
def translate_config_errors() -> Iterator[None]:
    """Raise exceptions that a wrong config causes as an InputError that says what to do.

    These are the exceptions of Hydra and OmegaConf, of the constructor of a node, of the system
    about a path, and those for want of memory. All others are bugs of this program, and pass.
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
        if isinstance(link, InputError):  # from one of our resolvers or constructors
            return link
        if isinstance(link, OSError) and (link.filename or (link is error and link.errno)):
            return _path_refused(link)
        if hint := _of_the_system(link):
            return InputError(f"{first_words(link)}{hint}")
    if isinstance(error, InstantiationException):
        return constructor_error(error)
    if wraps:
        return InputError(_explain(error))
    return InputError(_explain_choice(error)) if _is_hydras(error) else None


def _of_the_system(error: BaseException) -> str | None:
    """A hint if memory has run out, on a CPU or GPU, or if symbolic links form a circle."""
    message = str(error) if isinstance(error, RuntimeError) else ""
    marks = ("allocate memory", "not enough memory", "out of memory", "size calculation overflowed")
    if isinstance(error, MemoryError) or any(mark in message for mark in marks):
        return ": no memory is left; lower the sizes of the model, of vectors and of batches"
    return "; give another path" if message.startswith("Symlink loop") else None


def constructor_error(error: InstantiationException, hint: str = "") -> InputError | None:
    """Explain the exception of a node's constructor; returns None if it is a bug of ours.

    What a constructor of another library raises is about its arguments (or a logger's server). Our
    constructors raise ValueError or ImportError about theirs, so anything else is a bug.

    Args:
        error: Hydra's exception, caused by that of the constructor.
        hint: appended to the message if the node is the trainer.
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
    """Whether Hydra raised the exception, or was composing the config, which runs none of ours."""
    modules = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return modules[-1].startswith("hydra.") or ConfigLoaderImpl.__module__ in modules


def _explain_choice(error: Exception) -> str:
    """Explain an exception in Hydra; likely, an override is not an option of its group."""
    for item in sys.argv[1:]:
        group, _, value = item.lstrip("+~").partition("=")
        options = group_options(group.partition("@")[0])
        if options and value not in options:
            return f"command line: {item}: {valid_names(value, options)}"
    return f"command line or config file: {first_words(error)}"


def _path_refused(error: OSError) -> InputError:
    """Explain a system error about a path; names the override with it or a folder above it."""
    if error.filename is None:
        return InputError(error.strerror)
    path = Path(str(error.filename)).resolve()
    for item in sys.argv[1:]:
        key, _, value = item.partition("=")
        if value and path.is_relative_to(Path(value.strip("'\"")).resolve()):
            return InputError(f"{key}={value}: cannot be used ({error.strerror}); give another")
    return InputError(
        f"{error.filename}: cannot be used ({error.strerror}); if this run writes there, give"
        " another hydra.run.dir"
    )


def _chain(error: BaseException) -> list[BaseException]:
    """An exception, its cause or context, the cause of that, and so on."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    return chain


def _explain(error: BaseException) -> str:
    chain = _chain(error)
    for link in chain:
        if isinstance(link, OmegaConfBaseException) and link.object_type is not None:
            known = not isinstance(link, InterpolationResolutionError)  # its key is the other one's
            if known and dataclasses.is_dataclass(link.object_type) and link.key is not None:
                every = [field.name for field in dataclasses.fields(link.object_type)]
                if str(link.key) not in every:
                    names = [name for name in every if not name.startswith("_")]
                    key = link.full_key or str(link.key)
                    return f"config: unknown key {key!r}; {valid_names(str(link.key), names)}"
            if isinstance(link, MissingMandatoryValue):
                return f"config: {link.full_key} has no value; give {link.full_key}=VALUE"
            if link.full_key:
                reason = _first_line(link)
                if "is not Optional" in str(link):
                    reason = "cannot be left out (null)"
                elif "is not in struct" in reason:
                    reason = f"no such key; if it is meant, add it by +{link.full_key}=VALUE"
                return f"config: {link.full_key}: {reason}"
    if isinstance(error, MissingConfigException) and error.options:
        return _explain_missing(error)
    if isinstance(error, OverrideParseException | ConfigCompositionException):
        quotes = " (a value with spaces or any of ,;()[]{} needs quotes: \"key='value'\")"
        hint = quotes * isinstance(error, OverrideParseException)
        hint += next((hint for mark, hint in _HINTS.items() if mark in str(error)), "")
        return f"command line: {_first_line(error)}{hint}"
    interval = "does not support sweep type" in str(error)
    hint = " (an interval has endlessly many values for a grid; add sweep=optuna)" * interval
    return f"config: {' '.join(str(error).split())}{hint}"


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
