import errno
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sentiment.config.checks import check_config
from sentiment.config.explain import translate_config_errors
from sentiment.config.resolvers import (
    choose_run_folder,
    config_folder,
    fast_precision,
    register,
)
from sentiment.config.schemas import config_schema
from sentiment.model import encoder
from sentiment.runtime.errors import InputError
from sentiment.runtime.overrides import config_directory
from sentiment.train.build import build_trainer
from sentiment.train.fit import translate_lightning_errors

Compose = Callable[..., DictConfig]


def refusal(composed: Compose, overrides: Sequence[str]) -> str:
    with pytest.raises(InputError) as caught, translate_config_errors():
        cfg = composed(*overrides)
        check_config(cfg)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.hiden_size=3", "'model.hiden_size'; did you mean model.hidden_size?"),
        ("modle.hidden_size=3", "did you mean model?"),
        ("seeds=3", "did you mean seed?"),
        ("optimizer.lrr=3", "valid: lr, betas"),
        ("callbacks.early_stopping.patient=1", "did you mean callbacks.early_stopping.patience?"),
        ("lr=0.01", "did you mean optimizer.lr?"),
        ("model.lr=0.01", "did you mean optimizer.lr?"),
        ("+epochs=3", "did you mean trainer.max_epochs?"),
        ("vocab_size=3", "did you mean data.max_size?"),
        ("num_classes=3", "the labels in the data are the classes"),
        ("tokenizer=x", "data.language; valid"),
        ("embeddings=glove", "did you mean embeddings=glove_6b_100d?"),
        ("embeddings=glove.6B.100d", "did you mean 'glove_6b_100d'?"),
        ("embeddings=glove.6B.100d.txt", "embeddings=file embeddings.path=glove.6B.100d.txt?"),
        ("embeddings=word2vec", "embeddings=file embeddings.path=FILE?"),
        ("model=BiGRU", "did you mean 'bigru'?"),
        ("trainer=gpus", "did you mean trainer=gpu trainer.devices=VALUE?"),
        ("logger=report_to", "no option 'report_to' in logger; valid: "),
        ("embeddings=glove_8", "did you mean 'glove_840b_300d'?"),
        ("embeddings=my.vec", "did you mean embeddings=file embeddings.path=my.vec?"),
        ("trainer=cuda", "did you mean trainer=gpu?"),
        ("data.csv=[a,b]", "give a single text"),
        ("gpus=2", "did you mean trainer=gpu trainer.devices=VALUE?"),
        ("model.dropout=0.5", "model.layer_dropout or model.head_dropout?"),
        ("optimizer.momentum=0.9", "optimizer=rmsprop or sgd has it"),
        ("scheduler=none scheduler.warmup=0.1", "has it; the chosen option has no settings"),
        ("embeddings=learned embeddings.mirrors=[x]", "embeddings=glove_6b_100d has it"),
        (
            "callbacks.early_stopping=null callbacks.early_stopping.patience=3",
            "config: callbacks.early_stopping.patience: callbacks.early_stopping is null",
        ),
        ("+foo=1", "'foo'; valid: seed, ckpt_path"),
        ("model.hidden_size=big", "model.hidden_size=big: give a whole number"),
        ("data.max_length=1e+99", "data.max_length=1e+99: give a whole number"),
        ("optimizer.lr=fast", "optimizer.lr=fast: give a number"),
        ("calibrated=maybe", "calibrated=maybe: give true or false"),
        ("data.labels=a", "data.labels: give a list"),
        ("data=my.csv", "did you mean data=csv data.csv=my.csv?"),
        ("data=my/own.csv", "did you mean data=csv data.csv=my/own.csv?"),
        ("model.cell=lsm", "expected one of [rnn, gru, lstm]"),
        ("model.pooling=maxi", "max+mean"),
        ("model=bilstmm", "did you mean 'bilstm'?"),
        ("experiment=imbd", "did you mean 'imdb'?"),
        ("data.csv='a", "command line"),
        ("data.csv=my file (1).csv", "needs quotes: \"key='value'\""),
        (
            "loss.label_smoothing=1",
            "loss.label_smoothing=1.0: must be at least 0 and below 1",
        ),
        ("loss.entropy=-1", "loss.entropy=-1.0: must be at least 0"),
        ("abstain.coverage=90", "abstain.coverage=90.0: must be above 0 and below 1, or null"),
        ("abstain.coverage=0.9 abstain.accuracy=0.97", "one of abstain.coverage and"),
        ("abstain.per_class=true", "abstain.per_class=true: give one of abstain.coverage and"),
        ("loss.virtual_adversarial=inf", "loss.virtual_adversarial=inf: give a finite number"),
        ("loss.perturbation_size=0", "loss.perturbation_size=0.0: must be above 0"),
        ("callbacks.early_stopping.monitor=val/acc", "early_stopping.monitor=val/acc: no such"),
        ("callbacks.early_stopping.mode=none", "early_stopping.mode=none: choose min or max"),
        ("scheduler=plateau scheduler.monitor=loss", "scheduler.monitor=loss: no such"),
        (
            "scheduler=plateau scheduler.factor=2",
            "scheduler.factor=2.0: must be above 0 and below 1",
        ),
        ("scheduler.start_factor=0", "scheduler.start_factor=0.0: must be above 0"),
        ("scheduler.warmup=1.5", "scheduler.warmup=1.5: must be at least 0 and below 1"),
        ("seed=-1", "seed=-1: must be at least 0 and at most 4294967295"),
        ("data.split_seed=-1", "data.split_seed=-1: must be"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be at least 1"),
        (
            "trainer.accumulate_grad_batches=0",
            "accumulate_grad_batches=0: must be at least 1",
        ),
        ("trainer.limit_val_batches=0", "limit_val_batches=0: must be above 0"),
        ("trainer.limit_train_batches=all", "limit_train_batches=all: must be above 0"),
        ("data.num_workers=-1", "data.num_workers=-1: must be at least 0 and at most 1000"),
        ("trainer.check_val_every_n_epoch=99", "no epoch would be validated"),
        ("trainer.precision=16-mixed", "add optimizer.fused=null"),
        ("trainer.precision=bf16-true", "expected one of [32-true, bf16-mixed, 16-mixed]"),
        ("trainer.strategy=dpp", "expected one of [auto, ddp]"),
        ("trainer.fast_dev_run=some", "a number of batches"),
        ("trainer.deterministic=some", "choose true, false, warn"),
        (
            "scheduler=none callbacks.early_stopping.monitor=train/loss"
            " trainer.check_val_every_n_epoch=2",
            "when an epoch is validated",
        ),
        ("callbacks.checkpoint=null", "callbacks.checkpoint: cannot be left out"),
        ("model=gru,lstm", "add -m to run each of them$"),
        ("seed=1,2", "add -m to run each of them$"),
        ("optimizer.lr=0,01", "or give a decimal point: optimizer.lr=0.01$"),
        ("data.labels=a,b", "or give a list: 'data.labels=[a,b]'$"),
        ("data.separator=;", "any of ,;()[]{} needs quotes"),
        ("trainer.max_steps=3", "valid: accelerator"),
    ],
)
def test_a_wrong_override_is_refused(composed: Compose, override: str, expected: str) -> None:
    overrides = override.split() if re.search(r" [\w.]+=", override) else [override]
    assert expected in refusal(composed, overrides) + "$"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("model: {hiden_size: 3}", "did you mean model.hidden_size?"),
        ("epochs: 3", "did you mean trainer.max_epochs?"),
        ("model: {hidden_size: big}", "model.hidden_size"),
        ("modle: {hidden_size: 3}", "did you mean model?"),
        ("model:\n\thidden_size: 3", "mine.yaml, line 3: a tab"),
        ("trainer: {max_epochs: many}", "trainer.max_epochs"),
    ],
)
def test_a_wrong_experiment_file_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{content}\n")
    register()
    with (
        initialize_config_dir(str(config_directory()), version_base="1.3"),
        pytest.raises(InputError, match=expected.replace("?", r"\?")),
        translate_config_errors(),
    ):
        compose("train", ["experiment=mine", f"hydra.searchpath=[file://{tmp_path}]"])


@pytest.mark.parametrize("content", ["model: {cell: gru}", "defaults:\n  - override /model: gru"])
def test_an_experiment_file_that_sets_no_keys_of_the_whole_config_is_refused(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(content)
    register()
    with (
        initialize_config_dir(str(config_directory()), version_base="1.3"),
        pytest.raises(InputError, match="its first line has to be # @package _global_"),
        translate_config_errors(),
    ):
        compose("train", ["experiment=mine", f"hydra.searchpath=[file://{tmp_path}]"])


@pytest.mark.parametrize("option", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_named_with_its_extra(
    composed: Compose, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: object, **settings: object) -> None:
        raise ModuleNotFoundError(f"Requirement '{option}>=1' not met.")

    kind = {"wandb": "WandbLogger", "mlflow": "MLFlowLogger"}[option]
    monkeypatch.setattr(f"lightning.pytorch.loggers.{kind}.__init__", start)
    with (
        pytest.raises(InputError, match=rf"pip install 'sentiment\[{option}\]'"),
        translate_config_errors(),
    ):
        build_trainer(composed(f"logger={option}"), tmp_path, [])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.embedding_dropout=1.5", "embedding_dropout=1.5"),
        ("model.num_layers=0", "num_layers=0"),
        ("+model.foo=1", "'foo'"),
    ],
)
def test_a_value_out_of_range_is_refused(composed: Compose, override: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected), translate_config_errors():
        instantiate(composed(override).model, vocabulary_size=9, num_classes=2)


def test_other_errors_keep_their_traceback(composed: Compose) -> None:
    with pytest.raises(ZeroDivisionError), translate_config_errors():
        _ = 1 / 0


def test_a_logger_that_cannot_start_is_refused(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: object, **settings: object) -> None:
        raise RuntimeError("no API key\nconfigured")

    monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger.__init__", start)
    cfg = composed("logger=wandb")
    with (
        pytest.raises(InputError, match=r"^config: logger\.wandb: no API key configured$"),
        translate_config_errors(),
    ):
        build_trainer(cfg, tmp_path, [])


def test_no_two_runs_share_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(choose_run_folder, [str(tmp_path)] * 24, [RunMode.RUN] * 24))
    assert len(set(folders)) == 24
    assert all(Path(folder).is_dir() for folder in folders)


def test_a_config_that_is_only_shown_makes_no_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sentiment.train", "--cfg", "hydra", "--resolve"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    shown = yaml.safe_load(done.stdout)["hydra"]
    assert Path(shown["run"]["dir"]).parent == Path("runs")
    assert Path(shown["sweep"]["dir"]).parent == Path("sweeps")
    assert list(tmp_path.iterdir()) == []


def test_precision_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(encoder, "can_train", lambda *_: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert fast_precision("auto") == fast_precision("cpu") == "bf16-mixed"
    assert fast_precision("mps") == "32-true"
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert fast_precision("auto") == "32-true"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert fast_precision("auto") == "bf16-mixed"
    assert fast_precision("cpu") == "32-true"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer.num_nodes=2"], "devices=1, num_nodes=2: .* torchrun or srun must start"),
        (["trainer.devices=x"], "`devices` selected with `CPUAccelerator` should be an int > 0"),
        (["trainer.devices=0"], "not a valid input using cpu"),
    ],
)
def test_devices_that_cannot_be_are_refused(
    composed: Compose, tmp_path: Path, overrides: list[str], expected: str
) -> None:
    with pytest.raises(InputError, match=expected) as caught, translate_lightning_errors():
        build_trainer(composed("trainer=cpu", *overrides), tmp_path, [])
    assert "\n" not in str(caught.value)


def test_processes_started_by_others_share_the_folder_that_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes need one folder; give hydra.run.dir=FOLDER"):
        choose_run_folder(str(tmp_path), RunMode.RUN)
    assert not list(tmp_path.iterdir())
    assert config_folder(None) == ".hydra"
    monkeypatch.setenv("RANK", "1")
    assert config_folder(None) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a/b"),
            "a/b: cannot be used (Permission denied); if",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(error: OSError, expected: str) -> None:
    with pytest.raises(InputError) as caught, translate_config_errors():
        raise error
    assert str(caught.value).startswith(expected)


def test_a_path_that_the_system_refuses_is_named_by_its_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    monkeypatch.setattr(sys, "argv", ["x", "seed=3", "data.csv=", f"hydra.run.dir='{path}'"])
    with pytest.raises(InputError) as caught, translate_config_errors():
        raise PermissionError(errno.EACCES, "Permission denied", path / "deeper")
    message = f"hydra.run.dir='{path}': cannot be used (Permission denied); give another"
    assert str(caught.value) == message


def test_a_folder_of_runs_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "runs")

    monkeypatch.setattr(sys, "argv", ["x"])
    cfg = OmegaConf.create({"folder": "${refuse:}"})
    OmegaConf.register_new_resolver("refuse", refuse, replace=True)
    with pytest.raises(InputError) as caught, translate_config_errors():
        _ = cfg.folder
    assert str(caught.value).startswith("runs: cannot be used (Permission denied); if this run")


@pytest.mark.parametrize("program", ["baseline", "pretrain", "vectors"])
def test_only_a_training_has_weights(composed: Compose, program: str) -> None:
    cfg = composed("data.weight_column=w", program=program)
    with pytest.raises(InputError, match=r"data\.weight_column=w.*give data\.weight_column=null"):
        check_config(cfg, config_schema(program))
