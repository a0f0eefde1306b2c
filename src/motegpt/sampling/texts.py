"""Decode ids to texts, marked if they are cut by the end of the block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.generation.request import Request
    from motegpt.generation.rows import Rows


LONG = 64  # tokens of rows that are worth shortening


class MarkedText(str):
    """A text with an attribute `cut`: whether the end of the block cut it off."""

    cut: bool

    def __new__(cls, text: str, cut: bool) -> Self:
        marked = super().__new__(cls, text)
        marked.cut = cut
        return marked

    def __getnewargs__(self) -> tuple[str, bool]:  # type: ignore[override]  # str.__getnewargs__ omits `cut`
        return str(self), self.cut


def texts_of_rows(request: Request, tokenizer: Tokenizer, rows: Rows) -> tuple[list[str], Iterable[bool]]:
    """As texts_of, for rows of a request without rules; and whether the end of the block cut each."""
    cuts = [length == request.cut_at for length in rows.lengths.tolist()]
    if not tokenizer.is_text_of_characters:
        return texts_of(request, tokenizer, rows.lists()), cuts
    is_long = rows.ids.shape[1] > LONG
    texts = tokenizer.decode_rows(rows.ids[:, : max(1, rows.longest)] if is_long else rows.ids)
    if prefix := tokenizer.decode(request.prefix):
        texts = [prefix + text for text in texts]
    return list(map(MarkedText, texts, cuts)) if request.mark_cut else texts, cuts


def texts_of(request: Request, tokenizer: Tokenizer, drawn: Sequence[Sequence[int]]) -> list[str]:
    """Decode ids generated after the prompt; MarkedText if request.mark_cut."""
    texts = [_text(request, tokenizer, ids) for ids in drawn]
    if not request.mark_cut:
        return texts
    return [MarkedText(text, request.is_cut(ids)) for text, ids in zip(texts, drawn, strict=True)]


def _text(request: Request, tokenizer: Tokenizer, drawn: Sequence[int]) -> str:
    """The prefix and the decoded ids, up to a stop text and the maximum length."""
    rules = request.rules
    if rules is None:
        return tokenizer.decode([*request.prefix, *drawn])
    prefix = tokenizer.decode(request.prefix).removesuffix(request.tail)
    text = request.tail + tokenizer.decode(drawn)
    if rules.stop:
        text = text.partition(rules.stop.decode())[0]
    return prefix + text[: rules.max_length]
