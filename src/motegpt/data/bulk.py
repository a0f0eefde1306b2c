"""Lines of a file as documents in flat memory, without a string for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.sections import ReadConfig
from motegpt.data.documents import ASCII, END, Documents, documents_of
from motegpt.data.formats.base import NEWLINE, Lines

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_documents(groups: Iterable[Sequence[str]], reading: ReadConfig) -> Documents:
    """The documents of a file, given as groups of texts; DataError if one has END or a lone surrogate.

    `documents_of`, the reference, makes those of lines that must be changed.
    """
    return Documents.joined(_documents_of(texts, reading) for texts in groups)


def _documents_of(texts: Sequence[str], reading: ReadConfig) -> Documents:
    in_bulk = documents_of_lines(texts.text, reading) if isinstance(texts, Lines) else None
    return Documents.of([documents_of(texts, reading)]) if in_bulk is None else in_bulk


def documents_of_lines(text: str, reading: ReadConfig) -> Documents | None:
    """The nonblank lines of a text; None if one must be normalized or stripped, or may be no document."""
    if END in text or not (reading.normalize is None or text.isascii()):
        return None
    encoding, dtype = ("latin-1", "<u1") if text.isascii() else ("utf-32-le", "<u4")
    text = text if text.endswith("\n") else text + "\n"
    codes = np.frombuffer(text.encode(encoding, "surrogatepass"), dtype)
    ends = np.flatnonzero(codes == NEWLINE)
    lengths = np.diff(ends, prepend=-1) - 1
    is_blank = lengths == 0
    if is_blank.any():
        codes = np.delete(codes, ends[is_blank])
        text, lengths = codes.tobytes().decode(encoding, "surrogatepass"), lengths[~is_blank]
        ends = np.flatnonzero(codes == NEWLINE)
    if _has_space(codes[ends - lengths]) or _has_space(codes[ends - 1]):
        return None
    try:
        data = text.encode().replace(b"\n", END.encode())
    except UnicodeEncodeError:  # a lone surrogate, which `documents_of` reports
        return None
    return Documents(data, array("I", lengths.astype(np.uint32).tobytes()))


def _has_space(codes: NDArray[np.unsignedinteger[Any]]) -> bool:
    """Whether a code point is white space."""
    candidates = codes[(codes <= ord(" ")) | (codes >= ASCII)]
    return any(chr(code).isspace() for code in set(candidates.tolist()))
