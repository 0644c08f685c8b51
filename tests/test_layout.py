"""Imports point one way, and each library stays in the rooms that need it."""

import ast
from pathlib import Path

import pytest

import sentiment

PACKAGE = Path(sentiment.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
}
# Who may import what, by the start of the imported name; all else is open to all.
ALLOWED = {
    "sentiment.data": {
        "data", "training", "pretraining", "pretrained", "baseline", "linear", "vectors",
        "skipgram", "build", "prepare", "results", "evaluate", "predict", "predictor", "member",
        "checkpoint", "ngram_classifier", "cli", "schemas",
    },
    "sentiment.model": {
        "model", "train", "training", "pretraining", "pretrained", "baseline", "build", "prepare",
        "results", "evaluate", "member", "checkpoint", "checks", "config", "callbacks",
    },
    "lightning": {
        "train", "training", "fitting", "build", "prepare", "callbacks", "stopping", "divergence",
        "data.datamodule", "data.text_datamodule", "model.module", "model.language_module",
        "model.stepping", "search.pruning",
    },
    "hydra": {
        "train", "pretrain", "fitting", "pretraining", "pretrained", "baseline", "vectors",
        "build", "prepare", "config", "sweep", "commands", "entry", "search.space",
    },
    "optuna": {
        "search", "report.search_figures", "report.parallel_coordinates", "report.trials",
    },
    "sentiment.search": {"search", "train", "training"},
    "omegaconf": {
        "train", "training", "fitting", "pretrain", "pretraining", "pretrained", "baseline",
        "vectors", "build", "prepare", "config", "sweep", "schemas", "checks", "entry",
    },
    "gensim": {"skipgram"},
    "torch": {
        "fitting", "pretrained", "baseline", "build", "callbacks", "results", "config",
        "environment", "evaluate", "predict", "predictor", "member", "checkpoint", "ranks",
        "divergence",
        "data.batching", "data.sampler", "data.shares", "data.joined", "data.text_datamodule",
        "data.datamodule", "data.embeddings", "data.vector_file", "model",
    },
    "sentiment.train": set(),
    "sentiment.training": {"train"},
    "sentiment.pretrain": set(),
    "sentiment.pretraining": {"pretrain"},
    "sentiment.predict": set(),
    "sentiment.predictor": {"evaluate", "predict", "__init__"},
}  # fmt: skip


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("name", ALLOWED)
def test_a_library_is_imported_only_where_it_belongs(name: str) -> None:
    users = {
        module
        for module, path in MODULES.items()
        if any(other == name or other.startswith(f"{name}.") for other in imported(path))
    }
    strangers = {
        module
        for module in users
        if not any(module == room or module.startswith(f"{room}.") for room in ALLOWED[name])
    }
    assert not strangers


def test_no_module_imports_itself_through_others() -> None:
    needs = {
        module: {
            name.removeprefix("sentiment.")
            for name in imported(path)
            if name.removeprefix("sentiment.") in MODULES and name.startswith("sentiment.")
        }
        for module, path in MODULES.items()
    }
    rest = dict(needs)
    while free := [module for module, others in rest.items() if not others & rest.keys()]:
        for module in free:
            del rest[module]
    assert not rest
