"""The command line of a program with a config: what was typed, as Hydra takes it."""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from sentiment.config.overrides import group_options, spell_null_choices
from sentiment.config.suggest import setting_keys, suggestion
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import is_table
from sentiment.runtime.overrides import override

# Quoted texts, and runs of characters without a meaning in Hydra's grammar.
_WORD = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,()\[\]{}:='"]+""")


def hydra_arguments(arguments: Sequence[str], schema: type) -> list[str]:
    """The arguments with Hydra's options first, and with quotes where its grammar needs them.

    Args:
        arguments: what was typed after the program's name.
        schema: the dataclass of the program's config, for hints.

    Raises:
        InputError: an argument is neither an option of Hydra's nor a setting.
    """
    parsed, unknown = hydra_parser().parse_known_intermixed_args(arguments)
    if unknown:
        raise InputError(_no_option(unknown[0], arguments, schema))
    given = vars(parsed)
    settings = spell_null_choices(given.pop("overrides"))
    options = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in given.items()
        if value not in (None, False)
    ]
    for number, item in enumerate(settings):
        if "=" not in item and not item.startswith("~"):
            raise InputError(_no_setting(item, settings[:number], settings[number + 1 :], schema))
    values = dict(item.lstrip("+").partition("=")[::2] for item in settings)
    train_csv = values.get("data.train_csv", "null")
    if train_csv.lower() != "null" and not {"data", "data.csv"} & values.keys():
        settings.append("data.csv=null")  # instead of the sample
    return [*options, *map(quoted, settings)]


def hydra_parser() -> ArgumentParser:
    """Hydra's parser of a command line, which raises InputError instead of ending the process."""
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    return parser


def _refuse(message: str) -> NoReturn:
    if message.startswith("ambiguous option: --config"):
        message = f"--config: no such option; {suggestion('config').rstrip('; ')}"
    elif match := re.match(r"argument .*(-\w): ignored explicit argument '(.*)'", message):
        message = f"{match[1]}{match[2]}: no such option; settings are KEY=VALUE, without a dash"
    raise InputError(f"command line: {message} (--help says more)")


def _no_option(item: str, arguments: Sequence[str], schema: type) -> str:
    name, equals, value = item.partition("=")
    rest = arguments[arguments.index(item) + 1 :] if item in arguments else []
    if not equals and rest and "=" not in rest[0] and not rest[0].startswith("-"):
        value = rest[0]
        item = f"{item} {value}"
    key, value = name.lstrip("-").replace("-", "_"), value or "VALUE"
    known = setting(key, value, schema)
    return f"command line: {item}: no such option; settings are KEY=VALUE: {known}--help lists them"


def setting(key: str, value: str, schema: Any) -> str:
    """A question after the setting that an option of this name may mean, or an empty text."""
    if key == "data" and is_table(value):
        return f"did you mean data=csv data.csv={value}? "
    if key in schema.__dataclass_fields__ or "." in key:
        return f"did you mean {key}={value}? "
    return suggestion(key, value, schema=schema)


def _no_setting(item: str, before: Sequence[str], after: Sequence[str], schema: Any) -> str:
    hint = ""
    near = " ".join([*before[-1:], item, *after[:2]])
    spaced = re.search(r"([\w.]+)(?: ?: ?| = ?|= )([\w./-]+)", near)
    groups = [group for group in ("model", "experiment") if item in group_options(group)]
    if spaced and (meant := setting(spaced[1], spaced[2], schema)):
        hint = f" without spaces; {meant.rstrip('; ')}"
    elif item in setting_keys(schema):
        hint = f"; did you mean {item}=VALUE?"
    elif item.endswith((".yaml", ".yml")):
        hint = f"; {suggestion('config').rstrip('; ')}"
    elif before and (not groups or before[-1].startswith("data.")):
        key, _, value = before[-1].partition("=")
        quoted = f"'{key}={value} {item}'" if value[:1] == "[" else f"\"{key}='{value} {item}'\""
        hint = f"; a value with spaces needs quotes: {quoted}"
    elif groups or is_table(item):
        hint = f"; did you mean {groups[0] if groups else 'data=csv data.csv'}={item}?"
    return f"command line: {item}: not a setting, which is KEY=VALUE{hint}"


def quoted(item: str) -> str:
    """An override in which texts are quoted that Hydra's grammar does not take without quotes.

    These are texts with letters beyond ASCII, punctuation marks or ``~/``, which becomes the home
    folder. What has a meaning in the grammar keeps it: ``a,b`` are two values, ``[a,b]`` is a list.
    """
    key, equals, value = item.partition("=")
    if not equals or _is_grammatical(item):
        return item
    several = re.search(r"\w", value) and ("," in value or value[0] in "[{'\"")
    made = f"{key}={_WORD.sub(_quoted_word, value)}" if several else override(key, value)
    return made if _is_grammatical(made) else item


def _is_grammatical(item: str) -> bool:
    try:
        OverridesParser.create().parse_override(item)
    except HydraException:
        return False
    return True


def _quoted_word(match: re.Match[str]) -> str:
    word = match[0].strip()
    if word[:1] in ("'", '"') or re.fullmatch(r"[\w/.+\-$%*@?|\\ ]*", word, re.ASCII):
        return match[0]
    return override("", word)[1:]
