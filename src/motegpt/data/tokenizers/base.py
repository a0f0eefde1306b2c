"""The protocol of tokenizers, and the special tokens of each framing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from motegpt.config.text import shortened
from motegpt.data.documents import Documents
from motegpt.data.sequences import TokenSequences
from motegpt.errors import DataError, PrefixError, RunFolderError

if TYPE_CHECKING:
    from motegpt.config.sections import DataConfig

MAX_CODE_POINTS = 3  # in a message
UNRECORDED = "characters"  # the kind of tokenizers that recorded none


class Framing(NamedTuple):
    """The special tokens whose ids precede those of text tokens, and those whose ids follow.

    The first of all starts every document, the last ends it.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


FRAMINGS = {
    "bos": Framing(after=("<BOS>",)),  # at both ends of a document (microgpt, oxidized)
    "bos_eos": Framing(before=("<BOS>", "<EOS>")),  # (zeroclaw)
    "none": Framing(),  # streams have no document boundaries
}

# How tokens that are invisible, or not characters, are drawn.
SYMBOLS = {"<BOS>": "⊢", "<EOS>": "⊣", " ": "␣", "\t": "⇥", "\n": "↵"}


class Tokenizer(ABC):
    """kind: value of the setting `tokenizer`; unit: name of one token in messages; is_fixed: whether the
    vocabulary is independent of the data; framing: a key of FRAMINGS.
    """

    kind: ClassVar[str]
    unit: ClassVar[str] = "token"
    is_fixed: ClassVar[bool] = False
    framing: str

    @classmethod
    @abstractmethod
    def learn(cls, documents: Sequence[str], framing: str) -> Self:
        """A tokenizer fit to a corpus; DataError if a model could learn nothing from it.

        Subclasses may take settings by name: those that TOKENIZERS_WITH lists for them.
        """

    @classmethod
    @abstractmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        """The tokenizer with these `values()`; RunFolderError if they are invalid."""

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """The JSON values recorded in a run folder, including `kind`."""

    @property
    @abstractmethod
    def symbols(self) -> Sequence[bytes]:
        """The UTF-8 of each text token, at least one byte, in the order of ids."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens; PrefixError for a character without an id."""

    @abstractmethod
    def unknown(self, text: str) -> str:
        """The distinct characters of a text that cannot be encoded."""

    @property
    def alphabet(self) -> str:
        """The characters that texts may contain, in the order of ids; empty if unrestricted."""
        return ""

    @staticmethod
    def of(documents: Sequence[str], framing: str, kind: str = "characters", **settings: Any) -> Tokenizer:
        """A tokenizer fit to a corpus. kind: a key of TOKENIZERS; settings: those that it has."""
        learn: Any = TOKENIZERS[kind].learn
        tokenizer: Tokenizer = learn(documents, framing, **settings)
        return tokenizer

    @staticmethod
    def fit(documents: Sequence[str], data: DataConfig) -> Tokenizer:
        """The tokenizer that the settings ask for, fit to a corpus."""
        settings = {name: getattr(data, name) for name in data.tokenizer_settings}
        return Tokenizer.of(documents, data.framing, data.tokenizer, **settings)

    @staticmethod
    def from_values(values: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer recorded in a run folder; RunFolderError if the values are invalid."""
        kind = values.get("kind", UNRECORDED)
        if not isinstance(kind, str) or kind not in TOKENIZERS:
            raise RunFolderError(f"tokenizer: expected a kind in {tuple(TOKENIZERS)}, got {shortened(kind)}")
        return TOKENIZERS[kind].restore(values)

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise RunFolderError(
                f"tokenizer: expected a framing in {tuple(FRAMINGS)}, got {shortened(self.framing)}"
            )

    @property
    def text_ids(self) -> range:
        """The ids of text tokens."""
        first = len(FRAMINGS[self.framing].before)
        return range(first, first + len(self.symbols))

    @property
    def vocab_size(self) -> int:
        """Number of ids, including special tokens."""
        return self.text_ids.stop + len(FRAMINGS[self.framing].after)

    @property
    def bos(self) -> int | None:
        """The id that starts every document; None in a stream."""
        return next(iter(self._specials), None)

    @property
    def stop(self) -> int | None:
        """The id that ends every document: BOS again, or EOS; None in a stream."""
        return next(reversed(self._specials), None)

    @property
    def _specials(self) -> list[int]:
        return [*range(self.text_ids.start), *range(self.text_ids.stop, self.vocab_size)]

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 of an id, possibly a part of a character; empty for special tokens."""
        text = self.text_ids
        return self.symbols[token - text.start] if token in text else b""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens appear as <BOS> and <EOS>, invalid UTF-8 as \ufffd."""
        return b"".join(map(self._shown.__getitem__, ids)).decode("utf-8", "replace")

    def names(self, ids: Sequence[int]) -> list[str]:
        """Each id decoded by itself; a byte that is not a character by itself appears as <C3>."""
        names = [self.decode([token]) for token in ids]
        return [
            f"<{self.token_bytes(token).hex().upper()}>" if "\ufffd" in name else name
            for token, name in zip(ids, names, strict=True)
        ]

    @cached_property
    def _shown(self) -> list[bytes]:
        """The bytes that `decode` shows for each id."""
        before, after = FRAMINGS[self.framing]
        return [*(name.encode() for name in before), *self.symbols, *(name.encode() for name in after)]

    def lengths(self, documents: Documents) -> array[int]:
        """Number of tokens of each document, without special tokens."""
        return array("q", (len(self._encode_known(document)) for document in documents))

    def encode_documents(self, documents: Sequence[str]) -> TokenSequences:
        """The documents framed by special tokens; DataError names a character without an id."""
        begin, end = ([] if one is None else [one] for one in (self.bos, self.stop))
        return TokenSequences.of([*begin, *self._encode_known(document), *end] for document in documents)

    def encode_stream(self, documents: Sequence[str]) -> memoryview[int]:
        """The ids of a stream; DataError names a character without an id."""
        ids = array("I", chain.from_iterable(map(self._encode_known, documents)))
        return memoryview(ids).toreadonly()

    def _encode_known(self, document: str) -> list[int]:
        try:
            return self.encode(document)
        except PrefixError:
            raise unknown_in_data(self.unknown(document)) from None

    def unknown_error(self, text: str) -> PrefixError:
        """The error for a text that cannot be encoded."""
        return PrefixError(
            f"text {shortened(text)}: expected only characters of the training data, got "
            f"{with_code_points(self.unknown(text))}; known characters: {shortened(self.alphabet)}"
        )


TOKENIZERS: dict[str, type[Tokenizer]] = {}  # by kind; filled by the package


def unknown_in_data(characters: str) -> DataError:
    """The error for data with characters that the tokenizer does not have."""
    return DataError(
        f"data: expected only characters of the tokenizer, got {with_code_points(characters)}; the data "
        "differ from the training data"
    )


def with_code_points(characters: str) -> str:
    """Characters for a message, with the first code points: 'ñ́' (U+00F1, U+0301)."""
    points = ", ".join(f"U+{ord(character):04X}" for character in characters[:MAX_CODE_POINTS])
    return f"{shortened(characters)} ({points}{', …' * (len(characters) > MAX_CODE_POINTS)})"
