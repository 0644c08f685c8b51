"""The notebooks run from top to bottom, cell by cell."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sentiment.config import resolvers
from sentiment.config.resolvers import sample_path

NOTEBOOKS = sorted(Path(__file__).parents[2].joinpath("examples").glob("*.ipynb"))


def run_cells(path: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"display": repr}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")  # stored without, so that a change of them is no change
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    return names


@pytest.mark.slow
@pytest.mark.plots
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = pd.read_csv(sample_path()).iloc[::8]  # takes a tenth of the time
    few.to_csv(tmp_path / "sample.csv", index=False)
    monkeypatch.setattr(resolvers, "sample_path", lambda: str(tmp_path / "sample.csv"))
    monkeypatch.chdir(tmp_path)
    names = run_cells(path)
    if "run" in names:
        assert names["run"].results["test_reviews"] == pytest.approx(0.2 * len(few), abs=30)
    if "table" in names:
        assert names["table"]["rank"].tolist() == list(range(1, 1 + len(names["table"])))
