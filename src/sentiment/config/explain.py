"""Turn the exceptions that a wrong config causes into one line: key, value and what to do."""

import dataclasses
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from yaml import MarkedYAMLError

from sentiment.config.overrides import group_options, is_option
from sentiment.config.schemas import SCHEMAS, PretrainConfig, TrainConfig
from sentiment.config.suggest import aliased, setting_types, unknown_key
from sentiment.runtime.errors import (
    InputError,
    first_words,
    install_command,
    out_of_memory,
    valid_names,
)

# Options that need more than the package itself, and the extra that brings it.
_EXTRAS = {
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
    "wandb": "wandb",
    "mlflow": "mlflow",
}

# OmegaConf's messages about a value, and ours.
_VALUES = {
    r"Value '(.*)' of type .* could not be converted to Integer": "={}: give a whole number",
    r"Value '(.*)' of type .* could not be converted to Float": "={}: give a number",
    r"Value '(.*)' is not a valid bool": "={}: give true or false",
    r"Cannot convert .* to string: '(.*)'": "={}: give a single text",
    r"(.*) is not a ListConfig|Cannot merge DictConfig with ListConfig": ": give a list, as [A,B]",
    r"Invalid type assigned: .* value: (.*)": "={}: is a node; set its keys, as {key}.NAME=VALUE",
    r"field '(.*)' is not Optional": ": cannot be left out (null)",
    r"Value (.*) \(.*\) is not a valid input for <enum": "={}: give a single name",
}

# Groups whose files set keys of a whole config, and what makes them do so.
_GLOBAL_GROUPS = {"experiment": TrainConfig, "sweep": TrainConfig, "pretrain": PretrainConfig}
_PACKAGE = "# @package _global_"

# What takes a file in place of an option of a group.
_OF_FILES = {"data": "data=csv data.csv", "embeddings": "embeddings=file embeddings.path"}

# Words in Hydra's message about an override, and a hint for each.
_HINTS = {
    "override 'model'": " (a language model is set by model.cell, model.hidden_size, ...)",
}

_QUOTES = "a value with spaces or any of ,;()[]{} needs quotes: \"key='value'\""

_LONG = 300  # characters of a line that another library writes


@contextmanager
def translate_config_errors() -> Iterator[None]:
    """Raise exceptions that a wrong config causes as an InputError that says what to do.

    These are the exceptions of Hydra and OmegaConf, of the constructor of a node, of the system
    about a path, and those because memory is full. All others are bugs of this program, and pass.
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
        if refusal := _of_cause(link, alone=link is error):
            return refusal
    if isinstance(error, InstantiationException):
        return constructor_error(error)
    if wraps or _is_hydras(error):
        return InputError(_explain(error) if wraps else _explain_choice(error))
    return None


def _of_cause(link: BaseException, *, alone: bool) -> InputError | None:
    """The refusal by one of our resolvers or constructors, the system, or the YAML parser."""
    if isinstance(link, InputError):
        return link
    if isinstance(link, OSError) and (link.filename or (alone and link.errno)):
        return _path_refused(link)
    if isinstance(link, MarkedYAMLError):
        return _broken_yaml(link)
    hint = _of_the_system(link)
    return InputError(f"{first_words(link)}{hint}") if hint else None


def _of_the_system(error: BaseException) -> str | None:
    """A hint if memory has run out, on a CPU or GPU, or if symbolic links form a circle."""
    message = str(error) if isinstance(error, RuntimeError) else ""
    if out_of_memory(error) or "size calculation overflowed" in message:
        return ": no memory is left; lower the sizes of the model, of vectors and of batches"
    return "; give another path" if message.startswith("Symlink loop") else None


def _broken_yaml(error: MarkedYAMLError) -> InputError:
    mark, problem = error.problem_mark, " ".join((error.problem or str(error)).split())
    if "'\\t'" in problem:
        problem = "a tab; YAML is indented with spaces"
    row = "" if mark is None else f"{mark.name}, line {mark.line + 1}: "
    return InputError(f"{row}{problem}")


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
    if isinstance(cause, ImportError) and (name := key.rpartition(".")[2]) in _EXTRAS:
        return InputError(f"config: {_missing_extra(key.replace('.', '='), name)}")
    ours = "call to target 'sentiment." in str(error)
    expected = isinstance(cause, ValueError | ImportError)
    if ours and not expected and "unexpected keyword argument" not in reason:
        return None
    return InputError(f"config: {key}: {reason}{hint if key == 'trainer' else ''}")


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
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    if last.f_code is OmegaConf.update.__code__:
        key = last.f_locals["key"]
        node = key.rpartition(".")[0]
        return f"config: {key}: {node} is null, which has no settings; leave out one of the two"
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
                    return f"config: {_unknown_key(link, every)}"
            if isinstance(link, MissingMandatoryValue):
                return f"config: {link.full_key} has no value; give {link.full_key}=VALUE"
            if link.full_key:
                return f"config: {link.full_key}{_wrong_value(link)}"
    if isinstance(error, MissingConfigException) and error.options:
        return _explain_missing(error)
    return _explain_composing(error)


def _explain_composing(error: BaseException) -> str:
    first = _first_line(error)
    if match := re.match(rf"In '({'|'.join(_GLOBAL_GROUPS)})/(.*)': .* override '\w+@\1\.", first):
        return f"config: {_lacks_package(*match.groups())}"
    if match := re.match("Ambiguous value for argument '(.*)'$", first):
        return _explain_several(match[1])
    if isinstance(error, OverrideParseException):
        return f"command line: {error.override}: cannot be read; {_QUOTES}"
    if isinstance(error, ConfigCompositionException):
        hint = next((hint for mark, hint in _HINTS.items() if mark in str(error)), "")
        match = re.match(r"Could not override '(\w+)'", first)
        words = f"{match[1]}: this program has no such group" if match else first
        return f"command line: {words}{hint}"
    if "does not support sweep type" in first:
        return "command line: an interval has endlessly many values for a grid; add sweep=optuna"
    return f"config: {' '.join(str(error).split())}"


def _explain_several(item: str) -> str:
    """Explain a value with commas, which may be meant otherwise if the setting's type allows it."""
    key, _, value = item.partition("=")
    roots = [] if group_options(key) else [node for group, _, node in SCHEMAS if group is None]
    types = str([kind for root in roots for name, kind in setting_types(root) if name == key])
    otherwise = ""
    if "list" in types or "Any" in types:
        otherwise = f", or give a list: '{key}=[{value}]'"
    elif "float" in types and re.fullmatch(r"\d+,\d+", value):
        otherwise = f", or give a decimal point: {key}={value.replace(',', '.')}"
    elif "str" in types:
        otherwise = f", or quotes to a text: \"{key}='{value}'\""
    return f"command line: {item}: several values; add -m to run each of them{otherwise}"


def _wrong_value(link: OmegaConfBaseException) -> str:
    reason = _first_line(link)
    if "is not in struct" in reason:
        return f": no such key; if it is meant, add it by +{link.full_key}=VALUE"
    for pattern, ours in _VALUES.items():
        if match := re.match(pattern, reason):
            return ours.format(match[1], key=link.full_key)
    return f": {reason}"


def _unknown_key(link: OmegaConfBaseException, names: list[str]) -> str:
    """Explain a key that the schema lacks, as it was typed if that was on the command line."""
    key, value = link.full_key or str(link.key), None
    for item in sys.argv[1:]:
        typed, equals, text = item.lstrip("+").partition("=")
        if equals and f"{typed}.".startswith(f"{key}."):
            key, value = typed, text
    root = None if link.parent_node is None else OmegaConf.get_type(link.parent_node._get_root())
    schema = root if dataclasses.is_dataclass(root) else TrainConfig
    if _GLOBAL_GROUPS.get(key) is schema:
        return _lacks_package(key, value)
    return unknown_key(key, names, value=value, schema=schema)


def _lacks_package(group: str, option: str | None) -> str:
    return (
        f"{group}/{option or 'NAME'}.yaml: its first line has to be {_PACKAGE}, so that its keys"
        " are those of the whole config"
    )


def _missing_extra(setting: str, option: str) -> str:
    return f"{setting} is not installed: {install_command(_EXTRAS[option])}"


def _explain_missing(error: MissingConfigException) -> str:
    file = str(error.missing_cfg_file)
    choices = sorted(filter(is_option, error.options or []))
    group, _, path = file.partition("/")
    spelt = re.sub(r"[-.]", "_", path).lower()
    if group in _OF_FILES and Path(path).suffix and not get_close_matches(spelt, choices, 1, 0.9):
        return f"config: {group}={path}: did you mean {_OF_FILES[group]}={path}?"
    group, _, option = file.rpartition("/")
    if option in _EXTRAS:
        return _missing_extra(f"{group}={option}", option)
    known = valid_names(spelt.rpartition("/")[2], choices)
    options = (each for each in aliased(option) if each.startswith(f"{group}="))
    if meant := next((each for each in options if each != f"{group}={{}}"), None):
        value = "FILE" if meant.startswith(_OF_FILES.get(group, "VALUE")) else "VALUE"
        known = f"did you mean {meant.format(value)}? valid: {', '.join(choices)}"
    return f"config: no option {option!r} in {group}; {known}"


def _first_line(error: BaseException) -> str:
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    line = " ".join([first, *others[:1]]) if first.endswith(":") else first
    return line if len(line) < _LONG else f"{line[: _LONG - 80]} ... {line[-60:]}"
