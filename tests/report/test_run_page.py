import csv
import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from programs import error_line
from sentiment.model.metrics import Outcome, summarise_predictions
from sentiment.predict.explanation import Explanation
from sentiment.predict.predictor import Predictor
from sentiment.report.command import main
from sentiment.report.comparison_page import write_comparison
from sentiment.report.predictions import read_predictions, write_predictions
from sentiment.report.results import outcome_results
from sentiment.report.run_page import report_training, write_report
from sentiment.report.runs import find_runs
from sentiment.report.tables import write_csv, write_json
from sentiment.runtime.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"


class Page(HTMLParser):
    """What a page holds: its tags, its text, and its numbers by key."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.cells: list[str] = []  # of tables
        self.numbers: dict[str, tuple[str, str]] = {}  # value and text
        self._key, self._in_cell = "", False
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        given = dict(attributes)
        if tag in ("th", "td"):
            self.cells.append("")
            self._in_cell = True
        if tag == "data":
            key, _, value = str(given["title"]).partition(" = ")
            assert value == given["value"]
            self._key = key
            self.numbers[key] = (value, "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "data":
            self._key = ""
        if tag in ("th", "td"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.cells[-1] += data
        if self._key:
            value, text = self.numbers[self._key]
            self.numbers[self._key] = (value, text + data)


def numbers_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """Every metric of ``results.json``, by the key that the page has for it."""
    found = {
        key: value
        for key, value in results.items()
        if key.startswith(("train/", "val/", "test/")) and isinstance(value, int | float | list)
    }
    for name in ("test/by_class", "test/confusion", "test/by_length"):
        found.pop(name, None)
    for number, row in enumerate(results.get("test/by_class", [])):
        found |= {f"test/by_class[{number}].{key}": row[key] for key in row if key != "label"}
    for row, counts in enumerate(results.get("test/confusion", [])):
        found |= {f"test/confusion[{row}][{at}]": count for at, count in enumerate(counts)}
    baseline = results.get("baseline", {})
    found |= {f"baseline {key}": baseline[key] for key in baseline if key.endswith("accuracy")}
    return found


@pytest.mark.parametrize("name", ["network", "tfidf"])
def test_every_number_is_that_of_the_results(name: str, trained: Path, baselines: Path) -> None:
    folder = trained if name == "network" else baselines / name
    page = Page(folder / "report.html")  # as the training has written it
    results = json.loads((folder / "results.json").read_text())
    expected = numbers_of(results)
    assert len(expected) > 15
    for key, value in expected.items():
        if value is None:
            continue
        exact, shown = page.numbers[key]
        assert exact == str(value), key
        if isinstance(value, list):
            assert shown == "{:.1f} to {:.1f} %".format(*(100 * each for each in value))
        elif shown.endswith("%"):
            assert float(shown[:-2]) == pytest.approx(100 * value, abs=0.00501), key
        else:
            assert float(shown.replace(",", "")) == pytest.approx(value, abs=0.0000501), key
    for row in results["test/by_length"]:
        assert f"{100 * row['accuracy']:.2f} %" in page.text
    assert json.loads(re.findall(r'\{\s+"test/.*\n\}', page.text, re.DOTALL)[0]) == results


def test_the_page_loads_nothing(trained: Path) -> None:
    page = Page(trained / "report.html")
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    ids = [each["id"] for _, each in page.tags if "id" in each]
    assert len(ids) == len(set(ids))
    targets = {str(each["href"])[1:] for tag, each in page.tags if tag == "a"}
    assert targets <= set(ids)
    assert len(targets) >= 5


@pytest.mark.plots
def test_the_same_run_gives_the_same_page(trained: Path, tmp_path: Path) -> None:
    one, other = (write_report(trained, tmp_path / name) for name in ("a.html", "b.html"))
    assert one.read_bytes() == other.read_bytes()


@pytest.fixture(autouse=True)
def _drawings_are_empty(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, but for tests of drawings: it takes longer than all else."""

    def save(figure: Figure, file: IO[str], **_: Any) -> None:
        file.write('<svg viewBox="0 0 1 1"></svg>')

    if not request.node.get_closest_marker("plots"):
        monkeypatch.setattr(Figure, "savefig", save)


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
LABELS = ["awful", "lovely"]


def make_run(
    folder: Path, labels: Sequence[str] = LABELS, text: str = "film", seed: int = 0
) -> Path:
    """The folder of a run that was tested on 60 reviews of a file beside it."""
    torch.manual_seed(0)
    true, lengths = torch.randint(0, len(labels), (60,)), torch.arange(60) + 2
    torch.manual_seed(seed)
    outcome = Outcome.of(torch.randn(60, len(labels)), true, lengths)
    folder.parent.mkdir(exist_ok=True)
    reviews = folder.parent / "reviews.csv"
    with reviews.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "sentiment", "source", "<b>year"])
        for number, label in enumerate(true.tolist()):
            source = ["web", "shop", ""][number % 3]
            writer.writerow([f"{text} {number} awful lovely", labels[label], source, 1900 + number])
    hydra = folder / ".hydra"
    hydra.mkdir(parents=True)
    report = "report: {slices: [source], mistakes: 7}"
    (hydra / "config.yaml").write_text(f"data: {{csv: null, test_csv: reviews.csv}}\n{report}\n")
    (hydra / "hydra.yaml").write_text(
        f"hydra: {{runtime: {{cwd: '{folder.parent}'}}, overrides: {{task: [seed={seed}]}}}}\n"
    )
    (hydra / "overrides.yaml").write_text(f"- seed={seed}\n")
    results = {
        **summarise_predictions(outcome.logits, true, "test/"),
        **outcome_results(outcome, labels),
        "labels": list(labels),
        "train_reviews": 100,
        "test_reviews": 60,
        "seed": seed,
        "fingerprints": {"test": "t" * 24},
    }
    write_json(folder / "results.json", results)
    rows = np.arange(60)
    write_predictions(folder, outcome, labels, rows + 1, lengths.numpy(), lengths.numpy() - 1)
    epochs = [{"epoch": n, "train/loss": 1 / (n + seed + 1), "val/loss": 1.0} for n in range(3)]
    write_csv(folder / "metrics.csv", epochs)
    return folder


def test_accuracy_by_columns_of_the_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert {"web", "shop", "(empty)"} <= set(Page(write_report(run)).cells)
    page = Page(write_report(run, slices=["<b>year"]))
    assert {"<b>year", "1,900 to 1,911", "1,948 to 1,959"} <= set(page.cells)
    assert "web" not in page.cells
    with pytest.raises(InputError, match="did you mean 'source'"):
        write_report(run, slices=["sourc"])


def test_the_surest_mistakes_are_shown_with_their_texts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    page = Page(write_report(run))
    shown = re.findall(r"film (\d+) awful lovely", page.text)
    found = read_predictions(run, LABELS)
    assert found is not None
    wrong = sorted(zip(found.score[~found.right], found.rows[~found.right], strict=True))
    assert [int(each) + 1 for each in shown] == [row for _, row in wrong[::-1][:7]]
    assert f"7 of {(~found.right).sum()} misclassified" in page.text
    assert "film" not in Page(write_report(run, mistakes=0)).text


def test_long_texts_can_be_opened(tmp_path: Path) -> None:
    for text, boxes in (("film", 0), ("no " * 250, 7)):
        page = Page(write_report(make_run(tmp_path / text[:2], text=text)))
        ids = [each["id"] for tag, each in page.tags if tag == "input"]
        assert ids == [each["for"] for tag, each in page.tags if tag == "label"]
        assert len(ids) == boxes


def test_cells_are_named_where_a_narrow_page_has_no_head(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"run {seed}", [*"abcdef"], seed=seed) for seed in range(2)]
    pages = [write_report(runs[0]), write_comparison(find_runs(runs), tmp_path / "both.html")]
    tables = [
        table
        for page in pages
        for table in re.findall(r'<table class="[^"]*stacked.*?</table>', page.read_text(), re.S)
    ]
    assert len(tables) >= 4
    for table in tables:
        cells = re.findall(r"<td[^>]*>", table.partition("<tbody>")[2])
        assert cells
        assert all(re.search(r'data-name="[^"]', cell) for cell in cells)


def test_mistakes_are_explained(trained: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shutil.copytree(trained / "checkpoints", run / "checkpoints")
    page = Page(write_report(run))
    coloured = [
        each for tag, each in page.tags if tag == "span" and "rgba(" in str(each.get("style"))
    ]
    assert len(coloured) >= 7
    assert re.search(r"(awful|lovely) [+-]\d\.\d\d", page.text)
    assert "library_name: sentiment" in page.text  # the model card
    assert f"sentiment.predict {run}/checkpoints/best.ckpt" in page.text
    assert "sentiment.train seed=0\n" in page.text
    quick = Page(write_report(run, seconds=0))
    assert "film" in quick.text
    assert not re.search(r"(awful|lovely) [+-]\d\.\d\d", quick.text)


def test_the_model_card_names_the_checkpoint_from_the_working_folder(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "my runs" / "a")
    shutil.copytree(trained / "checkpoints", run / "checkpoints")
    monkeypatch.chdir(tmp_path)
    text = Page(write_report(run, mistakes=0)).text
    (path,) = re.findall(r"sentiment\.predict '(.*)'", text)
    assert Path(path) == Path("my runs/a/checkpoints/best.ckpt")
    assert f'Predictor.load("{path}")' in text
    monkeypatch.chdir(trained)  # from where it can be opened only by its whole path
    (path,) = re.findall(r"sentiment\.predict '(.*)'", Page(write_report(run, mistakes=0)).text)
    assert Path(path) == run / "checkpoints" / "best.ckpt"


def test_an_explanation_that_fails_is_left_out_and_noted(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    shutil.copytree(trained / "checkpoints", run / "checkpoints")
    explain = Predictor.explain
    failed: list[str] = []

    def sometimes(self: Predictor, text: str, label: str) -> Explanation:
        if len(failed) < 2:
            failed.append(text)
            raise [InputError, RuntimeError][len(failed) - 1]("not this one")
        return explain(self, text, label)

    monkeypatch.setattr(Predictor, "explain", sometimes)
    text = Page(write_report(run)).text
    rows = [int(each.split()[1]) + 1 for each in failed]
    assert f"rows {rows[0]}, {rows[1]}: not this one" in text
    assert all(each in text for each in failed)
    assert len(re.findall(r"(?:awful|lovely) [+-]\d\.\d\d", text)) >= 5
    assert "no time" not in text


@pytest.mark.parametrize(
    "labels", [[EVIL, "b"], [f"label {number} {EVIL}" for number in range(30)]]
)
@pytest.mark.plots
def test_a_script_is_only_a_text(labels: list[str], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", labels, text=f"a < b {EVIL}")
    with (run / ".hydra" / "config.yaml").open("a") as file:
        file.write(f"# {EVIL}\n")
    config = (run / ".hydra" / "config.yaml").read_text()
    kept = config.replace("csv: null", "csv: null, strip_markup: false")
    (run / ".hydra" / "config.yaml").write_text(kept)
    page = Page(write_report(run))
    other = make_run(tmp_path / EVIL.replace("/", ""), labels, text=f"a < b {EVIL}", seed=1)
    both = Page(write_comparison(find_runs([run, other]), tmp_path / "both.html"))
    for each in (page, both):
        assert not {"script", "img"} & {tag for tag, _ in each.tags}
        assert each.text.count("<script>alert(1)</script>") > 7


def test_a_file_that_is_gone_or_changed_is_noted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    reviews = tmp_path / "reviews.csv"
    lines = reviews.read_text().splitlines()
    reviews.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n")
    changed = Page(write_report(run)).text
    assert "reviews.csv has other reviews" in changed
    reviews.unlink()
    gone = Page(write_report(run)).text
    assert "reviews.csv: no such file" in gone
    for text in (changed, gone):
        assert "film" not in text
        assert "7 of" in text  # rows and scores remain


@pytest.mark.parametrize(
    "labels", [["a", "b", "c"], ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]]
)
def test_curves_of_several_labels_are_one_against_the_others(
    labels: list[str], tmp_path: Path
) -> None:
    page = Page(write_report(make_run(tmp_path / "run", labels)))
    shown = set(re.findall(r"\n(\w+) \(AUC [\d.]+\)", page.text))
    assert len(shown) == min(8, len(labels))
    assert shown <= set(labels)
    assert ("Without the 2 rarest" in page.text) == (len(labels) == 10)


def test_a_run_without_predictions_or_config(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shutil.rmtree(run / ".hydra")
    assert "no config" in Page(write_report(run)).text
    (run / "predictions.csv").unlink()
    page = Page(write_report(run))
    assert "no predictions.csv" in page.text
    assert page.numbers["test/accuracy"][1].endswith("%")


@pytest.mark.parametrize("name", ["runs/classifier", "runs/baseline/tfidf", "sweep/0"])
def test_runs_of_version_0_1_0_have_a_page(name: str, tmp_path: Path) -> None:
    page = Page(write_report(GOLDEN / name, tmp_path / "page.html"))
    results = json.loads((GOLDEN / name / "results.json").read_text())
    shown = {key for key, value in numbers_of(results).items() if value is not None}
    assert shown <= page.numbers.keys()
    assert "no predictions.csv" in page.text


def test_what_cannot_be_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error_of(*arguments: str) -> str:
        return error_line(main, arguments, capsys)

    assert "nowhere: no run in it" in error_of(str(tmp_path / "nowhere"))
    (tmp_path / "reviews.csv").touch()
    assert "reviews.csv: no run in it" in error_of(str(tmp_path / "reviews.csv"))
    run = make_run(tmp_path / "run")
    assert "cannot be written" in error_of(str(run), "--out", str(run / "results.json" / "x.html"))
    assert "ends in .html" in error_of(str(run), "--out", str(run / "results.json"))
    assert "--mistakes" in error_of(str(run), "--mistakes", "-1")
    (run / "predictions.csv").write_text("row,label\n")
    assert "predictions.csv: is damaged" in error_of(str(run))
    (run / "results.json").unlink()
    (run / ".stopped").touch()
    assert "the run was stopped" in error_of(str(run / "metrics.csv"))
    (run / ".stopped").unlink()
    assert "no report without results: the run has failed" in error_of(str(run))


def test_a_report_that_fails_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path / "run")
    (run / "predictions.csv").write_text("row,label\n")
    with caplog.at_level(logging.INFO):
        report_training(run)
    (record,) = caplog.records
    assert (record.levelname, "predictions.csv" in record.message) == ("WARNING", True)
    assert not (run / "report.html").exists()


def test_several_runs_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [make_run(tmp_path / f"run {seed}", seed=seed) for seed in range(3)]
    main([*map(str, runs)])
    assert capsys.readouterr().out == "wrote comparison.html\n"
    page = Page(tmp_path / "comparison.html")
    every = [read_predictions(run, LABELS) for run in runs]
    right = np.array([each.right for each in every if each is not None])
    assert f"{right.all(0).sum()} are classified correctly by all 3 runs" in page.text
    assert f"{(~right.any(0)).sum()} by none" in page.text
    results = [json.loads((run / "results.json").read_text()) for run in runs]
    rows = sorted((each["test/accuracy"] for each in results), reverse=True)
    first = page.cells.index("run")
    columns = page.cells.index("time", first) - first + 1
    accuracies = page.cells[first + columns + 1 :: columns][:3]
    assert accuracies == [f"{100 * each:.2f} %" for each in rows]
    assert len(re.findall(r"film \d+ awful lovely", page.text)) == 20


def test_runs_of_one_model_are_told_apart_by_folder(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name / "one", seed=seed) for seed, name in enumerate("ab")]
    for run in runs:
        results = json.loads((run / "results.json").read_text())
        write_json(run / "results.json", {**results, "model": "bigru"})
    page = Page(write_comparison(find_runs(runs), tmp_path / "both.html"))
    for name in ("a/one", "b/one"):
        assert f"{name} (bigru)" in page.cells  # of metrics
        assert name in page.cells  # of settings
        assert re.search(rf"\n{name} \(bigru\) 0\.\d{{4}}\n", page.text)  # the legend of ROC
        assert f"{name}: " in page.text  # where they disagree


def test_the_threshold_of_a_run_that_abstains_is_marked(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    without = Page(write_report(run)).text
    results = json.loads((run / "results.json").read_text())
    answered = {"abstain/test_coverage": 0.4567, "abstain/test_accuracy": 0.7891}
    for thresholds, words in (
        ([0.625, 0.625], ["Scores below 62.50 % get no label"]),
        ([0.625, 0.75], ["below 62.50 % for awful, 75.00 % for lovely"]),
        ([0.625, None], ["below 62.50 % for awful get", "never answers lovely"]),
        ([0, 0], ["Every score gets a label"]),
    ):
        named = {"abstain/thresholds": dict(zip(LABELS, thresholds, strict=True))}
        write_json(run / "results.json", {**results, **answered, **named})
        text = Page(write_report(run)).text
        for fact in ["coverage is 45.67 %", "answered reviews 78.91 %", *words]:
            assert fact in text
            assert fact not in without


def test_runs_on_other_reviews_are_not_compared_by_review(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"run {seed}", seed=seed) for seed in range(2)]
    results = json.loads((runs[1] / "results.json").read_text())
    write_json(runs[1] / "results.json", {**results, "fingerprints": {"test": "u" * 24}})
    page = Page(write_comparison(find_runs(runs), tmp_path / "both.html"))
    assert "2 different sets of reviews" in page.text
    assert "McNemar" not in page.text


def test_one_run_with_results_is_no_comparison(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"run {seed}", seed=seed) for seed in range(2)]
    (runs[1] / "results.json").unlink()
    with pytest.raises(InputError, match=r"run 1 \(failed\)"):
        write_comparison(find_runs(runs), tmp_path / "both.html")
