"""What ``--help`` prints of a program with a config: examples, groups, settings, options."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sentiment.config.arguments import hydra_parser
from sentiment.config.overrides import is_option
from sentiment.config.resolvers import register
from sentiment.config.schemas import config_schema
from sentiment.config.suggest import setting_keys
from sentiment.report.runs import OF_NETWORKS
from sentiment.runtime.environment import program_command
from sentiment.runtime.errors import as_typed
from sentiment.runtime.overrides import config_directory
from sentiment.runtime.program import COMMANDS
from sentiment.runtime.yaml_files import read_yaml

_MINE = "data=csv data.csv=my.csv data.label_column=stars"
_EXAMPLES = {
    "train": (
        "",
        _MINE,
        "model=stacked_bigru optimizer.lr=1e-3 trainer.max_epochs=5",
        "-m model=bigru,bilstm seed=1,2",
        "ckpt_path=auto hydra.run.dir=runs/mine",
    ),
    "distill": (
        "'teachers=[runs/a,runs/b]' data=csv data.csv=my.csv data.unlabeled_csv=more.csv",
        "data=csv data.csv=my.csv data.unlabeled_csv=more.csv",
        "ckpt_path=auto hydra.run.dir=runs/student",
    ),
    "pretrain": (
        "data=csv data.csv=my.csv data.unlabeled_csv=more.csv",
        "data=imdb data.unlabeled_csv=data/imdb_unlabeled.csv",
        "data=imdb pretrain=gpu",
        "ckpt_path=auto hydra.run.dir=runs/lm",
    ),
    "baseline": (_MINE, "data=imdb weightings=[tfidf]"),
    "vectors": (_MINE, "data=imdb output=imdb.txt"),
    "check": (_MINE, "data=imdb", "data=imdb check.checkpoint=runs/mine"),
}
_OPTIONS = {
    "-m": "run all combinations of values that have commas between them",
    "--cfg job": "print all settings with their values, and do nothing else",
    "--config-dir DIR": "find further options of groups in this folder",
    "--version": "print the version",
}
# What the settings mean that people need first.
_FIRST = {
    "data.csv": "a file of reviews, split into three",
    "data.text_column": "its column of texts",
    "data.label_column": "its column of labels",
    "data.max_length": "tokens that are read of a review",
    "data.batch_size": "reviews of a step",
    "model.hidden_size": "units of a layer in each direction",
    "optimizer.lr": "largest learning rate",
    "trainer.max_epochs": "passes over the training reviews",
    "callbacks.early_stopping.patience": "epochs to wait for a better one",
    "check.fail_on": "findings that give exit code 3, as [leak,serious]",
    "seed": "of weights and batches",
}
_WIDTH = 80


def help_text(name: str, arguments: Sequence[str] = ()) -> str:
    """The help of a program.

    Args:
        name: its name, such as ``train``.
        arguments: what was typed after it: folders with options of the user's own are read.
    """
    program = program_command(f"sentiment.{name}")
    groups = _groups(name)
    lines = [
        f"Usage: {program} [-m] [GROUP=OPTION ...] [KEY=VALUE ...]",
        "",
        f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.",
        "",
        "Examples:",
        *(f"  {program} {example}".rstrip() for example in _EXAMPLES[name]),
        "",
        "Groups, and the options of each (* is the default):",
        *_rows({group: _options(group, chosen, arguments) for group, chosen in groups.items()}),
        "",
        "The first settings to know, with their defaults:",
        *_rows(_first(name)),
        "",
        "All settings:",
        *_rows(_settings(name), beside=False),
        "",
        "Options:",
        *_rows({option: [what] for option, what in _OPTIONS.items()}),
        "",
        "docs/configuration.md in the source tree explains each setting.",
    ]
    return "\n".join(lines)


def _groups(name: str) -> dict[str, str | None]:
    """The groups of a program, and the default option of each."""
    defaults = read_yaml(config_directory() / f"{name}.yaml")["defaults"]
    pairs = (each for each in defaults if isinstance(each, dict))
    return {group: option for ((group, option),) in map(dict.items, pairs) if " " not in group}


def _options(group: str, chosen: str | None, arguments: Sequence[str]) -> list[str]:
    paths = {path.stem for folder in _folders(arguments) for path in folder.glob(f"{group}/*.yaml")}
    names = [f"{name}*" if name == chosen else name for name in sorted(filter(is_option, paths))]
    return [f"{name}," for name in names[:-1]] + names[-1:]


def _folders(arguments: Sequence[str]) -> list[Path]:
    """The folders with config files: ours, and those that the command line adds."""
    given = hydra_parser().parse_known_args(arguments)[0].config_dir
    paths = [] if given is None else [given]
    for item in arguments:
        if item.startswith("hydra.searchpath="):
            paths += re.findall(r"file://([^\],'\"]*[^\],'\" ])", item)
    return [config_directory(), *map(Path, paths)]


def _settings(name: str) -> dict[str, list[str]]:
    """The names of a program's settings by the node that holds them."""
    keys = list(dict.fromkeys(setting_keys(config_schema(name))))
    nodes = {key.rpartition(".")[0] for key in keys} | _groups(name).keys()
    if "trainer" not in nodes:
        keys = [key for key in keys if key not in OF_NETWORKS]
    found: dict[str, list[str]] = {}
    for key in keys:
        above, _, last = key.rpartition(".")
        if key not in nodes:
            found.setdefault(f"{above}." if above else "", []).append(last)
    return found


def _first(name: str) -> dict[str, list[str]]:
    """The default and the meaning of each setting in ``_FIRST`` that a program has."""
    register()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose(name)
    known = {f"{above}{name}" for above, names in _settings(name).items() for name in names}
    rows = {}
    for key in [key for key in _FIRST if key in known]:
        above, _, last = key.rpartition(".")
        if (node := OmegaConf.select(cfg, above) if above else cfg) is not None:
            default = "the sample" if key == "data.csv" else as_typed(node[last])
            rows[f"{key}={default}"] = [_FIRST[key]]
    return rows


def _rows(rows: dict[str, list[str]], *, beside: bool = True) -> Iterable[str]:
    """Lines with a heading and its words, which are wrapped beside it or below it."""
    width = max(map(len, rows)) + 2 if beside else 0
    for heading, words in rows.items():
        first = f"  {heading:{width}}"
        rest = " " * (len(first) if beside else 4)
        yield textwrap.fill(" ".join(words), _WIDTH, initial_indent=first, subsequent_indent=rest)
