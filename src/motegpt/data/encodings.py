"""Advice on the likely encodings of bytes that are not UTF-8. Nothing is decoded by a guess."""

from __future__ import annotations

import codecs
from itertools import islice

SAMPLE = 2**14  # bytes
MAX_ENCODINGS = 5
MESS = 0.4  # charset-normalizer's threshold, twice its default because lists of names are short
MAX_LINES, MAX_CHARACTERS = 2, 30  # of the text shown for each encoding

# Common encodings of text files; of several that decode a file alike, the first is named.
IN_USE = (
    "cp1252", "cp1250", "cp1251", "gb18030", "cp932", "cp949", "big5", "euc_jp", "cp1253", "cp1254", "cp1255",
    "cp1256", "cp1257", "cp1258", "cp874", "iso8859_2", "iso8859_5", "iso8859_6", "iso8859_7", "iso8859_9",
    "koi8_r", "mac_roman", "cp437", "cp850", "cp866",
)  # fmt: skip
BYTE_ORDER_MARKS = (  # longer ones first: they start with the shorter ones
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def marked_encoding(data: bytes) -> str | None:
    """The encoding of the byte order mark that the data begin with, except UTF-8."""
    return next((encoding for mark, encoding in BYTE_ORDER_MARKS if data.startswith(mark)), None)


def advice(data: bytes) -> str:
    """The repair in an error message: likely encodings, best first, each with two decoded lines."""
    sample, detect = (data[:SAMPLE], _wide) if _is_wide(data) else (_non_ascii_lines(data), _narrow)
    encodings: dict[str, str] = {}  # decoded lines -> first encoding that gives them
    for encoding in detect(sample):
        encodings.setdefault(_decoded_lines(sample, encoding), encoding)
    named = [f"`encoding={encoding!r}` reads {lines}" for lines, encoding in encodings.items()]
    return "; ".join(named) or "convert it to UTF-8, if it is text"


def _non_ascii_lines(data: bytes) -> bytes:
    """The first SAMPLE bytes of lines that are not pure ASCII."""
    lines = [line for line in data.splitlines(keepends=True) if not line.isascii()]
    return b"".join(lines)[:SAMPLE]


def _is_wide(data: bytes) -> bool:
    """Whether the code units seem to have two or four bytes."""
    return marked_encoding(data) is not None or b"\0" in data


def _wide(sample: bytes) -> list[str]:
    if marked := marked_encoding(sample):
        return [marked]
    return [encoding for encoding in ("utf-16-le", "utf-16-be") if _is_text(sample, encoding)]


def _narrow(sample: bytes) -> list[str]:
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, threshold=MESS, cp_isolation=list(IN_USE)))[:MAX_ENCODINGS]
    return [min(set(match.could_be_from_charset) & set(IN_USE), key=IN_USE.index) for match in matches]


def _is_text(sample: bytes, encoding: str) -> bool:
    """Whether more than 95 % of the decoded characters are printable or white space."""
    text = sample.decode(encoding, "replace")
    return sum((c.isprintable() or c.isspace()) and c != "\ufffd" for c in text) > 0.95 * len(text)


def _decoded_lines(sample: bytes, encoding: str) -> str:
    """The first decoded lines of the sample, quoted."""
    lines = map(str.strip, sample.decode(encoding, "replace").splitlines())
    return ", ".join(repr(line[:MAX_CHARACTERS]) for line in islice(filter(None, lines), MAX_LINES))
