"""What to do with few labels and many texts without: which step pays when?

    OMP_NUM_THREADS=1 python scripts/benchmarks/few_labels.py train.csv test.csv unlabeled.csv \
        --vectors V.txt --out FOLDER --labels 100 1000 --seeds 1 2

hides all but some labels of the training file, and trains with these what a user would: the
baselines; a network; one from word vectors; one that learns from what naive Bayes says of the texts
without labels, and another that learns from what that one says. A tenth of the labels validates.
Prints the accuracy on the test file. A folder that holds results is not trained again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = {
    "naive_bayes": "naive Bayes",
    "tfidf": "TF-IDF",
    "network": "network from vectors",
    "round_1": "network taught by naive Bayes",
    "round_2": "network taught by that network",
}


def run(name: str, folder: Path, *overrides: str) -> None:
    """Run a program of the package, unless its folder holds results."""
    last = {"baseline": "tfidf/", "distill": "round_2/"}.get(name, "")
    if not (folder / f"{last}results.json").exists():
        command = [sys.executable, "-m", f"sentiment.{name}", f"hydra.run.dir={folder}", *overrides]
        command += ["ckpt_path=auto"] * (name != "baseline")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(parsed: argparse.Namespace, labels: int, seed: int) -> Iterator[tuple[str, float]]:
    """Train everything with some labels, and yield the test accuracy of each row."""
    out = parsed.out / f"{labels}_{seed}"
    out.mkdir(parents=True, exist_ok=True)
    file = out / "labels.csv"
    if not file.exists():
        reviews = pd.read_csv(parsed.train).drop_duplicates(parsed.text_column)
        reviews.sample(labels, random_state=seed).to_csv(file, index=False)
    columns = f"data.text_column={parsed.text_column}", f"data.label_column={parsed.label_column}"
    data = ["data=csv", f"data.train_csv={file}", f"data.test_csv={parsed.test}", *columns]
    vectors = ["embeddings=file", f"embeddings.path={parsed.vectors}", "logger=none"]
    own = [f"seed={seed}", *vectors]
    unlabeled = f"data.unlabeled_csv={parsed.unlabeled}"
    run("baseline", out / "baseline", *data)
    run("train", out / "network", "experiment=imdb", *data, *own)
    student = ["experiment=imdb_fast", *data, *own, unlabeled]
    run("distill", out / "taught", "rounds=2", *student)
    found = {
        "naive_bayes": "baseline/naive_bayes", "tfidf": "baseline/tfidf", "network": "network",
        "round_1": "taught/round_1", "round_2": "taught/round_2",
    }  # fmt: skip
    for name, place in found.items():
        yield name, json.loads((out / place / "results.json").read_text())["test/accuracy"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("train", "test", "unlabeled"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 250, 500, 1000, 5000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--text-column", default="review")
    parser.add_argument("--label-column", default="sentiment")
    parsed = parser.parse_args(arguments)
    table: dict[str, dict[int, list[float]]] = {name: {} for name in ROWS}
    for seed in parsed.seeds:
        for labels in parsed.labels:
            for name, accuracy in measure(parsed, labels, seed):
                table[name].setdefault(labels, []).append(accuracy)
        sys.stdout.write(f"\nafter seed {seed}:\n{markdown(table, parsed.labels)}\n")
        sys.stdout.flush()


def markdown(table: dict[str, dict[int, list[float]]], columns: Sequence[int]) -> str:
    """The means and, of several, sample standard deviations as a table."""

    def cell(values: Sequence[float]) -> str:
        spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        return f"{100 * np.mean(values):.1f}{spread} %"

    heads = ["", *(f"{count:,}" for count in columns)]
    rows = [[ROWS[name], *(cell(found[n]) for n in columns)] for name, found in table.items()]
    lines = [heads, ["---", *["---:"] * len(columns)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
