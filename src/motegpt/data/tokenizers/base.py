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
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import DataConfig

MAX_CODE_POINTS = 3  # in a message
OTHER = 0x10FFFF  # stands for what is not one character: the last code point, which no text should have
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
    "whole": Framing(),  # sequences of ids have the special tokens that the data have
}

# How tokens that are invisible, or not characters, are drawn.
SYMBOLS = {"<BOS>": "⊢", "<EOS>": "⊣", " ": "␣", "\t": "⇥", "\n": "↵"}


class Tokenizer(ABC):
    """kind: value of the setting `tokenizer`; unit: name of one token in messages; text_unit: what the length
    of a text counts, as in bits per character; is_fixed: whether the vocabulary is independent of the data;
    is_ids: whether the data are ids, which a text only writes down, as numbers with spaces between; framing:
    a key of FRAMINGS; appended: how many tokens, the last ones, were added to those of a trained model, so
    that their ids follow those of the special tokens; first: of ids, the one with which
    samples without a prefix begin.
    """

    kind: ClassVar[str]
    unit: ClassVar[str] = "token"
    text_unit: ClassVar[str] = "character"
    is_fixed: ClassVar[bool] = False
    is_ids: ClassVar[bool] = False
    framing: str
    appended: int = 0
    first: int = 0

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

    def unknown_in(self, documents: Sequence[str]) -> str:
        """The distinct characters of a corpus that cannot be encoded."""
        return "".join(sorted(set().union(*map(self.unknown, documents))))

    def shown_unknown(self, unknown: str) -> str:
        """What `unknown` found, for a message."""
        return with_code_points(unknown)

    def text_length(self, text: str) -> int:
        """The length of a text in `text_unit`, plus one for the end token if there is one; at least 1."""
        return max(1, len(text) + (self.stop is not None))

    def extended(self, characters: str) -> Tokenizer:
        """The same with characters appended: all ids remain. DataError if the tokenizer cannot grow."""
        raise DataError(
            f"extend_vocabulary: expected a tokenizer of the data, got `tokenizer={self.kind!r}`, whose "
            f"tokens are fixed; leave out texts with {with_code_points(characters)}"
        )

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

    def growth(self) -> dict[str, Any]:
        """The part of `values()` that says what was appended."""
        return {"appended": self.appended} if self.appended else {}

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise RunFolderError(
                f"tokenizer: expected a framing in {tuple(FRAMINGS)}, got {shortened(self.framing)}"
            )

    @cached_property
    def text_ids(self) -> Sequence[int]:
        """The ids of text tokens, in ascending order."""
        specials = set(self._specials)
        return [token for token in range(self.vocab_size) if token not in specials]

    @property
    def vocab_size(self) -> int:
        """Number of ids, including special tokens."""
        return len(self.symbols) + sum(map(len, FRAMINGS[self.framing]))

    @property
    def bos(self) -> int | None:
        """The id that starts every document; None in a stream."""
        return next(iter(self._specials), None)

    @property
    def stop(self) -> int | None:
        """The id that ends every document: BOS again, or EOS; None in a stream."""
        return next(reversed(self._specials), None)

    @property
    def is_stream(self) -> bool:
        """Whether texts are parts of a stream."""
        return self.framing == "none"

    @property
    def specials(self) -> int:
        """Number of special tokens around each document."""
        return 0 if self.bos is None else 2

    @property
    def _specials(self) -> list[int]:
        before, after = map(len, FRAMINGS[self.framing])
        end = self.vocab_size - self.appended
        return [*range(before), *range(end - after, end)]

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 of an id, possibly a part of a character; empty for special tokens."""
        return self._bytes.get(token, b"")

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        """Id of a text token -> its UTF-8."""
        return dict(zip(self.text_ids, self.symbols, strict=True))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens appear as <BOS> and <EOS>, invalid UTF-8 as \ufffd."""
        return b"".join(map(self._shown.__getitem__, ids)).decode("utf-8", "replace")

    def decode_rows(self, rows: NDArray[np.int32]) -> list[str]:
        """The text of each row (n, T), T > 0, of ids, which are followed by -1 up to the end of the row."""
        import numpy as np

        if not self.is_text_of_characters:
            return [self.decode([token for token in row if token >= 0]) for row in rows.tolist()]
        codes = self._code_points.take(rows, mode="wrap")
        texts: list[str] = (
            codes.view(f"U{max(1, rows.shape[1])}").ravel().tolist()
        )  # without zeros at the end
        if codes.max(initial=0) == OTHER:
            for i in np.flatnonzero((codes == OTHER).any(axis=1)):
                texts[i] = self.decode([token for token in rows[i].tolist() if token >= 0])
        return texts

    @cached_property
    def _code_points(self) -> NDArray[np.uint32]:
        """The character that `decode` shows for each id, OTHER if it is not one; then 0, for -1."""
        import numpy as np

        shown = [self.decode([token]) for token in range(self.vocab_size)]
        is_character = [len(text) == 1 and text not in "\0\ufffd" for text in shown]
        codes = [ord(text) if one else OTHER for text, one in zip(shown, is_character, strict=True)]
        return np.array([*codes, 0], np.uint32)

    @cached_property
    def is_text_of_characters(self) -> bool:
        """Whether a text is the texts of its tokens, one after the other, half of them characters."""
        if type(self).decode is not Tokenizer.decode:
            return False
        return 2 * int((self._code_points[:-1] != OTHER).sum()) >= self.vocab_size

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
        specials = dict(zip(self._specials, chain(*FRAMINGS[self.framing]), strict=True))
        names = {token: name.encode() for token, name in specials.items()} | self._bytes
        return [names[token] for token in range(self.vocab_size)]

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


def recorded_growth(values: Mapping[str, Any], tokens: Sequence[Any]) -> int:
    """The recorded number of appended tokens; RunFolderError unless there are others."""
    appended = values.get("appended", 0)
    if type(appended) is not int or not 0 <= appended < len(tokens):
        raise RunFolderError(
            f"tokenizer: expected fewer appended tokens than {len(tokens):,}, got {shortened(appended)}"
        )
    return appended


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
