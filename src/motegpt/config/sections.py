"""The settings of a run, in four sections.

ModelConfig (architecture), DataConfig (reading and tokenizing), TrainConfig (training) and SampleConfig
(generation). The name, type, bounds and help text of a setting are defined only here; the command line, TOML
files and config.json derive from them. Values come from a preset (presets.py); defaults here are for settings
that are off unless a preset or a user sets them.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from motegpt.config.fields import SEEDS, Settings, kinds, setting, unknown_setting
from motegpt.config.text import shortened
from motegpt.errors import SettingError
from motegpt.system.processors import MAX_THREADS

HIDDEN_RATIO = 4  # width of the MLP's hidden layer / n_embd
LARGEST_SIZE = 2**20  # of vocabulary, width, block, batch and tries
LARGEST_DEPTH = 2**12
LARGEST_CACHE = 2**30  # numbers in the keys of one sequence; the values have as many
LARGEST_STEPS = 2**42  # times LARGEST_SIZE sequences per batch fits into 64 bits
LARGEST_BEAMS = 2**16
LARGEST_TEXT = 2**24  # tokens
FORMATS_WITH = {  # setting -> formats that it applies to
    "column": ("csv", "tsv", "json", "jsonl"),
    "header": ("csv", "tsv"),
    "delimiter": ("text", "csv"),
}
FOUND_FROM_DATA = {"vocab_size"}  # settings that users cannot set

LARGEST_PENALTY = 10  # exponent of a length

Activation = Literal["relu", "squared_relu"]
LossMean = Literal["documents", "tokens"]
CutRule = Literal["targets", "tokens"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """The shape of the network and how it is initialized."""

    vocab_size: int = setting("Number of token ids; found from the data.", at_least=2, at_most=LARGEST_SIZE)
    n_layer: int = setting("Number of transformer layers.", at_least=1, at_most=LARGEST_DEPTH)
    n_embd: int = setting("Width of the residual stream.", at_least=1, at_most=LARGEST_SIZE)
    n_head: int = setting("Attention heads a layer; must divide n_embd.", at_least=1)
    block_size: int = setting(
        "Longest sequence of positions the model sees.", at_least=2, at_most=LARGEST_SIZE
    )
    activation: Activation = setting("Non-linearity of the MLP.")
    tied: bool = setting("Use the token embedding as the output head too.")
    embedding_norm: bool = setting("Apply RMSNorm right after the embedding.")
    norm_eps: float = setting("Added to the mean square inside RMSNorm's root.", above=0)
    init_std: float = setting("Standard deviation of the initial weights.", above=0)
    zero_init: bool = setting("Start the matrices that write to the residual stream at zero.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_embd % self.n_head:
            fitting = -(-self.n_embd // self.n_head) * self.n_head
            raise SettingError(
                f"n_embd: expected a multiple of n_head = {self.n_head}, got {self.n_embd}; "
                f"try `n_embd={fitting}`"
            )
        keys = self.n_layer * self.block_size * self.n_embd
        if keys > LARGEST_CACHE:
            raise SettingError(
                f"n_layer, block_size, n_embd: expected a product of at most {LARGEST_CACHE:,} (the keys of "
                f"one sequence), got {keys:,}"
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    @property
    def n_hidden(self) -> int:
        """Width of the MLP's hidden layer."""
        return HIDDEN_RATIO * self.n_embd


@dataclass(frozen=True, kw_only=True)
class ReadConfig(Settings):
    """How a file is read as documents: the part of DataConfig that formats and documents.py need."""

    format: Literal["text", "csv", "tsv", "json", "jsonl", "stream"] | None = setting(
        "What the file holds: one document per line, row, element or object, or one long text (stream); "
        "default: by its name.",
        default=None,
    )
    column: str | None = setting(
        "Column of a table, by name or number (from 1), or key of JSON objects, where there are several.",
        default=None,
    )
    header: bool | None = setting(
        "Whether the first row of a table is a header; default: by what is in it.", default=None
    )
    delimiter: str | None = setting(
        "What separates documents that have several lines, as \\n\\n, or the cells of a CSV.", default=None
    )
    encoding: str | None = setting("Encoding of the file, as Python names it; default: UTF-8.", default=None)
    normalize: Literal["nfc", "nfkc"] | None = setting(
        "Unicode form that every document is put into.", default=None
    )
    deduplicate: bool = setting("Drop repeated documents.", default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format is not None:
            for name in self.inapplicable(self.format):
                raise SettingError(f"{name}: expected none with `format={self.format!r}`; leave it out")
        if self.delimiter is not None:
            delimiter = self.delimiter.replace("\\n", "\n").replace("\\t", "\t")
            if not delimiter:
                raise SettingError("delimiter: expected at least one character, got none")
            object.__setattr__(self, "delimiter", delimiter)
        if self.encoding is not None:
            _check_encoding(self.encoding)

    def inapplicable(self, form: str) -> list[str]:
        """The settings that are set but do not apply to a format."""
        return [
            name
            for name, formats in FORMATS_WITH.items()
            if getattr(self, name) is not None and form not in formats
        ]


def _check_encoding(name: str) -> None:
    """SettingError unless Python has a text encoding of that name."""
    try:
        is_text = codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):  # ValueError: a zero character in the name
        is_text = False
    if not is_text:
        raise SettingError(
            f"encoding: expected a text encoding that Python knows, such as cp1252 or gb18030, got "
            f"{shortened(name)}"
        )


@dataclass(frozen=True, kw_only=True)
class DataConfig(ReadConfig):
    """How a file is read, split and tokenized."""

    tokenizer: Literal["characters", "bytes"] = setting(
        "What a token is: a character of the data, or a byte of its UTF-8.", default="characters"
    )
    framing: Literal["bos", "bos_eos", "none"] = setting(
        "Special tokens: one BOS at both ends, or BOS before and EOS after; a stream always has none."
    )
    cut: CutRule = setting("What of a long document fits block_size: its targets, or all its tokens.")
    shuffle: bool = setting("Shuffle the documents once, before training.")
    val_fraction: float = setting(
        "Hold out this part of the data to be judged by; duplicates stay on one side.",
        default=0.0,
        at_least=0,
        below=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format == "stream":
            object.__setattr__(self, "framing", "none")  # a stream has no document boundaries
        elif self.framing == "none":
            raise SettingError("framing: expected bos or bos_eos, got none, which is for `format='stream'`")


@dataclass(frozen=True, kw_only=True)
class Length(Settings):
    """Length of a training."""

    steps: int = setting("Number of optimizer steps.", at_least=1)


@dataclass(frozen=True, kw_only=True)
class LengthRequest(Length):
    """Length of a training as users may give it."""

    epochs: float | None = setting(
        "Instead of steps: how many times to go through the training data.",
        default=None,
        above=0,
        at_most=LARGEST_STEPS,
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Length):
    """Optimization, evaluation, logging and checkpoints."""

    batch_size: int = setting("Documents a step.", at_least=1, at_most=LARGEST_SIZE)
    loss_mean: LossMean = setting(
        "Mean over documents of each one's mean loss, or over all tokens of the batch.", default="documents"
    )
    seed: int = setting("Seed of the order, the weights and the samples.", **SEEDS)
    rng: Literal["python", "lcg", "xoshiro128+"] = setting("Random number generator.")
    lr: float = setting("Learning rate at its highest.", above=0)
    schedule: Literal["linear", "linear_to_zero", "cosine", "constant"] = setting(
        "Decay of the learning rate; linear_to_zero is spent at the last step itself."
    )
    warmup_steps: int = setting("Steps of linear warm-up before the decay.", default=0, at_least=0)
    lr_min: float = setting("Learning rate at which the cosine ends.", default=0.0, at_least=0)
    optimizer: Literal["adam", "sgd"] = setting("How gradients change the parameters.", default="adam")
    adam: Literal["corrected", "folded"] = setting(
        "Adam's eps beside the bias-corrected root, or beside the uncorrected one.", optimizers=("adam",)
    )
    beta1: float = setting(
        "Adam: decay of the mean of the gradients.", at_least=0, below=1, optimizers=("adam",)
    )
    beta2: float = setting(
        "Adam: decay of the mean of their squares.", at_least=0, below=1, optimizers=("adam",)
    )
    eps: float = setting(
        "Adam: added to the denominator for numerical stability.", above=0, optimizers=("adam",)
    )
    momentum: float = setting(
        "SGD: decay of the sum of the gradients.", default=0.9, at_least=0, below=1, optimizers=("sgd",)
    )
    weight_decay: float = setting("Decoupled weight decay, a multiple of lr.", default=0.0, at_least=0)
    clip_node: float | None = setting(
        "Differentiate as Oxidized-GPT does, each node's gradient clipped to ± this.", default=None, above=0
    )
    clip_value: float | None = setting("Clip each parameter's gradient to ± this.", default=None, above=0)
    clip_norm: float | None = setting(
        "Scale the whole gradient down to this norm if it is longer.", default=None, above=0
    )
    dtype: Literal["float64", "float32"] = setting("Precision of the arithmetic.")
    threads: int | None = setting(
        "Native and torch: most threads of the processor; as many as help and are allowed if none.",
        default=None,
        at_least=1,
        at_most=MAX_THREADS,
        engines=("native", "torch"),
    )
    checkpoint_activations: bool = setting(
        "Native and torch: keep only the inputs of layers, compute the rest again.",
        default=False,
        engines=("native", "torch"),
    )
    device: Literal["cpu", "cuda", "mps"] | None = setting(
        "Torch: where it computes; the best there is if none.", default=None, engines=("torch",)
    )
    autocast: Literal["bfloat16", "float16"] | None = setting(
        "Torch: multiply matrices in 16 bits, keep parameters in float32.", default=None, engines=("torch",)
    )
    tf32: bool = setting(
        "Torch: a CUDA GPU may round the factors of float32 products to 10 bits.",
        default=False,
        engines=("torch",),
    )
    compile: bool = setting(
        "Torch: compile the model before its first step.", default=False, engines=("torch",)
    )
    accumulate: int = setting(
        "Torch: do a batch in so many parts, one after the other.",
        default=1,
        at_least=1,
        at_most=LARGEST_SIZE,
        engines=("torch",),
    )
    shard: bool = setting(
        "Torch: each process of torchrun holds only its part of the parameters.",
        default=False,
        engines=("torch",),
    )
    log_every: int = setting("Report the loss every so many steps.", at_least=1)
    sample_every: int | None = setting(
        "Draw samples every so many steps; always after the last.", default=None, at_least=1
    )
    eval_every: int | None = setting(
        "Judge by the held-out data every so many steps; as often as the loss is logged if none.",
        default=None,
        at_least=1,
    )
    patience: int | None = setting(
        "Stop after so many evaluations in a row without a better one.", default=None, at_least=1
    )
    checkpoint_every: int | None = setting(
        "Save the run every so many steps; always after the last.", default=None, at_least=1
    )
    checkpoint_minutes: float = setting("Save the run at least this often.", default=1.0, above=0)
    keep: int = setting("How many periodic checkpoints to keep, to go back to.", default=1, at_least=1)
    count_from: Literal[0, 1] = setting("Number the console gives the first step.", default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps > LARGEST_STEPS:
            raise SettingError(f"steps: expected at most {LARGEST_STEPS:,}, got {self.steps:,}")
        if self.lr_min > self.lr:
            raise SettingError(f"lr_min: expected at most lr = {self.lr:g}, got {self.lr_min:g}")


@dataclass(frozen=True, kw_only=True)
class TrainRequest(TrainConfig, LengthRequest):
    """TrainConfig as users may give it; epochs are converted to steps once the data are read (epochs.py)."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig(Settings):
    """Generation. The settings apply in the order given in sampling/__init__.py."""

    n: int = setting("Number of samples.", at_least=1)
    temperature: float = setting("Divides the logits; 0 always takes the likeliest token.", at_least=0)
    prefix: str = setting("Text that every sample begins with.", default="")
    repetition_penalty: float = setting(
        "Divides positive and multiplies negative logits of what the text has already.",
        default=1.0,
        at_least=0.001,
        at_most=1000,
    )
    top_k: int | None = setting("Draw from so many of the likeliest tokens.", default=None, at_least=1)
    top_p: float | None = setting(
        "Draw from the fewest likeliest tokens with this probability together.",
        default=None,
        above=0,
        at_most=1,
    )
    min_p: float | None = setting(
        "Draw from tokens with at least this part of the highest probability.",
        default=None,
        at_least=0,
        at_most=1,
    )
    typical_p: float | None = setting(
        "Keep the most typical tokens with this probability together; native: slower.",
        default=None,
        above=0,
        at_most=1,
    )
    min_new_tokens: int = setting("Draw at least so many tokens.", default=0, at_least=0)
    max_new_tokens: int | None = setting(
        "Draw at most so many tokens, beyond the block if need be.",
        default=None,
        at_least=1,
        at_most=LARGEST_TEXT,
    )
    min_length: int | None = setting(
        "Fewest characters of a text, prefix included; if none, 1 with beams and 0 without.",
        default=None,
        at_least=0,
    )
    max_length: int | None = setting("Most characters of a text, prefix included.", default=None, at_least=1)
    on_cut: Literal["keep", "mark", "redraw"] = setting(
        "Texts that only the end of the block ends: keep them, mark them too, or draw others.", default="keep"
    )
    stop: str = setting("End a text where this comes up; it is left out.", default="")
    allow: str = setting("Draw these characters only; all if empty.", default="")
    forbid: str = setting("Never draw these characters.", default="")
    suffix: str = setting("Keep only texts that end with this.", default="")
    tries: int = setting(
        "Give up when so many texts in a row could not be kept.",
        default=1000,
        at_least=1,
        at_most=LARGEST_SIZE,
    )
    beams: int | None = setting(
        "Beam search: the best texts that so many beams find, instead of chance.",
        default=None,
        at_least=1,
        at_most=LARGEST_BEAMS,
    )
    length_penalty: float = setting(
        "Beam search: rank texts by log-probability / tokens to this power.",
        default=0.6,
        at_least=0,
        at_most=LARGEST_PENALTY,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for minimum, maximum in (("min_new_tokens", "max_new_tokens"), ("min_length", "max_length")):
            low, high = getattr(self, minimum), getattr(self, maximum)
            if low is not None and high is not None and low > high:
                raise SettingError(f"{minimum}: expected at most {maximum} = {high}, got {low}")


SECTIONS: dict[str, type[Settings]] = {  # as recorded in config.json
    "model": ModelConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "sample": SampleConfig,
}
REQUESTS: dict[str, type[Settings]] = {**SECTIONS, "train": TrainRequest}  # as users may give them


def section_of(name: str) -> str:
    """The section of a setting; SettingError with a suggestion for an unknown name."""
    for section, config in REQUESTS.items():
        if name in kinds(config):
            return section
    raise unknown_setting(name, (known for config in REQUESTS.values() for known in kinds(config)))


def section_values(settings: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The flat settings of one section."""
    return {name: value for name, value in settings.items() if name in kinds(SECTIONS[section])}


def model_and_training(settings: Mapping[str, Any], vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
    """The two sections that an engine needs, from flat settings."""
    model = ModelConfig.of({**section_values(settings, "model"), "vocab_size": vocab_size})
    return model, TrainConfig.of(section_values(settings, "train"))
