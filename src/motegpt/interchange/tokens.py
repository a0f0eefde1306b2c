"""tokenizer.json: motegpt's tokenizers as those of the library `tokenizers`, as plain JSON.

    characters    WordLevel over single characters
    ids           WordLevel over numbers with spaces between
    bytes         BPE without merges over the 256 characters that represent bytes
    bpe           BPE with the same merges, over the matches of the pattern
    words, regex  BPE without merges that takes a match whole if it is a token (`ignore_merges`)
    file          the file itself, its ids moved where special tokens come first

An unknown character is an error there as here: the name of the unknown token is not in the vocabulary. BOS is
put in front of a text, as training does; nothing is put behind it, so that a text can be continued.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from motegpt.data.tokenizers import (
    FRAMINGS,
    BpeTokenizer,
    ByteTokenizer,
    CharacterTokenizer,
    FileTokenizer,
    IdTokenizer,
    RegexTokenizer,
    Tokenizer,
)
from motegpt.data.tokenizers.file import byte_level
from motegpt.errors import UsageError
from motegpt.interchange.regex import ANY, oniguruma

UNKNOWN = "<unk>"
FUSE = {"type": "Fuse"}


def special_names(tokenizer: Tokenizer) -> dict[str, int]:
    """The special tokens, BOS first, with their ids; renamed where a token has the name of one."""
    before, after = FRAMINGS[tokenizer.framing]
    texts, names = set(tokenizer.symbols), dict[str, int]()
    ids = sorted(set(range(tokenizer.vocab_size)).difference(tokenizer.text_ids))
    for name, token in zip((*before, *after), ids, strict=True):
        while name.encode() in texts:
            name = f"<{name}>"
        names[name] = token
    return names


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The contents of a tokenizer.json; UsageError or SettingError if the library has no such tokenizer."""
    specials = special_names(tokenizer)
    parts = {"normalizer": None, **_parts(tokenizer, specials)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            *parts.pop("added_tokens", []),
            *(_added(name, token) for name, token in specials.items()),
        ],
        "normalizer": parts["normalizer"],
        "pre_tokenizer": parts["pre_tokenizer"],
        "post_processor": _bos_in_front(specials),
        "decoder": parts["decoder"],
        "model": parts["model"],
    }


def tokenizer_config(tokenizer: Tokenizer, block_size: int) -> dict[str, Any]:
    """The contents of tokenizer_config.json. `motegpt` has the tokenizer as a run folder has it."""
    specials, is_file = list(special_names(tokenizer)), isinstance(tokenizer, FileTokenizer)
    names = (
        {"bos_token": specials[0], "eos_token": specials[-1], "pad_token": specials[-1]} if specials else {}
    )
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **names,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": not is_file,  # elsewhere the name of a special token is a text like others
        "model_max_length": block_size,
        "padding_side": "left",
        **({} if is_file else {"motegpt": tokenizer.values()}),
    }


def _added(name: str, token: int) -> dict[str, Any]:
    """A special token."""
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": name, **off, "special": True}


def _bos_in_front(specials: Mapping[str, int]) -> dict[str, Any] | None:
    """Puts BOS in front of a text, and of the second of a pair."""
    if not specials:
        return None
    name, token = next(iter(specials.items()))
    bos = {"SpecialToken": {"id": name, "type_id": 0}}
    a, b = ({"Sequence": {"id": one, "type_id": 0}} for one in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [bos, a],
        "pair": [bos, a, bos, b],
        "special_tokens": {name: {"id": name, "ids": [token], "tokens": [name]}},
    }


def _parts(tokenizer: Tokenizer, specials: Mapping[str, int]) -> dict[str, Any]:
    """pre_tokenizer, decoder and model; of a file also what else it has."""
    if isinstance(tokenizer, FileTokenizer):
        return _of_file(tokenizer, specials)
    level = {byte: character for character, byte in byte_level().items()}
    is_bytes = isinstance(tokenizer, ByteTokenizer)
    tokens = [level[one[0]] if is_bytes else one.decode() for one in tokenizer.symbols]
    vocabulary = dict(zip(tokens, tokenizer.text_ids, strict=True)) | dict(specials)
    vocabulary = dict(sorted(vocabulary.items(), key=lambda entry: entry[1]))
    match tokenizer:
        case CharacterTokenizer():
            model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN}
            return {"pre_tokenizer": _split(ANY), "decoder": FUSE, "model": model}
        case ByteTokenizer():
            spread = {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": False,
                "use_regex": False,
            }
            return {"pre_tokenizer": spread, "decoder": spread, "model": _bpe(vocabulary)}
        case IdTokenizer():
            model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN}
            return {"pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": None, "model": model}
        case BpeTokenizer():
            model = _bpe(vocabulary, [list(pair) for pair in tokenizer.merges], unknown=UNKNOWN)
            split = _split(oniguruma(tokenizer.pattern, tokenizer.characters))
            return {"pre_tokenizer": split, "decoder": FUSE, "model": model}
        case RegexTokenizer():  # words are some
            model = _bpe(vocabulary, unknown=UNKNOWN, ignore_merges=True)
            split = _split(oniguruma(tokenizer.pattern, tokenizer.alphabet))
            return {"pre_tokenizer": split, "decoder": FUSE, "model": model}
        case _:
            raise UsageError(f"tokenizer: expected one of texts, got {tokenizer.kind}")


def _split(pattern: str) -> dict[str, Any]:
    """Each match is a piece."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _bpe(
    vocabulary: dict[str, int],
    merges: list[list[str]] | None = None,
    unknown: str | None = None,
    ignore_merges: bool = False,
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": vocabulary,
        "merges": merges or [],
    }


def _of_file(tokenizer: FileTokenizer, specials: Mapping[str, int]) -> dict[str, Any]:
    """The parts of a tokenizer file, with the ids that the tokens have here.

    UsageError if its vocabulary is a list, in which ids cannot be moved.
    """
    found = json.loads(tokenizer.source)
    ids = tokenizer.ids_of_file
    model, vocabulary = found["model"], found["model"].get("vocab")
    is_same = all(number == token for number, token in ids.items())
    if isinstance(vocabulary, dict):
        model = {
            **model,
            "vocab": {name: ids[number] for name, number in vocabulary.items() if number in ids},
        }
        model["vocab"].update(specials)
    elif not is_same:
        raise UsageError(
            "tokenizer: expected a tokenizer file whose ids can stay, got a list of tokens with special "
            "tokens before it; it cannot be exported"
        )
    added = [{**one, "id": ids[one["id"]]} for one in found.get("added_tokens", []) if one["id"] in ids]
    return {**found, "added_tokens": added, "model": model}
