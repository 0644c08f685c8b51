"""What a wrong key was probably meant to be: a setting of this name, or of a similar one."""

import dataclasses
import difflib
import typing
from collections.abc import Collection, Iterator
from typing import Any

from sentiment.config.schemas import SCHEMAS, TrainConfig, option_of

_CLOSE = 0.75  # similarity of names in different nodes

# Advice in place of a setting that other tools have and we do not, and its names there.
_NO_SETTING = {
    "the labels in the data are the classes, data.labels chooses and orders them": "num_classes"
    " n_classes nb_classes classes num_labels n_labels output_dim output_size out_features",
    "texts are split by spaCy's rules for data.language": "tokenizer tokeniser tokenize",
    "a file of settings is FOLDER/experiment/NAME.yaml, chosen by --config-dir=FOLDER"
    " experiment=NAME": "config config_file cfg conf yaml",
}
_SIZES = (
    "embed_size emb_size embedding_size embedding_dim embed_dim emb_dim vector_size dim"
    " input_dim input_size"
)
# Names that other tools have for our settings. Braces stand for the value.
_ALIASES = {
    "trainer.max_epochs": "epoch epochs num_epochs n_epochs max_epoch num_train_epochs max_steps",
    "optimizer.lr": "learning_rate learningrate rate base_lr init_lr lr0",
    "optimizer.weight_decay": "wd decay l2",
    "optimizer={}": "optim opt",
    "scheduler={}": "lr_scheduler lr_scheduler_type schedule sched",
    "scheduler.warmup": "warmup_ratio warmup_steps",
    "data.batch_size": "batch batchsize bs bsz train_batch_size per_device_train_batch_size",
    "data.max_length": "max_len maxlen max_seq_len max_seq_length seq_len seq_length"
    " sequence_length max_tokens truncate",
    "data.max_size": "vocab vocab_size vocabulary_size max_vocab max_vocab_size num_words"
    " max_words max_features",
    "data.min_freq": "min_df min_count min_frequency",
    "data.separator": "sep delimiter",
    "data.text_column": "text text_col text_field review",
    "data.label_column": "label label_col label_field target target_column sentiment",
    "data.weight_column": "weight weight_col sample_weight sample_weights",
    "data=csv data.csv={}": "csv_file file filename data_file data_path data_dir dataset input",
    "data.train_csv": "train train_file train_path train_data",
    "data.val_csv": "val val_file val_path validation validation_file dev dev_file eval_file",
    "data.test_csv": "test test_file test_path test_data",
    "data.test_size": "test_split test_fraction",
    "data.val_size": "val_split validation_split val_fraction",
    "data.language": "lang",
    "data.label_names={}": "class_names target_names",
    "data.num_workers": "workers n_workers n_jobs num_proc",
    "embeddings.size": _SIZES,
    "size": _SIZES,
    "embeddings={}": "embedding",
    "embeddings=glove_6b_100d": "glove",
    "embeddings=file embeddings.path={}": "vectors word_vectors pretrained_embeddings"
    " embedding_file embedding_path embeddings_path glove_path fasttext word2vec",
    "model={}": "arch architecture model_name model_type network rnn_type",
    "model.cell": "cell_type",
    "model.pooling=attention": "attention",
    "model.hidden_size": "hidden hidden_dim hidden_units n_hidden num_hidden units num_units"
    " rnn_size lstm_size",
    "model.num_layers": "layers n_layers nlayers num_hidden_layers depth",
    "trainer.gradient_clip_val": "clip clipnorm grad_clip grad_norm clip_grad gradient_clip"
    " max_grad_norm max_norm",
    "trainer.accumulate_grad_batches": "gradient_accumulation_steps grad_accum",
    "trainer=gpu": "gpu cuda use_gpu use_cuda",
    "trainer=gpu trainer.devices={}": "gpus num_gpus n_gpu n_gpus ngpus",
    "trainer.accelerator": "device",
    "trainer.precision=16-mixed": "fp16 amp half mixed_precision",
    "trainer.precision=bf16-mixed": "bf16",
    "trainer.max_time": "time_limit",
    "trainer=debug": "debug",
    "logger={}": "report_to",
    "seed": "random_seed random_state manual_seed",
    "ckpt_path": "ckpt checkpoint checkpoint_path resume resume_from resume_from_checkpoint"
    " load_checkpoint",
    "hydra.run.dir": "out out_dir outdir output output_dir save_dir save_path log_dir run_dir"
    " rundir",
}


def setting_keys(schema: Any) -> Iterator[str]:
    """The full key of each setting of a dataclass and of the nodes below it."""
    return (key for key, _ in setting_types(schema))


def setting_types(schema: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """As ``setting_keys``, with the type of each."""
    for name, hint in typing.get_type_hints(schema).items():
        if name.startswith("_"):
            continue
        key = f"{prefix}{name}"
        yield key, hint
        nodes = [kind for kind in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(kind)]
        for node in nodes or [node for group, _, node in SCHEMAS if group == key]:
            yield from setting_types(node, f"{key}.")


def suggestion(
    key: str, value: str | None = None, *, near: Collection[str] = (), schema: Any = TrainConfig
) -> str:
    """The settings that a wrong key may mean, as words of a message; empty if none is similar.

    Args:
        key: the key as it was given, such as ``lr`` or ``model.lr``.
        value: its value, which is repeated; None if it is not known.
        near: the names that the node of the wrong key has.
        schema: the dataclass of the whole config.
    """
    above, dot, name = key.rpartition(".")
    every = list(dict.fromkeys(setting_keys(schema)))
    if key in every:  # of another option than the chosen one
        options = [
            option_of(schema)
            for group, schema, node in SCHEMAS
            if group == above and name in typing.get_type_hints(node)
        ]
        return f"{above}={' or '.join(options)} has it; "
    name = name.lower().replace("-", "_")
    for instead, names in _NO_SETTING.items():
        if name in names.split():
            return f"{instead}; "
    leaves: dict[str, list[str]] = {}
    for each in every:
        leaves.setdefault(each.rpartition(".")[2], []).append(each)
    inside = {leaf: [f"{above}{dot}{leaf}"] for leaf in near}
    found = (
        leaves.get(name)
        or [target for target in aliased(name) if _known(target, every)]
        or _with_word(name, inside)
        or _similar(name, inside, 0.6)
        or _with_word(name, leaves)
        or _similar(name, leaves, _CLOSE)
    )
    # Of several nodes with such a setting the named one is meant.
    found = [each for each in found if each.startswith(f"{above}.")] or found
    meant = " or ".join(_with_value(each, value) for each in found)
    of_training = {each.rpartition(".")[2] for each in setting_keys(TrainConfig)}
    if not found and (name in of_training or aliased(name)):
        return "only sentiment.train has such a setting: leave it out; "
    return f"did you mean {meant}? " if found else ""


def unknown_key(
    key: str, names: Collection[str], *, value: str | None = None, schema: Any = TrainConfig
) -> str:
    """The message about a key that a node does not have; arguments as for ``suggestion``.

    Args:
        key: the full key.
        names: the names that the node has; those with an underscore in front are left out.
        value: the value that was given.
        schema: the dataclass of the whole config.
    """
    valid = [name for name in names if not name.startswith("_")]
    meant = suggestion(key, value, near=valid, schema=schema)
    choices = f"valid: {', '.join(valid)}" if valid else "the chosen option has no settings"
    return f"unknown key {key!r}; {meant}{choices}"


def aliased(name: str) -> list[str]:
    """The settings that have this name in other tools; braces stand for the value."""
    return [target for target, names in _ALIASES.items() if name in names.split()]


def _known(target: str, keys: Collection[str]) -> bool:
    """Whether the program has the setting, or the group, of an alias."""
    key = target.partition(" ")[0].partition("=")[0]
    return key in keys or key.startswith("hydra.")


def _with_word(name: str, leaves: dict[str, list[str]]) -> list[str]:
    """The keys whose last name has this word: ``dropout`` is in ``head_dropout``."""
    return [key for leaf, keys in leaves.items() if name in leaf.split("_") for key in keys]


def _similar(name: str, leaves: dict[str, list[str]], cutoff: float) -> list[str]:
    return [
        key
        for leaf in difflib.get_close_matches(name, leaves, n=1, cutoff=cutoff)
        for key in leaves[leaf]
    ]


def _with_value(target: str, value: str | None) -> str:
    if "{}" in target:
        return target.format("VALUE" if value is None else value)
    return target if value is None or "=" in target else f"{target}={value}"
