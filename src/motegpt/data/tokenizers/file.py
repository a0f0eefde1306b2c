"""The tokens of an existing tokenizer.json, by the library `tokenizers`, which is imported when needed.

The file is untrusted input: it is bounded, the library parses it without executing anything, and every text
is encoded only if the bytes of its ids are the text again. So a tokenizer that loses something, such as
upper case, refuses those texts instead of learning others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

from motegpt.config.sections.bounds import LARGEST_SIZE
from motegpt.config.text import concise_repr, is_surrogate, shortened
from motegpt.data.tokenizers.base import Tokenizer
from motegpt.errors import DataError, LibraryUnavailable, PrefixError, RunFolderError
from motegpt.system.files import read_bounded_file
from motegpt.system.libraries import imports_for

MAX_BYTES = 2**25  # of a file: a vocabulary of 200,000 tokens has 2^24
BYTE_LEVEL, METASPACE, SPACE = "ByteLevel", "Metaspace", "▁"


@dataclass(frozen=True)
class FileTokenizer(Tokenizer):
    """The tokenizer in a file. source: its JSON, without spaces before a text; framing: as elsewhere.

    The special tokens of the file are ordinary tokens here.
    """

    kind = "file"
    is_fixed = True
    source: str
    framing: str

    __repr__ = concise_repr

    @classmethod
    def learn(cls, documents: Sequence[str], framing: str, *, tokenizer_file: str | None = None) -> Self:
        """The tokenizer in the file; DataError if it is none, or cannot write the first document."""
        path = Path(tokenizer_file or "tokenizer.json")
        try:
            source = read_bounded_file(path, MAX_BYTES).decode("utf-8-sig")
            return cls.from_source(source, framing)
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"tokenizer_file: expected a tokenizer.json in {path}, got {reason}") from None
        except RunFolderError as error:
            raise DataError(f"{path}: {error}") from None

    @classmethod
    def from_source(cls, source: str, framing: str) -> Self:
        """The tokenizer with this JSON; RunFolderError if it is none, and ValueError if it is no JSON."""
        return cls(_without_prefix(source), framing)._checked()

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        source, framing = values.get("source"), values.get("framing")
        if not isinstance(source, str) or not isinstance(framing, str) or len(source) > MAX_BYTES:
            raise RunFolderError("tokenizer: expected the text of a tokenizer.json, and a framing")
        return cls(source, framing)._checked()

    def values(self) -> dict[str, Any]:
        return {"kind": self.kind, "source": self.source, "framing": self.framing}

    def _checked(self) -> Self:
        """Itself; RunFolderError unless the library reads the file, and it has tokens."""
        if not 2 <= len(self._places) <= LARGEST_SIZE:
            raise RunFolderError(
                f"tokenizer: expected 2 to {LARGEST_SIZE:,} tokens, got {len(self._places):,}"
            )
        return self

    @cached_property
    def _library(self) -> Any:
        """The tokenizer of the library."""
        with imports_for("tokenizer='file'", LibraryUnavailable):
            from tokenizers import Tokenizer as Library  # type: ignore[import-not-found, unused-ignore]
        try:
            with _panics_caught():
                library = Library.from_str(self.source)
                library.no_truncation()
                library.no_padding()
        except Exception as error:
            raise RunFolderError(
                f"tokenizer: expected a tokenizer.json, got {shortened(str(error))}"
            ) from None
        return library

    @cached_property
    def _vocabulary(self) -> list[tuple[int, bytes]]:
        """The ids of the file in order, each with its bytes; without empty ones."""
        vocabulary = self._library.get_vocab(with_added_tokens=True)
        decoder = json.dumps(json.loads(self.source).get("decoder"), ensure_ascii=False)
        found = [(number, _bytes_of(token, decoder)) for token, number in vocabulary.items()]
        return sorted(entry for entry in found if entry[1])

    @cached_property
    def _places(self) -> dict[int, int]:
        """Id in the file -> index of the token; files may leave out ids."""
        return {number: at for at, (number, _) in enumerate(self._vocabulary)}

    @property
    def ids_of_file(self) -> dict[int, int]:
        """Id in the file -> id of the token here."""
        return {number: self.text_ids[at] for number, at in self._places.items()}

    @cached_property
    def symbols(self) -> Sequence[bytes]:
        return [encoded for _, encoded in self._vocabulary]

    def encode(self, text: str) -> list[int]:
        found = self._encoded(text)
        if found is None:
            raise self.unknown_error(text)
        return found

    def _encoded(self, text: str) -> list[int] | None:
        """The ids; None if they are not exactly this text."""
        if not text:
            return []
        try:
            with _panics_caught():
                ids = self._library.encode(text, add_special_tokens=False).ids
            places = [self._places[number] for number in ids]
            if b"".join(self.symbols[at] for at in places) != text.encode():
                return None
        except Exception:  # a surrogate, or what the library cannot encode
            return None
        return [self.text_ids[at] for at in places]

    def unknown(self, text: str) -> str:
        """The characters that have no ids by themselves; all of them if the text as a whole has none."""
        if self._encoded(text) is not None:
            return ""
        alone = sorted(one for one in set(text) if is_surrogate(one) or self._encoded(one) is None)
        return "".join(alone or sorted(set(text)))

    def unknown_error(self, text: str) -> PrefixError:
        return PrefixError(
            f"text {shortened(text)}: expected one that the tokenizer file keeps as it is, got one that it "
            f"changes, with {shortened(self.unknown(text))}; try another `tokenizer`"
        )


@contextmanager
def _panics_caught() -> Iterator[None]:
    """Panics of the library, which are no Exception, as ValueError: of an endless pattern, for example."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception | KeyboardInterrupt | SystemExit):
            raise
        raise ValueError(str(error)) from None


def _without_prefix(source: str) -> str:
    """The JSON of a file with no space put before a text; ValueError if it is no JSON."""
    return json.dumps(json.loads(source, object_hook=_unprefixed), ensure_ascii=False)


def _unprefixed(node: dict[str, Any]) -> dict[str, Any]:
    """A part of a file without its space before a text."""
    match node.get("type"):
        case "Prepend":
            return {"type": "Sequence", "normalizers": []}
        case "ByteLevel":
            return {**node, "add_prefix_space": False}
        case "Metaspace":
            return {**node, "prepend_scheme": "never"}
        case "Strip" if "start" in node:  # of the decoder, where a space was put before
            return {**node, "start": 0}
        case _:
            return node


def _bytes_of(token: str, decoder: str) -> bytes:
    """The bytes that a token stands for. decoder: of the file, as JSON."""
    if f'"{BYTE_LEVEL}"' in decoder:
        table = byte_level()
        return bytes(table[one] for one in token) if table.keys() >= set(token) else token.encode()
    if '"ByteFallback"' in decoder and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes([int(token[3:5], 16)])
        except ValueError:
            return token.encode()
    is_spaced = f'"{METASPACE}"' in decoder or f'"{SPACE}"' in decoder
    return (token.replace(SPACE, " ") if is_spaced else token).encode()


@cache
def byte_level() -> dict[str, int]:
    """Character -> byte of byte-level BPE (Radford et al., 2019): visible bytes are their own characters."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
