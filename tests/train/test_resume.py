import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hydra.types import RunMode
from lightning import Callback
from omegaconf import DictConfig, OmegaConf

from conftest import TINY, compose_config, write_reviews
from programs import Program, run_program
from sentiment.config.overrides import CommandLine
from sentiment.config.resolvers import choose_run_folder, config_folder
from sentiment.predict.checkpoint import CLASSIFIER, DATA_KEY, LANGUAGE_MODEL
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import check_unused, is_used, run_folder
from sentiment.train.fit import Stopped
from sentiment.train.resume import (
    check_resumable,
    checkpoint_to_resume,
    deciding_settings,
    newest_checkpoint,
    read_resumable,
)
from sentiment.train.run import train

Compose = Callable[..., DictConfig]


def run(folder: Path, *overrides: str, callbacks: Sequence[Callback] = ()) -> dict[str, Any]:
    base = (*TINY, "data.batch_size=8", "callbacks.early_stopping=null")
    return train(compose_config([*base, *overrides], folder), folder, callbacks=callbacks)


@pytest.fixture(scope="module")
def constant_rate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs at a constant rate."""
    folder = tmp_path_factory.mktemp("constant")
    reviews = write_reviews(folder / "reviews.csv", 64)
    run(folder / "run", f"data.csv={reviews}", "scheduler=none")
    return folder


@pytest.fixture
def stopped(constant_rate: Path, tmp_path: Path) -> Path:
    """A copy of that run in another folder."""
    shutil.copytree(constant_rate, tmp_path / "moved")
    return tmp_path / "moved"


def settings_of(*overrides: str) -> dict[str, Any]:
    cfg = compose_config(overrides, Path("run"))
    return deciding_settings(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]


def test_a_moved_run_is_prolonged_as_if_it_had_been_longer(stopped: Path, tmp_path: Path) -> None:
    last = stopped / "run" / "checkpoints" / "last.ckpt"
    overrides = [f"data.csv={stopped / 'reviews.csv'}", "scheduler=none", "trainer.max_epochs=4"]
    resumed = run(stopped / "run", *overrides, f"ckpt_path={last}")
    whole = run(tmp_path / "whole", *overrides)
    for name in (
        "test/loss", "test/ece", "test/by_length", "temperature", "val/accuracy", "val/ece",
        "val/loss", "train/loss", "best_epoch", "epochs",
    ):  # fmt: skip
        assert resumed[name] == whole[name], name
    left, right = (
        pd.read_csv(folder / "metrics.csv").drop(columns="seconds")
        for folder in (stopped / "run", tmp_path / "whole")
    )
    pd.testing.assert_frame_equal(left, right)


def test_a_checkpoint_from_before_there_was_a_temperature_resumes(
    stopped: Path, tmp_path: Path
) -> None:
    last = stopped / "run" / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    del saved["state_dict"]["classifier.temperature"]
    torch.save(saved, last)
    overrides = [f"data.csv={stopped / 'reviews.csv'}", "scheduler=none", "trainer.max_epochs=3"]
    resumed = run(stopped / "run", *overrides, f"ckpt_path={last}")
    whole = run(tmp_path / "whole", *overrides)
    left, right = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (stopped / "run", tmp_path / "whole")
    )
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert resumed["epochs"] == whole["epochs"] == 3


def test_texts_are_cleaned_as_in_the_beginning(tmp_path: Path) -> None:
    """A checkpoint from before cleanings had numbers resumes with the first of them."""
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    reviews.write_text(reviews.read_text().replace("lovely ,", "\u200blovely\u200b ,"))
    folder = tmp_path / "run"
    overrides = [f"data.csv={reviews}", "scheduler=none"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sentiment.train.run.cleaning_of", lambda *checkpoints: 1)
        run(folder, *overrides)
    last = folder / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    assert saved[DATA_KEY]["tokenizer"].pop("cleaning") == 1
    assert "\u200blovely\u200b" in saved[DATA_KEY]["vocabulary"]
    torch.save(saved, last)
    (folder / "report.html").write_text("of the first two epochs")
    resumed = run(folder, *overrides, "trainer.max_epochs=3", f"ckpt_path={last}")
    assert resumed["epochs"] == 3
    assert not (folder / "report.html").exists()  # none is written here
    after = torch.load(last, weights_only=True)[DATA_KEY]
    assert after["tokenizer"]["cleaning"] == 1
    assert after["vocabulary"] == saved[DATA_KEY]["vocabulary"]


def test_the_best_epoch_before_the_stop_stays_the_best(stopped: Path) -> None:
    folder = stopped / "run"
    last = folder / "checkpoints" / "last.ckpt"
    best = folder / "checkpoints" / "best.ckpt"
    before = best.read_bytes()
    saved = torch.load(last, weights_only=True)
    for state in saved["callbacks"].values():
        if state.get("monitor") == "val/accuracy":  # what cannot be beaten
            score = torch.tensor(2.0)
            state |= {"best_model_score": score, "kth_value": score}
            state["best_k_models"] = dict.fromkeys(state["best_k_models"], score)
    torch.save(saved, last)
    results = run(folder, f"data.csv={stopped / 'reviews.csv'}", "scheduler=none",
                  "trainer.max_epochs=3", f"ckpt_path={last}")  # fmt: skip
    assert best.read_bytes() == before
    assert results["epochs"] == 3
    assert results["best_epoch"] < 2
    row = pd.read_csv(folder / "metrics.csv").loc[results["best_epoch"]]
    assert results["val/loss"] == pytest.approx(row["val/loss"])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.lr=0.5", "optimizer.lr=0.002, not 0.5"),
        ("optimizer=sgd", "with optimizer=AdamW, not SGD"),
        ("model.hidden_size=9", "model.hidden_size=8, not 9"),
        ("seed=7", "seed=42, not 7"),
        ("data.max_length=5", "data.max_length=null, not 5"),
        ("loss.balanced=true", "loss.balanced=false, not true"),
        ("scheduler=plateau", "without scheduler, not with plateau"),
        ("callbacks.checkpoint.monitor=val/loss", "monitor=val/accuracy, not val/loss"),
    ],
)
def test_other_settings_are_refused(constant_rate: Path, override: str, expected: str) -> None:
    last = constant_rate / "run" / "checkpoints" / "last.ckpt"
    base = [*TINY, "data.batch_size=8", "callbacks.early_stopping=null", "scheduler=none"]
    check_resumable(last, constant_rate / "run", settings_of(*base))
    check_resumable(last, constant_rate / "run", settings_of(*base, "trainer.max_epochs=50"))
    check_resumable(last, constant_rate / "run", settings_of(*base, "data.csv=elsewhere.csv"))
    check_resumable(last, constant_rate / "run", settings_of(*base, "data.file_format=csv"))
    with pytest.raises(InputError, match="same settings, or start anew") as caught:
        check_resumable(last, constant_rate / "run", settings_of(*base, override))
    assert expected in str(caught.value)


def test_all_settings_that_differ_are_named(trained: Path) -> None:
    others = settings_of(*TINY, "data.batch_size=8", "seed=7", "optimizer=sgd")
    with pytest.raises(InputError, match=r"with optimizer=AdamW, not SGD, .*seed=42, not 7") as one:
        check_resumable(trained / "checkpoints" / "last.ckpt", trained, others)
    assert "optimizer.betas" not in str(one.value)


def test_terms_of_the_loss_decide_only_where_they_have_a_weight() -> None:
    def terms(*overrides: str) -> dict[str, Any]:
        names = ("entropy", "virtual_adversarial", "perturbation_size")
        settings = settings_of(*overrides)
        return {name: settings[f"loss.{name}"] for name in names if f"loss.{name}" in settings}

    assert terms("loss.perturbation_size=3") == {}  # as of checkpoints from before there were any
    assert terms("loss.entropy=1", "loss.perturbation_size=3") == {"entropy": 1.0}
    assert terms("loss.virtual_adversarial=2") == {
        "virtual_adversarial": 2.0,
        "perturbation_size": 5.0,
    }


def test_a_weight_column_decides_where_there_is_one() -> None:
    assert "data.weight_column" not in settings_of()  # as of checkpoints from before
    assert settings_of("data.weight_column=w")["data.weight_column"] == "w"


def test_a_schedule_over_all_epochs_cannot_be_prolonged(trained: Path) -> None:
    settings = [*TINY, "optimizer.lr=2e-2", "data.batch_size=8"]
    last = trained / "checkpoints" / "last.ckpt"
    check_resumable(last, trained, settings_of(*settings))
    with pytest.raises(InputError, match="max_epochs=2, not 3, .*scheduler=one_cycle") as refused:
        check_resumable(last, trained, settings_of(*settings, "trainer.max_epochs=3"))
    assert str(refused.value).endswith(f"in a new run: pretrained.path={trained}")


def test_a_training_resumes_in_its_own_folder(trained: Path, tmp_path: Path) -> None:
    last = trained / "checkpoints" / "last.ckpt"
    settings = settings_of(*TINY, "optimizer.lr=2e-2", "data.batch_size=8")
    assert run_folder(last) == trained
    for chosen in (last, trained):
        assert choose_run_folder("runs", RunMode.RUN, str(chosen)) == str(trained)
        found = checkpoint_to_resume(str(chosen), trained, CLASSIFIER, names_folder=False)
        assert found == str(last)
    with pytest.raises(InputError, match=rf"or set it to {trained}$"):
        check_resumable(last, tmp_path, settings)
    alone = shutil.copy(last, tmp_path / "last.ckpt")
    assert run_folder(alone) is None
    with pytest.raises(InputError, match="give RUN/checkpoints/last.ckpt"):
        check_resumable(alone, tmp_path, settings)


@pytest.mark.parametrize("change", ["vocabulary", "labels"])
def test_other_data_is_refused(stopped: Path, change: str) -> None:
    table = pd.read_csv(stopped / "reviews.csv")
    if change == "vocabulary":
        table["review"] += " x"
    else:
        table["sentiment"] += "x"
    table.to_csv(stopped / "other.csv", index=False)
    last = stopped / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(InputError, match=rf"trained with (another|other) {change}"):
        run(stopped / "run", f"data.csv={stopped / 'other.csv'}", "scheduler=none",
            f"ckpt_path={last}")  # fmt: skip


class StopAt(Callback):
    """Asks this process to stop at a batch of an epoch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.stop = (epoch, batch)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == self.stop:
            os.kill(os.getpid(), signal.SIGINT)


def stop_and_go_on(folder: Path, stop: tuple[int, int], *overrides: str) -> dict[str, Any]:
    with pytest.raises(Stopped):
        run(folder, *overrides, callbacks=[StopAt(*stop)])
    return run(folder, *overrides, f"ckpt_path={folder / 'checkpoints' / 'last.ckpt'}")


class FullMemory(Callback):
    """Raises torch's exception about full memory in the second epoch."""

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_a_training_without_memory_says_how_it_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    overrides = [f"data.csv={write_reviews(tmp_path / 'reviews.csv', 64)}"]
    with pytest.raises(InputError, match=r"CUDA out of memory") as raised:
        run(folder, *overrides, callbacks=[FullMemory()])
    last = folder / "checkpoints" / "last.ckpt"
    for way_out in ("data.batch_size=4", f"ckpt_path={last}", f"pretrained.path={folder}"):
        assert way_out in str(raised.value)
    assert run(folder, *overrides, f"ckpt_path={last}")["epochs"] == 2
    with pytest.raises(InputError, match=r"lower data\.max_length") as raised:
        run(tmp_path / "one", *overrides, "data.batch_size=1", callbacks=[FullMemory()])
    assert "batch_size" not in str(raised.value)


@pytest.mark.parametrize("stop", [(1, 1), (1, 5)], ids=["within an epoch", "at its end"])
@pytest.mark.parametrize("every", [1, 2])
def test_a_plateau_resumes_as_if_it_had_not_been_stopped(
    tmp_path: Path, stop: tuple[int, int], every: int
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    overrides = [
        f"data.csv={reviews}", "scheduler=plateau", "scheduler.patience=0", "trainer.max_epochs=5",
        "scheduler.monitor=val/accuracy", f"trainer.check_val_every_n_epoch={every}",
    ]  # fmt: skip
    whole = run(tmp_path / "whole", *overrides)
    resumed = stop_and_go_on(tmp_path / "run", stop, *overrides)
    tables = {name: pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "run")}
    pd.testing.assert_frame_equal(
        tables["run"].drop(columns="seconds"), tables["whole"].drop(columns="seconds")
    )
    assert tables["run"]["lr"].min() < tables["run"]["lr"].max()  # it was lowered
    assert resumed["test/loss"] == whole["test/loss"]
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    reviews_seen = saved["callbacks"]["Stopwatch"]["train_reviews"]
    assert reviews_seen == 5 * whole["train_reviews"]


def test_early_stopping_that_has_ended_a_training_ends_it_again(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    folder = tmp_path / "run"
    overrides = [*TINY, f"data.csv={reviews}", "scheduler=none", "optimizer.lr=1e-15",
                 "trainer.max_epochs=9", "callbacks.early_stopping.patience=2"]  # fmt: skip
    first = train(compose_config(overrides, folder), folder)
    assert first["epochs"] == 3
    again = [*overrides, f"ckpt_path={folder / 'checkpoints' / 'last.ckpt'}"]
    assert train(compose_config(again, folder), folder)["epochs"] == 3


def test_a_training_that_was_killed_between_its_two_last_checkpoints_gets_both(
    tmp_path: Path,
) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    folder = tmp_path / "run"
    overrides = [*TINY, f"data.csv={reviews}", "callbacks.checkpoint.monitor=train/loss"]
    train(compose_config(overrides, folder), folder)
    last = folder / "checkpoints" / "last.ckpt"
    before = torch.load(last, weights_only=True)
    last.unlink()
    train(compose_config([*overrides, "ckpt_path=auto"], folder), folder)
    after = torch.load(last, weights_only=True)
    assert after["epoch"] == before["epoch"]
    assert all(map(torch.equal, after["state_dict"].values(), before["state_dict"].values()))


@pytest.mark.slow
def test_the_printed_command_resumes_in_any_folder(tmp_path: Path) -> None:
    """Also where a name needs quotes; and a refused attempt leaves the first config alone."""
    write_reviews(tmp_path / "reviews.csv", 60)
    (tmp_path / "my" / "experiment").mkdir(parents=True)
    own = "# @package _global_\nmodel:\n  hidden_size: 8\n"
    (tmp_path / "my" / "experiment" / "mine.yaml").write_text(own)
    settings = [
        "hydra.searchpath=[file://my]", "experiment=mine", *TINY, "data.csv=reviews.csv",
        "trainer.max_epochs=9999", "callbacks.early_stopping=null", "scheduler=none",
        "hydra.run.dir='it\\'s lr=1 (a)/run'",
    ]  # fmt: skip
    with Program("train", *settings, cwd=tmp_path) as process:
        process.wait_for("epoch 2 of")
        process.send_signal(signal.SIGTERM)
        process.wait()
        command = shlex.split(process.stdout.rstrip().splitlines()[-1])
    assert command[1:3] == ["-m", "sentiment.train"]
    folder = tmp_path / "it's lr=1 (a)" / "run"
    before = (folder / ".hydra" / "overrides.yaml").read_text()

    def go_on(*more: str) -> "subprocess.CompletedProcess[str]":
        return run_program("train", *command[3:], *more, cwd=tmp_path)

    assert "with model.hidden_size=8, not 9" in go_on("model.hidden_size=9").stderr
    assert (folder / ".hydra" / "overrides.yaml").read_text() == before
    rows = len(pd.read_csv(folder / "metrics.csv"))
    done = go_on(f"trainer.max_epochs={rows + 1}")
    assert done.returncode == 0, done.stderr
    assert (folder / "results.json").is_file()


def test_a_checkpoint_names_no_paths(trained: Path) -> None:
    saved = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["settings"]["optimizer.lr"] == 2e-2
    assert str(trained) not in json.dumps(saved["settings"])


def test_the_lowest_loss_is_the_best(tmp_path: Path, composed: Compose) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    monitor = "callbacks.checkpoint.monitor=val/loss"
    results = run(tmp_path / "run", f"data.csv={reviews}", "trainer.max_epochs=4", monitor)
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    lowest = int(rows["val/loss"].to_numpy().argmin())
    assert results["best_epoch"] == lowest > 0
    assert composed("callbacks.early_stopping.monitor=val/loss").callbacks.early_stopping.mode == (
        "min"
    )


def test_without_a_figure_to_watch_the_last_epoch_is_tested(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    results = run(tmp_path / "run", f"data.csv={reviews}", "callbacks.checkpoint.monitor=null")
    assert results["best_epoch"] == 1


def test_epochs_without_a_validation_have_no_metrics_of_one(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 64)
    overrides = ["trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"]
    results = run(tmp_path / "run", f"data.csv={reviews}", *overrides)
    rows = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert rows["val/loss"].notna().tolist() == [False, True, False]
    assert results["best_epoch"] == 1


def test_auto_takes_the_newest_checkpoint_that_is_whole(stopped: Path) -> None:
    folder = stopped / "run"
    checkpoints = folder / "checkpoints"
    assert newest_checkpoint(folder) == checkpoints / "last.ckpt"
    saved = torch.load(checkpoints / "best.ckpt", weights_only=True)
    torch.save(saved | {"global_step": saved["global_step"] + 99}, checkpoints / "best.ckpt")
    assert newest_checkpoint(folder) == checkpoints / "best.ckpt"
    (checkpoints / "best.ckpt").write_bytes((checkpoints / "last.ckpt").read_bytes()[:9_000])
    assert newest_checkpoint(folder) == checkpoints / "last.ckpt"
    assert newest_checkpoint(stopped / "none") is None


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("settings", None), ("processes", "all"), ("global_step", "many"),
        ("SentimentDataModule", {"vocabulary": []}), ("hyper_parameters", None), ("state_dict", []),
    ],
)  # fmt: skip
def test_a_changed_checkpoint_is_not_resumed(
    trained: Path, tmp_path: Path, part: str, value: Any
) -> None:
    whole = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save(whole | {part: value}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=r"x\.ckpt: .*use another checkpoint") as caught:
        read_resumable(tmp_path / "x.ckpt")
    assert "\n" not in str(caught.value)


def test_auto_refuses_the_folder_of_another_program(
    pretrained: Path, baselines: Path, trained: Path, tmp_path: Path
) -> None:
    for folder, expected in (
        (pretrained, "a language model, not a classifier"),
        (baselines / "tfidf", "a baseline, which is fitted at once"),
    ):
        with pytest.raises(InputError) as caught:
            newest_checkpoint(folder)
        assert expected in str(caught.value)
        assert "give another hydra.run.dir" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="a classifier, not a language model"):
        newest_checkpoint(trained, LANGUAGE_MODEL)
    (tmp_path / "checkpoints").mkdir()
    torch.save({"weights": 1}, tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(InputError, match="a torch file, but not a checkpoint of"):
        newest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "file", ["checkpoints/best.ckpt", "checkpoints/last.ckpt", "results.json", "tfidf/results.json"]
)
def test_a_used_folder_is_refused_and_its_config_stays(tmp_path: Path, file: str) -> None:
    assert not is_used(tmp_path)
    assert config_folder(None, str(tmp_path)) == ".hydra"
    check_unused(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert config_folder(None, str(tmp_path)) == ".hydra/resumed"
    with pytest.raises(InputError, match="holds a run already, which would be overwritten"):
        check_unused(tmp_path)
    message = "holds a training already" if "last" in file else "holds a run already"
    with pytest.raises(InputError, match=message):
        check_unused(tmp_path, resumable=True)


def test_a_folder_above_runs_with_configs_of_their_own_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / "results.json").touch()
    assert not is_used(tmp_path)
    assert is_used(tmp_path / "0")


@pytest.mark.parametrize("subfolder", ["", "tfidf"])
def test_a_training_does_not_overwrite_a_baseline(
    baselines: Path, composed: Compose, subfolder: str
) -> None:
    before = (baselines / "tfidf" / "results.json").read_bytes()
    with pytest.raises(InputError, match="holds a run already, which would be overwritten"):
        train(composed(*TINY), baselines / subfolder)
    with pytest.raises(InputError, match=r"ckpt_path=auto: .*; give another hydra\.run\.dir"):
        run(baselines / subfolder, "ckpt_path=auto")
    assert (baselines / "tfidf" / "results.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("program", ["baseline", "vectors"])
def test_other_programs_leave_the_config_of_a_training_alone(tmp_path: Path, program: str) -> None:
    for file in ("checkpoints/last.ckpt", ".hydra/config.yaml"):
        (tmp_path / "run" / file).parent.mkdir(parents=True)
        (tmp_path / "run" / file).write_text("mine")
    done = run_program(program, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 2
    assert "run: holds a run already, which would be overwritten" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "run" / ".hydra" / "config.yaml").read_text() == "mine"


@pytest.mark.slow
def test_a_refused_attempt_leaves_the_config_of_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / ".hydra").mkdir()
    torch.save({"weights": 1}, tmp_path / "run" / "checkpoints" / "last.ckpt")
    record = tmp_path / "run" / ".hydra" / "overrides.yaml"
    record.write_text("- data=mine")
    for override, expected in (
        ("ckpt_path=auto", "a torch file, but"),
        ("seed=1", "a training already"),
    ):
        done = run_program("train", "trainer=cpu", "hydra.run.dir=run", override, cwd=tmp_path)
        assert done.returncode == 2
        assert expected in done.stderr
        assert record.read_text() == "- data=mine"


def test_a_baseline_is_not_resumed(baselines: Path, composed: Compose, tmp_path: Path) -> None:
    best = baselines / "tfidf" / "checkpoints" / "best.ckpt"
    for override in ("", "pretrained.path=x"):
        cfg = composed(*TINY, f"ckpt_path={best}", *filter(None, [override]))
        with pytest.raises(InputError, match="a baseline, which is fitted at once"):
            train(cfg, tmp_path / "run")


def test_auto_begins_where_there_is_nothing(tmp_path: Path, stopped: Path) -> None:
    overrides = [f"data.csv={stopped / 'reviews.csv'}", "scheduler=none", "ckpt_path=auto"]
    first = run(tmp_path / "run", *overrides)
    again = run(tmp_path / "run", *overrides, "trainer.max_epochs=3")
    assert (first["epochs"], again["epochs"]) == (2, 3)


def test_auto_needs_a_folder(tmp_path: Path) -> None:
    cfg = compose_config([*TINY, "ckpt_path=auto"], tmp_path)
    with pytest.raises(InputError, match=r"give hydra\.run\.dir=FOLDER too"):
        train(cfg, tmp_path, command_line=CommandLine(names_folder=False))
