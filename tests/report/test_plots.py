import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from sentiment.report import plots

BLUE, VERMILION = to_rgb("#0072B2"), to_rgb("#D55E00")


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "train/loss": 0.7 / (epoch + 1),
            "val/loss": 0.6 / (epoch + 1) + 0.02 * epoch,
            "train/accuracy": 1 - 0.4 / (epoch + 1),
            "val/accuracy": 0.9 - 0.3 / (epoch + 1),
        }
        for epoch in range(epochs)
    ]


def confusions(classes: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    matrix: np.ndarray = generator.integers(0, 99, (classes, classes))
    np.fill_diagonal(matrix, 12_000)
    return matrix


def curves(axes: Axes) -> dict[str, tuple[Any, Any]]:
    """Map the label of each line in the panel to its points."""
    return {
        str(line.get_label()): (
            np.asarray(line.get_xdata()).tolist(),
            np.asarray(line.get_ydata()).tolist(),
        )
        for line in axes.lines
    }


def shows_color(pixels: np.ndarray, color: Sequence[float]) -> bool:
    return bool((np.abs(pixels[..., :3] - np.array(color)).max(axis=-1) < 0.02).any())


def test_learning_curves_are_a_picture_with_two_filled_panels(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "curves.png"
    plots.learning_curves(history(20), path, best_epoch=8)

    pixels = imread(path)
    assert pixels.shape == (608, 1440, 4)
    for panel in (pixels[:, :720], pixels[:, 720:]):
        lower = panel[150:]  # below the legend
        assert shows_color(lower, BLUE)
        assert shows_color(lower, VERMILION)
    assert [file.name for file in path.parent.iterdir()] == ["curves.png"]


def test_curves_count_epochs_from_one_and_accuracy_in_percent(tmp_path: Path) -> None:
    figure = plots.learning_curves(history(3), tmp_path / "c.png", best_epoch=1)
    loss, accuracy = figure.axes

    assert curves(loss)["Training"] == ([1, 2, 3], pytest.approx([0.7, 0.35, 0.7 / 3]))
    assert curves(accuracy)["Validation"] == ([1, 2, 3], pytest.approx([60, 75, 80]))
    assert loss.get_title("right") == "validation 0.320 at epoch 2"
    assert accuracy.get_title("right") == "validation 75.00 % at epoch 2"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["Training", "Validation", "Best epoch"]


@pytest.mark.parametrize("epochs", [1, 2, 12, 60, 5000])
def test_epoch_ticks_are_whole_and_few(tmp_path: Path, epochs: int) -> None:
    figure = plots.learning_curves(history(epochs), tmp_path / "c.png")
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    ticks = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert 1 <= len(ticks) <= 13
    assert all(tick == int(tick) for tick in ticks)


def test_an_interrupted_training_keeps_what_it_has(tmp_path: Path) -> None:
    rows = history(4)
    rows[3] = {"epoch": 3, "train/loss": 0.1, "val/loss": float("nan")}
    loss, accuracy = plots.learning_curves(rows, tmp_path / "c.png", best_epoch=3).axes

    assert curves(loss)["Training"][0] == [1, 2, 3, 4]
    assert curves(loss)["Validation"][0] == [1, 2, 3]
    assert curves(accuracy)["Training"][0] == [1, 2, 3]
    assert loss.get_xlim() == accuracy.get_xlim() == (0.5, 4.5)
    assert loss.get_title("right") == ""  # the best epoch was not validated


def test_validation_every_other_epoch_is_one_line(tmp_path: Path) -> None:
    rows = history(6)
    for row in rows[::2]:
        del row["val/loss"]
    loss = plots.learning_curves(rows, tmp_path / "c.png").axes[0]
    assert curves(loss)["Validation"][0] == [2, 4, 6]


def test_of_a_repeated_epoch_the_later_row_counts(tmp_path: Path) -> None:
    rows = [*history(2), {"epoch": 1, "train/loss": 0.25}]
    loss = plots.learning_curves(rows, tmp_path / "c.png").axes[0]
    assert curves(loss)["Training"][1] == [0.7, 0.25]


@pytest.mark.parametrize("rows", [[], [{"epoch": 0.0}]])
def test_nothing_to_draw_is_said(rows: list[dict[str, float]], tmp_path: Path) -> None:
    figure = plots.learning_curves(rows, tmp_path / "c.png", best_epoch=0)
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["no values", "no values"]
    assert not figure.legends


def test_accuracy_never_exceeds_its_scale(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "val/accuracy": 1.0} for epoch in range(3)]
    assert plots.learning_curves(rows, tmp_path / "c.png").axes[1].get_ylim()[1] == 100


def test_confusion_matrix_has_fractions_and_counts_of_true_labels(tmp_path: Path) -> None:
    matrix = np.array([[11_413, 1_087], [953, 11_547]])
    figure = plots.confusion_matrix(matrix, ["negative", "positive"], tmp_path / "confusion.png")
    axes = figure.axes[0]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {
        (0, 0): "91.3 %\n11,413", (1, 0): "8.7 %\n1,087",
        (0, 1): "7.6 %\n953", (1, 1): "92.4 %\n11,547",
    }  # fmt: skip
    assert axes.get_title() == "Accuracy 91.84 % on 25,000 reviews"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted label", "True label")
    assert max(imread(tmp_path / "confusion.png").shape) < 800


@pytest.mark.parametrize("classes", [2, 5, 12])
def test_numbers_fit_their_cells(tmp_path: Path, classes: int) -> None:
    names = [f"class {i}" for i in range(classes)]
    figure = plots.confusion_matrix(confusions(classes), names, tmp_path / "confusion.png")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / classes
    assert len(axes.texts) == classes**2
    assert all(text.get_window_extent().width < 0.97 * cell for text in axes.texts)


def test_forty_classes_have_colours_alone_and_every_second_label(tmp_path: Path) -> None:
    names = [f"category {i:02d}" for i in range(40)]
    figure = plots.confusion_matrix(confusions(40), names, tmp_path / "confusion.png")
    axes, bar = figure.axes
    assert not axes.texts
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names[::2]
    assert bar.get_ylabel()
    assert max(imread(tmp_path / "confusion.png").shape) < 2000


def test_long_labels_are_cut_in_the_middle_and_dollars_are_no_formula(tmp_path: Path) -> None:
    names = ["the service was slow, and then slower still", "from $5 to $6"]
    figure = plots.confusion_matrix(confusions(2), names, tmp_path / "confusion.png")
    first, second = figure.axes[0].get_xticklabels()
    assert first.get_text() == "the service was…er still"
    assert second.get_text() == "from $5 to $6"
    assert not second.get_parse_math()


def test_labels_that_the_font_lacks_are_numbered(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    figure = plots.confusion_matrix(confusions(3), ["好", "übel", "坏"], tmp_path / "c.png")
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["label 1", "übel", "label 3"]
    assert not recwarn.list


def test_without_reviews_there_is_no_accuracy(tmp_path: Path) -> None:
    empty = plots.confusion_matrix(
        np.zeros((2, 2), dtype=int), ["a", "b"], tmp_path / "confusion.png"
    )
    assert empty.axes[0].get_title() == "No reviews"


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (4,)])
def test_a_matrix_that_does_not_match_its_labels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2 x 2"):
        plots.confusion_matrix(np.ones(shape), ["a", "b"], Path("no.png"))


def test_a_failed_save_keeps_the_old_picture(tmp_path: Path) -> None:
    class BrokenFigure(Figure):
        def savefig(self, fname: object, **_: object) -> None:
            Path(str(fname)).write_bytes(b"half a pic")
            raise OSError("disk full")

    path = tmp_path / "curves.png"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        plots.save_figure(BrokenFigure(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), ("", b"\x89PNG")]
)
def test_the_suffix_chooses_the_format(suffix: str, magic: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"curves{suffix}"
    plots.learning_curves(history(2), path)
    assert path.read_bytes().startswith(magic)


def test_drawing_works_in_threads(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda path: plots.learning_curves(history(5), path), paths))
    assert len({path.read_bytes() for path in paths}) == 1


def test_report_loads_neither_pyplot_nor_a_framework() -> None:
    code = (
        "import sys, sentiment.report.plots, sentiment.report.ranking; "
        "print({'matplotlib.pyplot', 'torch', 'lightning', 'hydra', 'omegaconf'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
