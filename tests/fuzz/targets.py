"""What the fuzzer calls: each target takes bytes and raises only where motegpt breaks its word.

The word: a right result or an error of motegpt's own, one clear line on the command line, nothing written
where nobody asked. A seed is an input to begin from.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from motegpt.cli.commands.data import report_lines
from motegpt.cli.options import read_toml
from motegpt.config.presets import settings_of
from motegpt.config.sections import DataConfig
from motegpt.data.check import check_data
from motegpt.data.corpus import corpus_in
from motegpt.data.formats import READERS
from motegpt.data.ids.reading import read_ids
from motegpt.data.ids.tasks import make
from motegpt.data.ids.writing import npz_bytes
from motegpt.interchange.hf import export_hf
from motegpt.interchange.imports import import_hf
from motegpt.interchange.model import PortableModel
from motegpt.training.run_archive import archive_run
from motegpt.training.run_folder import RunFolder
from tests.attacks.forge import file_of, forge, make_run
from tests.attacks.oracle import look, refused_or_right
from tests.attacks.test_command_lines import hold, work_in
from tests.attacks.words import QUICK, vector
from tests.exported import small_model

FORMATS = (None, *READERS)
ID_NAMES = ("a.npz", "a.bin")
RUN_FILES = ("config.json", "tokenizer.json", "metrics.jsonl")
TENSOR_FILES = {0: "model.safetensors", 1: "trainer.safetensors", 4: "kneser_ney.safetensors"}


@dataclass
class Place:
    """A folder of its own, with a small run in it; a target's calls leave the run as it was."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="motegpt-fuzz-")))

    def __post_init__(self) -> None:
        self.run = make_run(self.folder, kneser_ney=3)

    def swapped(self, name: str, data: bytes, check: Callable[[Path], None]) -> None:
        """`check` with a file of the run replaced."""
        before = (self.run / name).read_bytes()
        (self.run / name).write_bytes(data)
        try:
            check(self.run)
        finally:
            (self.run / name).write_bytes(before)


class Target:
    """One reader under attack."""

    def __init__(self) -> None:
        self.place = Place()

    def seeds(self) -> Sequence[bytes]:
        """Inputs to begin from."""
        raise NotImplementedError

    def __call__(self, data: bytes) -> None:
        raise NotImplementedError


class DataFile(Target):
    """The first byte is how to read it, the rest a data file."""

    def seeds(self) -> Sequence[bytes]:
        texts = [b"anna\nbob\n", b'a,b\n"x, y",2\n', b'{"a": "anna"}\n"bob"\n', b"\xef\xbb\xbfanna\r\n"]
        texts.append(b'["anna", {"a": "b"}]')
        files = [*texts, *map(gzip.compress, texts)]
        return [bytes([how]) + data for how in range(len(FORMATS) * 2) for data in files]

    def __call__(self, data: bytes) -> None:
        how, text = (data[:1] or b"\0")[0], data[1:]
        settings = {
            "format": FORMATS,
            "normalize": (None, "nfc", "nfkc"),
            "tokenizer": ("characters", "bytes", "bpe", "words"),
            "header": (None, True, False),
            "encoding": (None, "utf-16"),
        }
        reading = {}
        for name, choices in settings.items():
            how, choice = divmod(how, len(choices))
            reading[name] = choices[choice]
        if reading["format"] not in (None, "csv", "tsv"):
            reading["header"] = None
        with refused_or_right():
            config = {"framing": "bos", "cut": "targets", "shuffle": True, **reading}
            assert corpus_in({Path("list"): text}, DataConfig.of(config)).documents
        path = self.place.folder / "list"
        path.write_bytes(text)
        with refused_or_right():
            assert all(
                map(str, report_lines(check_data(path, {**settings_of("microgpt"), **reading}, reading)))
            )


class IdFile(Target):
    """The first byte is how to read it, the rest a file of token ids."""

    def seeds(self) -> Sequence[bytes]:
        lines, stream = b'{"ids": [1, 0, 2], "mask": [0, 1]}\n[2, 1]\n', b"\1\0\0\0\2\0"
        files = [
            npz_bytes(make("copy", count=2, length=1)),
            npz_bytes(make("markov", count=1)),
            lines,
            stream,
        ]
        return [bytes([how]) + data for how in range(len(ID_NAMES) * 3) for data in files]

    def __call__(self, data: bytes) -> None:
        how, form = divmod((data[:1] or b"\0")[0], 3)
        name = ID_NAMES[how % len(ID_NAMES)]
        with refused_or_right():
            documents = read_ids(data[1:], name, (None, "ids", "id_stream")[form])
            assert documents.settings
            assert max(map(max, documents.sequences)) < documents.vocab_size
            assert documents.sequences.counted().all()


class Toml(Target):
    """A file for --config."""

    def seeds(self) -> Sequence[bytes]:
        return [
            b'preset = "zeroclaw"\n[train]\nlr = 0.1\n',
            b'[model]\nn_embd = 8\n[sample]\nstop = "none"\n',
            b"steps = 1e3\nlr = nan\n",
            b"train.lr = 1\n[[data]]\nx = {a = 1}\n",
        ]

    def __call__(self, data: bytes) -> None:
        path = self.place.folder / "c.toml"
        path.write_bytes(data)
        with refused_or_right():
            read_toml(str(path))


class RunFile(Target):
    """The first byte chooses one of the JSON files of a run, the rest are its bytes."""

    def seeds(self) -> Sequence[bytes]:
        return [bytes([i]) + (self.place.run / name).read_bytes() for i, name in enumerate(RUN_FILES)]

    def __call__(self, data: bytes) -> None:
        name = RUN_FILES[(data[:1] or b"\0")[0] % len(RUN_FILES)]
        self.place.swapped(name, data[1:], look)


class TensorFile(Target):
    """The first byte chooses a file and whether it is signed anew; the rest is a file, or its metadata."""

    def seeds(self) -> Sequence[bytes]:
        files = [bytes([i]) + (self.place.run / name).read_bytes() for i, name in TENSOR_FILES.items()]
        said = [
            b'\x02{"done": 3, "best": null}',
            b'\x02{"rng": [3, [1, 2], null]}',
            b'\x03{"format": 2}',
            b'\x06{"weight": 2}',
        ]
        return [
            *files,
            *said,
            b"\0" + file_of({"wte": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
        ]

    def __call__(self, data: bytes) -> None:
        which, rest = (data[:1] or b"\0")[0], data[1:]
        name = TENSOR_FILES[4 if which & 4 else which & 1]
        if which & 2:
            try:
                changes = json.loads(rest)
            except (ValueError, RecursionError):
                return
            if not isinstance(changes, dict):
                return
            whole = (self.place.run / name).read_bytes()
            forge(self.place.run / name, metadata=lambda said: said.update(changes))
            rest = (self.place.run / name).read_bytes()
            (self.place.run / name).write_bytes(whole)
        self.place.swapped(name, rest, read_tensor_files)


def read_tensor_files(run: Path) -> None:
    """The parameters, the trainer's state and the n-grams."""
    folder = RunFolder(run)
    config, tokenizer = folder.config(), folder.tokenizer()
    for reader in (folder.parameters, folder.trainer_state, folder.average):
        with refused_or_right():
            reader(config, tokenizer)


class Exported(Target):
    """The first byte chooses a folder of transformers and a file in it, the rest are its bytes."""

    FOLDERS = ("gpt2", "llama", "motegpt")
    FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="motegpt-fuzz-"))
        for name, settings in zip(self.FOLDERS, ({}, {}, {"ngram_orders": 3}), strict=True):
            preset = "microgpt" if settings else name
            small_model(preset=preset, n_layer=1, n_embd=6, **settings).export(self.folder / name)

    def chosen(self, which: int) -> Path:
        which, file = divmod(which % (len(self.FOLDERS) * len(self.FILES)), len(self.FILES))
        return self.folder / self.FOLDERS[which] / self.FILES[file]

    def seeds(self) -> Sequence[bytes]:
        whole = [bytes([i]) + self.chosen(i).read_bytes() for i in range(len(self.FOLDERS) * len(self.FILES))]
        return [*whole, b'\x00{"model_type": "gpt2"}', b'\x04{"model_type": "llama"}', b"\x03{}", b"\x02{}"]

    def __call__(self, data: bytes) -> None:
        path = self.chosen((data[:1] or b"\0")[0])
        before, files = path.read_bytes(), sorted(self.folder.iterdir())
        path.write_bytes(data[1:])
        try:
            with refused_or_right():
                import_hf(path.parent, self.folder / "run")
                export_hf(PortableModel.of_run(RunFolder(self.folder / "run")), self.folder / "back")
        finally:
            path.write_bytes(before)
            for name in ("run", "back"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        assert sorted(self.folder.iterdir()) == files, "nothing is left of a refused import"


class ArchiveFile(Target):
    """A run as one file."""

    def __init__(self) -> None:
        super().__init__()
        self.file = self.place.folder / "run.motegpt"
        archive_run(RunFolder(self.place.run), self.file)

    def seeds(self) -> Sequence[bytes]:
        whole = self.file.read_bytes()
        return [whole, whole[: len(whole) // 2], b"PK\5\6" + bytes(18), b""]

    def __call__(self, data: bytes) -> None:
        self.file.write_bytes(data)
        with refused_or_right():
            RunFolder(self.file).members()
        look(self.file)


class CommandLine(Target):
    """Each byte chooses the next word among the options there are and odd values."""

    def __init__(self) -> None:
        self.folder = work_in(Path(tempfile.mkdtemp(prefix="motegpt-fuzz-")))

    def seeds(self) -> Sequence[bytes]:
        return [random.Random(i).randbytes(60) for i in range(40)]

    def __call__(self, data: bytes) -> None:
        os.chdir(self.folder)
        choices = iter(data)
        hold(self.folder, vector(lambda n: (next(choices, 0) | next(choices, 0) << 8) % n, QUICK))


class Planted(Target):
    """A reader with a bug, to see it found."""

    def __init__(self) -> None:
        pass

    def seeds(self) -> Sequence[bytes]:
        return [b"["]

    def __call__(self, data: bytes) -> None:
        with refused_or_right():
            if data[:1] == b"[":
                raise IndexError("planted")


TARGETS: dict[str, type[Target]] = {
    "data": DataFile, "ids": IdFile, "toml": Toml, "run": RunFile, "tensors": TensorFile, "hf": Exported,
    "file": ArchiveFile, "words": CommandLine, "planted": Planted,
}  # fmt: skip
