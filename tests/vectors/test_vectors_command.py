import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from conftest import TINY, compose_config, write_reviews
from programs import run_program
from sentiment.config.resolvers import register, sample_path
from sentiment.data.vector_file import WordVectors
from sentiment.pretrain.run import pretrain
from sentiment.runtime.errors import InputError
from sentiment.runtime.overrides import config_directory
from sentiment.train.run import train
from sentiment.vectors import command as vectors
from sentiment.vectors.run import content_words, run_vectors
from sentiment.vectors.skipgram import WordList

SMALL = ("size=8", "epochs=2", "workers=1", "min_count=1")


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    GlobalHydra.instance().clear()


def composed(*overrides: str) -> DictConfig:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("vectors", list(overrides))


def words_in(path: Path) -> list[str]:
    return [line.split(" ")[0] for line in path.read_text().splitlines()]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Reviews with words of their own for each split, and unlabeled ones."""
    overrides = ["data.csv=null"]
    for name in ("train", "val", "test"):
        path = write_reviews(tmp_path / f"{name}.csv", 60)
        path.write_text(path.read_text().replace("film", f"{name}ing"))
        overrides.append(f"data.{name}_csv={path}")
    extra = tmp_path / "extra.csv"
    tested = (tmp_path / "test.csv").read_text().splitlines()[1].rpartition(",")[0]
    extra.write_text(f"review\nzounds what a film\nzounds again\n{tested}\n")
    return [*overrides, f"data.unlabeled_csv={extra}"]


def test_training_and_unlabeled_texts_alone_are_read(tmp_path: Path, files: list[str]) -> None:
    output = run_vectors(composed(*SMALL, *files), tmp_path)
    assert output == tmp_path / "vectors.txt"
    words = words_in(output)
    assert {"training", "lovely", "zounds"} <= set(words)
    assert not {"valing", "testing"} & set(words)
    assert words.index("training") < words.index("zounds")  # the more frequent
    note = json.loads((tmp_path / "vectors.json").read_text())
    assert note["words"] == len(words)
    assert (note["train_reviews"], note["unlabeled_reviews"]) == (60, 2)
    assert (note["size"], note["workers"], note["seed"]) == (8, 1, 42)
    assert note["versions"]["gensim"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_rare_words_are_left_out(tmp_path: Path, files: list[str]) -> None:
    words = words_in(run_vectors(composed(*SMALL, *files, "min_count=3"), tmp_path))
    assert "training" in words
    assert "zounds" not in words


def test_one_worker_makes_the_same_file_again(tmp_path: Path, files: list[str]) -> None:
    contents = []
    for name, seed in (("a.txt", 1), ("b.txt", 1), ("c.txt", 2)):
        settings = [*SMALL, *files, f"seed={seed}", f"output={tmp_path / 'new' / name}"]
        contents.append(run_vectors(composed(*settings), tmp_path).read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_a_training_starts_from_the_vectors(
    tmp_path: Path, files: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = run_vectors(composed(*SMALL, *files), tmp_path)
    overrides = [item for item in TINY if not item.startswith("embeddings.")]
    overrides += [*files, "embeddings=file", f"embeddings.path={path}"]
    results = train(compose_config(overrides, tmp_path / "run"), tmp_path / "run")
    assert results["vector_coverage"] == 1.0
    assert results["unlabeled_reviews"] == 2
    assert WordVectors(path, ["lovely"]).dim == 8
    assert "The vectors of" not in caplog.text
    held_out = json.loads((tmp_path / "vectors.json").read_text())["held_out"]
    assert held_out == {name: results["fingerprints"][name] for name in ("val", "test")}


def test_a_training_or_pretraining_on_other_splits_warns_of_the_vectors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reviews = f"data.csv={write_reviews(tmp_path / 'r.csv', 120)}"
    path = run_vectors(composed(*SMALL, reviews), tmp_path)
    overrides = [item for item in TINY if not item.startswith("embeddings.")]
    overrides += [reviews, "embeddings=file", f"embeddings.path={path}", "data.split_seed=7"]
    for program, run in (("train", train), ("pretrain", pretrain)):
        caplog.clear()
        folder = tmp_path / program
        more = ["trainer.max_epochs=1", *(["softmax.negatives=8"] * (program == "pretrain"))]
        run(compose_config([*overrides, *more], folder, program), folder)
        assert "were trained with another validation and test split" in caplog.text


def test_frequent_words_without_much_meaning_are_passed_over() -> None:
    words = ["movie", "the", "n't", ".", "go", "Was", "plot", "1999", "Good", "story"]
    listed = WordList(words, np.array([999_000, *9 * [100]]))
    assert content_words(listed, {"the", "was"}, 2) == [6, 8]
    assert content_words(WordList(words[:6], listed.counts[:6]), {"the", "was"}, 2) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["size=0"], "size=0: must be at least 1"),
        (["window=0"], "window=0"),
        (["negatives=0"], "negatives=0"),
        (["epochs=0"], "epochs=0"),
        (["min_count=0"], "min_count=0"),
        (["sample=1"], "sample=1.0: must be at least 0 and below 1"),
        (["workers=0"], "workers=0"),
        (["seed=-1"], "seed=-1"),
        (["min_count=1000000"], "min_count=1000000: no word occurs so often"),
        (["output=."], "a folder"),
        (["output=v.json"], ".txt.gz"),
        (["output=-"], ".txt.gz"),
        (["output=v.zip"], ".txt.gz"),
        (["output=/proc/v.txt"], "output=/proc/v.txt: cannot be written there"),
        (["data.csv=r.csv", "output=./r.csv"], "is a file of reviews, which would be replaced"),
        (["data.unlabeled_csv=[a.csv]", "output=a.csv"], "would be replaced"),
        (["data.text_column=x", "output=new/v.txt"], "no column 'x'"),
        (["data=imdb"], "sentiment.download imdb"),
    ],
)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: Sequence[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        run_vectors(composed(*overrides), tmp_path)
    assert expected in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "sentiment.vectors", "hydra.run.dir=run", *overrides]


@pytest.mark.slow
def test_the_command_line_prints_how_to_train_with_them(tmp_path: Path) -> None:
    reviews = shutil.copy(sample_path(), tmp_path / "my reviews.csv")
    done = subprocess.run(
        command(f"data.csv='{reviews}'", *SMALL), cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "my reviews.csv" in lines[-1]
    assert lines[-1].endswith(f"embeddings=file embeddings.path={tmp_path}/run/vectors.txt")
    assert "size=8" not in lines[-1]
    heading = next(n for n, line in enumerate(lines) if line.endswith("nearest by cosine"))
    assert [line.count(", ") for line in lines[heading + 2 : heading + 5]] == [5, 5, 5]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "expected"),
    [("data.csv=nope.csv", "nope.csv"), ("model=gru", "model"), ("sise=3", "size")],
)
def test_the_command_line_refuses_in_one_line(tmp_path: Path, override: str, expected: str) -> None:
    done = run_program("vectors", "hydra.run.dir=run", override, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C is to what a script starts with ``&``."""
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in both]
    found: list[object] = []
    monkeypatch.setattr(vectors, "run_program", lambda name, task: task(None))
    monkeypatch.setattr(vectors, "HydraConfig", MagicMock())
    monkeypatch.setattr(
        "sentiment.vectors.run.run_vectors",
        lambda *_, **__: found.extend(map(signal.getsignal, both)),
    )
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        vectors.main()
    finally:
        for number, handler in zip(both, before, strict=True):
            signal.signal(number, handler)
    assert found == [signal.SIG_IGN, vectors._stop]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_leaves_nothing_half_written(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        command("epochs=100000", "output=out/v.txt", "workers=2"), cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not list(tmp_path.glob("out/.v.txt.*/lines.txt")) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.strip()) == (130, "Stopped.")
    assert list((tmp_path / "out").iterdir()) == []
