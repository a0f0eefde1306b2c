"""The section of reading and tokenizing."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Literal

from motegpt.config.fields import SEEDS, Settings, setting
from motegpt.config.patterns import compiled
from motegpt.config.sections.bounds import LARGEST_SIZE
from motegpt.config.text import shortened
from motegpt.errors import SettingError

ID_FORMATS = ("ids", "id_stream")  # of data that are token ids, not text
TEXT_FORMATS = ("text", "csv", "tsv", "json", "jsonl", "stream")
FORMATS_WITH = {  # setting -> formats that it applies to
    "column": ("csv", "tsv", "json", "jsonl"),
    "header": ("csv", "tsv"),
    "delimiter": ("text", "csv"),
    "encoding": TEXT_FORMATS,
    "normalize": TEXT_FORMATS,
}
TOKENIZERS_WITH = {  # setting -> tokenizers that it applies to
    "max_vocab_size": ("bpe", "words", "regex"),
    "token_pattern": ("bpe", "regex"),
    "tokenizer_file": ("file",),
}
NEEDED_BY = {"regex": "token_pattern", "file": "tokenizer_file"}  # tokenizer -> the setting that it needs
DEFAULT_VOCABULARY = 512  # tokens
FRAMING_OF = {  # format -> the framing that it always has
    "stream": "none",  # no document boundaries
    "id_stream": "none",
    "ids": "whole",  # no special tokens but those in the data
}
CHARACTERS, IDS = "characters", "ids"  # tokenizers: the default, and the only one of ids

CutRule = Literal["targets", "tokens"]


@dataclass(frozen=True, kw_only=True)
class ReadConfig(Settings):
    """How a file is read as documents: the part of DataConfig that formats and documents.py need."""

    format: Literal["text", "csv", "tsv", "json", "jsonl", "stream", "ids", "id_stream"] | None = setting(
        "File format, or one long text (stream); sequences of token ids, or one of them.  [by file name]",
        default=None,
    )
    column: str | None = setting(
        "Column of a table, by name or number from 1, or key of JSON objects.",
        default=None,
    )
    header: bool | None = setting(
        "Whether the first row of a table is a header.  [by its contents]", default=None
    )
    delimiter: str | None = setting(
        "Separator of documents, such as \\n\\n, or of the cells of a CSV.", default=None
    )
    encoding: str | None = setting("Encoding of the file, as Python names it.  [UTF-8]", default=None)
    normalize: Literal["nfc", "nfkc"] | None = setting(
        "Unicode normalization form of the documents.", default=None
    )
    deduplicate: bool = setting("Drop repeated documents.", default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format is not None:
            for name in self.inapplicable(self.format):
                raise SettingError(f"{name}: expected none with `format={self.format!r}`; leave it out")
        if self.delimiter is not None:
            delimiter = self.delimiter.replace("\\n", "\n").replace("\\t", "\t")
            if not delimiter:
                raise SettingError("delimiter: expected at least one character, got none")
            object.__setattr__(self, "delimiter", delimiter)
        if self.encoding is not None:
            _check_encoding(self.encoding)

    @property
    def is_stream(self) -> bool:
        """Whether the data are one long sequence, without boundaries of documents."""
        return self.format in ("stream", "id_stream")

    @property
    def is_ids(self) -> bool:
        """Whether the data are token ids, not text."""
        return self.format in ID_FORMATS

    @property
    def noun(self) -> str:
        """What one of the data is called."""
        return "sequence" if self.is_ids else "document"

    def inapplicable(self, form: str) -> list[str]:
        """The settings that are set but do not apply to a format."""
        return [
            name
            for name, formats in FORMATS_WITH.items()
            if getattr(self, name) is not None and form not in formats
        ]


def _check_encoding(name: str) -> None:
    """SettingError unless Python has a text encoding of that name."""
    try:
        is_text = codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):  # ValueError: a zero character in the name
        is_text = False
    if not is_text:
        raise SettingError(
            f"encoding: expected a text encoding that Python knows, such as cp1252 or gb18030, got "
            f"{shortened(name)}"
        )


@dataclass(frozen=True, kw_only=True)
class DataConfig(ReadConfig):
    """How a file is read, split and tokenized."""

    tokenizer: Literal["characters", "bytes", "bpe", "words", "regex", "file", "ids"] = setting(
        "Tokens: characters, bytes of UTF-8, merged pairs (bpe), words, matches of token_pattern (regex), "
        "those of tokenizer_file (file), or ids, of data that are ids.",
        default=CHARACTERS,
    )
    max_vocab_size: int | None = setting(
        f"Most tokens of bpe, words and regex.  [{DEFAULT_VOCABULARY}]",
        default=None,
        at_least=2,
        at_most=LARGEST_SIZE,
    )
    token_pattern: str | None = setting(
        "Regular expression of the tokens (regex), or of the words that no token crosses (bpe).", default=None
    )
    tokenizer_file: str | None = setting("A tokenizer.json to read tokens from (file).", default=None)
    framing: Literal["bos", "bos_eos", "none", "whole"] = setting(
        "Special tokens: BOS at both ends, or BOS before and EOS after."
    )
    cut: CutRule = setting("Part of a document that must fit block_size.")
    shuffle: bool = setting("Shuffle the documents once, before training.")
    reshuffle: bool = setting("Shuffle the documents anew in every later epoch.", default=False)
    val_fraction: float = setting(
        "Fraction held out for validation; duplicates stay together.",
        default=0.0,
        at_least=0,
        below=1,
    )
    split_seed: int | None = setting("Random seed of the held-out documents.  [seed]", default=None, **SEEDS)
    ngram_min_count: int = setting(
        "N-gram embedding: keep contexts seen at least N times in training.", default=2, at_least=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_ids()
        self._check_tokenizer()
        if self.format in FRAMING_OF:
            object.__setattr__(self, "framing", FRAMING_OF[self.format])
        elif self.framing in FRAMING_OF.values():
            of = " or ".join(f"`format={form!r}`" for form, own in FRAMING_OF.items() if own == self.framing)
            raise SettingError(f"framing: expected bos or bos_eos, got {self.framing}, which is for {of}")

    @property
    def tokenizer_settings(self) -> list[str]:
        """The settings that apply to the tokenizer."""
        return [name for name, kinds in TOKENIZERS_WITH.items() if self.tokenizer in kinds]

    def _check_ids(self) -> None:
        """Set the tokenizer of ids; SettingError for another, or for that one with text."""
        if self.is_ids and self.tokenizer in (CHARACTERS, IDS):
            object.__setattr__(self, "tokenizer", IDS)
        elif self.is_ids:
            raise SettingError(
                f"tokenizer: expected none for token ids, which are tokens already, got {self.tokenizer}; "
                "leave it out"
            )
        elif self.tokenizer == IDS:
            raise SettingError(
                "tokenizer: expected one for text, got ids; data that are token ids need no tokenizer, only "
                "`format='ids'` where the file name does not tell"
            )

    def _check_tokenizer(self) -> None:
        """SettingError for settings that the tokenizer lacks, or does not have."""
        for name in TOKENIZERS_WITH:
            if getattr(self, name) is not None and name not in self.tokenizer_settings:
                owners = " or ".join(f"`tokenizer={kind!r}`" for kind in TOKENIZERS_WITH[name])
                raise SettingError(
                    f"{name}: expected none with `tokenizer={self.tokenizer!r}`; leave it out, or try "
                    f"{owners}"
                )
        needed = NEEDED_BY.get(self.tokenizer)
        if needed is not None and not getattr(self, needed):
            raise SettingError(f"{needed}: expected one with `tokenizer={self.tokenizer!r}`, got none")
        if self.token_pattern is not None:
            try:
                compiled(self.token_pattern)
            except ValueError as error:
                raise SettingError(f"token_pattern: expected a regular expression, got {error}") from None
