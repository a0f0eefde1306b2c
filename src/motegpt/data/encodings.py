"""Advice on which encoding bytes are in that are not UTF-8. Nothing is ever decoded by a guess."""

from __future__ import annotations

import codecs
from itertools import islice

SAMPLE = 2**14  # bytes that are looked at
MOST = 5  # encodings that are named
MESS = 0.4  # what charset-normalizer lets pass, twice its default, as lists of names are short
SHOWN, LONGEST = 2, 30  # lines of each that are shown, and so many of their characters

# What text files in the wild are in; of several that read a file alike, the first is named.
IN_USE = (
    "cp1252", "cp1250", "cp1251", "gb18030", "cp932", "cp949", "big5", "euc_jp", "cp1253", "cp1254", "cp1255",
    "cp1256", "cp1257", "cp1258", "cp874", "iso8859_2", "iso8859_5", "iso8859_6", "iso8859_7", "iso8859_9",
    "koi8_r", "mac_roman", "cp437", "cp850", "cp866",
)  # fmt: skip
BYTE_ORDER_MARKS = (  # the longer ones first, as they begin with the others
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def marked_encoding(data: bytes) -> str | None:
    """The encoding whose byte order mark the data begin with, UTF-8's aside."""
    return next((encoding for mark, encoding in BYTE_ORDER_MARKS if data.startswith(mark)), None)


def advice(data: bytes) -> str:
    """The end of an error's message: encodings that the data may be in, the likeliest first, and two of its
    lines as each would read.
    """
    sample, likely = (data[:SAMPLE], _wide) if _is_wide(data) else (_telling_lines(data), _narrow)
    encodings: dict[str, str] = {}  # by what they make of the sample, as some do not differ in it
    for encoding in likely(sample):
        encodings.setdefault(_reading(sample, encoding), encoding)
    named = [f"`encoding={encoding!r}` reads {lines}" for lines, encoding in encodings.items()]
    return "; ".join(named) or "convert it to UTF-8, if it is text"


def _telling_lines(data: bytes) -> bytes:
    """The lines that are not ASCII alone, as many as fit into the sample."""
    lines = [line for line in data.splitlines(keepends=True) if not line.isascii()]
    return b"".join(lines)[:SAMPLE]


def _is_wide(data: bytes) -> bool:
    """Whether its units are of two or four bytes."""
    return marked_encoding(data) is not None or b"\0" in data


def _wide(sample: bytes) -> list[str]:
    if marked := marked_encoding(sample):
        return [marked]
    return [encoding for encoding in ("utf-16-le", "utf-16-be") if _is_text(sample, encoding)]


def _narrow(sample: bytes) -> list[str]:
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, threshold=MESS, cp_isolation=list(IN_USE)))[:MOST]
    return [min(set(match.could_be_from_charset) & set(IN_USE), key=IN_USE.index) for match in matches]


def _is_text(sample: bytes, encoding: str) -> bool:
    """Whether nearly all that the encoding makes of it are characters with a meaning."""
    text = sample.decode(encoding, "replace")
    return sum((c.isprintable() or c.isspace()) and c != "\ufffd" for c in text) > 0.95 * len(text)


def _reading(sample: bytes, encoding: str) -> str:
    """The first lines of the sample, in quotes."""
    lines = map(str.strip, sample.decode(encoding, "replace").splitlines())
    return ", ".join(repr(line[:LONGEST]) for line in islice(filter(None, lines), SHOWN))
