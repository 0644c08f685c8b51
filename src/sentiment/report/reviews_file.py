"""The file that the test reviews of a run are from: texts and columns beside them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment.data.cleaning import clean
from sentiment.data.csv_format import CsvFormat
from sentiment.data.reviews import column_names, read_table
from sentiment.runtime.errors import InputError, valid_names
from sentiment.runtime.yaml_files import below, read_yaml

if TYPE_CHECKING:
    from sentiment.report.predictions import Predictions

_SAMPLE = "sample_reviews.csv"


@dataclass(frozen=True)
class ReviewsFile:
    """Where the test reviews of a run are.

    Attributes:
        path: the file.
        csv_format: how it is read.
        strip_markup: whether markup is no part of its texts.
    """

    path: Path
    csv_format: CsvFormat
    strip_markup: bool = True

    @classmethod
    def of_run(cls, home: Path) -> "ReviewsFile | None":
        """The test file of a run, by the config in its folder; None if there is no config.

        Args:
            home: the folder in which ``.hydra`` lies.

        Raises:
            InputError: the config cannot be read.
        """
        try:
            data = below(read_yaml(home / ".hydra" / "config.yaml"), "data")
            hydra = below(read_yaml(home / ".hydra" / "hydra.yaml"), "hydra", "runtime")
        except TypeError:
            return None
        named = (data.get(key) for key in ("test_csv", "csv", "train_csv"))
        file = next((each for each in named if isinstance(each, str)), None)
        if file is None:
            return None
        if file.startswith("${sample_path"):
            path = Path(str(resources.files("sentiment.data") / _SAMPLE))
        else:
            path = Path(str(hydra.get("cwd") or ""), file)
        csv_format = CsvFormat.of_settings(data, weight_column=None)
        return cls(path, csv_format, data.get("strip_markup") is not False)

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raise InputError if the file lacks one of the columns that ``report.slices`` names."""
        names = column_names(self.path, self.csv_format)
        for column in columns:
            if column not in names:
                raise InputError(
                    f"report.slices: {self.path} has no column {column!r};"
                    f" {valid_names(column, names)}"
                )

    def read(
        self, predictions: "Predictions", columns: Sequence[str], rows: Collection[int]
    ) -> "Content":
        """Read what the report shows of the file.

        Args:
            predictions: for the test reviews.
            columns: names of columns.
            rows: those, from 1, whose texts are wanted.

        Raises:
            InputError: the file cannot be read, lacks a column, or has changed.
        """
        self.check_columns(columns)
        names = column_names(self.path, self.csv_format)
        text, label = (
            names.index(name) if name in names else None
            for name in (self.csv_format.text_column, self.csv_format.label_column)
        )
        changed = InputError(f"{self.path} has other reviews than when the run was tested")
        if text is None or label is None:
            raise changed
        at = [names.index(column) for column in columns]
        position = {row: index for index, row in enumerate(predictions.rows.tolist())}
        true, wanted = predictions.true.tolist(), set(rows)
        cells: list[list[str]] = [[""] * len(predictions) for _ in columns]
        texts: dict[int, str] = {}
        labels = defaultdict(set)  # of the classifier, by label in the file
        found = 0
        for chunk in read_table(self.path, self.csv_format, 10_000):
            for row, values in enumerate(chunk.cells, chunk.first + 1):
                if (index := position.get(row)) is None:
                    continue
                found += 1
                labels[values[label].strip()].add(true[index])
                for column, number in zip(cells, at, strict=True):
                    column[index] = values[number]
                if row in wanted:
                    texts[row] = values[text]
        if found < len(position) or any(len(meanings) > 1 for meanings in labels.values()):
            raise changed
        return Content(texts, dict(zip(columns, cells, strict=True)), self.strip_markup)


@dataclass(frozen=True)
class Content:
    """What the report shows of a file.

    Attributes:
        texts: by row, from 1, as written in the file.
        columns: the cells of each column, in the order of the predictions.
        strip_markup: whether markup is no part of the texts.
    """

    texts: Mapping[int, str]
    columns: Mapping[str, Sequence[str]]
    strip_markup: bool = True

    def shown(self, row: int) -> str | None:
        """The cleaned text of a row, for a reader; None if it was not read."""
        text = self.texts.get(row)
        return None if text is None else clean(text, strip_markup=self.strip_markup)
