"""Check data, train, compare and evaluate from Python, as the commands do.

``from sentiment import check, train, baseline, evaluate, compare`` gives these functions.
"""

import hashlib
import json
import logging
import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sentiment.predict.predictor import Predictor
from sentiment.runtime.cache import cache_directory
from sentiment.runtime.errors import InputError, valid_names
from sentiment.runtime.files import replaced_when_whole

if TYPE_CHECKING:
    import pandas as pd
    from lightning import Callback
    from omegaconf import DictConfig

    from sentiment.config.overrides import CommandLine

Settings = str | Mapping[str, Any]


@dataclass(frozen=True)
class TrainedRun:
    """A training or a baseline that has ended.

    Attributes:
        folder: its run folder, with checkpoints, plots, metrics and settings.
        results: the content of its ``results.json``.
    """

    folder: Path
    results: dict[str, Any]

    @cached_property
    def predictor(self) -> Predictor:
        """Predicts with the best checkpoint; loaded on first use."""
        return Predictor.load(self.folder)

    def __repr__(self) -> str:
        accuracy = self.results["test/accuracy"]
        return f"TrainedRun({str(self.folder)!r}, test accuracy {accuracy:.4f})"


@dataclass(frozen=True)
class DataCheck:
    """A check of data that has ended.

    Attributes:
        folder: holds ``check.html``, ``rows.csv`` and ``check.json``.
        results: the content of ``check.json``.
    """

    folder: Path
    results: dict[str, Any]

    @cached_property
    def findings(self) -> "pd.DataFrame":
        """A row for each finding, the most serious first: kind, level, count, line, advice."""
        import pandas as pd

        columns = ["kind", "level", "count", "line", "advice"]
        return pd.DataFrame(self.results["findings"], columns=columns)

    @cached_property
    def rows(self) -> "pd.DataFrame":
        """The rows to look at, as in ``rows.csv``; NA without a group or a score."""
        import pandas as pd

        table = pd.read_csv(self.folder / "rows.csv", dtype=str, keep_default_na=False)
        numbers = {name: pd.to_numeric(table[name]) for name in ("group", "row", "score")}
        return table.assign(**numbers).astype({"group": "Int64"})

    def __repr__(self) -> str:
        return f"DataCheck({str(self.folder)!r}, {len(self.findings)} findings)"


def check(
    *settings: Settings,
    frame: "pd.DataFrame | None" = None,
    folder: str | Path | None = None,
    quiet: bool = False,
) -> DataCheck:
    """Find what is wrong with data before a training, as ``python -m sentiment.check``.

    Args and Raises as ``train``; without ``folder`` a new one is made in ``checks``.
    """

    def task(cfg: "DictConfig", home: Path) -> None:
        from sentiment.check.run import run_check
        from sentiment.config.overrides import CommandLine

        run_check(cfg, home, command_line=CommandLine.of_hydra())

    home = _run("check", settings, frame, folder, task, quiet=quiet)
    return DataCheck(home, json.loads((home / "check.json").read_text(encoding="utf-8")))


def train(
    *settings: Settings,
    frame: "pd.DataFrame | None" = None,
    folder: str | Path | None = None,
    callbacks: "Sequence[Callback]" = (),
    quiet: bool = False,
) -> TrainedRun:
    """Train a classifier, with the same result as ``python -m sentiment.train``.

    >>> run = train("model=bigru", {"data.csv": "reviews.csv"})  # doctest: +SKIP
    >>> run.predictor("A joy from start to finish.")["label"]  # doctest: +SKIP
    'positive'

    Args:
        settings: what the command line takes, such as ``"model=bigru"``, or dictionaries such as
            ``{"model.hidden_size": 64}``.
        frame: a table of texts and labels in place of ``data.csv``. ``data.text_column`` and
            ``data.label_column`` name its columns.
        folder: the run folder; None makes a new one in ``runs``.
        callbacks: further callbacks of Lightning.
        quiet: whether to print nothing but warnings.

    Raises:
        InputError: the settings or the data cannot be used.
        KeyboardInterrupt: the training was stopped; the log says how to resume it.
    """

    def task(cfg: "DictConfig", home: Path) -> None:
        from sentiment.config.overrides import CommandLine
        from sentiment.train.run import train as run_training

        command_line = CommandLine.of_hydra()
        with _stoppable(home, command_line):
            run_training(cfg, home, callbacks=callbacks, command_line=command_line)

    return _ended(_run("train", settings, frame, folder, task, quiet=quiet))


def distill(
    *settings: Settings,
    frame: "pd.DataFrame | None" = None,
    folder: str | Path | None = None,
    quiet: bool = False,
) -> TrainedRun:
    """Train a student on what teachers say of texts, as ``python -m sentiment.distill``.

    >>> given = {"teachers": ["runs/a", "runs/b"], "data.unlabeled_csv": "more.csv"}
    >>> student = distill(given, {"data.csv": "reviews.csv"})  # doctest: +SKIP

    Args and Raises as ``train``.

    Returns:
        The run of the last student.
    """
    students = []

    def task(cfg: "DictConfig", home: Path) -> None:
        from sentiment.config.overrides import CommandLine
        from sentiment.distill.run import distill as run_distillation

        command_line = CommandLine.of_hydra().resumed_by("sentiment.distill", home)
        with _stoppable(home, command_line):
            students.append(run_distillation(cfg, home, command_line=command_line))

    _run("distill", settings, frame, folder, task, quiet=quiet)
    return _ended(students[0])


@contextmanager
def _stoppable(home: Path, command_line: "CommandLine") -> Iterator[None]:
    """Log how to go on with a training that Ctrl-C stops."""
    from sentiment.predict.checkpoint import CLASSIFIER
    from sentiment.train.fit import Stopped, stop_on_interrupt

    try:
        with stop_on_interrupt(home, CLASSIFIER, command_line):
            yield
    except Stopped:
        raise KeyboardInterrupt from None


def baseline(
    *settings: Settings,
    frame: "pd.DataFrame | None" = None,
    folder: str | Path | None = None,
    quiet: bool = False,
) -> list[TrainedRun]:
    """Fit linear classifiers of n-grams, as ``python -m sentiment.baseline``.

    Args and Raises as ``train``.

    Returns:
        One run for each of ``weightings``, in their order.
    """
    names: list[str] = []

    def task(cfg: "DictConfig", home: Path) -> None:
        from sentiment.baseline.run import run_baselines

        names.extend(map(str, cfg.weightings))
        run_baselines(cfg, home)

    home = _run("baseline", settings, frame, folder, task, quiet=quiet)
    return [_ended(home / name) for name in names]


def evaluate(
    classifier: "Predictor | str | Path | Sequence[str | Path]",
    reviews: "str | Path | pd.DataFrame",
    *,
    labels: Sequence[str] | None = None,
    errors: str | Path | None = None,
    **csv_format: Any,
) -> dict[str, Any]:
    """Measure a classifier on texts with labels, as ``python -m sentiment.evaluate``.

    Args:
        classifier: a predictor, a checkpoint or run folder, or several that predict together.
        reviews: a table file, or a DataFrame.
        labels: what the column calls the classifier's labels, in the classifier's order.
        errors: a CSV file to write the misclassified reviews to.
        csv_format: attributes of ``CsvFormat``, such as ``text_column``; columns and header are by
            default as in the training.

    Returns:
        Metrics by name, such as ``test/accuracy``, with keys as in ``results.json``.

    Raises:
        InputError: a file cannot be read, or has unknown labels.
    """
    from sentiment.data.csv_format import CsvFormat, FormatOfArguments
    from sentiment.evaluate import evaluate as measure
    from sentiment.predict.options import csv_format_from

    names = [field.name for field in fields(CsvFormat)]
    if unknown := csv_format.keys() - set(names):
        valid = valid_names(min(unknown), ["labels", "errors", *names])
        raise TypeError(f"evaluate() has no argument {min(unknown)!r}; {valid}")
    if hasattr(classifier, "columns"):
        raise TypeError("evaluate() takes the classifier first, then the reviews")
    if not isinstance(classifier, Predictor):
        paths = [classifier] if isinstance(classifier, str | Path) else classifier
        classifier = Predictor.load(*paths)
    target = None if errors is None else Path(errors)
    given = {"label_column": None, **csv_format}
    with TemporaryDirectory() as folder:
        written = None
        if not isinstance(reviews, str | Path):
            reviews = written = _written(reviews, Path(folder))
            given["header"] = True
        with _named_frame(written):
            table_format = csv_format_from(Namespace(**given), classifier, FormatOfArguments)
            return measure(classifier, Path(reviews), table_format, labels, target)


def compare(*folders: str | Path, by_run: bool = False) -> "pd.DataFrame":
    """Compare the runs in folders, as ``python -m sentiment.compare``.

    What limits the comparison is noted on standard error.

    Args:
        folders: run folders, or folders above some.
        by_run: whether each run has a row; otherwise, runs that differ in nothing but the seed
            share one.

    Returns:
        A row for each configuration, the best of each data set first.

    Raises:
        InputError: a folder has no run, or there is none to compare.
    """
    import pandas as pd

    from sentiment.report.comparison_table import flat_rows
    from sentiment.report.ranking import compare_folders
    from sentiment.runtime.progress_bar import write_note

    comparison = compare_folders(map(Path, folders), by_run=by_run)
    for note in comparison.notes:
        write_note(note)
    return pd.DataFrame(flat_rows(comparison))


def _run(
    name: str,
    settings: Sequence[Settings],
    frame: "pd.DataFrame | None",
    folder: str | Path | None,
    task: "Callable[[DictConfig, Path], None]",
    *,
    quiet: bool,
) -> Path:
    """Run a task in a run folder, with the config that the command line would have composed."""
    from sentiment.config.embedded import run_embedded
    from sentiment.runtime.environment import compute_fast
    from sentiment.runtime.overrides import override
    from sentiment.train.sweep import quiet as quietly

    given = [item for some in settings for item in _overrides(some)]
    written = None if frame is None else _written(frame)
    if written is not None:
        if any(item.startswith("data.csv=") for item in given):
            raise InputError("data.csv: frame= is in its place; give one of them")
        given += ["data=csv", override("data.csv", str(written))]
    if folder is not None:
        given.append(override("hydra.run.dir", str(folder)))
    compute_fast()

    def run(cfg: "DictConfig", home: Path) -> None:
        named = nullcontext() if written is None else _named_in_logs(written)
        with named, quietly() if quiet else nullcontext():
            task(cfg, home)

    with _named_frame(written):
        return run_embedded(name, given, run)


def _overrides(settings: Settings) -> Iterator[str]:
    """Settings as the command line takes them."""
    from sentiment.runtime.overrides import override

    if isinstance(settings, str):
        if settings.startswith("-"):
            why = "an option of the command line; from Python, train several runs in a loop"
            raise InputError(f"{settings}: {why}")
        yield settings
        return
    if not isinstance(settings, Mapping):
        raise InputError(
            f"a {type(settings).__name__} is not a setting; give texts such as 'model=bigru',"
            " dictionaries such as {'model.hidden_size': 64}, and a DataFrame as frame=TABLE"
        )
    for key, value in settings.items():
        if isinstance(value, Mapping):
            raise InputError(f"{key}: give its settings by full key, such as {key}.NAME")
        yield override(key, value)


def _written(frame: "pd.DataFrame", folder: Path | None = None) -> Path:
    """Write a table to a CSV file, by default into the cache, where equal tables have one file."""
    if not hasattr(frame, "to_csv"):
        raise InputError(
            f"frame: give a pandas DataFrame, not {type(frame).__name__}; a file is"
            " {'data.csv': FILE}"
        )
    text = frame.to_csv(index=False)
    if folder is None:
        folder = cache_directory() / "frames" / hashlib.sha256(text.encode()).hexdigest()[:24]
    path = folder / "frame.csv"
    if not path.exists():
        with replaced_when_whole(path) as part:
            part.write_text(text, encoding="utf-8")
    return path


@contextmanager
def _named_frame(path: Path | None) -> Iterator[None]:
    """Call the file of a DataFrame "the frame" in an InputError."""
    try:
        yield
    except InputError as error:
        if path is None:
            raise
        raise InputError(str(error).replace(str(path), "the frame")) from error


@contextmanager
def _named_in_logs(path: Path) -> Iterator[None]:
    """Call the file of a DataFrame "the frame" in what is logged about its rows."""
    about = re.compile(rf"{re.escape(str(path))}(?=[:,] )")

    def rename(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if str(path) in message:
            record.msg, record.args = about.sub("the frame", message), ()
        return True

    handlers = list(logging.root.handlers)
    for handler in handlers:
        handler.addFilter(rename)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(rename)


def _ended(folder: Path) -> TrainedRun:
    return TrainedRun(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")))
