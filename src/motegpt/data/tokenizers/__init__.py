"""Tokenizers: text <-> token ids.

A tokenizer maps texts to ids, and each id to bytes; nothing outside this package assumes that a token is a
character. A new tokenizer is a subclass of Tokenizer, an entry in TOKENIZERS and a choice of the setting
`tokenizer`.
"""

from motegpt.data.tokenizers.base import FRAMINGS, SYMBOLS, TOKENIZERS, Framing, Tokenizer, with_code_points
from motegpt.data.tokenizers.bpe import BpeTokenizer
from motegpt.data.tokenizers.file import FileTokenizer
from motegpt.data.tokenizers.ids import IdTokenizer
from motegpt.data.tokenizers.pieces import RegexTokenizer, WordTokenizer
from motegpt.data.tokenizers.units import ByteTokenizer, CharacterTokenizer

TOKENIZERS.update(
    {
        one.kind: one
        for one in (
            CharacterTokenizer, ByteTokenizer, BpeTokenizer, WordTokenizer, RegexTokenizer, FileTokenizer,
            IdTokenizer,
        )
    }
)  # fmt: skip

__all__ = [
    "FRAMINGS",
    "SYMBOLS",
    "TOKENIZERS",
    "BpeTokenizer",
    "ByteTokenizer",
    "CharacterTokenizer",
    "FileTokenizer",
    "Framing",
    "IdTokenizer",
    "RegexTokenizer",
    "Tokenizer",
    "WordTokenizer",
    "with_code_points",
]
