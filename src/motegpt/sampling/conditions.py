"""What a text must be as a whole, which no mask can see to: it is drawn again until it is."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from motegpt.config.text import shortened

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig


@dataclass
class Conditions:
    """What a text must be, beyond what masks can see to.

    suffix: it ends with this; unique: it has not come before; known: it is none of these, if any; whole: the
    end of the block did not cut it off.
    """

    suffix: str = ""
    unique: bool = False
    known: Container[str] | None = None
    whole: bool = False
    _before: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, settings: SampleConfig, unique: bool = False, known: Container[str] | None = None) -> Self:
        """Those of the settings, and others."""
        return cls(settings.suffix, unique, known, whole=settings.on_cut == "redraw")

    def accept(self, text: str, cut: bool) -> bool:
        """Whether a text qualifies; one that does has come from now on. cut: the block cut it off."""
        if (cut and self.whole) or not text.endswith(self.suffix) or (self.unique and text in self._before):
            return False
        if self.known is not None and text in self.known:
            return False
        if self.unique:
            self._before.add(text)
        return True

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.suffix) or self.unique or self.known is not None or self.whole

    def __str__(self) -> str:
        """suffix 'a', unique and novel"""
        named = [f"suffix {shortened(self.suffix)}"] * bool(self.suffix) + ["unique"] * self.unique
        named += ["novel"] * (self.known is not None) + ["not cut"] * self.whole
        return " and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]]))
