# ruff: noqa: D101, RUF009 (``_target_`` names what documents the settings; ``ranged`` is a field)
"""Schemas of the config nodes: name, type, default and limits of every setting.

Each has the arguments that a user may set of the constructor that its ``_target_`` names, so that a
misspelt key or a wrong type, on the command line or in a YAML file, is refused when the config is
composed.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING

from sentiment.data.glove_archives import GLOVE_MIRRORS
from sentiment.model.metric_names import AUTO

# A user types the names of the members. Only this syntax can name a member max+mean.
Cell = StrEnum("Cell", ["rnn", "gru", "lstm"], module=__name__)
Merge = StrEnum("Merge", ["concat", "sum", "mean"], module=__name__)
Pooling = StrEnum("Pooling", ["last", "mean", "max", "max+mean", "attention"], module=__name__)
Keep = StrEnum("Keep", ["head", "tail", "both"], module=__name__)
Quoting = StrEnum("Quoting", ["auto", "minimal", "none"], module=__name__)
Compression = StrEnum(
    "Compression", ["infer", "none", "gzip", "bz2", "xz", "zip", "zstd"], module=__name__
)
FileFormat = StrEnum(
    "FileFormat", ["auto", "csv", "jsonl", "json", "parquet", "fasttext"], module=__name__
)
Weighting = StrEnum("Weighting", ["tfidf", "naive_bayes"], module=__name__)
# Weights stay in float32: in bfloat16 their sums and small steps would be lost.
Precision = StrEnum("Precision", ["32-true", "bf16-mixed", "16-mixed"], module=__name__)
Strategy = StrEnum("Strategy", ["auto", "ddp"], module=__name__)


def ranged(default: Any, **limits: float) -> Any:
    """A field for a number with limits: ``at_least``, ``above``, ``at_most``, ``below``.

    For values that the constructor, which may be another library's, refuses late or not at
    all, or that are to be refused before torch, which is slow to import, is needed.
    """
    return field(default=default, metadata=limits)


def ranged_seed(default: Any) -> Any:
    """A field for a seed that Python, NumPy and torch all accept."""
    return ranged(default, at_least=0, at_most=2**32 - 1)


@dataclass
class DataConfig:
    _target_: str = "sentiment.data.datamodule.SentimentDataModule"
    csv: str | None = None
    train_csv: str | None = None
    val_csv: str | None = None
    test_csv: str | None = None
    unlabeled_csv: Any = None  # a file or a list of files
    soft_csv: Any = None  # likewise
    score_columns: Any = None  # the column of each label
    text_column: str = "review"
    label_column: str = "sentiment"
    weight_column: str | None = None
    labels: list[str | None] | None = None  # YAML reads the label null as None; checked later
    label_names: list[str | None] | None = None
    separator: str | None = None
    quoting: Quoting = Quoting.auto
    escape: str | None = None
    header: bool = True
    encoding: str = "utf-8"
    compression: Compression = Compression.infer
    file_format: FileFormat = FileFormat.auto
    test_size: float = ranged(0.2, above=0, below=1)
    val_size: float = ranged(0.1, above=0, below=1)
    split_seed: int = ranged_seed(42)
    splits_dir: str | None = None
    language: str = "en"
    lowercase: bool = True
    strip_markup: bool = True
    min_freq: int = 1
    max_size: int | None = None
    max_length: int | None = None
    keep: Keep = Keep.head
    batch_size: int | None = ranged(32, at_least=1)
    tokens_per_batch: int | None = None
    cache_dir: str | None = None
    num_workers: int | None = ranged(None, at_least=0, at_most=1000)
    seed: int = ranged_seed(MISSING)


@dataclass
class LearnedEmbeddingsConfig:
    _target_: str = "sentiment.data.embeddings.LearnedEmbeddings"
    size: int = 100
    lr_scale: float = 1.0
    lazy: bool | None = None


@dataclass
class FileEmbeddingsConfig:
    _target_: str = "sentiment.data.embeddings.FileEmbeddings"
    path: str = MISSING
    size: int | None = None
    frozen: bool = False
    frozen_epochs: int = 0
    lr_scale: float = 1.0
    lazy: bool | None = None


@dataclass
class GloveEmbeddingsConfig:
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
    ngrams: int = ranged(0, at_least=0, at_most=5)


@dataclass
class PretrainedConfig:
    """A language model or a classifier to start from, and how it is fine-tuned.

    The scales are fractions of the head's learning rate; for ``frozen_epochs`` only the head is
    trained.
    """

    path: str | None = None
    lr_scale: float = ranged(0.3, above=0)
    embedding_lr_scale: float = ranged(0.1, above=0)
    frozen_epochs: int = ranged(0, at_least=0)


@dataclass
class LossConfig:
    """The training loss: cross-entropy with these settings, and terms that need no labels.

    ``entropy`` and ``virtual_adversarial`` are the weights of these terms; see
    ``sentiment.train.semi_supervised``. If one is above 0, unlabeled reviews are trained on, too:
    ``unlabeled_ratio`` of them for each labelled one.
    """

    label_smoothing: float = ranged(0.0, at_least=0, below=1)
    balanced: bool = False
    class_weights: list[float] | None = None
    entropy: float = ranged(0.0, at_least=0)
    virtual_adversarial: float = ranged(0.0, at_least=0)
    perturbation_size: float = ranged(5.0, above=0)
    unlabeled_ratio: float = ranged(1.0, above=0)


@dataclass
class DistillConfig:
    """How a teacher's probabilities count; see ``sentiment.train.distillation.Distillation``."""

    temperature: float = ranged(1.0, above=0)
    weight: float = ranged(0.5, at_least=0, at_most=1)


@dataclass
class AbstainConfig:
    """Scores below which no label is given; see ``sentiment.model.abstention.Goal``."""

    coverage: float | None = ranged(None, above=0, below=1)
    accuracy: float | None = ranged(None, above=0, at_most=1)
    per_class: bool = False


@dataclass
class AdamConfig:
    _target_: str = "torch.optim.Adam"
    _partial_: bool = True
    lr: float = ranged(1e-3, at_least=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    fused: bool | None = True


@dataclass
class AdamWConfig(AdamConfig):
    _target_: str = "torch.optim.AdamW"
    lr: float = ranged(2e-3, at_least=0)
    weight_decay: float = 0.01


@dataclass
class RMSpropConfig:
    _target_: str = "torch.optim.RMSprop"
    _partial_: bool = True
    lr: float = ranged(1e-3, at_least=0)
    alpha: float = 0.9
    eps: float = 1e-7
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False


@dataclass
class SGDConfig:
    _target_: str = "torch.optim.SGD"
    _partial_: bool = True
    lr: float = ranged(0.1, at_least=0)
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
    _target_: str = "sentiment.model.schedules.one_cycle"
    _partial_: bool = True
    warmup: float = ranged(0.3, at_least=0, below=1)
    start_factor: float = ranged(0.04, above=0, at_most=1)
    final_factor: float = ranged(4e-6, at_least=0, at_most=1)


@dataclass
class CosineConfig:
    _target_: str = "sentiment.model.schedules.cosine"
    _partial_: bool = True
    warmup: float = ranged(0.05, at_least=0, below=1)
    final_factor: float = ranged(0.0, at_least=0, at_most=1)


@dataclass
class PlateauConfig:
    _target_: str = "sentiment.model.schedules.plateau"
    _partial_: bool = True
    factor: float = ranged(0.5, above=0, below=1)
    patience: int = ranged(1, at_least=0)
    monitor: str = "val/loss"


@dataclass
class TrainerConfig:
    """See ``lightning.Trainer``; its callbacks and loggers are nodes of their own."""

    _target_: str = "lightning.Trainer"
    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: Strategy = Strategy.auto
    precision: Precision = Precision["32-true"]
    max_epochs: int = ranged(10, at_least=1)
    min_epochs: int | None = None
    max_time: str | None = None
    gradient_clip_val: float | None = ranged(None, at_least=0)
    gradient_clip_algorithm: str = "norm"
    accumulate_grad_batches: int = ranged(1, at_least=1)
    check_val_every_n_epoch: int = ranged(1, at_least=1)
    limit_train_batches: Any = ranged(1.0, above=0)
    limit_val_batches: Any = ranged(1.0, above=0)
    limit_test_batches: Any = ranged(1.0, above=0)
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
class ReportConfig:
    """What ``report.html`` shows beside the metrics.

    ``slices`` are columns of the test file by which accuracy is reported; ``mistakes`` is the
    number of misclassified reviews whose texts are shown.
    """

    slices: list[str] = field(default_factory=list)
    mistakes: int = ranged(20, at_least=0, at_most=1000)


@dataclass
class TrainConfig:
    """The whole config of a training."""

    seed: int = ranged_seed(42)
    ckpt_path: str | None = None
    calibrated: bool = True  # whether validation sets the temperature of scores
    abstain: AbstainConfig = field(default_factory=AbstainConfig)
    data: DataConfig = MISSING
    embeddings: Any = MISSING
    model: ModelConfig = MISSING
    pretrained: PretrainedConfig = field(default_factory=PretrainedConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    optimizer: Any = MISSING
    scheduler: Any | None = MISSING
    trainer: TrainerConfig = MISSING
    callbacks: Any = MISSING
    report: ReportConfig = field(default_factory=ReportConfig)
    logger: Any = None


@dataclass
class DistillRunConfig(TrainConfig):
    """The whole config of ``sentiment.distill``."""

    teachers: Any = field(default_factory=list)  # checkpoints or run folders, or a single one
    rounds: int = ranged(1, at_least=1, at_most=20)
    match_priors: bool = True  # of the classes, as among the labels


@dataclass
class LanguageModelConfig:
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

    negatives: int | None = ranged(None, at_least=1)


@dataclass
class PretrainConfig:
    """The whole config of a pretraining."""

    seed: int = ranged_seed(42)
    ckpt_path: str | None = None
    held_out_tokens: int = ranged(200_000, at_least=1)
    data: DataConfig = MISSING
    embeddings: Any = MISSING
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    softmax: SoftmaxConfig = field(default_factory=SoftmaxConfig)
    optimizer: Any = MISSING
    scheduler: Any | None = MISSING
    trainer: TrainerConfig = MISSING
    callbacks: Any = MISSING
    logger: Any = None


@dataclass
class BaselineConfig:
    """The whole config of the baselines; see ``sentiment.baseline``."""

    seed: int = ranged_seed(42)
    data: DataConfig = MISSING
    weightings: list[Weighting] = field(default_factory=lambda: list(Weighting))
    report: ReportConfig = field(default_factory=ReportConfig)
    abstain: AbstainConfig = field(default_factory=AbstainConfig)


@dataclass
class VectorsConfig:
    """The whole config of ``sentiment.vectors``; see ``SkipGramSettings`` there."""

    seed: int = ranged_seed(42)
    data: DataConfig = MISSING
    output: str | None = None
    size: int = ranged(100, at_least=1, below=2**31)
    window: int = ranged(8, at_least=1, at_most=10_000)  # gensim cuts texts at 10,000 words
    negatives: int = ranged(8, at_least=1, at_most=10_000)
    epochs: int = ranged(5, at_least=1, below=2**31)
    min_count: int = ranged(5, at_least=1, below=2**31)
    sample: float = ranged(1e-4, at_least=0, below=1)
    workers: int | None = ranged(None, at_least=1, at_most=1000)  # null: one for each core


@dataclass
class CheckSettings:
    checkpoint: str | None = None  # whose probabilities find label errors
    rows: int = ranged(500, at_least=1)  # most that are listed of a kind
    similarity: float = ranged(0.8, at_least=0.5, at_most=1)  # of nearly equal texts
    fail_on: list[str] = field(default_factory=list)  # kinds, or levels, that give exit code 3


@dataclass
class CheckConfig:
    """The whole config of ``sentiment.check``."""

    seed: int = ranged_seed(42)
    data: DataConfig = MISSING
    check: CheckSettings = field(default_factory=CheckSettings)


@dataclass
class EarlyStoppingConfig:
    _target_: str = "sentiment.train.stopping.EarlyStopping"
    monitor: str = AUTO
    mode: str = "${best_mode:${.monitor}}"
    patience: int = ranged(5, at_least=0)
    min_delta: float = 0.0
    strict: bool = False  # an epoch may end without a validation
    verbose: bool = False


@dataclass
class OneCheckpointConfig:
    _target_: str = "sentiment.train.callbacks.OneCheckpoint"
    _partial_: bool = True
    monitor: str | None = AUTO


@dataclass
class CallbacksConfig:
    """What is saved, and early stopping; ``early_stopping: null`` trains all epochs."""

    save_minutes: float | None = ranged(None, at_least=0)  # also save last.ckpt at this interval
    checkpoint: OneCheckpointConfig = field(default_factory=OneCheckpointConfig)
    early_stopping: EarlyStoppingConfig | None = field(default_factory=EarlyStoppingConfig)


# Where Hydra finds each schema: group (None for the whole config), name, node.
SCHEMAS: tuple[tuple[str | None, str, type], ...] = (
    (None, "train_schema", TrainConfig),
    (None, "distill_schema", DistillRunConfig),
    (None, "pretrain_schema", PretrainConfig),
    (None, "baseline_schema", BaselineConfig),
    (None, "vectors_schema", VectorsConfig),
    (None, "check_schema", CheckConfig),
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


def option_of(schema: str) -> str:
    """An option of a config group whose schema, in ``SCHEMAS``, has this name."""
    return schema.removesuffix("_schema").replace("glove", "glove_6b_100d")


def config_schema(program: str) -> type:
    """The schema of a program's whole config."""
    return next(node for _, name, node in SCHEMAS if name == f"{program}_schema")
