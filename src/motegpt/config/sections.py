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
from math import gcd
from typing import Any, Literal

from motegpt.config.fields import SEEDS, Settings, kinds, setting, unknown_setting
from motegpt.config.patterns import compiled
from motegpt.config.text import shortened
from motegpt.errors import SettingError
from motegpt.system.processors import MAX_THREADS

HIDDEN_RATIO = 4  # width of the MLP's hidden layer / n_embd, unless it is set
GATED_MULTIPLE = 16  # of SwiGLU: two thirds of that, as it has three matrices, up to a multiple of this
LARGEST_SIZE = 2**20  # of vocabulary, width, block, batch and tries
LARGEST_DEPTH = 2**12
LARGEST_CACHE = 2**30  # numbers in the keys of one sequence; the values have as many
LARGEST_STEPS = 2**42  # times LARGEST_SIZE sequences per batch fits into 64 bits
LARGEST_SECONDS = 7 * 24 * 3600  # a week
LARGEST_BEAMS = 2**16
LARGEST_TEXT = 2**24  # tokens
LARGEST_ORDER = 8  # tokens of an n-gram, or of a context of the n-gram embedding
FORMATS_WITH = {  # setting -> formats that it applies to
    "column": ("csv", "tsv", "json", "jsonl"),
    "header": ("csv", "tsv"),
    "delimiter": ("text", "csv"),
}
TOKENIZERS_WITH = {  # setting -> tokenizers that it applies to
    "max_vocab_size": ("bpe", "words", "regex"),
    "token_pattern": ("bpe", "regex"),
    "tokenizer_file": ("file",),
}
NEEDED_BY = {"regex": "token_pattern", "file": "tokenizer_file"}  # tokenizer -> the setting that it needs
DEFAULT_VOCABULARY = 512  # tokens
NEED_A_NORM = ("norm_gain", "norm_bias", "final_norm")  # settings of ModelConfig
EXCLUDES: dict[tuple[str, str | bool], tuple[str, ...]] = {  # a setting with a value -> those it cannot have
    ("norm", "none"): NEED_A_NORM,
    ("scaled_init", True): ("zero_init",),
    ("zero_init", True): ("scaled_init",),
}
FOUND_FROM_DATA = {"vocab_size", "ngram_rows"}  # settings that users cannot set

LARGEST_PENALTY = 10  # exponent of a length

Activation = Literal["relu", "squared_relu", "gelu", "gelu_tanh", "swiglu"]
Norm = Literal["rms", "layer", "none"]
Position = Literal["learned", "rope", "none"]
LossMean = Literal["documents", "tokens"]
CutRule = Literal["targets", "tokens"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """The shape of the network and how it is initialized."""

    vocab_size: int = setting("Number of token ids; found from the data.", at_least=2, at_most=LARGEST_SIZE)
    n_layer: int = setting("Number of transformer layers.", at_least=1, at_most=LARGEST_DEPTH)
    n_embd: int = setting("Width of the residual stream.", at_least=1, at_most=LARGEST_SIZE)
    n_head: int = setting("Attention heads per layer; must divide n_embd.", at_least=1)
    n_kv_head: int | None = setting(
        "Heads of keys and values, each shared by as many queries; must divide n_head.  [n_head]",
        default=None,
        at_least=1,
    )
    n_hidden: int | None = setting(
        f"Width of the MLP's hidden layer.  [{HIDDEN_RATIO} n_embd; swiglu: two thirds of it]",
        default=None,
        at_least=1,
        at_most=LARGEST_SIZE,
    )
    block_size: int = setting("Longest sequence the model sees.", at_least=2, at_most=LARGEST_SIZE)
    activation: Activation = setting("Nonlinearity of the MLP; gelu_tanh approximates gelu.")
    bias: bool = setting("Add a learned bias to every matrix product of a layer.", default=False)
    norm: Norm = setting(
        "Norm before attention and MLP: RMSNorm (rms), LayerNorm (layer), or none.", default="rms"
    )
    norm_gain: bool = setting("Multiply each channel of these norms by a learned gain.", default=False)
    norm_bias: bool = setting("Add a learned bias to each channel of these norms.", default=False)
    final_norm: bool = setting("Apply the norm before the output head too.", default=False)
    tied: bool = setting("Share the token embedding with the output head.")
    embedding_norm: bool = setting("Apply RMSNorm after the embedding.")
    norm_eps: float = setting(
        "Norms: added to the mean square, or the variance, for numerical stability.", above=0
    )
    init_std: float = setting("Standard deviation of the initial weights.", above=0)
    zero_init: bool = setting("Initialize the matrices that write to the residual stream to zero.")
    scaled_init: bool = setting(
        "Divide the initial standard deviation of these matrices by √(2 n_layer), as GPT-2.", default=False
    )
    position: Position = setting("Position encoding: learned embeddings, RoPE, or none.", default="learned")
    rope_base: float = setting("RoPE: base of the frequencies.", default=100.0, above=1)
    qk_norm: bool = setting("Apply RMSNorm to the queries and keys of each head.", default=False)
    ngram_orders: int | None = setting(
        "N-gram embedding: embed contexts of the last 2 … N tokens.",
        default=None,
        at_least=2,
        at_most=LARGEST_ORDER,
    )
    ngram_rows: tuple[int, ...] = setting(
        "N-gram embedding: number of contexts of 2, 3, … tokens; found from the data.", default=(), at_least=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.ngram_rows) > (self.ngram_orders or 1) - 1:
            raise SettingError(
                f"ngram_rows: expected at most {(self.ngram_orders or 1) - 1} numbers with "
                f"`ngram_orders={self.ngram_orders}`, got {shortened(list(self.ngram_rows))}"
            )
        if self.n_embd % self.n_head:
            fitting = -(-self.n_embd // self.n_head) * self.n_head
            raise SettingError(
                f"n_embd: expected a multiple of n_head = {self.n_head}, got {self.n_embd}; "
                f"try `n_embd={fitting}`"
            )
        if self.position == "rope" and self.head_size % 2:
            fitting = -(-self.n_embd // (2 * self.n_head)) * 2 * self.n_head
            raise SettingError(
                f"n_embd: expected an even multiple of n_head = {self.n_head} with `position='rope'`, which "
                f"rotates pairs of channels, got {self.n_embd}; try `n_embd={fitting}`"
            )
        if self.n_head % self.kv_heads:
            raise SettingError(
                f"n_kv_head: expected a divisor of n_head = {self.n_head}, got {self.n_kv_head}; try "
                f"`n_kv_head={gcd(self.n_head, self.kv_heads)}`"
            )
        if self.norm == "none":
            for name in NEED_A_NORM:
                if getattr(self, name):
                    raise SettingError(f"{name}: expected false with `norm='none'`, got true")
        if self.zero_init and self.scaled_init:
            raise SettingError("scaled_init: expected false with `zero_init=True`, got true; leave one out")
        keys = self.n_layer * self.block_size * self.kv_size
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
    def kv_heads(self) -> int:
        """Number of heads of keys and of values."""
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def kv_size(self) -> int:
        """Width of all keys, and of all values, of a position."""
        return self.kv_heads * self.head_size

    @property
    def mlp_size(self) -> int:
        """Width of the MLP's hidden layer."""
        if self.n_hidden is not None:
            return self.n_hidden
        if self.gated:
            return -(-HIDDEN_RATIO * 2 * self.n_embd // (3 * GATED_MULTIPLE)) * GATED_MULTIPLE
        return HIDDEN_RATIO * self.n_embd

    @property
    def gated(self) -> bool:
        """Whether the MLP multiplies its hidden layer by a gate, the product with a third matrix."""
        return self.activation == "swiglu"


@dataclass(frozen=True, kw_only=True)
class ReadConfig(Settings):
    """How a file is read as documents: the part of DataConfig that formats and documents.py need."""

    format: Literal["text", "csv", "tsv", "json", "jsonl", "stream"] | None = setting(
        "File format, or one long text (stream).  [by file name]",
        default=None,
    )
    column: str | None = setting(
        "Column of a table, by name or number from 1, or key of JSON objects.",
        default=None,
    )
    header: bool | None = setting(
        "Whether the first row of a table is a header.  [by its contents]", default=None
    )
    delimiter: str | None = setting(
        "Separator of documents, such as \\n\\n, or of the cells of a CSV.", default=None
    )
    encoding: str | None = setting("Encoding of the file, as Python names it.  [UTF-8]", default=None)
    normalize: Literal["nfc", "nfkc"] | None = setting(
        "Unicode normalization form of the documents.", default=None
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

    tokenizer: Literal["characters", "bytes", "bpe", "words", "regex", "file"] = setting(
        "Tokens: characters, bytes of UTF-8, merged pairs (bpe), words, matches of token_pattern (regex), or "
        "those of tokenizer_file (file).",
        default="characters",
    )
    max_vocab_size: int | None = setting(
        f"Most tokens of bpe, words and regex.  [{DEFAULT_VOCABULARY}]",
        default=None,
        at_least=2,
        at_most=LARGEST_SIZE,
    )
    token_pattern: str | None = setting(
        "Regular expression of the tokens (regex), or of the words that no token crosses (bpe).", default=None
    )
    tokenizer_file: str | None = setting("A tokenizer.json to read tokens from (file).", default=None)
    framing: Literal["bos", "bos_eos", "none"] = setting(
        "Special tokens: BOS at both ends, or BOS before and EOS after."
    )
    cut: CutRule = setting("Part of a document that must fit block_size.")
    shuffle: bool = setting("Shuffle the documents once, before training.")
    reshuffle: bool = setting("Shuffle the documents anew in every later epoch.", default=False)
    val_fraction: float = setting(
        "Fraction held out for validation; duplicates stay together.",
        default=0.0,
        at_least=0,
        below=1,
    )
    ngram_min_count: int = setting(
        "N-gram embedding: keep contexts seen at least N times in training.", default=2, at_least=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_tokenizer()
        if self.format == "stream":
            object.__setattr__(self, "framing", "none")  # a stream has no document boundaries
        elif self.framing == "none":
            raise SettingError("framing: expected bos or bos_eos, got none, which is for `format='stream'`")

    @property
    def tokenizer_settings(self) -> list[str]:
        """The settings that apply to the tokenizer."""
        return [name for name, kinds in TOKENIZERS_WITH.items() if self.tokenizer in kinds]

    def _check_tokenizer(self) -> None:
        """SettingError for settings that the tokenizer lacks, or does not have."""
        for name in TOKENIZERS_WITH:
            if getattr(self, name) is not None and name not in self.tokenizer_settings:
                owners = " or ".join(f"`tokenizer={kind!r}`" for kind in TOKENIZERS_WITH[name])
                raise SettingError(
                    f"{name}: expected none with `tokenizer={self.tokenizer!r}`; leave it out, or try "
                    f"{owners}"
                )
        needed = NEEDED_BY.get(self.tokenizer)
        if needed is not None and not getattr(self, needed):
            raise SettingError(f"{needed}: expected one with `tokenizer={self.tokenizer!r}`, got none")
        if self.token_pattern is not None:
            try:
                compiled(self.token_pattern)
            except ValueError as error:
                raise SettingError(f"token_pattern: expected a regular expression, got {error}") from None


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
    sample_every: int | None = setting(
        "Generate samples every N steps, and after the last.", default=None, at_least=1
    )
    eval_every: int | None = setting(
        "Evaluate on the validation set every N steps.  [log_every]",
        default=None,
        at_least=1,
    )
    patience: int | None = setting("Stop after N evaluations without improvement.", default=None, at_least=1)
    checkpoint_every: int | None = setting(
        "Save a checkpoint every N steps, and after the last.", default=None, at_least=1
    )
    checkpoint_minutes: float = setting("Save a checkpoint at least every N minutes.", default=1.0, above=0)
    keep: int = setting("Periodic checkpoints to keep.", default=1, at_least=1)
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


@dataclass(frozen=True, kw_only=True)
class TrainRequest(TrainConfig, LengthRequest):
    """TrainConfig as users may give it; epochs and seconds become steps once the data are read."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig(Settings):
    """Generation. The settings apply in the order given in sampling/__init__.py."""

    n: int = setting("Number of samples.", at_least=1)
    temperature: float = setting("Sampling temperature; 0 takes the most likely token.", at_least=0)
    prefix: str = setting("Text that every sample begins with.", default="")
    repetition_penalty: float = setting(
        "Penalty on the logits of tokens already in the text.",
        default=1.0,
        at_least=0.001,
        at_most=1000,
    )
    top_k: int | None = setting("Keep the k most likely tokens.", default=None, at_least=1)
    top_p: float | None = setting(
        "Nucleus sampling: keep the most likely tokens up to this total probability.",
        default=None,
        above=0,
        at_most=1,
    )
    min_p: float | None = setting(
        "Keep tokens with at least this fraction of the highest probability.",
        default=None,
        at_least=0,
        at_most=1,
    )
    typical_p: float | None = setting(
        "Keep the most typical tokens up to this total probability.",
        default=None,
        above=0,
        at_most=1,
    )
    min_new_tokens: int = setting("Minimum number of new tokens.", default=0, at_least=0)
    max_new_tokens: int | None = setting(
        "Maximum number of new tokens, also beyond block_size.",
        default=None,
        at_least=1,
        at_most=LARGEST_TEXT,
    )
    min_length: int | None = setting(
        "Minimum length in characters, prefix included.",
        default=None,
        at_least=0,
    )
    max_length: int | None = setting(
        "Maximum length in characters, prefix included.", default=None, at_least=1
    )
    on_cut: Literal["keep", "mark", "redraw"] = setting(
        "Texts cut off by the end of the block: keep, mark or redraw them.", default="keep"
    )
    stop: str = setting("End a text at this string, which is left out.", default="")
    allow: str = setting("Generate only these characters.  [all]", default="")
    forbid: str = setting("Never generate these characters.", default="")
    suffix: str = setting("Keep only texts that end with this.", default="")
    unique: bool = setting("Drop repeated samples.", default=False)
    novel: bool = setting("Drop samples found in the training data.", default=False)
    tries: int = setting(
        "Give up after N rejected texts in a row.",
        default=1000,
        at_least=1,
        at_most=LARGEST_SIZE,
    )
    beams: int | None = setting(
        "Beam search with N beams, instead of sampling.",
        default=None,
        at_least=1,
        at_most=LARGEST_BEAMS,
    )
    length_penalty: float = setting(
        "Beam search: rank by log-probability / length to this power.",
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
