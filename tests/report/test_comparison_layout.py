import io
import re

from conftest import ended_run as run
from sentiment.report.comparison import Comparison, compare_runs
from sentiment.report.comparison_layout import comparison_markdown, flat_rows, print_comparison


def lines(comparison: Comparison) -> list[str]:
    file = io.StringIO()
    print_comparison(comparison, file)
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_a_row_tells_figures_folder_and_device() -> None:
    runs = [
        run("s/0", 0.95, seed=1), run("g/0", 0.93, seed=1, model="gru"),
        run("s/1", 0.85, seed=2), run("g/1", 0.92, seed=2, model="gru"),
    ]  # fmt: skip
    text = lines(compare_runs(runs))
    assert text[1] == "# run n seeds acc. % F1 % acc. % fit param."
    assert text[5:] == [
        "2 bilstm 2 1, 2 90.00 +/- 7.07 90.00 80.00 +/- 0.00 10.0s 1.50M",
        "s",
        "cpu: X, 1 thread: #1, #2",
    ]


def test_markdown_and_flat_rows() -> None:
    piped = run("b", 0.8, seed=None, model="x|y", results={"device": "cuda", "test/ece": 0.0123})
    comparison = compare_runs([run("a"), run("a2", 0.92, seed=2), piped])
    text = comparison_markdown(comparison).splitlines()
    assert text[0] == (
        "| # | run | n | seeds | test acc. % | test F1 % | test ECE % | val acc. % | fit |"
        " param. | device |"
    )
    assert text[2].startswith("| 1 | `bilstm` | 2 | 1, 2 | 91.00 ± 1.41 | 91.00 ± 1.41 | – | 80.")  # noqa: RUF001
    assert text[3].startswith(r"| 2 | `x\|y` | 1 | – | 80.00 | 80.00 | 1.23 |")  # noqa: RUF001
    # No cell has broken its row.
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text}) == 1
    flat = flat_rows(comparison)[0]
    assert (flat["seeds"], flat["labels"], flat["test/accuracy mean"]) == ("1 2", "a b", 0.91)
    assert "fingerprints" not in flat


def test_a_setting_stands_beside_the_name_in_short() -> None:
    runs = [run("a", overrides={"model.hidden_size": "64"}), run("b", 0.8)]
    assert lines(compare_runs(runs))[3].startswith("1 bilstm hidden_size=64 1 1 ")


def test_what_stands_beside_no_row_and_the_notes_stand_below() -> None:
    runs = [
        run("a", overrides={"data.csv": "r.csv", "model.hidden_size": "64"}),
        *(
            run(name, 0.8, model=name, overrides={"data.csv": "r.csv"},
                settings={"model.hidden_size": "128"})
            for name in ("gru", "rnn")
        ),
        run("b", None),
    ]  # fmt: skip
    comparison = compare_runs(runs)
    assert lines(comparison)[-4:] == [
        "shared: data.csv=r.csv",
        "where it applies and is not named: model.hidden_size=128",
        "cpu: X, 1 thread: #1, #2, #3",
        "Note: left out: 1 without a test figure (b)",
    ]
    assert comparison_markdown(comparison).splitlines()[-6:] == [
        "",
        "Shared: `data.csv=r.csv`",
        "",
        "Where it applies and is not named: `model.hidden_size=128`",
        "",
        "Note: left out: 1 without a test figure (b)",
    ]


def test_a_path_is_told_with_its_group() -> None:
    runs = [run(name, overrides={"pretrained.path": f"{name}.ckpt"}) for name in "ab"]
    assert "`bilstm pretrained.path=a.ckpt`" in comparison_markdown(compare_runs(runs))


def test_many_seeds_are_counted() -> None:
    runs = [run(str(seed), seed=seed) for seed in range(7)]
    assert "7 7 of 0 to 6 90.00 +/- 0.00" in lines(compare_runs(runs))[3]
