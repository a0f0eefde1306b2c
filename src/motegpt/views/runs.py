"""Read-only views of runs: records, losses, and the settings in which runs differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import LARGEST_INT
from motegpt.config.presets import PRESETS, expected_settings
from motegpt.config.text import shortened
from motegpt.data.documents import normalize_fragment
from motegpt.errors import RunFolderError
from motegpt.system.runs import ENDING
from motegpt.training.reference import flat_settings, learning_settings
from motegpt.training.run_files import METRICS
from motegpt.training.run_folder import RunFolder
from motegpt.views.text import setting_text

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Arrays
    from motegpt.ngrams.contexts import Contexts
    from motegpt.training.state import RunConfig

TRAIN_ACCURACY, ACCURACY = "accuracy", "val_accuracy"  # in records of data that are ids
MAX_LOSS = 1e100  # larger losses are dropped
SEED = "seed"
MAX_NAMED = 3  # settings in the label of a run; if runs differ in more, labels are folder names


class RunView(ABC):
    """A model and its records, as pictures show them.

    path: in messages; records: in order, as StepRecord.values().
    """

    path: str
    config: RunConfig
    tokenizer: Tokenizer
    records: list[dict[str, Any]]

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in titles."""

    @property
    @abstractmethod
    def records_source(self) -> str:
        """Where the records are, in messages."""

    @abstractmethod
    def parameters(self) -> Arrays:
        """The parameters by name."""

    @abstractmethod
    def contexts(self) -> Contexts:
        """The contexts of the n-gram embedding."""

    @property
    def data(self) -> str:
        """The file name of the data, or the kind of source."""
        source = self.config.source
        return Path(source.path).name if source.path else source.kind

    def ids_of(self, text: str) -> list[int]:
        """What the model reads of a text, normalized like the training data; errors as of inspect.ids_of."""
        from motegpt.evaluation.inspect import ids_of

        fragment = normalize_fragment(text, self.config.data)
        return ids_of(fragment, self.tokenizer, self.config.model.block_size)

    def losses(self, along: str = "step") -> tuple[list[float], list[float]]:
        """Steps or tokens, and mean losses since the previous record, or else losses of single steps."""
        return self.series("mean_loss", "loss", along=along)

    def series(self, *keys: str, along: str = "step") -> tuple[list[float], list[float]]:
        """Steps or tokens (`along`), and of each record the value of the first key that it has."""
        pairs = []
        for record in self.records:
            key = next((key for key in keys if key in record), keys[0])
            x, y = self._number(record, along), self._number(record, key)
            if x is not None and y is not None:
                pairs.append((x, y))
        return [x for x, _ in pairs], [y for _, y in pairs]

    def _number(self, record: dict[str, Any], key: str) -> float | None:
        """A number of a record; None if it is missing or not finite."""
        value = record.get(key)
        if value is not None and type(value) not in (int, float):
            raise RunFolderError(
                f"{self.records_source}: step {record['step']}: expected a number for {key}, got "
                f"{shortened(value)}"
            )
        bound = LARGEST_INT if isinstance(value, int) else MAX_LOSS
        return value if value is not None and abs(value) <= bound else None


@dataclass(frozen=True)
class Run(RunView):
    """A run on disk. path: as given; checkpoint: as for RunFolder.parameters."""

    path: str
    folder: RunFolder
    config: RunConfig
    tokenizer: Tokenizer
    records: list[dict[str, Any]]
    checkpoint: str | None = None

    @classmethod
    def read(cls, path: str, checkpoint: str | None = None) -> Run:
        """RunFolderError if the folder is missing or damaged; a run without metrics has no records."""
        folder = RunFolder(path)
        config, tokenizer = folder.config(), folder.tokenizer()
        folder.check_tokenizer(config, tokenizer)
        return cls(path, folder, config, tokenizer, folder.metrics(), checkpoint)

    @property
    def name(self) -> str:
        """The name of the folder, or of the file without its ending."""
        path = Path(self.path).absolute()
        return (path.name.removesuffix(ENDING) if self.folder.path.is_file() else path.name) or self.path

    @property
    def records_source(self) -> str:
        return str(self.folder.path / METRICS)

    def parameters(self) -> Arrays:
        """The parameters of the checkpoint (default: those for sampling); RunFolderError if damaged."""
        return self.folder.parameters(self.config, self.tokenizer, self.checkpoint)

    def contexts(self) -> Contexts:
        """The contexts of the n-gram embedding; RunFolderError if damaged."""
        return self.folder.contexts(self.config, self.tokenizer)


def nearest_preset(config: RunConfig) -> tuple[str, dict[str, Any]]:
    """The preset with the fewest differing settings, and its values of those settings."""
    found = flat_settings(config)
    differing = {
        preset: {name: value for name, value in expected_settings(preset).items() if found[name] != value}
        for preset in PRESETS
    }
    nearest = min(differing, key=lambda preset: len(differing[preset]))
    return nearest, differing[nearest]


def differing_settings(runs: Sequence[RunView]) -> list[str]:
    """The settings that affect learning and differ between runs."""
    tables = [_identity(run) for run in runs]
    return [name for name in tables[0] if len({str(table[name]) for table in tables}) > 1]


def _identity(run: RunView) -> dict[str, Any]:
    data = f"{run.data} {run.config.source.sha256}"
    return {**learning_settings(run.config), "engine": run.config.engine, "data": data}


def identity_without_seed(run: RunView) -> str:
    """Equal for runs that differ in the seed alone."""
    return str({name: value for name, value in _identity(run).items() if name != SEED})


def labels(runs: Sequence[RunView], ignored: str | None = None) -> list[str]:
    """A label per run: the settings that differ, or the folder name if they are many or the same.

    ignored: a setting that is not in labels.
    """
    names = folder_names(runs)
    differing = [name for name in differing_settings(runs) if name != ignored]
    if not 1 <= len(differing) <= MAX_NAMED:
        return names
    texts = [_settings_label(run, differing) for run in runs]
    return [
        text if texts.count(text) == 1 else f"{text} ({name})"
        for text, name in zip(texts, names, strict=True)
    ]


def folder_names(runs: Sequence[RunView]) -> list[str]:
    """The names of the folders; the path as given where names coincide."""
    names = [run.name for run in runs]
    return [run.name if names.count(run.name) == 1 else run.path for run in runs]


def _settings_label(run: RunView, names: Sequence[str]) -> str:
    """n_embd=16, lr=0.01"""
    values = {**_identity(run), "data": run.data}
    return ", ".join(f"{name}={setting_text(values[name])}" for name in names)
