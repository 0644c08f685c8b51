import csv
import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "make_sample_reviews.py"
SHIPPED = ROOT / "src" / "sentiment" / "data" / "sample_reviews.csv"

Row = tuple[str, str]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample_reviews", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with SHIPPED.open(encoding="utf-8", newline="") as file:
        return [(row["review"], row["sentiment"]) for row in csv.DictReader(file)]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower().replace("<br />", " "))


def test_the_script_reproduces_the_shipped_file(tmp_path: Path) -> None:
    out = tmp_path / "reviews.csv"
    subprocess.run([sys.executable, SCRIPT, "--out", out], check=True, capture_output=True)
    assert out.read_bytes() == SHIPPED.read_bytes()


def test_file_format(rows: list[Row]) -> None:
    raw = SHIPPED.read_bytes()
    assert raw.startswith(b"review,sentiment\n")
    assert raw.endswith(b"\n")
    assert b"\r" not in raw
    assert {label for _, label in rows} == {"positive", "negative"}


def test_size_and_balance(rows: list[Row]) -> None:
    counts = Counter(label for _, label in rows)
    assert len(rows) >= 1500
    assert abs(counts["positive"] - counts["negative"]) <= len(rows) / 100


def test_no_text_comes_twice(rows: list[Row]) -> None:
    assert len({text for text, _ in rows}) == len(rows)


def test_lengths(rows: list[Row]) -> None:
    lengths = [len(words(text)) for text, _ in rows]
    assert min(lengths) >= 1
    assert max(lengths) <= 60
    assert sum(length >= 3 for length in lengths) >= 0.9 * len(lengths)


def test_texts_are_finished(rows: list[Row]) -> None:
    for text, _ in rows:
        assert text == text.strip()
        assert not re.search(r"[{}\[\]|_]|  | [.,!?]|\ba [aei]", text), text


def test_classes_share_most_of_their_words(rows: list[Row]) -> None:
    counts = {
        label: Counter(word for text, own in rows if own == label for word in words(text))
        for label in ("positive", "negative")
    }
    for own, other in (("positive", "negative"), ("negative", "positive")):
        shared = sum(count for word, count in counts[own].items() if word in counts[other])
        assert shared / counts[own].total() >= 0.9
        frequent = {word for word, count in counts[own].items() if count >= 10}
        assert len(frequent & counts[other].keys()) / len(frequent) >= 0.8


def test_handwritten_reviews_are_taken_over_verbatim(script: ModuleType, rows: list[Row]) -> None:
    fragments = script.tomllib.loads(script.FRAGMENTS.read_text(encoding="utf-8"))
    for label, texts in fragments["standalone"].items():
        assert len(texts) >= 75
        assert {(text, label) for text in texts} <= set(rows)


def test_seed_decides_the_reviews(script: ModuleType) -> None:
    assert script.make_reviews(1, 300) == script.make_reviews(1, 300)
    assert script.make_reviews(1, 300) != script.make_reviews(2, 300)


@pytest.mark.parametrize("count", [200, 201])
def test_count_is_the_number_of_rows(script: ModuleType, count: int) -> None:
    made = script.make_reviews(0, count)
    assert len(made) == count
    assert sum(label == "positive" for _, label in made) == count - count // 2


def test_count_below_the_handwritten_reviews_is_refused(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="count is 10, but the hand-written reviews alone need"):
        script.make_reviews(0, 10)


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("a awful film. it was a one-off", "An awful film. It was a one-off"),
        ("a useful , odd  app", "A useful, odd app"),
        (
            "is it an uninspired plot? a uninspired one!",
            "Is it an uninspired plot? An uninspired one!",
        ),
    ],
)
def test_tidy(script: ModuleType, text: str, tidied: str) -> None:
    assert script.tidy(text) == tidied


@pytest.mark.parametrize(
    ("noun", "plural"), [("comedy", "comedies"), ("series", "series"), ("movie", "movies")]
)
def test_plural_of(script: ModuleType, noun: str, plural: str) -> None:
    assert script.plural_of(noun) == plural
