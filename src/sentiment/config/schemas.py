"""Schemas of the config nodes: names and types of every setting.

Each has exactly the fields of the constructor that its ``_target_`` names, so that a misspelt key
or a wrong type, on the command line or in a YAML file, is refused when the config is composed.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING

from sentiment.data.glove_archives import GLOVE_MIRRORS


class Cell(StrEnum):
    """Kinds of recurrent cell."""

    rnn = "rnn"
    gru = "gru"
    lstm = "lstm"


class Merge(StrEnum):
    """Ways to make one vector of two directions."""

    concat = "concat"
    sum = "sum"
    mean = "mean"


# Its members' names stand on the command line, and max+mean can only be named this way.
Pooling = StrEnum("Pooling", ["last", "mean", "max", "max+mean", "attention"], module=__name__)


class Keep(StrEnum):
    """What stays of a review that is too long."""

    head = "head"
    tail = "tail"
    both = "both"


class Quoting(StrEnum):
    """What quotation marks in a CSV file are."""

    auto = "auto"
    minimal = "minimal"
    none = "none"


class Compression(StrEnum):
    """Compressions of a CSV file."""

    infer = "infer"
    none = "none"
    gzip = "gzip"
    bz2 = "bz2"
    xz = "xz"
    zip = "zip"


@dataclass
class DataConfig:
    """See ``sentiment.data.datamodule.SentimentDataModule``."""

    _target_: str = "sentiment.data.datamodule.SentimentDataModule"
    csv: str | None = None
    train_csv: str | None = None
    val_csv: str | None = None
    test_csv: str | None = None
    unlabeled_csv: Any = None  # a file or a list of files
    text_column: str = "review"
    label_column: str = "sentiment"
    labels: list[str | None] | None = None  # null is a label of YAML's, refused or found later
    label_names: list[str | None] | None = None
    separator: str | None = None
    quoting: Quoting = Quoting.auto
    escape: str | None = None
    header: bool = True
    encoding: str = "utf-8"
    compression: Compression = Compression.infer
    test_size: float = 0.2
    val_size: float = 0.1
    split_seed: int = 42
    splits_dir: str | None = None
    language: str = "en"
    lowercase: bool = True
    strip_markup: bool = True
    min_freq: int = 1
    max_size: int | None = None
    max_length: int | None = None
    keep: Keep = Keep.head
    batch_size: int | None = 32
    tokens_per_batch: int | None = None
    cache_dir: str | None = None
    num_workers: int | None = None
    seed: int = MISSING


@dataclass
class LearnedEmbeddingsConfig:
    """See ``sentiment.data.embeddings.LearnedEmbeddings``."""

    _target_: str = "sentiment.data.embeddings.LearnedEmbeddings"
    size: int = 100
    lr_scale: float = 1.0
    lazy: bool | None = None


@dataclass
class FileEmbeddingsConfig:
    """See ``sentiment.data.embeddings.FileEmbeddings``."""

    _target_: str = "sentiment.data.embeddings.FileEmbeddings"
    path: str = MISSING
    size: int | None = None
    frozen: bool = False
    frozen_epochs: int = 0
    lr_scale: float = 1.0
    lazy: bool | None = None


@dataclass
class GloveEmbeddingsConfig:
    """See ``sentiment.data.embeddings.GloveEmbeddings``."""

    _target_: str = "sentiment.data.embeddings.GloveEmbeddings"
    archive: str = "6B"
    size: int = 100
    cache_dir: str | None = None
    mirrors: list[str] = field(default_factory=lambda: list(GLOVE_MIRRORS))
    sha256: str | None = None
    frozen: bool = False
    frozen_epochs: int = 0
    lr_scale: float = 1.0
    lazy: bool | None = None


@dataclass
class ModelConfig:
    """See ``sentiment.model.classifier.SentimentClassifier``."""

    _target_: str = "sentiment.model.classifier.SentimentClassifier"
    cell: Cell = Cell.lstm
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = True
    merge: Merge = Merge.concat
    pooling: Pooling = Pooling["max+mean"]
    embedding_dropout: float = 0.0
    word_dropout: float = 0.0
    layer_dropout: float = 0.0
    head_dropout: float = 0.0
    head_size: int | None = None
    ngrams: int = 0


@dataclass
class PretrainedConfig:
    """A language model of ``sentiment.pretrain`` to start from, and how carefully it is changed.

    The scales are shares of the head's learning rate; for ``frozen_epochs`` only the head is
    trained.
    """

    path: str | None = None
    lr_scale: float = 0.3
    embedding_lr_scale: float = 0.1
    frozen_epochs: int = 0


@dataclass
class LossConfig:
    """The training loss: cross-entropy with these settings, and terms that need no labels.

    ``entropy`` and ``virtual_adversarial`` are the weights of these terms, and the last two their
    settings; see ``sentiment.train.semi_supervised``. Where a weight is not 0, unlabeled
    reviews train too: ``unlabeled_ratio`` of them beside each labelled one.
    """

    label_smoothing: float = 0.0
    balanced: bool = False
    class_weights: list[float] | None = None
    entropy: float = 0.0
    virtual_adversarial: float = 0.0
    perturbation_size: float = 5.0
    unlabeled_ratio: float = 1.0


@dataclass
class AdamConfig:
    """See ``torch.optim.Adam``."""

    _target_: str = "torch.optim.Adam"
    _partial_: bool = True
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    fused: bool | None = True


@dataclass
class AdamWConfig(AdamConfig):
    """See ``torch.optim.AdamW``."""

    _target_: str = "torch.optim.AdamW"
    lr: float = 2e-3
    weight_decay: float = 0.01


@dataclass
class RMSpropConfig:
    """See ``torch.optim.RMSprop``."""

    _target_: str = "torch.optim.RMSprop"
    _partial_: bool = True
    lr: float = 1e-3
    alpha: float = 0.9
    eps: float = 1e-7
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False


@dataclass
class SGDConfig:
    """See ``torch.optim.SGD``."""

    _target_: str = "torch.optim.SGD"
    _partial_: bool = True
    lr: float = 0.1
    momentum: float = 0.9
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    fused: bool | None = True


@dataclass
class NoScheduleConfig:
    """A constant learning rate."""


@dataclass
class OneCycleConfig:
    """See ``sentiment.model.schedules.one_cycle``."""

    _target_: str = "sentiment.model.schedules.one_cycle"
    _partial_: bool = True
    warmup: float = 0.3
    start_factor: float = 0.04
    final_factor: float = 4e-6


@dataclass
class CosineConfig:
    """See ``sentiment.model.schedules.cosine``."""

    _target_: str = "sentiment.model.schedules.cosine"
    _partial_: bool = True
    warmup: float = 0.05
    final_factor: float = 0.0


@dataclass
class PlateauConfig:
    """See ``sentiment.model.schedules.plateau``."""

    _target_: str = "sentiment.model.schedules.plateau"
    _partial_: bool = True
    factor: float = 0.5
    patience: int = 1
    monitor: str = "val/loss"


@dataclass
class TrainerConfig:
    """See ``lightning.Trainer``; its callbacks and loggers are nodes of their own."""

    _target_: str = "lightning.Trainer"
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    max_epochs: int = 10
    min_epochs: int | None = None
    max_time: str | None = None
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str = "norm"
    accumulate_grad_batches: int = 1
    check_val_every_n_epoch: int = 1
    limit_train_batches: Any = 1.0
    limit_val_batches: Any = 1.0
    limit_test_batches: Any = 1.0
    num_sanity_val_steps: int = 0
    fast_dev_run: Any = False
    log_every_n_steps: int = 50
    deterministic: Any = True
    detect_anomaly: bool = False
    profiler: str | None = None
    use_distributed_sampler: bool = False
    enable_progress_bar: bool = True
    enable_model_summary: bool = True


@dataclass
class TrainConfig:
    """The whole config of a training."""

    seed: int = 42
    ckpt_path: str | None = None
    calibrated: bool = True  # whether validation sets the temperature of scores
    data: DataConfig = MISSING
    embeddings: Any = MISSING
    model: ModelConfig = MISSING
    pretrained: PretrainedConfig = field(default_factory=PretrainedConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: Any = MISSING
    scheduler: Any | None = MISSING
    trainer: TrainerConfig = MISSING
    callbacks: Any = MISSING
    logger: Any = None


@dataclass
class LanguageModelConfig:
    """See ``sentiment.model.language_model.LanguageModel``."""

    _target_: str = "sentiment.model.language_model.LanguageModel"
    cell: Cell = Cell.lstm
    hidden_size: int = 512
    num_layers: int = 1
    bidirectional: bool = True
    embedding_dropout: float = 0.0
    layer_dropout: float = 0.0
    output_dropout: float = 0.0


@dataclass
class SoftmaxConfig:
    """The softmax of a training step: over ``negatives`` words beside its targets, or over all."""

    negatives: int | None = None


@dataclass
class PretrainConfig:
    """The whole config of a pretraining."""

    seed: int = 42
    ckpt_path: str | None = None
    held_out_tokens: int = 200_000
    data: DataConfig = MISSING
    embeddings: Any = MISSING
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    softmax: SoftmaxConfig = field(default_factory=SoftmaxConfig)
    optimizer: Any = MISSING
    scheduler: Any | None = MISSING
    trainer: TrainerConfig = MISSING
    callbacks: Any = MISSING
    logger: Any = None


class Weighting(StrEnum):
    """Ways to weight n-grams for a linear classifier."""

    tfidf = "tfidf"
    naive_bayes = "naive_bayes"


@dataclass
class BaselineConfig:
    """The whole config of the baselines; see ``sentiment.baseline``."""

    seed: int = 42
    data: DataConfig = MISSING
    weightings: list[Weighting] = field(default_factory=lambda: list(Weighting))


@dataclass
class VectorsConfig:
    """The whole config of ``sentiment.vectors``; see ``SkipGramSettings`` there."""

    seed: int = 42
    data: DataConfig = MISSING
    output: str | None = None
    size: int = 100
    window: int = 8
    negatives: int = 8
    epochs: int = 5
    min_count: int = 5
    sample: float = 1e-4
    workers: int | None = None  # one for each core


@dataclass
class EarlyStoppingConfig:
    """See ``lightning.pytorch.callbacks.EarlyStopping``."""

    _target_: str = "lightning.pytorch.callbacks.EarlyStopping"
    monitor: str = "val/accuracy"
    mode: str = "${best_mode:${.monitor}}"
    patience: int = 5
    min_delta: float = 0.0
    strict: bool = False  # an epoch may end without a validation
    verbose: bool = False


@dataclass
class OneCheckpointConfig:
    """See ``sentiment.train.callbacks.OneCheckpoint``."""

    _target_: str = "sentiment.train.callbacks.OneCheckpoint"
    _partial_: bool = True
    monitor: str | None = "val/accuracy"


@dataclass
class CallbacksConfig:
    """What is saved, and early stopping; ``early_stopping: null`` trains all epochs."""

    save_minutes: float | None = None  # also save last.ckpt within an epoch, so often
    checkpoint: OneCheckpointConfig = field(default_factory=OneCheckpointConfig)
    early_stopping: EarlyStoppingConfig | None = field(default_factory=EarlyStoppingConfig)


@dataclass
class JoblibLauncherConfig:
    """Several runs at a time on this machine: see ``JoblibLauncher``."""

    _target_: str = "hydra_plugins.sentiment_launchers.joblib_launcher.JoblibLauncher"
    n_jobs: int = -1


# Where Hydra finds each schema: group (None for the whole config), name, node.
SCHEMAS: tuple[tuple[str | None, str, type], ...] = (
    (None, "train_schema", TrainConfig),
    (None, "pretrain_schema", PretrainConfig),
    (None, "baseline_schema", BaselineConfig),
    (None, "vectors_schema", VectorsConfig),
    ("data", "schema", DataConfig),
    ("model", "schema", ModelConfig),
    ("trainer", "schema", TrainerConfig),
    ("callbacks", "schema", CallbacksConfig),
    ("embeddings", "learned_schema", LearnedEmbeddingsConfig),
    ("embeddings", "file_schema", FileEmbeddingsConfig),
    ("embeddings", "glove_schema", GloveEmbeddingsConfig),
    ("optimizer", "adam_schema", AdamConfig),
    ("optimizer", "adamw_schema", AdamWConfig),
    ("optimizer", "rmsprop_schema", RMSpropConfig),
    ("optimizer", "sgd_schema", SGDConfig),
    ("scheduler", "none_schema", NoScheduleConfig),
    ("scheduler", "one_cycle_schema", OneCycleConfig),
    ("scheduler", "cosine_schema", CosineConfig),
    ("scheduler", "plateau_schema", PlateauConfig),
)
