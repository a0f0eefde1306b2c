"""Methods of a GPT for its use in other programs, and for theirs here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from motegpt.api.class_only import class_only
from motegpt.api.pictures import Pictures
from motegpt.config.arguments import path_of
from motegpt.config.fields import plain
from motegpt.errors import RunFolderError, UsageError
from motegpt.training.build import build_engine, with_engine

if TYPE_CHECKING:
    from motegpt.api.loaded import Loaded
    from motegpt.interchange.model import PortableModel
    from motegpt.ngrams.average import Average
    from motegpt.training.begin import AnyPath
    from motegpt.training.records import Report


class Exchange(Pictures):
    """Methods of a GPT that write it for other programs."""

    average: Average | None
    report: Report | None
    _loaded: Loaded | None
    save: Callable[..., None]

    def export(self, path: AnyPath, to: str = "hf") -> None:
        """Write the model in another format, as `motegpt export` does.

        to: "hf", a folder for the library transformers, with a model card; "gguf", a file for llama.cpp, for
        the architectures of the presets gpt2 and llama; "file", one file *.motegpt, as `save` writes it.
        The first two leave the n-grams of `kneser_ney` out. Nothing is overwritten: raises UsageError if
        something is at `path`, or cannot be written; LibraryUnavailable without `gguf`.
        """
        from motegpt.interchange.targets import FILE, export
        from motegpt.training.run_archive import check_archive_name

        if to == FILE:
            check_archive_name(path_of("export", path, UsageError))
            self.save(path)
            return
        export(self._portable(), to, path_of("export", path, UsageError))

    @class_only
    def from_hf(cls, path: AnyPath, engine: str | None = None) -> Self:
        """The model in a folder of the library transformers, in GPT-2's or Llama's layout, or motegpt's own.

        engine: the compute engine (default: the best that is installed). The model has no training data; its
        settings of training are those of the preset of its layout, and so are those of sampling that the
        folder does not have in generation_config.json. Nothing in the folder is executed. Raises
        RunFolderError for a part that motegpt's models do not have, and for damaged files;
        LibraryUnavailable without `tokenizers`, if the tokenizer is not one of motegpt's own.
        """
        from motegpt.interchange.imports import read_hf

        found = read_hf(path_of("from_hf", path, RunFolderError))
        config = found.config if engine is None else with_engine(found.config, plain(engine))
        make: Any = cls  # the class that has both this and a constructor
        model: Self = make(config, found.tokenizer, build_engine(config, found.contexts, inference=True))
        model.engine.load(found.parameters)
        return model

    def _portable(self) -> PortableModel:
        from motegpt.interchange.model import PortableModel

        with self._lock:
            parameters = self.engine.parameters()
        records, bits = self._history()
        return PortableModel(
            self.config,
            self.tokenizer,
            parameters,
            self.engine.contexts,
            None if self.average is None else self.average.weight,
            records,
            bits,
        )

    def _history(self) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """The records of the training, and what it measured at its end: name -> bits per character.

        Of a loaded model as long as its run is the same. Raises RunFolderError if the run is damaged.
        """
        records = [record.values() for record in self.records]
        bits = {} if self.report is None else self.report.bits()
        if self._loaded is None:
            return records, bits
        return records or self._loaded.records(), bits or self._loaded.bits()
