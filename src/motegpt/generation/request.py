"""Convert SampleConfig to a Request in token ids; settings that no text can satisfy are rejected here."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from motegpt.config.text import concise_repr, shortened
from motegpt.errors import PrefixError, SettingError
from motegpt.generation.filters import Filters, filter_rows
from motegpt.generation.starts import Start, first_start, text_of
from motegpt.generation.text_rules import LONGEST_CHARACTER, TextRules

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig
    from motegpt.data.tokenizers import Tokenizer

OF_CHARACTERS = ("min_length", "max_length", "allow", "forbid", "suffix")  # settings that ids cannot have


@dataclass(frozen=True)
class Request:
    """The constraints of a generation, in token ids.

    prompt: ids fed to the model first, the last n_prefix_tokens of which are the prefix; end: the id that
    ends a text, or None; min_new_tokens, max_new_tokens: number of ids to draw, excluding the end; masked:
    ids that are never drawn; stop: ids that end a text and are removed from it; rules: used
    instead of `stop` if the stop text has several tokenizations, and for lengths if tokens are not
    characters; the decoded text is cut accordingly; cut_at: max_new_tokens if the block, not a setting,
    limits the length, else None; mark_cut: texts record whether they are cut; tail: characters of the prompt
    beyond the prefix.
    """

    prompt: tuple[int, ...]
    max_new_tokens: int
    end: int | None
    filters: Filters
    n_prefix_tokens: int = 0
    min_new_tokens: int = 0
    masked: frozenset[int] = frozenset()
    stop: tuple[int, ...] = ()
    rules: TextRules | None = None
    cut_at: int | None = None
    mark_cut: bool = False
    tail: str = ""

    __repr__ = concise_repr

    @property
    def prefix(self) -> tuple[int, ...]:
        """The ids of the prompt that are part of the text."""
        return self.prompt[len(self.prompt) - self.n_prefix_tokens :]

    def masked_after(self, drawn: Sequence[int]) -> Set[int]:
        """The ids that may not follow `drawn`."""
        is_short = self.rules is not None and self.rules.is_short(drawn)
        longest_stop = len(self.stop) if self.rules is None else len(self.rules.stop)
        if len(drawn) >= self.min_new_tokens + longest_stop and not (self.rules and self.rules.min_length):
            return self.masked
        masked = set(self.masked)
        if (is_short or len(drawn) < self.min_new_tokens) and self.end is not None:
            masked.add(self.end)
        if len(drawn) + 1 - len(self.stop) < self.min_new_tokens and self.is_near_stop(drawn):
            masked.add(self.stop[-1])
        if self.rules is not None:
            masked |= self.rules.too_early(drawn, self.min_new_tokens)
        return masked

    def ends_after(self, drawn: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
        """The ids that end a text after `drawn`, each with the ids of the resulting text."""
        ends = {} if self.end is None else {self.end: drawn}
        if self.is_near_stop(drawn):
            ends[self.stop[-1]] = drawn[: len(drawn) + 1 - len(self.stop)]
        if self.rules is not None:
            found = [*self.rules.completing(drawn), *self.rules.filling(drawn)]
            ends |= {token: (*drawn, token) for token in found}
        return ends

    def is_cut(self, drawn: Sequence[int]) -> bool:
        """Whether the text ends because the block is full, without an end token or stop text."""
        is_stopped = self.rules is not None and self.rules.ends(drawn)
        return len(drawn) == self.cut_at and not is_stopped

    def is_stopped(self, drawn: Sequence[int]) -> bool:
        """Whether `drawn` ends with the stop text, or is as long as the rules allow."""
        if self.rules is not None:
            return self.rules.ends(drawn)
        return bool(self.stop) and tuple(drawn[-len(self.stop) :]) == self.stop

    def is_near_stop(self, drawn: Sequence[int]) -> bool:
        """Whether the last id of `stop`, drawn next, would complete it."""
        missing = len(self.stop) - 1
        return 0 <= missing <= len(drawn) and tuple(drawn[len(drawn) - missing :]) == self.stop[:-1]


def request_of(
    settings: SampleConfig, tokenizer: Tokenizer, block_size: int, start: Start | None = None
) -> Request:
    """The settings in token ids; PrefixError or SettingError if no text can satisfy them.

    start: how the text begins (default: the first way).
    """
    if tokenizer.is_ids:
        _check_id_settings(settings)
    start = start or first_start(settings.prefix, tokenizer)
    prompt = prompt_of(start.ids, tokenizer)
    texts = [text_of(tokenizer.token_bytes(token)) for token in tokenizer.text_ids]
    _check_units(settings, texts)
    if not tokenizer.is_stream and settings.max_new_tokens is None:
        check_prefix(start.ids, tokenizer, block_size)
    room = block_size if tokenizer.is_stream else block_size - len(prompt) + 1
    are_characters = all(len(text) == 1 for text in texts)
    widest = 1 if all(texts) else LONGEST_CHARACTER  # tokens of a character, at most
    min_new, max_new = _lengths(settings, len(settings.prefix), room, are_characters, widest)
    is_limited = _is_limited_by_block(settings, len(settings.prefix), room, are_characters)
    cut_at = room if is_limited else None
    if settings.on_cut == "redraw":
        _check_redraw(settings, tokenizer, min_new, cut_at)
    _check_known(settings.suffix, tokenizer)
    masked, drawable = _masked(settings, tokenizer, texts)
    rules = None if are_characters else _rules(settings, tokenizer)
    stop = tokenizer.encode(settings.stop) if rules is None else []
    _check_stop(settings.stop, stop, rules, drawable, min_new)
    return Request(
        prompt=tuple(prompt),
        max_new_tokens=max_new,
        end=tokenizer.stop,
        filters=filters_of(settings),
        n_prefix_tokens=len(start.ids),
        min_new_tokens=min_new,
        masked=frozenset(masked),
        stop=tuple(stop),
        rules=rules,
        cut_at=cut_at,
        mark_cut=settings.on_cut == "mark",
    )


def starting(request: Request, start: Start, settings: SampleConfig) -> Request | None:
    """The request with a text that begins with `start`; None if the settings allow no such text.

    request: of the same settings; a start that fills the block leaves no room for a text.
    """
    tail, longer = set(start.tail), len(start.ids) - request.n_prefix_tokens
    if (settings.allow and not tail <= set(settings.allow)) or tail & set(settings.forbid):
        return None
    cut_at, max_new = request.cut_at, request.max_new_tokens
    if cut_at is not None and request.end is not None:
        max_new = min(max_new, cut_at - longer) if max_new < cut_at else cut_at - longer
        cut_at -= longer
    rules = None if request.rules is None else replace(request.rules, tail=start.tail.encode())
    too_early = rules is not None and rules.begins_too_early(request.min_new_tokens)
    least = max(1, request.min_new_tokens, (rules.min_length if rules else 0) - len(start.tail))
    if too_early or max_new < least:
        return None
    return replace(
        request,
        prompt=(*request.prompt[: len(request.prompt) - request.n_prefix_tokens], *start.ids),
        n_prefix_tokens=len(start.ids),
        max_new_tokens=max_new,
        cut_at=cut_at,
        rules=rules,
        tail=start.tail,
    )


def filters_of(settings: SampleConfig) -> Filters:
    """The temperature and the active filters; SettingError if there are any in a beam search."""
    rows = filter_rows()
    filters = Filters(settings.temperature, **{row.setting: getattr(settings, row.setting) for row in rows})
    for name, off in ((row.setting, row.off) for row in rows if row.setting in filters.on):
        if settings.beams is not None:
            raise SettingError(
                f"beams: expected {name} {'none' if off is None else off}, got {filters.on[name]}; a "
                "beam search uses unfiltered probabilities"
            )
    return filters


def prompt_of(prefix: str | Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The ids fed to the model before sampling: BOS and the prefix, a text or its ids.

    With framing "none" there is no BOS; an empty prefix is replaced by a newline, a space or the first token,
    whichever is in the vocabulary first. That token is not part of the text.
    """
    text = tokenizer.encode(prefix) if isinstance(prefix, str) else list(prefix)
    if tokenizer.bos is not None:
        return [tokenizer.bos, *text]
    separator = next((c for c in "\n " if not tokenizer.unknown(c)), "")
    return text or tokenizer.encode(separator) or [tokenizer.text_ids[0]]


def check_prefix(ids: Sequence[int], tokenizer: Tokenizer, block_size: int) -> None:
    """PrefixError unless the block has room for one more token after a prefix."""
    most = block_size - (tokenizer.bos is not None)
    if len(ids) > most:
        minus = " minus one to generate" * (tokenizer.bos is not None)
        raise PrefixError(
            f"prefix: expected at most {most} {tokenizer.unit}s (block_size {block_size}{minus}), got "
            f"{len(ids)}; set `max_new_tokens` to generate beyond the block"
        )


def _check_id_settings(settings: SampleConfig) -> None:
    """SettingError for settings of characters, which ids have none of."""
    for name in OF_CHARACTERS:
        if getattr(settings, name) not in ("", None):
            raise SettingError(
                f"{name}: expected none for sequences of ids, which are not characters; leave it out, or use "
                "`stop`, `min_new_tokens` or `max_new_tokens`"
            )


def _check_known(text: str, tokenizer: Tokenizer) -> None:
    """PrefixError if a part of a text has characters that no token has."""
    if not tokenizer.alphabet:
        tokenizer.encode(text)
    elif not set(text) <= set(tokenizer.alphabet):
        raise tokenizer.unknown_error(text)


def _lengths(
    settings: SampleConfig, prefix: int, room: int, are_characters: bool, widest: int
) -> tuple[int, int]:
    """The minimum and maximum number of ids to draw. room: the maximum if max_new_tokens is None.

    are_characters: whether every token is one, so that lengths in characters are numbers of tokens; else
    TextRules enforce them. prefix: in characters; widest: the most tokens that a character has.
    """
    max_new = room if settings.max_new_tokens is None else settings.max_new_tokens
    if settings.max_length is not None:
        if settings.max_length <= prefix:
            raise SettingError(
                f"max_length: expected more than the {prefix} characters of the prefix, got "
                f"{settings.max_length}"
            )
        max_new = min(max_new, widest * (settings.max_length - prefix))
    if settings.min_length is not None:
        least = widest * (settings.min_length - prefix)  # tokens that certainly have these characters
    else:
        least = (0 if settings.beams is None else 1) - prefix  # a beam search never returns the empty text
    min_new = max(settings.min_new_tokens, least)
    if min_new > max_new:
        name = "min_new_tokens" if min_new == settings.min_new_tokens else "min_length"
        limit = max_new // widest + prefix if name == "min_length" else max_new
        repair = "; set a larger `max_new_tokens` to generate beyond the block" if max_new == room else ""
        raise SettingError(
            f"{name}: expected at most {limit}, the maximum length of a text, got "
            f"{getattr(settings, name)}{repair}"
        )
    if not are_characters and settings.min_length is not None:
        return settings.min_new_tokens, max_new
    return min_new, max_new


def _is_limited_by_block(settings: SampleConfig, prefix: int, room: int, are_characters: bool) -> bool:
    """Whether the block limits the length: no max_new_tokens, and no max_length that is reached first."""
    return settings.max_new_tokens is None and (
        settings.max_length is None or settings.max_length > prefix + room or not are_characters
    )


def _check_redraw(settings: SampleConfig, tokenizer: Tokenizer, min_new: int, cut_at: int | None) -> None:
    """SettingError if every text would be cut, so that redrawing would never finish."""
    if tokenizer.stop is None and not settings.stop:
        raise SettingError(
            "on_cut: expected keep or mark, as the texts of a stream have no end token, got redraw; try "
            "`on_cut='mark'`, or set a `stop` text"
        )
    if min_new == cut_at:
        raise SettingError(
            f"on_cut: expected texts shorter than the block, as redraw rejects all others, got at least "
            f"{min_new} tokens; set `max_new_tokens` to generate beyond the block"
        )


def _rules(settings: SampleConfig, tokenizer: Tokenizer) -> TextRules | None:
    """The rules that ids cannot express; None without lengths, and with a stop text of one tokenization.

    It has one if every token is one byte, and of ids.
    """
    lengths, prefix = (settings.min_length, settings.max_length), len(settings.prefix)
    is_unique = tokenizer.is_ids or all(len(one) == 1 for one in tokenizer.symbols)
    if lengths == (None, None) and (not settings.stop or is_unique):
        return None
    _check_known(settings.stop, tokenizer)
    return TextRules(
        tokens=tuple(map(tokenizer.token_bytes, range(tokenizer.vocab_size))),
        stop=settings.stop.encode(),
        min_length=max(0, (settings.min_length or 0) - prefix),
        max_length=None if settings.max_length is None else settings.max_length - prefix,
    )


def _check_stop(
    stop: str, ids: Sequence[int], rules: TextRules | None, drawable: set[int], min_new: int
) -> None:
    """SettingError if every text would contain the stop text before its minimum length."""
    if rules is None:
        is_avoidable = len(drawable) > 1 or drawable != {*ids} or min_new < len(ids)
    else:
        min_new = min_new or rules.min_length
        is_avoidable = not stop or min_new == 0 or any(map(rules.never_completes, drawable))
    if not is_avoidable:
        raise SettingError(
            f"stop: expected a text that {min_new} tokens can avoid, got {shortened(stop)}, which the "
            "allowed tokens always complete"
        )


def _masked(settings: SampleConfig, tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[set[int], set[int]]:
    """The ids that are never drawn, and the text ids that may be drawn. texts: the text of each text id.

    A BOS that is not the end token may be drawn, unless a setting constrains the characters of the text.
    """
    allow, forbid = set(settings.allow), set(settings.forbid)

    def is_forbidden(token: int, text: str) -> bool:
        """Compares characters; for tokens of partial characters, bytes (`forbid` is then ASCII)."""
        encoded = tokenizer.token_bytes(token)
        return not (forbid.isdisjoint(text) if text else set(settings.forbid.encode()).isdisjoint(encoded))

    masked = {
        token
        for token, text in zip(tokenizer.text_ids, texts, strict=True)
        if (allow and not (text and allow.issuperset(text))) or is_forbidden(token, text)
    }
    drawable = set(tokenizer.text_ids) - masked
    if not drawable:
        raise SettingError(
            f"allow, forbid: expected at least one allowed {tokenizer.unit}, got none; the vocabulary is "
            f"{shortened(tokenizer.alphabet)}"
        )
    lengths = (settings.min_length, settings.max_length)
    constrains_text = settings.allow or settings.forbid or settings.stop or settings.suffix
    if (constrains_text or any(length is not None for length in lengths)) and tokenizer.bos is not None:
        masked |= {tokenizer.bos} - {tokenizer.stop}
    return masked, drawable


def _check_units(settings: SampleConfig, texts: Sequence[str]) -> None:
    """SettingError for settings that masks of tokens cannot enforce if these are parts of characters."""
    if not all(texts):
        for name in ("allow", "forbid"):
            if not (given := getattr(settings, name)).isascii():
                raise SettingError(
                    f"{name}: expected ASCII characters, as a token may be part of a character, got "
                    f"{shortened(given)}"
                )
