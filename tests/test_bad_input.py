"""Input that cannot be used: the error is one line, and nothing is left half-written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from conftest import TINY, write_reviews
from programs import run_program
from sentiment.config.explain import translate_config_errors
from sentiment.runtime.errors import InputError
from sentiment.train.run import train

Compose = Callable[..., DictConfig]


def refusal(composed: Compose, folder: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught, translate_config_errors():
        train(composed(*TINY, *overrides), folder)
    message = str(caught.value)
    assert "\n" not in message
    assert not (folder / "results.json").exists()
    return message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file"),
        ("", "empty"),
        (
            "review,verdict\na,1\n",
            "set data.text_column, data.label_column, data.header or data.separator",
        ),
        (
            "0,a good film\n1,what a bore\n",
            "data.header=false data.text_column=1 data.label_column=0",
        ),
        ("review,sentiment\na,1\nb,1\nc,1\n", "every row has the label '1'"),
        ("review,sentiment\na,1\nb,0\nc,1\n", "too few rows"),
        ("review,sentiment\na,1\n,0\nc,1\n", "more than a tenth"),
    ],
)
def test_a_csv_that_cannot_be_used(
    tmp_path: Path, composed: Compose, content: str | None, expected: str
) -> None:
    path = tmp_path / "r.csv"
    if content is not None:
        path.write_text(content)
    message = refusal(composed, tmp_path / "run", f"data.csv={path}")
    assert expected in message
    assert str(path) in message


def test_labels_that_one_split_lacks(tmp_path: Path, composed: Compose) -> None:
    train_csv = write_reviews(tmp_path / "train.csv", 60)
    test_csv = write_reviews(tmp_path / "test.csv", 60, classes=3)
    message = refusal(
        composed, tmp_path / "run",
        "data.csv=null", f"data.train_csv={train_csv}", f"data.test_csv={test_csv}",
    )  # fmt: skip
    assert "'plain'" in message
    assert str(train_csv) in message


def test_a_path_that_cannot_be_written(tmp_path: Path, composed: Compose) -> None:
    reviews = write_reviews(tmp_path / "r.csv", 60)
    for key in ("data.splits_dir", "data.cache_dir"):
        message = refusal(composed, tmp_path / "run", f"data.csv={reviews}", f"{key}={reviews}")
        assert str(reviews) in message


def test_settings_that_contradict_the_data(tmp_path: Path, composed: Compose) -> None:
    reviews = f"data.csv={write_reviews(tmp_path / 'r.csv', 60)}"
    run = tmp_path / "run"
    three = "loss.class_weights=[1,2,3]"
    assert "one weight for each" in refusal(composed, run, reviews, three)
    for csv in (reviews, "data.csv=nope.csv"):  # before anything is read, if that is possible
        message = refusal(composed, run, csv, three, "data.labels=[awful,lovely]")
        assert "one weight for each of awful, lovely" in message
    assert "model: head_dropout=2" in refusal(composed, run, reviews, "model.head_dropout=2")
    assert "trainer=cpu runs anywhere" in refusal(composed, run, reviews, "trainer=gpu")
    few = refusal(composed, run, reviews, "trainer.limit_val_batches=0.001")
    assert few.startswith("config: trainer: ")
    for csv in (reviews, "data.csv=nope.csv"):  # before anything is read
        message = refusal(composed, run, csv, "optimizer.lr=-1")
        assert "optimizer.lr=-1.0: must be at least 0" in message


def test_a_folder_with_a_training_is_not_overwritten(
    tmp_path: Path, composed: Compose, trained: Path
) -> None:
    with pytest.raises(InputError, match=r"holds a training already; add ckpt_path=auto"):
        train(composed(*TINY, f"data.csv={trained / 'reviews.csv'}"), trained)


def test_one_file_for_two_splits(tmp_path: Path, composed: Compose) -> None:
    path = write_reviews(tmp_path / "r.csv", 60)
    files = ["data.csv=null", f"data.train_csv={path}", f"data.test_csv={path}"]
    assert "given for two splits" in refusal(composed, tmp_path / "run", *files)


UNLABELED = "data/imdb_unlabeled.csv"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data=imdb", "data.train_csv=data/imdb_train.csv"),
        (f"data.unlabeled_csv={UNLABELED}", f"data.unlabeled_csv={UNLABELED}"),
        (f"data.unlabeled_csv=[mine.csv,{UNLABELED}]", f"data.unlabeled_csv={UNLABELED}"),
    ],
)
def test_imdb_that_was_not_fetched(
    tmp_path: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch, override: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(composed, tmp_path / "run", override)
    assert message.startswith(f"{expected}: no such file;")
    assert "sentiment.download imdb" in message


def test_vectors_that_cannot_be_used(tmp_path: Path, composed: Compose) -> None:
    reviews = write_reviews(tmp_path / "r.csv", 60)
    vectors = tmp_path / "v.txt"
    base = ["model.hidden_size=8", "trainer=cpu", "embeddings=file", f"embeddings.path={vectors}"]

    def message() -> str:
        with pytest.raises(InputError) as caught, translate_config_errors():
            train(composed(*base, f"data.csv={reviews}"), tmp_path / "run")
        return str(caught.value)

    assert str(vectors) in message()
    vectors.write_text("the 1 2 3\nfilm 1 2\n")
    assert "2" in message()
    vectors.write_text("qwert 1 2 3\n")
    assert "none of the" in message()


def test_a_checkpoint_that_cannot_be_resumed(tmp_path: Path, composed: Compose) -> None:
    reviews = f"data.csv={write_reviews(tmp_path / 'r.csv', 80)}"
    missing = f"ckpt_path={tmp_path / 'nope.ckpt'}"
    assert "no such checkpoint" in refusal(composed, tmp_path / "run", reviews, missing)


@pytest.mark.parametrize("override", ["data.csv=nope.csv", "model.hiden_size=3"])
def test_the_command_line_ends_with_code_2_and_one_line(tmp_path: Path, override: str) -> None:
    done = run_program("train", override, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["optimizer.lr=interval(0.1,1)"], "add sweep=optuna"),
        (["sweep=optuna", "model.hidden_size=0"], "hidden_size=0"),
    ],
)
def test_a_refused_sweep_leaves_no_folder(tmp_path: Path, given: list[str], expected: str) -> None:
    done = run_program("train", "-m", *given, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert not list(tmp_path.iterdir())
