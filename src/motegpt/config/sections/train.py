"""The section of the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from motegpt.config.fields import SEEDS, Settings, factor_of, setting
from motegpt.config.sections.bounds import LARGEST_ORDER, LARGEST_SIZE
from motegpt.errors import SettingError
from motegpt.system.processors import MAX_THREADS

LARGEST_STEPS = 2**42  # times LARGEST_SIZE sequences per batch fits into 64 bits
LARGEST_SECONDS = 7 * 24 * 3600  # a week

LossMean = Literal["documents", "tokens"]


@dataclass(frozen=True, kw_only=True)
class Length(Settings):
    """Length of a training."""

    steps: int = setting("Number of optimizer steps.", at_least=1)


@dataclass(frozen=True, kw_only=True)
class LengthRequest(Length):
    """Length of a training as users may give it."""

    epochs: float | None = setting(
        "Passes through the training data, instead of steps.",
        default=None,
        above=0,
        at_most=LARGEST_STEPS,
    )
    seconds: float | None = setting(
        "Budget of operations, in seconds of one thread.",
        default=None,
        above=0,
        at_most=LARGEST_SECONDS,
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Length):
    """Optimization, evaluation, logging and checkpoints."""

    batch_size: int = setting("Documents per step.", at_least=1, at_most=LARGEST_SIZE)
    loss_mean: LossMean = setting("Average the loss over documents or over tokens.", default="documents")
    seed: int = setting("Random seed of order, weights and samples.", **SEEDS)
    rng: Literal["python", "lcg", "xoshiro128+"] = setting("Random number generator.")
    lr: float = setting("Peak learning rate.", above=0)
    schedule: Literal["linear", "linear_to_zero", "cosine", "constant"] = setting(
        "Learning-rate schedule; linear_to_zero reaches zero at the last step."
    )
    warmup_steps: int = setting("Steps of linear warmup.", default=0, at_least=0)
    lr_min: float = setting("Final learning rate of the cosine.", default=0.0, at_least=0)
    lr_scale: tuple[str, ...] | None = setting(
        "Factors of the learning rate by tensor: NAME=FACTOR, with patterns or roles.",
        default=None,
        pairs=True,
    )
    frozen: tuple[str, ...] | None = setting(
        "Tensors that are not trained: names, patterns such as layer0.*, or roles.", default=None
    )
    optimizer: Literal["adam", "sgd"] = setting("Optimizer.", default="adam")
    adam: Literal["corrected", "folded"] = setting(
        "Adam: add eps after bias correction, or before it.", optimizers=("adam",)
    )
    beta1: float = setting("Adam: decay rate of the first moment.", at_least=0, below=1, optimizers=("adam",))
    beta2: float = setting(
        "Adam: decay rate of the second moment.", at_least=0, below=1, optimizers=("adam",)
    )
    eps: float = setting(
        "Adam: added to the denominator for numerical stability.", above=0, optimizers=("adam",)
    )
    momentum: float = setting("SGD: momentum.", default=0.9, at_least=0, below=1, optimizers=("sgd",))
    weight_decay: float = setting("Decoupled weight decay, multiplied by lr.", default=0.0, at_least=0)
    dropout: float = setting(
        "Probability of dropout on the embedding and residual writes.", default=0.0, at_least=0, below=1
    )
    ngram_dropout: float = setting(
        "N-gram embedding: probability of dropping a vector in training.", default=0.0, at_least=0, below=1
    )
    ngram_weight_decay: float = setting(
        "N-gram embedding: decoupled weight decay of its vectors.", default=0.0, at_least=0
    )
    kneser_ney: int | None = setting(
        "Average the GPT with Kneser-Ney n-grams of up to N tokens.",
        default=None,
        at_least=2,
        at_most=LARGEST_ORDER,
    )
    kneser_ney_weight: float | None = setting(
        "Weight of the n-grams in the average.  [fitted]", default=None, at_least=0, at_most=1
    )
    clip_node: float | None = setting(
        "Clip the gradient of every graph node to ± this, as Oxidized-GPT.", default=None, above=0
    )
    clip_value: float | None = setting("Clip each parameter's gradient to ± this.", default=None, above=0)
    clip_norm: float | None = setting("Clip the norm of the whole gradient to this.", default=None, above=0)
    dtype: Literal["float64", "float32"] = setting("Precision of the arithmetic.")
    threads: int | None = setting(
        "Most threads (native, torch).  [as many as help]",
        default=None,
        at_least=1,
        at_most=MAX_THREADS,
        engines=("native", "torch"),
    )
    level: Literal["baseline", "avx2", "avx512"] | None = setting(
        "Instruction set (native).  [the fastest here]", default=None, engines=("native",)
    )
    checkpoint_activations: bool = setting(
        "Recompute activations in the backward pass (native, torch).",
        default=False,
        engines=("native", "torch"),
    )
    device: Literal["cpu", "cuda", "mps"] | None = setting(
        "Device (torch).  [best available]", default=None, engines=("torch",)
    )
    autocast: Literal["bfloat16", "float16"] | None = setting(
        "Multiply matrices in 16 bits (torch).", default=None, engines=("torch",)
    )
    tf32: bool = setting(
        "Allow TF32 matrix products on CUDA GPUs (torch).",
        default=False,
        engines=("torch",),
    )
    compile: bool = setting("Compile the model (torch).", default=False, engines=("torch",))
    accumulate: int = setting(
        "Gradient accumulation steps (torch).",
        default=1,
        at_least=1,
        at_most=LARGEST_SIZE,
        engines=("torch",),
    )
    shard: bool = setting(
        "Shard the parameters over the processes of torchrun (torch).",
        default=False,
        engines=("torch",),
    )
    log_every: int = setting("Log the loss every N steps.", at_least=1)
    log_statistics: bool = setting(
        "Log statistics of matrices and activations with the loss.", default=False, needs="records"
    )
    sample_every: int | None = setting(
        "Generate samples every N steps, and after the last.", default=None, at_least=1, needs="samples"
    )
    eval_every: int | None = setting(
        "Evaluate on the validation set every N steps.  [log_every]",
        default=None,
        at_least=1,
        needs="validation",
    )
    patience: int | None = setting(
        "Stop after N evaluations without improvement.", default=None, at_least=1, needs="validation"
    )
    checkpoint_every: int | None = setting(
        "Save a checkpoint every N steps, and after the last.", default=None, at_least=1, needs="folder"
    )
    checkpoint_at: Literal["log"] | None = setting(
        "Keep the parameters at steps 0, 1, 2, 4, … 512, then every 1,000.", default=None, needs="folder"
    )
    checkpoint_minutes: float = setting(
        "Save a checkpoint at least every N minutes.", default=1.0, above=0, needs="folder"
    )
    keep: int = setting("Periodic checkpoints to keep.", default=1, at_least=1, needs="folder")
    count_from: Literal[0, 1] = setting("Number of the first step on the console.", default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps > LARGEST_STEPS:
            raise SettingError(f"steps: expected at most {LARGEST_STEPS:,}, got {self.steps:,}")
        if self.kneser_ney_weight is not None and self.kneser_ney is None:
            raise SettingError(
                f"kneser_ney_weight: expected none without n-grams, got {self.kneser_ney_weight:g}; leave it "
                "out, or set `kneser_ney=5`"
            )
        if self.lr_min > self.lr:
            raise SettingError(f"lr_min: expected at most lr = {self.lr:g}, got {self.lr_min:g}")

    @property
    def lr_scales(self) -> list[tuple[str, float]]:
        """The pairs of `lr_scale`: a name, pattern or role, and the factor."""
        return [pair for text in self.lr_scale or () if (pair := factor_of(text)) is not None]


@dataclass(frozen=True, kw_only=True)
class TrainRequest(TrainConfig, LengthRequest):
    """TrainConfig as users may give it; epochs and seconds become steps once the data are read."""
