"""The vocabularies of GGUF files: motegpt's tokenizers as those of llama.cpp, where all ids are the same.

    characters  SentencePiece without merges ("llama"); a space is ▁, and an unknown character an error
    bytes       byte-level BPE without merges ("gpt2"), or with those of a tokenizer file like GPT-2's
    a stream    the longest match ("rwkv"), the one kind that needs no token for the end of a text

The last one never returns from some unknown characters of two or more bytes, so it is for ASCII and bytes
alone. Other tokenizers cut a text by a pattern first: llama.cpp has those of known models, and no others.
"""

from __future__ import annotations

import json
from typing import Any

from motegpt.config.text import shortened
from motegpt.data.tokenizers import ByteTokenizer, CharacterTokenizer, FileTokenizer, IdTokenizer, Tokenizer
from motegpt.data.tokenizers.file import BYTE_LEVEL, SPACE, byte_level
from motegpt.errors import UsageError
from motegpt.interchange.tokens import special_names

UNLIKE_GPT2 = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
NORMAL, CONTROL = 1, 3  # types of tokens
NEVER = "ÿ ÿ"  # a merge of two bytes that no UTF-8 has: the list may not be empty
GPT2 = {"model": "gpt2", "pre": "gpt-2"}  # byte-level BPE, after a split by the pattern of GPT-2
NONCHARACTER = "\ufdd0"  # a code point that is not for texts (The Unicode Standard, section 23.7)


def vocabulary(tokenizer: Tokenizer) -> dict[str, Any]:
    """The metadata of a tokenizer by key; UsageError if llama.cpp would give other ids for some texts."""
    kind, texts = _kind(tokenizer)
    special = special_ids(tokenizer)
    tokens = {**dict(zip(tokenizer.text_ids, texts, strict=True)), **special}
    ids = range(tokenizer.vocab_size)
    values = {
        **kind,
        "tokens": [tokens[token] for token in ids],
        "scores": [0.0 for _ in ids],
        "token_type": [CONTROL if token in special else NORMAL for token in ids],
        "add_space_prefix": False,
        "add_bos_token": bool(special),
        "add_eos_token": False,  # so that a text can be continued
    }
    if special:
        names = ("bos", "eos", "unknown", "padding")
        values |= {
            f"{name}_token_id": getattr(tokenizer, "bos" if name == "bos" else "stop") for name in names
        }
    return {f"tokenizer.ggml.{key}": value for key, value in values.items()}


def special_ids(tokenizer: Tokenizer) -> dict[int, str]:
    """The special tokens, with names that no text has, as llama.cpp looks for them in every text."""
    names, alphabet = special_names(tokenizer), set(tokenizer.alphabet)
    in_texts = not alphabet or any(alphabet >= set(name) for name in names)
    return {token: NONCHARACTER * in_texts + name for name, token in names.items()}


def _kind(tokenizer: Tokenizer) -> tuple[dict[str, Any], list[str]]:
    """The kind of a vocabulary, and its text tokens."""
    match tokenizer:
        case CharacterTokenizer() | ByteTokenizer() if tokenizer.bos is None:
            return {"model": "rwkv"}, [_escaped(symbol) for symbol in tokenizer.symbols]
        case CharacterTokenizer():
            return {"model": "llama"}, [_with_visible_space(one) for one in tokenizer.characters]
        case ByteTokenizer():
            level = byte_level()
            return {**GPT2, "merges": [NEVER]}, sorted(level, key=level.__getitem__)
        case FileTokenizer() if tokenizer.bos is not None and (model := _gpt2_of(tokenizer.source)):
            return {**GPT2, "merges": _merges(model)}, _in_order(tokenizer, model["vocab"])
        case IdTokenizer():
            raise UsageError(
                "tokenizer: expected tokens of texts, got ids, which llama.cpp has no words for; export to hf"
            )
        case _:
            raise UsageError(
                f"tokenizer: expected characters, bytes or a file like GPT-2's, got {tokenizer.kind}, which "
                "llama.cpp does not cut as motegpt does; train with `tokenizer='characters'`, or export to hf"
            )


def _gpt2_of(source: str) -> dict[str, Any] | None:
    """The model in a tokenizer.json that splits and merges as GPT-2's; None for another."""
    values = json.loads(source)
    model, split = values["model"], values.get("pre_tokenizer") or {}
    is_like_gpt2 = (
        split.get("type") == BYTE_LEVEL
        and split.get("use_regex", True)
        and (values.get("decoder") or {}).get("type") == BYTE_LEVEL
        and not values.get("normalizer")
        and not values.get("added_tokens")
        and model.get("type", "BPE") == "BPE"
        and "merges" in model
        and not any(model.get(name) for name in UNLIKE_GPT2)
        and model["vocab"].keys() >= byte_level().keys() >= set("".join(model["vocab"]))
    )
    return model if is_like_gpt2 else None


def _merges(model: dict[str, Any]) -> list[str]:
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    return merges or [NEVER]


def _in_order(tokenizer: FileTokenizer, tokens: dict[str, int]) -> list[str]:
    """The tokens in the order of their ids here."""
    ids = tokenizer.ids_of_file
    return sorted(tokens, key=lambda token: ids[tokens[token]])


def _escaped(symbol: bytes) -> str:
    if len(symbol) > 1:
        raise UsageError(
            f"tokenizer: expected ASCII characters in a stream, got {shortened(symbol.decode())}, with which "
            "llama.cpp can hang; train with `tokenizer='bytes'`, or export to hf"
        )
    return f"\\x{symbol[0]:02x}"


def _with_visible_space(character: str) -> str:
    if character in (SPACE, "\0"):
        raise UsageError(
            f"tokenizer: expected an alphabet without {shortened(character)}, which llama.cpp takes for "
            f"{'a space' if character == SPACE else 'the end of a token'}; remove it from the data, or "
            "train with `tokenizer='bytes'`"
        )
    return SPACE if character == " " else character
