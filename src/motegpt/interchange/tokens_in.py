"""The tokenizer of another program's folder: one of motegpt's own, or that of the file.

GPT-2 separates documents by a special token with the last id, which is BOS here; files of motegpt's own may
have BOS and EOS first. Elsewhere special tokens are ordinary ones, and the model is one of a stream: its
texts have no end, and a prefix may name a special token.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from motegpt.config.text import shortened
from motegpt.data.tokenizers import FileTokenizer, Tokenizer
from motegpt.errors import MotegptError, RunFolderError
from motegpt.interchange.tokens import tokenizer_json
from motegpt.interchange.weights import read_json

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
OWN = "motegpt"  # key of tokenizer_config.json: the values of a tokenizer


def tokenizer_in(folder: Path, config: Mapping[str, Any], vocab_size: int) -> Tokenizer:
    """The tokenizer of a folder. config: its config.json. RunFolderError if it does not fit the model."""
    path = folder / TOKENIZER
    if not path.exists():
        raise RunFolderError(
            f"{path}: expected a file, got none; AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) of "
            "transformers writes it"
        )
    values = read_json(path)
    tokenizer = _own(folder, values) or _of_file(path, values, config, vocab_size)
    if tokenizer.vocab_size != vocab_size:
        raise RunFolderError(
            f"{path}: expected the {vocab_size:,} tokens of the model's vocab_size, got "
            f"{tokenizer.vocab_size:,}"
        )
    return tokenizer


def _own(folder: Path, values: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer that motegpt wrote, if the file is still what it writes."""
    path = folder / TOKENIZER_CONFIG
    recorded = read_json(path).get(OWN) if path.exists() else None
    if not isinstance(recorded, dict):
        return None
    try:
        tokenizer = Tokenizer.from_values(recorded)
        return tokenizer if tokenizer_json(tokenizer) == values else None
    except MotegptError:
        return None


def _of_file(path: Path, values: dict[str, Any], config: Mapping[str, Any], vocab_size: int) -> FileTokenizer:
    """The tokenizer of the file; its special tokens become ours where their ids are where ours are."""
    begin, end = config.get("bos_token_id"), config.get("eos_token_id")
    framing, special = "none", list[int]()
    if begin == end == vocab_size - 1:
        framing, special = "bos", [vocab_size - 1]
    elif (begin, end) == (0, 1):
        framing, special = "bos_eos", [0, 1]
    vocabulary = values.get("model", {}).get("vocab") if isinstance(values.get("model"), dict) else None
    if special and not isinstance(vocabulary, dict):
        framing, special = "none", []
    try:
        tokenizer = FileTokenizer.from_source(json.dumps(_without(values, special)), framing)
    except (RunFolderError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: {error}") from None
    moved = [number for number, token in tokenizer.ids_of_file.items() if number != token]
    if moved:
        raise RunFolderError(
            f"{path}: expected a token for each id, got none just before id {shortened(min(moved))}"
        )
    return tokenizer


def _without(values: dict[str, Any], special: Collection[int]) -> dict[str, Any]:
    """A tokenizer.json without some tokens, and without what it adds to a text."""
    kept = {**values, "post_processor": None}
    if special:
        added, model = values.get("added_tokens") or [], values["model"]
        if not isinstance(added, list) or not all(isinstance(one, dict) for one in added):
            raise RunFolderError(f"tokenizer: expected a list of added_tokens, got {shortened(added)}")
        kept["added_tokens"] = [one for one in added if one.get("id") not in special]
        vocabulary = {name: token for name, token in model["vocab"].items() if token not in special}
        kept["model"] = {**model, "vocab": vocabulary}
    return kept
