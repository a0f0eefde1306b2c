"""The section of the architecture."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Literal

from motegpt.config.fields import Settings, setting
from motegpt.config.sections.bounds import LARGEST_ORDER, LARGEST_SIZE
from motegpt.config.text import shortened
from motegpt.errors import SettingError

HIDDEN_RATIO = 4  # width of the MLP's hidden layer / n_embd, unless it is set
GATED_MULTIPLE = 16  # of SwiGLU: two thirds of that, as it has three matrices, up to a multiple of this
LARGEST_DEPTH = 2**12
LARGEST_CACHE = 2**30  # numbers in the keys of one sequence; the values have as many
NEED_A_NORM = ("norm_gain", "norm_bias", "final_norm")  # settings of ModelConfig
EXCLUDES: dict[tuple[str, str | bool], tuple[str, ...]] = {  # a setting with a value -> those it cannot have
    ("norm", "none"): NEED_A_NORM,
    ("scaled_init", True): ("zero_init",),
    ("zero_init", True): ("scaled_init",),
}

Activation = Literal["relu", "squared_relu", "gelu", "gelu_tanh", "swiglu"]
Norm = Literal["rms", "layer", "none"]
Position = Literal["learned", "rope", "none"]


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
