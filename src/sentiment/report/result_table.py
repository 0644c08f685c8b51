"""The tables at the end of a training and of an evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from sentiment.report.metric_table import METRIC_ROWS, SPLITS, format_metric, metric_rows
from sentiment.report.tables import (
    MISSING,
    format_count,
    format_duration,
    format_percent,
    is_number,
    new_table,
)
from sentiment.runtime.errors import listed

_WIDTH, _MOST_CLASSES = 80, 12  # of a table


def result_table(results: Mapping[str, Any]) -> Table:
    """Lay out what a training reached, on what data, and what it cost.

    Args:
        results: The content of ``results.json``; docs/configuration.md has its keys. Any of them
            may be missing, None or NaN: a line or split without a single value is left out.
            ``best_epoch`` counts from 0, as Lightning does, and is shown counting from 1.

    Returns:
        A table no wider than 80 columns, as long as labels and device names are of common length.
    """
    outer = Table.grid()
    splits = _split_table(results)
    if splits.row_count:
        outer.add_row(splits)
        outer.add_row("")
    facts = {"data": data_facts(results), "cost": cost_facts(results)}
    beside = Table.grid(padding=(0, 4, 0, 0))
    beside.add_row(*(_fact_table(heading, known) for heading, known in facts.items() if known))
    if any(facts.values()):
        outer.add_row(beside)
    return outer


def members_table(
    members: Sequence[Mapping[str, Any]], heading: str = "alone", *, prefix: str = "test/"
) -> Table:
    """Lay out the metrics that each ``checkpoint`` of an ensemble has by itself.

    What each ``weight`` is stands beside them where they are not all the same.

    Args:
        members: of each, its metrics and other keys.
        heading: the heading of the column with the names.
        prefix: what the keys of the metrics begin with.
    """
    table = new_table()
    table.add_column(heading, overflow="fold")
    weighted = len({each.get("weight") for each in members}) > 1
    rows = [row for row in METRIC_ROWS if any(prefix + row[1] in each for each in members)]
    for name in [*["weight"] * weighted, *(name for name, _ in rows)]:
        table.add_column(name, justify="right", no_wrap=True)
    for each in members:
        weight = [f"{each['weight']:g}"] if weighted else []
        metrics = (format_metric(metric, each.get(prefix + metric)) for _, metric in rows)
        table.add_row(Text(str(each["checkpoint"])), *weight, *metrics)
    return table


def length_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out ``test/by_length`` of ``results.json``: a row for each fifth of the reviews."""
    table = new_table()
    for heading in ("tokens", "reviews", "accuracy"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        shortest, longest = map(format_count, row["tokens"])
        tokens = shortest if shortest == longest else f"{shortest} - {longest}"
        table.add_row(tokens, format_count(row["reviews"]), format_percent(row["accuracy"]))
    return table


def class_tables(
    rows: Sequence[Mapping[str, Any]], confusion: Sequence[Sequence[int]]
) -> Iterator[Table]:
    """Lay out ``test/by_class`` and, of up to 12 classes, ``test/confusion`` of ``results.json``.

    Of more classes, those with the lowest F1 are shown. The confusion matrix stands beside the
    metrics if 80 columns have room, else in a table of its own.
    """
    names = [str(row["label"]) for row in rows]
    count = len(format_count(max(map(max, confusion))))
    columns = [2 + max(count, cell_len(f"as {name}")) for name in names]
    beside = max(5, *map(cell_len, names)) + 40 + sum(columns) <= _WIDTH
    shown = [row for row in rows if row["f1"] is not None]
    order = sorted(shown, key=lambda row: row["f1"])[:_MOST_CLASSES]
    table = new_table()
    table.add_column("class" if len(order) == len(shown) else "hardest classes", overflow="fold")
    for name in ("precision", "recall", "F1", "reviews"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in names if beside else ():
        table.add_column(Text(f"as {name}"), justify="right", overflow="fold")
    for row, predicted in zip(rows, confusion, strict=True):
        if row in order:
            cells = (format_percent(row[name]) for name in ("precision", "recall", "f1"))
            counts = [row["reviews"], *(predicted if beside else ())]
            table.add_row(Text(str(row["label"])), *cells, *map(format_count, counts))
    yield table
    if not beside and len(names) <= _MOST_CLASSES:
        yield _confusion_table(names, confusion)


def _confusion_table(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> Table:
    """Lay out a confusion matrix under the labels or, if they are long, their numbers from 1."""
    longest, heads = max(len(str(count)) for row in confusion for count in row), names
    if max(map(cell_len, names)) > max(longest, 3):
        heads = [str(number) for number in range(1, len(names) + 1)]
        names = [f"{head} {name}" for head, name in zip(heads, names, strict=True)]
    room = _WIDTH - len(heads) * (1 + max(longest, *map(cell_len, heads)))
    table = new_table(padding=0)
    table.add_column("class, as", overflow="crop", no_wrap=True, max_width=max(room, 8))
    for head in heads:
        table.add_column(Text(head), justify="right", no_wrap=True)
    for name, counts in zip(names, confusion, strict=True):
        table.add_row(Text(name), *map(str, counts))
    return table


def _split_table(results: Mapping[str, Any]) -> Table:
    """Build the upper part: metrics and review counts, a column for each split."""
    rows = metric_rows(results)
    shown = [i for i in range(len(SPLITS)) if any(row.cells[i] for row in rows)]
    table = new_table()
    table.add_column("", no_wrap=True)
    for i in shown:
        heading = list(SPLITS.values())[i]
        style = "bold" if heading == "test" else ""
        table.add_column(heading, justify="right", min_width=12, no_wrap=True, style=style)
    for row in rows:
        cells = (row.cells[i] for i in shown)
        name = f"{'  ' * row.below}{row.name}"
        table.add_row(Text(name), *(MISSING if cell is None else cell.text for cell in cells))
    return table


def _fact_table(heading: str, facts: Mapping[str, str]) -> Table:
    """Build a part of the lower half: names on the left, values on the right."""
    table = new_table()
    table.add_column(heading, no_wrap=True)
    table.add_column("", overflow="fold")
    for name, value in facts.items():
        table.add_row(name.strip(), Text(value))
    return table


def data_facts(results: Mapping[str, Any]) -> dict[str, str]:
    """The facts about the data that ``results`` holds."""
    labels, coverage = results.get("labels"), results.get("vector_coverage")
    names = ", ".join(map(str, labels)) if isinstance(labels, list | tuple) else MISSING
    teachers = results.get("teachers")
    return _known(
        labels=names if len(names) <= 24 else f"{len(labels or ())} classes",
        vocabulary=_with_unit(results.get("vocabulary_size"), "words"),
        **{
            "with vectors": format_percent(coverage or None),
            "known words": format_percent(results.get("vocabulary_coverage")),
            "teachers": listed(list(map(str, teachers)), most=2) if teachers else MISSING,
            "taught by them": _with_unit(results.get("soft_reviews"), "texts"),
        },
        duplicates=_with_unit(results.get("dropped_duplicates"), "dropped"),
        seed=_as_text(results.get("seed")),
    )


def cost_facts(results: Mapping[str, Any]) -> dict[str, str]:
    """The facts about the cost that ``results`` holds."""
    best, device = results.get("best_epoch"), (results.get("device"), results.get("precision"))
    epochs = _as_text(results.get("epochs"))
    if is_number(best) and epochs != MISSING:
        epochs += f" (best: {best + 1:.0f})"
    return _known(
        time=format_duration(results.get("fit_seconds")),
        epochs=epochs,
        speed=_with_unit(results.get("train_reviews_per_second"), "reviews/s"),
        **{" ": _with_unit(results.get("train_tokens_per_second"), "tokens/s")},
        parameters=format_count(results.get("parameters")),
        device=", ".join(str(text) for text in device if text is not None) or MISSING,
    )


def _known(**facts: str) -> dict[str, str]:
    """Leave out the facts whose value is missing."""
    return {name: value for name, value in facts.items() if value != MISSING}


def _with_unit(count: Any, unit: str) -> str:
    return f"{format_count(count)} {unit}" if is_number(count) else MISSING


def _as_text(value: object) -> str:
    return MISSING if value is None else str(value)
