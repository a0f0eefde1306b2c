"""The section of generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from motegpt.config.fields import Settings, setting
from motegpt.config.sections.bounds import LARGEST_SIZE
from motegpt.errors import SettingError

LARGEST_BEAMS = 2**16
LARGEST_TEXT = 2**24  # tokens
LARGEST_PENALTY = 10  # exponent of a length


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
