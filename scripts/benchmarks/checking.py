"""Checks of data: is what was planted found, and what does a check take?

    OMP_NUM_THREADS=1 python scripts/benchmarks/checking.py imdb_train.csv imdb_test.csv

flips 5 % of the labels of the first file, and plants repeats, leaks from the second file, a column
and a tag that give the label away, texts in a wrong encoding and in other languages; then checks
both files, and counts how much of each was found.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

FLIPPED, PLANTED, TEST_ROWS = 0.05, 100, 3_000
_FOREIGN = (
    "Der Film beginnt langsam, aber die Schauspieler sind wunderbar, und am Ende hat mich die"
    " Geschichte wirklich berührt.",
    "La película empieza bien, pero el guion es demasiado largo y los actores no saben qué hacer"
    " con sus personajes.",
    "Un film magnifique, des acteurs justes et une musique qui reste longtemps dans la tête après"
    " la dernière image.",
)
_ENGLISH = (
    "The delivery was late again, and nobody at the shop answered when I called about it.",
    "Support solved it within a day, and I am very happy with the quick and friendly answer.",
)


def altered(text: str, draw: np.random.Generator) -> str:
    """The text with three words replaced."""
    words = text.split()
    for at in draw.choice(len(words), 3, replace=False):
        words[at] = "something"
    return " ".join(words)


def plant(train: pd.DataFrame, test: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, set[int]]]:
    """The training rows with faults, and the 1-based rows of each kind of fault."""
    draw = np.random.default_rng(0)
    train = train[["review", "sentiment"]].copy()
    labels = sorted(train.sentiment.unique())
    size = len(train)
    rows: dict[str, set[int]] = {}

    def change(kind: str, count: int, how: Callable[[str], str]) -> None:
        chosen = draw.choice(size, count, replace=False)
        train.loc[chosen, "review"] = train.review[chosen].map(how)
        rows[kind] = set((chosen + 1).tolist())

    flipped = draw.choice(size, int(FLIPPED * size), replace=False)
    train["tag"] = [f"{label[0]}-{number}" for number, label in enumerate(train.sentiment)]
    tagged = np.flatnonzero(train.sentiment == labels[1])[: size // 50]
    train.loc[tagged, "review"] += " #sponsored"
    train.loc[flipped, "sentiment"] = [
        labels[label == labels[0]] for label in train.sentiment[flipped]
    ]
    rows["label"] = set((flipped + 1).tolist())
    change(
        "mojibake",
        PLANTED,
        lambda text: (
            text.replace("'", "\u2019")
            .replace(" the ", " thé ")
            .encode()
            .decode("cp1252", "replace")
        ),
    )
    change("language", 30, lambda text: " ".join(draw.permutation(_FOREIGN)[:1]) + f" {len(text)}")
    long = np.flatnonzero(train.review.str.count(" ") > 120)
    same, near = draw.choice(long, (2, PLANTED), replace=False)
    added = [
        train.iloc[same],
        train.iloc[near].assign(review=train.review[near].map(lambda text: altered(text, draw))),
    ]
    leaked = draw.choice(
        np.flatnonzero(test.review.str.count(" ") > 120), 2 * PLANTED, replace=False
    )
    leaks = test.iloc[leaked][["review", "sentiment"]].copy()
    leaks.iloc[PLANTED:, 0] = leaks.review[PLANTED:].map(lambda text: altered(text, draw))
    planted = pd.concat([train, *added, leaks.assign(tag="x-0")], ignore_index=True)
    for number, kind in enumerate(("repeat", "near")):
        first = size + number * PLANTED + 1
        rows[kind] = set(range(first, first + PLANTED))
    first = size + 2 * PLANTED + 1
    rows["leak"] = set(range(first, first + 2 * PLANTED))
    return planted, rows


def check(folder: Path, *files: str, options: Sequence[str] = ()) -> str:
    """Check files in a process of its own; returns how long it took, and its memory."""
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "sentiment.check", "data=csv", "data.text_column=review"]
    command += ["data.label_column=sentiment", f"hydra.run.dir={folder}", *files, *options]
    child = subprocess.Popen(command, env={**os.environ, "TQDM_DISABLE": "1"})
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (
        f"{time.perf_counter() - start:.0f} seconds, {seconds:.0f} of the processor,"
        f" {used.ru_maxrss / 1024:.0f} MB"
    )


def check_templates(folder: Path, size: int = 20_000) -> str:
    """Check rows that were made from five templates; returns what ``check`` does."""
    draw = np.random.default_rng(0)
    templates = [f"{text} Ticket {{}}, as I have said before." for text in _FOREIGN + _ENGLISH]
    texts = [templates[draw.integers(5)].format(number) for number in range(size)]
    labels = draw.choice(["negative", "positive"], size)
    pd.DataFrame({"review": texts, "sentiment": labels}).to_csv(folder / "rows.csv", index=False)
    return check(folder / "templates", f"data.csv={folder / 'rows.csv'}")


def main() -> None:
    """Print how much of what was planted is found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--folder", type=Path, help="keep the files there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        test = pd.read_csv(given.test, nrows=TEST_ROWS)
        planted, rows = plant(pd.read_csv(given.train), test)
        planted.to_csv(folder / "train.csv", index=False)
        test.to_csv(folder / "test.csv", index=False)
        files = [f"data.train_csv={folder / 'train.csv'}", f"data.test_csv={folder / 'test.csv'}"]
        took = check(folder / "check", *files, options=["check.rows=20000"])
        found = pd.read_csv(folder / "check" / "rows.csv", keep_default_na=False)
        found = found[found.file == "train.csv"]
        findings = json.loads((folder / "check" / "check.json").read_text())["findings"]
        for kind, own in rows.items():
            listed = found[found.kind == kind].row
            hits = listed.isin(own)
            sys.stdout.write(
                f"{kind}: {len(own):,} planted, {len(own & set(listed)):,} found, {len(listed):,}"
                f" rows listed; right among the first 500: {hits[:500].mean():.1%}\n"
            )
        for kind in ("column", "word"):
            lines = [each["line"] for each in findings if each["kind"] == kind]
            sys.stdout.write(f"{kind}: {'; '.join(lines)}\n")
        sys.stdout.write(f"{took}\n")
        sys.stdout.write(f"templates: {check_templates(folder)}\n")


if __name__ == "__main__":
    main()
