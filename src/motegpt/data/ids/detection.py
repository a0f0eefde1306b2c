"""Whether files have token ids. Imports nothing large, as every list is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

BINARY = (".npz", ".npy", ".bin")  # suffixes of files of ids
LINES = (".jsonl", ".ndjson")  # of files that may be
HEAD = 2**16  # bytes of a file of lines, in which its first object is
IDS = "ids"  # key of a JSON object


def is_ids_file(path: Path, head: Callable[[], bytes]) -> bool:
    """Whether a file whose format was not given has ids. head: gives its first HEAD bytes."""
    suffix = path.suffix.lower()
    return suffix in BINARY or (suffix in LINES and _is_object_of_ids(head().split(b"\n", 1)[0]))


def _is_object_of_ids(line: bytes) -> bool:
    """Whether a line is an object with a list of ids, or the beginning of one that is too long."""
    start = line.lstrip(b"\xef\xbb\xbf \t").replace(b" ", b"")[:8]
    if start.startswith(b'{"ids":['):
        return True
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get(IDS), list)
