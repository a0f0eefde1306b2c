"""Whether files have token ids. Imports nothing large, as every list is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

BINARY = (".npz", ".npy", ".bin")  # suffixes of files of ids
LINES = (".jsonl", ".ndjson")  # of files that may be
HEAD = 2**16  # bytes of a file of lines, in which its first object is
IDS = "ids"  # key of a JSON object
LINE_OF_IDS = re.compile(rb'(\xef\xbb\xbf)?\s*({\s*"ids"\s*:\s*)?\[\s*-?\d')


def is_ids_file(path: Path, head: Callable[[], bytes]) -> bool:
    """Whether a file whose format was not given has ids. head: gives its first HEAD bytes."""
    suffix = path.suffix.lower()
    return suffix in BINARY or (suffix in LINES and _is_line_of_ids(head().split(b"\n", 1)[0]))


def _is_line_of_ids(line: bytes) -> bool:
    """Whether a line is a list of ids, or an object with one, or the beginning of one that is too long."""
    if LINE_OF_IDS.match(line):
        return True
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get(IDS), list)
