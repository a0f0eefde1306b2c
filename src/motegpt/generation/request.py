"""SampleConfig -> the same in token ids, with everything that cannot be done refused beforehand."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motegpt.config.text import concise_repr, shortened
from motegpt.errors import PrefixError, SettingError
from motegpt.generation.filters import Filters, filter_rows
from motegpt.generation.stop_text import StopText

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig
    from motegpt.data.tokenizers import Tokenizer


@dataclass(frozen=True)
class Request:
    """How texts begin, go on and end, in token ids.

    prompt: fed to the model first, the last n_prefix_tokens of it are the prefix; end: the id that ends a
    text, or None; min_new_tokens, max_new_tokens: ids to draw, without the end; masked: ids that are never
    drawn; stop: ids that end a text once drawn, and are removed from it; stop_text: the same where a stop
    text is not always the same ids, which then stay, and are removed from the decoded text. cut_at:
    max_new_tokens if it is the room in the block rather than the user's choice, else None; marks: texts
    record whether they are cut.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    end: int | None
    filters: Filters
    n_prefix_tokens: int = 0
    min_new_tokens: int = 0
    masked: frozenset[int] = frozenset()
    stop: tuple[int, ...] = ()
    stop_text: StopText | None = None
    cut_at: int | None = None
    marks: bool = False

    __repr__ = concise_repr

    @property
    def prefix(self) -> tuple[int, ...]:
        """The ids of the prompt that belong to the text."""
        return self.prompt[len(self.prompt) - self.n_prefix_tokens :]

    def masked_after(self, drawn: Sequence[int]) -> Set[int]:
        """The ids that may not follow what was drawn."""
        longest_stop = len(self.stop) if self.stop_text is None else len(self.stop_text.stop)
        if len(drawn) >= self.min_new_tokens + longest_stop:
            return self.masked
        masked = set(self.masked)
        if len(drawn) < self.min_new_tokens and self.end is not None:
            masked.add(self.end)
        if len(drawn) + 1 - len(self.stop) < self.min_new_tokens and self.is_near_stop(drawn):
            masked.add(self.stop[-1])
        if self.stop_text is not None:
            masked |= self.stop_text.too_early(drawn, self.min_new_tokens)
        return masked

    def ends_after(self, drawn: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
        """The ids that end a text after what was drawn, each with the ids that the text then has."""
        ends = {} if self.end is None else {self.end: drawn}
        if self.is_near_stop(drawn):
            ends[self.stop[-1]] = drawn[: len(drawn) + 1 - len(self.stop)]
        if self.stop_text is not None:
            ends |= {token: (*drawn, token) for token in self.stop_text.completing(drawn)}
        return ends

    def is_cut(self, drawn: Sequence[int]) -> bool:
        """Whether the end of the block ended what was drawn; it is shorter where the end or `stop` did."""
        stops = self.stop_text is not None and self.stop_text.occurs_in(drawn)
        return len(drawn) == self.cut_at and not stops

    def is_stopped(self, drawn: Sequence[int]) -> bool:
        """Whether what was drawn ends with the text `stop`."""
        if self.stop_text is not None:
            return self.stop_text.occurs_in(drawn)
        return bool(self.stop) and tuple(drawn[-len(self.stop) :]) == self.stop

    def is_near_stop(self, drawn: Sequence[int]) -> bool:
        """Whether one more id, the last of `stop`, would complete it."""
        missing = len(self.stop) - 1
        return 0 <= missing <= len(drawn) and tuple(drawn[len(drawn) - missing :]) == self.stop[:-1]


def request_of(settings: SampleConfig, tokenizer: Tokenizer, block_size: int) -> Request:
    """The settings in token ids; PrefixError or SettingError if no text can be like that."""
    prompt, prefix = prompt_of(settings.prefix, tokenizer), tokenizer.encode(settings.prefix)
    texts = [text_of(tokenizer.token_bytes(token)) for token in tokenizer.text_ids]
    _check_units(settings, tokenizer, texts)
    if tokenizer.stop is not None and settings.max_new_tokens is None:
        check_prefix(settings.prefix, tokenizer, block_size)
    room = block_size if tokenizer.stop is None else block_size - len(prompt) + 1
    least, most = _lengths(settings, len(settings.prefix), room)
    cut_at = room if _is_open(settings, len(settings.prefix), room) else None
    if settings.on_cut == "redraw":
        _check_redraw(settings, tokenizer, least, cut_at)
    tokenizer.encode(settings.suffix)  # refused here if no text can end with it
    masked, drawable = _masked(settings, tokenizer, texts)
    stop, stop_text = _stop(settings.stop, tokenizer, texts)
    _check_stop(settings.stop, stop, stop_text, drawable, least)
    return Request(
        prompt=tuple(prompt),
        max_new_tokens=most,
        end=tokenizer.stop,
        filters=filters_of(settings),
        n_prefix_tokens=len(prefix),
        min_new_tokens=least,
        masked=frozenset(masked),
        stop=tuple(stop),
        stop_text=stop_text,
        cut_at=cut_at,
        marks=settings.on_cut == "mark",
    )


def filters_of(settings: SampleConfig) -> Filters:
    """The temperature and the filters that are on; SettingError if a beam search is to do without them."""
    rows = filter_rows()
    filters = Filters(settings.temperature, **{row.setting: getattr(settings, row.setting) for row in rows})
    for name, off in ((row.setting, row.off) for row in rows if row.setting in filters.on):
        if settings.beams is not None:
            raise SettingError(
                f"beams: a beam search ranks by the model's own probabilities; expected {name} "
                f"{'none' if off is None else off}, got {filters.on[name]}"
            )
    return filters


def prompt_of(prefix: str, tokenizer: Tokenizer) -> list[int]:
    """What the model is fed before it draws: BOS and the prefix.

    Where nothing begins (framing "none") it is the prefix alone, or, as something must be, a newline, or a
    space, or the first token, whichever the model knows; that is no part of the text.
    """
    text = tokenizer.encode(prefix)
    if tokenizer.bos is not None:
        return [tokenizer.bos, *text]
    known = next((c for c in "\n " if not tokenizer.unknown(c)), "")
    return text or tokenizer.encode(known) or [tokenizer.text_ids[0]]


def check_prefix(prefix: str, tokenizer: Tokenizer, block_size: int) -> list[int]:
    """The ids of a prefix that leaves room for at least one more character; else PrefixError."""
    ids = tokenizer.encode(prefix)
    if len(ids) >= block_size:
        raise PrefixError(
            f"prefix: expected at most {block_size - 1} {tokenizer.unit}s (block_size {block_size} leaves "
            f"one to draw), got {len(ids)}; `max_new_tokens` goes on beyond the block"
        )
    return ids


def _lengths(settings: SampleConfig, prefix: int, room: int) -> tuple[int, int]:
    """The fewest and the most ids to draw, where `room` is the most unless max_new_tokens says otherwise."""
    most = room if settings.max_new_tokens is None else settings.max_new_tokens
    if settings.max_length is not None:
        if settings.max_length <= prefix:
            raise SettingError(
                f"max_length: expected more than the {prefix} characters of the prefix, got "
                f"{settings.max_length}"
            )
        most = min(most, settings.max_length - prefix)
    shortest = settings.min_length
    if shortest is None:
        shortest = 0 if settings.beams is None else 1  # chance may end a text at once; no empty one is best
    least = max(settings.min_new_tokens, shortest - prefix)
    if least > most:
        name = "min_new_tokens" if least == settings.min_new_tokens else "min_length"
        longest = most + (prefix if name == "min_length" else 0)
        beyond = "; a larger `max_new_tokens` goes on beyond the block" if most == room else ""
        raise SettingError(
            f"{name}: expected at most {longest}, as long as a text can get, got "
            f"{getattr(settings, name)}{beyond}"
        )
    return least, most


def _is_open(settings: SampleConfig, prefix: int, room: int) -> bool:
    """Whether nothing but the block's room limits a text: no max_new_tokens, nor a max_length within it."""
    return settings.max_new_tokens is None and (
        settings.max_length is None or settings.max_length > prefix + room
    )


def _check_redraw(settings: SampleConfig, tokenizer: Tokenizer, least: int, cut_at: int | None) -> None:
    """SettingError where every text would be cut, and drawn again without end."""
    if tokenizer.stop is None and not settings.stop:
        raise SettingError(
            "on_cut: expected keep or mark, as the texts of a stream have no ends; try `on_cut='mark'`, or "
            "a text to `stop` at"
        )
    if least == cut_at:
        raise SettingError(
            f"on_cut: expected texts that may be shorter than the block, or all would be drawn again, got at "
            f"least {least} tokens; `max_new_tokens` goes on beyond the block"
        )


def text_of(spelled: bytes) -> str:
    """The characters of a token; none if some of them are not whole."""
    try:
        return spelled.decode()
    except UnicodeDecodeError:
        return ""


def _stop(stop: str, tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[list[int], StopText | None]:
    """A stop text as ids where it always is the same ids, else as text. texts: those of the text ids.

    It always is where every token is one character, or every token is one byte.
    """
    ids = tokenizer.encode(stop)
    if not stop or all(len(text) == 1 for text in texts) or all(len(one) == 1 for one in tokenizer.symbols):
        return ids, None
    return [], StopText(stop.encode(), tuple(map(tokenizer.token_bytes, range(tokenizer.vocab_size))))


def _check_stop(
    stop: str, ids: Sequence[int], stop_text: StopText | None, drawable: set[int], least: int
) -> None:
    """SettingError if a text would have to stop before it has its fewest tokens."""
    if stop_text is None:
        goes_on = len(drawable) > 1 or drawable != {*ids} or least < len(ids)
    else:
        goes_on = least == 0 or any(map(stop_text.never_completes, drawable))
    if not goes_on:
        raise SettingError(
            f"stop: expected a text that can be left out of {least} tokens or more, got "
            f"{shortened(stop)} where nothing else may be drawn"
        )


def _masked(settings: SampleConfig, tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[set[int], set[int]]:
    """The ids that are never drawn, and those of text that may be. texts: those of the text ids.

    BOS where it is not the end is a token like any other, unless a setting is about the text's characters,
    of which it is none.
    """
    allow, forbid = set(settings.allow), set(settings.forbid)

    def is_forbidden(token: int, text: str) -> bool:
        """By its characters; by its bytes where some are a part of a character, as `forbid` is ASCII then."""
        spelled = tokenizer.token_bytes(token)
        return not (forbid.isdisjoint(text) if text else set(settings.forbid.encode()).isdisjoint(spelled))

    masked = {
        token
        for token, text in zip(tokenizer.text_ids, texts, strict=True)
        if (allow and not (text and allow.issuperset(text))) or is_forbidden(token, text)
    }
    drawable = set(tokenizer.text_ids) - masked
    if not drawable:
        raise SettingError(
            f"allow, forbid: expected to leave one {tokenizer.unit} to draw at least, got none; the model "
            f"knows {shortened(tokenizer.alphabet)}"
        )
    lengths = (settings.min_length, settings.max_length)
    about_text = settings.allow or settings.forbid or settings.stop or settings.suffix
    if (about_text or any(length is not None for length in lengths)) and tokenizer.bos is not None:
        masked |= {tokenizer.bos} - {tokenizer.stop}
    return masked, drawable


def _check_units(settings: SampleConfig, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
    """SettingError for what masks of single tokens cannot do where tokens are not characters."""
    if any(len(text) != 1 for text in texts):
        for name in ("min_length", "max_length"):
            if getattr(settings, name):
                repair = name.replace("length", "new_tokens")
                raise SettingError(
                    f"{name}: expected none, as tokens are not single characters here; try `{repair}`"
                )
    if not all(texts):
        for name in ("allow", "forbid"):
            given = getattr(settings, name)
            if not given.isascii():
                raise SettingError(
                    f"{name}: expected ASCII characters, as a token may be a part of others here, got "
                    f"{shortened(given)}"
                )
