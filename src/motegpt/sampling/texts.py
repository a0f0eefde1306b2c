"""Ids -> texts, marked where the end of the block cut them off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.generation.request import Request


class MarkedText(str):
    """A text, and whether the end of the block cut it off: `cut`."""

    cut: bool

    def __new__(cls, text: str, cut: bool) -> Self:
        marked = super().__new__(cls, text)
        marked.cut = cut
        return marked

    def __getnewargs__(self) -> tuple[str, bool]:  # type: ignore[override]  # a str pickles as its text alone
        return str(self), self.cut


def texts_of(request: Request, tokenizer: Tokenizer, drawn: Sequence[Sequence[int]]) -> list[str]:
    """The texts of the ids drawn after the prompt; a MarkedText each if the request says so."""
    texts = [_text(request, tokenizer, ids) for ids in drawn]
    if not request.marks:
        return texts
    return [MarkedText(text, request.is_cut(ids)) for text, ids in zip(texts, drawn, strict=True)]


def _text(request: Request, tokenizer: Tokenizer, drawn: Sequence[int]) -> str:
    """The prefix and what was drawn, up to a stop text that is found in the text."""
    if request.stop_text is None:
        return tokenizer.decode([*request.prefix, *drawn])
    stop = request.stop_text.stop.decode()
    return tokenizer.decode(request.prefix) + tokenizer.decode(drawn).partition(stop)[0]
