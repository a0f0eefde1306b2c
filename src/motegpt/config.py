"""The settings: frozen, validated when made, saved whole.

Four sections, each one class: ModelConfig (what is computed), DataConfig (how text becomes token
ids), TrainConfig (how the model learns) and SampleConfig (how text is drawn). A setting's name, type,
bounds and help text live here alone: the command line, TOML files and config.json are derived from
them. The values themselves come from a preset (presets.py); a default stands here only where every
preset has it switched off.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from motegpt.errors import SettingError

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
PositiveReal = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]

HIDDEN_RATIO = 4  # the hidden layer of the MLP is this many times n_embd wide
LARGEST_MODEL = 2**31 - 1  # parameters; indices of the native core are 32 bits wide


class Settings(BaseModel):
    """The base of the sections: unknown names and bad values raise a one-line SettingError."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingError(_one_line(error, type(self).model_fields)) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some settings changed, validated again."""
        return type(self)(**{**self.model_dump(), **changes})


class ModelConfig(Settings):
    """The shape of the network and how it is initialised."""

    vocab_size: int = Field(ge=2, le=2**20, description="Number of token ids; found from the data.")
    n_layer: Count = Field(description="Number of transformer layers.")
    n_embd: Count = Field(description="Width of the residual stream.")
    n_head: Count = Field(description="Attention heads a layer; must divide n_embd.")
    block_size: int = Field(ge=2, le=2**20, description="Longest sequence of positions the model sees.")
    activation: Literal["relu", "squared_relu"] = Field(description="Non-linearity of the MLP.")
    tied: bool = Field(description="Use the token embedding as the output head too.")
    embedding_norm: bool = Field(description="Apply RMSNorm right after the embedding.")
    norm_eps: PositiveReal = Field(description="Added to the mean square inside RMSNorm's root.")
    init_std: PositiveReal = Field(description="Standard deviation of the initial weights.")
    zero_init: bool = Field(description="Start the matrices that write to the residual stream at zero.")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd: expected a multiple of n_head = {self.n_head}, got {self.n_embd}; "
                f"try --n-embd {-(-self.n_embd // self.n_head) * self.n_head}"
            )
        return self

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        per_layer = (4 + 2 * HIDDEN_RATIO) * self.n_embd**2
        rows = self.vocab_size * (1 if self.tied else 2) + self.block_size
        count = rows * self.n_embd + self.n_layer * per_layer
        if count > LARGEST_MODEL:
            raise ValueError(f"n_layer, n_embd: expected at most {LARGEST_MODEL:,} parameters, got {count:,}")
        return self

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    @property
    def n_hidden(self) -> int:
        """Width of the MLP's hidden layer."""
        return HIDDEN_RATIO * self.n_embd


class DataConfig(Settings):
    """How lines of text become sequences of token ids."""

    framing: Literal["bos", "bos_eos"] = Field(
        description="Special tokens: one BOS at both ends, or BOS before and EOS after."
    )
    cut: Literal["targets", "tokens"] = Field(
        description="What of a long document fits block_size: its targets, or all its tokens."
    )
    shuffle: bool = Field(description="Shuffle the documents once, before training.")
    unique: bool = Field(default=False, description="Drop repeated documents.")


class TrainConfig(Settings):
    """How the model learns, and what is reported on the way."""

    steps: Count = Field(description="Number of optimiser steps.")
    batch_size: Count = Field(description="Documents a step.")
    loss_mean: Literal["documents", "tokens"] = Field(
        default="documents",
        description="Mean over documents of each one's mean loss, or over all tokens of the batch.",
    )
    seed: int = Field(ge=0, lt=2**64, description="Seed of the order, the weights and the samples.")
    rng: Literal["python", "lcg", "xoshiro128+"] = Field(description="Random number generator.")
    lr: PositiveReal = Field(description="Learning rate at its highest.")
    schedule: Literal["linear", "linear_to_zero", "cosine", "constant"] = Field(
        description="Decay of the learning rate; linear_to_zero is spent at the last step itself."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear warm-up before the decay.")
    lr_min: float = Field(default=0.0, ge=0, description="Learning rate at which the cosine ends.")
    adam: Literal["corrected", "folded"] = Field(
        description="Adam's eps beside the bias-corrected root, or beside the uncorrected one."
    )
    beta1: Fraction = Field(description="Adam: decay of the mean of the gradients.")
    beta2: Fraction = Field(description="Adam: decay of the mean of their squares.")
    eps: PositiveReal = Field(description="Adam: keeps the quotient finite.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay, a multiple of lr.")
    clip_node: PositiveReal | None = Field(
        default=None, description="Clip each activation's gradient to ± this as it flows back."
    )
    clip_value: PositiveReal | None = Field(
        default=None, description="Clip each parameter's gradient to ± this."
    )
    clip_norm: PositiveReal | None = Field(
        default=None, description="Scale the whole gradient down to this norm if it is longer."
    )
    dtype: Literal["float64", "float32"] = Field(description="Precision of the arithmetic.")
    log_every: Count = Field(description="Report the loss every so many steps.")
    sample_every: Count | None = Field(
        default=None, description="Draw samples every so many steps; always after the last."
    )
    checkpoint_every: Count | None = Field(
        default=None, description="Save the run every so many steps; always after the last."
    )
    count_from: Literal[0, 1] = Field(default=1, description="Number the console gives the first step.")

    @model_validator(mode="after")
    def _minimum_below_peak(self) -> Self:
        if self.lr_min > self.lr:
            raise ValueError(f"lr_min: expected at most lr = {self.lr:g}, got {self.lr_min:g}")
        return self


class SampleConfig(Settings):
    """How text is drawn from the model."""

    n: Count = Field(description="Number of samples.")
    temperature: float = Field(ge=0, description="Divides the logits; 0 always takes the likeliest token.")
    prefix: str = Field(default="", description="Text that every sample begins with.")


SECTIONS: dict[str, type[Settings]] = {
    "model": ModelConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "sample": SampleConfig,
}


def section_of(name: str) -> str:
    """The section a setting belongs to; SettingError with the nearest name where there is none."""
    for section, config in SECTIONS.items():
        if name in config.model_fields:
            return section
    raise unknown_setting(name, (field for config in SECTIONS.values() for field in config.model_fields))


def unknown_setting(name: str, known: Iterable[str]) -> SettingError:
    """The error for a name that no setting has."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else "; motegpt train --help lists the settings"
    return SettingError(f"unknown setting {name!r}{hint}")


def section_values(settings: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Those of the flat `settings` that belong to one section."""
    fields = SECTIONS[section].model_fields
    return {name: value for name, value in settings.items() if name in fields}


def _one_line(error: ValidationError, known: Iterable[str]) -> str:
    """The first problem pydantic found, in this project's form."""
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return str(unknown_setting(name, known))
    if problem["type"] == "missing":
        return f"{name}: expected a value, got none"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    expected = problem["msg"].replace("Input should be ", "expected ")
    expected = expected.replace("expected greater", "expected a number greater")
    expected = expected.replace("expected less", "expected a number less")
    return f"{name}: {expected[0].lower()}{expected[1:]}, got {problem['input']!r}"
