"""Conditions on whole texts, which masks cannot enforce: rejected texts are drawn again."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from motegpt.config.text import shortened

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig


@dataclass
class Conditions:
    """Conditions on a text.

    suffix: required ending; unique: reject repeated texts; excluded: texts to reject; reject_cut: reject
    texts that are cut by the end of the block. The empty text is never novel.
    """

    suffix: str = ""
    unique: bool = False
    excluded: Container[str] | None = None
    reject_cut: bool = False
    _accepted: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, settings: SampleConfig, excluded: Container[str] | None = None) -> Self:
        """Conditions from settings; excluded: the training texts, if they are to be rejected."""
        return cls(settings.suffix, settings.unique, excluded, reject_cut=settings.on_cut == "redraw")

    def accept(self, text: str, cut: bool) -> bool:
        """Whether a text, cut or not, satisfies all conditions; records accepted texts if `unique`."""
        if (
            (cut and self.reject_cut)
            or not text.endswith(self.suffix)
            or (self.unique and text in self._accepted)
        ):
            return False
        if self.excluded is not None and (not text or text in self.excluded):
            return False
        if self.unique:
            self._accepted.add(text)
        return True

    def __bool__(self) -> bool:
        """Whether there are any conditions."""
        return bool(self.suffix) or self.unique or self.excluded is not None or self.reject_cut

    def __str__(self) -> str:
        """For messages, such as "suffix 'a', unique and novel"."""
        named = [f"suffix {shortened(self.suffix)}"] * bool(self.suffix) + ["unique"] * self.unique
        named += ["novel"] * (self.excluded is not None) + ["not cut"] * self.reject_cut
        return " and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]]))
