from pathlib import Path

import pytest

from sentiment.callbacks import EpochTable, accuracy_line
from sentiment.results import fit_results


def table_of(*rows: tuple[float, float]) -> EpochTable:
    """A table of epochs with the accuracies and losses given."""
    table = EpochTable(Path("metrics.csv"), settings={}, line=accuracy_line, print_lines=False)
    table.rows = [
        {"epoch": epoch, "train/loss": 10.0 + epoch, "val/accuracy": accuracy, "val/loss": loss}
        for epoch, (accuracy, loss) in enumerate(rows)
    ]
    table.fit_seconds, table.train_seconds = 9.0, 4.0
    table.train_reviews, table.train_tokens = 100, 2_000
    return table


@pytest.mark.parametrize(("epochs", "best"), [(2, 1), (3, 2), (None, 3)])
def test_the_figures_are_those_of_the_tested_epoch(epochs: int | None, best: int) -> None:
    table = table_of((0.6, 0.9), (0.8, 0.7), (0.7, 0.5), (0.7, 0.6))
    results = fit_results(table, epochs)
    assert results["best_epoch"] == best
    assert results["epochs"] == 4
    for name in ("train/loss", "val/accuracy", "val/loss"):
        assert results[name] == table.rows[best][name]
    assert results["fit_seconds"] == 9
    assert results["train_reviews_per_second"] == 25
    assert results["train_tokens_per_second"] == 500


def test_without_an_epoch_there_is_no_best() -> None:
    results = fit_results(table_of(), None)
    assert results["best_epoch"] is None
    assert results["epochs"] == 0
