"""Imports point down, and each library stays in the rooms that need it."""

import ast
from pathlib import Path

import pytest

import sentiment

PACKAGE = Path(sentiment.__file__).parent

# Which rooms of the package each room may import.
BELOW: dict[str, set[str]] = {
    "runtime": set(),
    "batch": set(),
    "model": set(),
    "data": {"runtime", "batch"},
    "predict": {"runtime", "batch", "model", "data"},
    "report": {"runtime", "model", "data", "predict"},
    "serve": {"runtime", "predict"},
    "config": {"runtime", "model", "data", "report"},
    "train": {"runtime", "batch", "model", "data", "predict", "report", "config", "baseline"},
    "pretrain": {"runtime", "batch", "model", "data", "predict", "report", "config", "train"},
    "distill": {"runtime", "model", "data", "predict", "report", "config", "train", "baseline"},
    "baseline": {"runtime", "model", "data", "predict", "report", "config"},
    "vectors": {"runtime", "data", "report", "config", "train"},
    "check": {"runtime", "batch", "data", "predict", "report", "config", "baseline"},
    "drift": {"runtime", "data", "predict", "report"},
    "export": {"runtime", "model", "data", "predict", "report", "evaluate"},
    "evaluate": {"runtime", "model", "data", "predict", "report"},
    "compare": {"runtime", "report"},
    "download": {"runtime", "data"},
    "publish": {"runtime", "predict", "report"},
    "api": {
        "runtime",
        "data",
        "predict",
        "report",
        "config",
        "train",
        "baseline",
        "check",
        "distill",
        "evaluate",
    },
    "__init__": {"api", "predict", "runtime"},
    "__main__": {"runtime"},
}
# Which rooms, or modules of them, may import each library.
USERS: dict[str, set[str]] = {
    "lightning": {"train", "pretrain", "data.datamodule", "api"},
    "hydra": {"config", "train", "pretrain", "distill", "baseline", "vectors", "check"},
    "omegaconf": {"config", "train", "pretrain", "distill", "baseline", "vectors", "check", "api"},
    "optuna": {"train.search"},
    "gensim": {"vectors.skipgram"},
    "captum": {"predict.gradients"},
    "cleanlab": {"check.labels"},
    "rensa": {"check.duplicates"},
    "py3langid": {"check.texts"},
    "ftfy": {"check.texts"},
    "jinja2": {"report.page"},
    "onnx": {"export.graph"},
    "onnxruntime": {"predict.onnx_network"},
    "fastapi": {"serve"},
    "uvicorn": {"serve"},
    "torch": {
        "batch", "model", "train", "pretrain", "baseline", "evaluate", "export",
        "predict.checkpoint", "predict.csv_file", "predict.gradients",
        "predict.saved_classifier", "predict.torch_network",
        "data.dataset", "data.sampler", "data.embeddings", "data.vector_file", "data.datamodule",
        "config.resolvers", "runtime.environment", "runtime.distributed",
    },
}  # fmt: skip


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


IMPORTS = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): imported(path)
    for path in PACKAGE.rglob("*.py")
}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def test_there_are_no_other_rooms() -> None:
    assert {room_of(module) for module in IMPORTS} == BELOW.keys()


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_those_below(room: str) -> None:
    used = {
        (module, name)
        for module, names in IMPORTS.items()
        for name in names
        if room_of(module) == room and name.startswith("sentiment.")
    }
    allowed = BELOW[room] | {room, "__version__", "Command"}
    assert {pair for pair in used if pair[1].split(".")[1] not in allowed} == set()


@pytest.mark.parametrize("library", USERS)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {m for m, names in IMPORTS.items() if any(room_of(name) == library for name in names)}
    rooms = tuple(f"{room}." for room in USERS[library])
    assert {module for module in users if not f"{module}.".startswith(rooms)} == set()


def test_no_module_imports_itself_through_others() -> None:
    def module_of(name: str) -> str:
        name = name.removeprefix("sentiment.")
        return name if name in IMPORTS else name.rpartition(".")[0]

    needs = {
        module: {module_of(name) for name in names if name.startswith("sentiment.")}
        & IMPORTS.keys()
        for module, names in IMPORTS.items()
    }
    while free := [module for module, others in needs.items() if not others & needs.keys()]:
        for module in free:
            del needs[module]
    assert not needs
