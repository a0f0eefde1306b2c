"""The run folder: the files that a training writes, and reading them back.

    config.json             all settings, and the source of the data               (replaced on resuming)
    tokenizer.json          the characters and the framing                         (written once)
    contexts.safetensors    the contexts of the n-gram embedding, if there is one  (written once)
    metrics.jsonl           one JSON object per logged step                        (appended)
    trainer.safetensors     parameters, optimizer slots, step, generator, losses   (replaced as a whole)
    model.safetensors       the parameters to sample from: the best, or the last   (replaced as a whole)
    kneser_ney.safetensors  n-grams averaged with the model, and their weight      (replaced as a whole)
    texts.safetensors       hashes of the training texts, if samples must be novel (written once)
    start.safetensors       parameters that a fine-tuned run's second model starts from (written once)
    settings.toml           the settings that were chosen, for --config            (of preset auto)
    report.json             bits per character on held-out documents, at its end   (of preset auto)
    checkpoint-*            earlier trainer states, with `keep`                    (named by step)
    parameters-*            parameters of earlier steps, with `checkpoint_at`      (named by step)
    .lock                   lock file

A run that is one file (run_archive.py) is read alike. Only JSON and safetensors: reading a folder executes no
code. Resuming needs a single file, which is replaced atomically, so a kill at any moment leaves the old state
or the new one. Each safetensors file holds a digest of its contents, which detects damage.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from motegpt.config.fields import LARGEST_INT, Settings, plain
from motegpt.config.text import shortened
from motegpt.data.tokenizers import Tokenizer
from motegpt.engines.base import Snapshot
from motegpt.errors import MotegptError, RunFolderError, SettingError
from motegpt.model.spec import table_names, tensors
from motegpt.ngrams.contexts import Contexts
from motegpt.optim import OPTIMIZERS
from motegpt.sampling.training_texts import HashedTexts
from motegpt.system.runs import CONFIG, ENDING, is_run_folder
from motegpt.training.losses import LossMeans
from motegpt.training.reference import settings_toml
from motegpt.training.run_files import (
    ARCHIVED,
    CONTEXTS,
    KNESER_NEY,
    KNOWN,
    LOCK,
    METRICS,
    MODEL,
    REPORT,
    SETTINGS,
    TEMPORARY,
    TOKENIZER,
    RunFiles,
    json_bytes,
)
from motegpt.training.state import FORMAT, Best, RunConfig, TrainerState
from motegpt.training.tensor_files import INTEGERS, MAX_FREE_BYTES, UNSIGNED, tensor_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.engines.base import Arrays
    from motegpt.ngrams.average import Average

Part = TypeVar("Part", bound=Settings)

STEP = re.compile(r"0|[1-9][0-9]{0,19}")  # a step in a name, as checkpoint_name writes it
BEST, LAST = "best", "last"
TRAINER, CHECKPOINT = "trainer.safetensors", "checkpoint-{}.safetensors"
KEPT = "parameters-{}.safetensors"
START = "start.safetensors"
BITS = "bits_per_character"
REPORTED = re.compile(r"[\w-]{1,40}")  # the name of a model in a report
MAX_REPORTED = 20
PARAMETERS = "w"  # tensors of a checkpoint are named w.name, and slot.name per slot of the optimizer
# The files of a run that stopped before it wrote config.json, or before its first checkpoint.
BEFORE_CONFIG = {LOCK, TEMPORARY.format(CONFIG)}
BEFORE_TRAINER = (TOKENIZER, CONTEXTS, METRICS, KNESER_NEY, KNOWN, START, SETTINGS)
BEFORE_CHECKPOINT = {
    *BEFORE_CONFIG, CONFIG, *BEFORE_TRAINER, *map(TEMPORARY.format, (*BEFORE_TRAINER, TRAINER, MODEL)),
}  # fmt: skip


class RunFolder(RunFiles):
    """One run on disk."""

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: RunConfig,
        tokenizer: Tokenizer,
        overwrite: bool = False,
        contexts: Contexts | None = None,
    ) -> RunFolder:
        """Create the folder of a new run, and lock it.

        Raises RunFolderError if a run already exists, unless `overwrite`, or if the folder holds other files.
        """
        folder = cls(path)
        try:
            folder.check_available(overwrite)
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.lock()
            files = (
                TRAINER, MODEL, KNESER_NEY, KNOWN, START, SETTINGS, METRICS, CONTEXTS, REPORT,
            )  # fmt: skip
            for name in (*files, *map(checkpoint_name, folder.kept_steps())):
                (folder.path / name).unlink(missing_ok=True)
            folder._delete_parameters(folder.steps_of_parameters())
            folder.write_config(config)
            folder._write_json(TOKENIZER, {"format": FORMAT, **tokenizer.values()})
            if contexts is not None and contexts.keys:
                keys = dict(zip(table_names(config.model), contexts.keys, strict=True))
                folder._write_tensors(CONTEXTS, keys, {"tokenizer": tokenizer_digest(tokenizer)})
        except OSError as error:
            folder.unlock()
            raise folder._write_error(error) from error
        except MotegptError:
            folder.unlock()
            raise
        return folder

    def check_available(self, overwrite: bool = False) -> None:
        """RunFolderError unless a new run may be written here. Only run folders are ever overwritten."""
        try:
            self._check_available(overwrite)
        except OSError as error:
            raise self._write_error(error) from None

    def _check_available(self, overwrite: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path}: expected a folder to write a run to, got a file")
        if self.path.suffix == ENDING and not self.path.exists():
            raise RunFolderError(
                f"{self.path}: expected a folder to write a run to, got the name of a file; train with "
                "another `out`, then export the run to this file"
            )
        names = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        if names <= BEFORE_CONFIG or (names <= BEFORE_CHECKPOINT and is_run_folder(self.path)):
            return
        if not is_run_folder(self.path):
            raise RunFolderError(f"{self.path}: the folder holds other files; choose a new one for `out`")
        if not overwrite:
            raise RunFolderError(
                f"{self.path}: a run already exists; continue it with `resume={str(self.path)!r}`, choose "
                "another `out`, or replace it with `overwrite=True`"
            )

    def _write_error(self, error: OSError) -> RunFolderError:
        return RunFolderError(f"{self.path}: cannot be written ({error.strerror}); choose another `out`")

    def write_config(self, config: RunConfig) -> None:
        """Replace config.json, in the current format."""
        self._write_json(CONFIG, _recorded(config))

    def config(self) -> RunConfig:
        """The settings of the run."""
        values = self._read_json(CONFIG)
        try:
            return RunConfig.of(values)
        except SettingError as error:
            raise RunFolderError(f"{self.path / CONFIG}: {error}; the file was changed") from None

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the run."""
        values = self._read_json(TOKENIZER)
        try:
            return Tokenizer.from_values(values)
        except RunFolderError as error:
            raise RunFolderError(f"{self.path / TOKENIZER}: {error}; the file was changed") from None

    def contexts(self, config: RunConfig, tokenizer: Tokenizer) -> Contexts:
        """The contexts of the n-gram embedding, checked against the settings and the tokenizer."""
        names = table_names(config.model)
        if not names:
            return Contexts()
        shapes = {name: (rows,) for name, rows in zip(names, config.model.ngram_rows, strict=True)}
        arrays, metadata = self._read_tensors(CONTEXTS, shapes, INTEGERS)
        self._check_tokenizer_of(CONTEXTS, metadata, config, tokenizer)
        try:
            return Contexts.checked(arrays, config.model)
        except RunFolderError as error:
            raise RunFolderError(f"{self.path / CONTEXTS}: {error}") from None

    def check_tokenizer(self, config: RunConfig, tokenizer: Tokenizer) -> None:
        """RunFolderError unless the tokenizer is of the kind, framing and vocabulary size in the settings."""
        for name, expected, got in (
            ("vocabulary size", config.model.vocab_size, tokenizer.vocab_size),
            ("kind", config.data.tokenizer, tokenizer.kind),
            ("framing", config.data.framing, tokenizer.framing),
        ):
            if expected != got:
                raise RunFolderError(
                    f"{self.path / TOKENIZER}: {name}: expected {expected}, as in {CONFIG}, got {got}; one "
                    "of the files was changed"
                )

    def save(self, state: TrainerState, tokenizer: Tokenizer, keep: int = 1) -> None:
        """Write a checkpoint to resume from.

        keep: if greater than 1, also write the state under the name of its step, and keep the newest `keep`
        of those. The file to resume from is written last: if the process is killed before, the resumed run
        repeats this save.
        """
        groups = {PARAMETERS: state.snapshot.parameters, **state.snapshot.slots}
        arrays = {
            f"{group}.{name}": array for group, named in groups.items() for name, array in named.items()
        }
        parts = {"best": state.best, "losses": state.losses}
        metadata = {
            "done": state.done,
            "rng": state.rng,
            **{name: None if part is None else part.values() for name, part in parts.items()},
            "tokenizer": tokenizer_digest(tokenizer),
        }
        if keep > 1:
            self._write_tensors(checkpoint_name(state.done), arrays, metadata)
            self._delete_checkpoints(state.done, keep)
        self._write_tensors(TRAINER, arrays, metadata)

    def save_parameters(self, parameters: Arrays, tokenizer: Tokenizer, best: Best | None = None) -> None:
        """Write the parameters alone, to sample from but not to resume. best: as of `best`."""
        self._write_tensors(MODEL, parameters, {**_of_best(best), "tokenizer": tokenizer_digest(tokenizer)})

    def best(self, config: RunConfig, tokenizer: Tokenizer) -> Best | None:
        """The evaluation after which the parameters to sample from were those, if their file says so."""
        if not self._exists(MODEL):
            return None
        _, metadata = self._read_checked_tensors(MODEL, config, tokenizer, ("",))
        return self._parse_part(MODEL, Best, metadata.get("best"))

    def save_average(self, average: Average, tokenizer: Tokenizer) -> None:
        """Write the n-grams and their weight."""
        from motegpt.training.averaging import arrays_of

        metadata = {"weight": average.weight, "tokenizer": tokenizer_digest(tokenizer)}
        self._write_tensors(KNESER_NEY, arrays_of(average.kneser_ney), metadata)

    def average(self, config: RunConfig, tokenizer: Tokenizer) -> Average | None:
        """The n-grams that the model is averaged with, and their weight; None if it is not averaged.

        The weight is that in the file of the n-grams, which is checked. The one in the settings is a request,
        for which None, fit it, is always valid; only resuming uses it.
        """
        order = config.train.kneser_ney
        if order is None:
            return None
        from motegpt.training.averaging import restored

        arrays, metadata = self._read_tensors(KNESER_NEY, {"grams": None, "counts": None}, UNSIGNED)
        self._check_tokenizer_of(KNESER_NEY, metadata, config, tokenizer)
        try:
            return restored(arrays, metadata.get("weight"), tokenizer, order)
        except ValueError as error:
            raise RunFolderError(f"{self.path / KNESER_NEY}: {error}; the file was changed") from None

    def save_known(self, hashes: NDArray[Any], tokenizer: Tokenizer) -> None:
        """Write the hashes of the training texts, so that a run that was moved knows them."""
        self._write_tensors(KNOWN, {"hashes": hashes}, {"tokenizer": tokenizer_digest(tokenizer)})

    def known(self, config: RunConfig, tokenizer: Tokenizer) -> HashedTexts | None:
        """The training texts, as hashes; None if the run keeps none."""
        if not config.sample.novel or not self._exists(KNOWN):
            return None
        arrays, metadata = self._read_tensors(KNOWN, {"hashes": None}, ("U64",))
        self._check_tokenizer_of(KNOWN, metadata, config, tokenizer)
        hashes = arrays["hashes"]
        if hashes.ndim != 1 or not (hashes[1:] > hashes[:-1]).all():
            raise RunFolderError(f"{self.path / KNOWN}: expected sorted hashes; the file was changed")
        return HashedTexts(hashes)

    def save_start(self, parameters: Arrays, tokenizer: Tokenizer) -> None:
        """Write the parameters that a fine-tuning started from."""
        self._write_tensors(START, parameters, {"tokenizer": tokenizer_digest(tokenizer)})

    def start(self, config: RunConfig, tokenizer: Tokenizer) -> Arrays:
        """The parameters that a fine-tuning started from."""
        return self._read_checked_tensors(START, config, tokenizer, ("",))[0]

    def write_settings(self, config: RunConfig) -> None:
        """Write a settings file that fixes what was chosen; train --config reproduces the run with it."""
        self._write(SETTINGS, settings_toml(config).encode())

    def write_report(self, bits: Mapping[str, float]) -> None:
        """Write what the run measured at its end, as Report.bits."""
        self._write_json(REPORT, {"format": FORMAT, BITS: dict(bits)})

    def report(self) -> dict[str, float]:
        """Name -> bits per character on held-out documents; empty if the run measured none."""
        values = self._read_json(REPORT).get(BITS) if self._exists(REPORT) else {}
        is_valid = isinstance(values, dict) and len(values) <= MAX_REPORTED
        if not is_valid or not all(
            REPORTED.fullmatch(name) and type(bits) is float and math.isfinite(bits)
            for name, bits in values.items()
        ):
            raise RunFolderError(f"{self.path / REPORT}: expected {BITS} by name; the file was changed")
        return dict(values)

    def kept_steps(self) -> list[int]:
        """The steps of the kept checkpoints, in order."""
        return self._steps_of(CHECKPOINT)

    def steps_of_parameters(self) -> list[int]:
        """The steps whose parameters alone were kept, in order."""
        return self._steps_of(KEPT)

    def _steps_of(self, pattern: str) -> list[int]:
        """The steps in the names of files, in order."""
        before, after = pattern.split("{}")
        names = (path.name for path in self.path.glob(pattern.format("*")))
        numbers = (name.removeprefix(before).removesuffix(after) for name in names)
        return sorted(int(number) for number in numbers if STEP.fullmatch(number))

    def keep_parameters(self, step: int, parameters: Arrays, tokenizer: Tokenizer) -> None:
        """Write the parameters after a step, to load but not to resume."""
        self._write_tensors(KEPT.format(step), parameters, {"tokenizer": tokenizer_digest(tokenizer)})

    def forget_after(self, step: int) -> None:
        """Delete the records and the kept parameters of steps after `step`, which no checkpoint includes."""
        self.truncate_metrics(step)
        self._delete_parameters(later for later in self.steps_of_parameters() if later > step)

    def _delete_parameters(self, steps: Iterable[int]) -> None:
        for step in steps:
            (self.path / KEPT.format(step)).unlink(missing_ok=True)

    def _delete_checkpoints(self, done: int, keep: int) -> None:
        """Delete all kept checkpoints but the newest `keep` up to step `done`.

        Later ones remain from before the run was resumed at an earlier step, and are deleted too.
        """
        steps = self.kept_steps()
        past = [step for step in steps if step <= done]
        for step in set(steps) - set(past[-keep:]):
            (self.path / checkpoint_name(step)).unlink(missing_ok=True)

    def parameters(
        self, config: RunConfig, tokenizer: Tokenizer, checkpoint: int | str | None = None
    ) -> Arrays:
        """The parameters to sample from, checked against the settings and the tokenizer.

        checkpoint: BEST on the validation set, LAST, or the step of a kept checkpoint; None: the best if the
        run has a validation set, else the last.
        """
        checkpoint = plain(checkpoint)
        if self._archive is not None and checkpoint is not None:
            raise RunFolderError(f"{self.path}: has the parameters of one checkpoint; leave out `checkpoint`")
        step = self._parse_checkpoint(checkpoint, config)
        if step is not None and step not in self.kept_steps() and step in self.steps_of_parameters():
            return self._read_checked_tensors(KEPT.format(step), config, tokenizer, ("",))[0]
        if checkpoint == LAST or step is not None:
            return self.trainer_state(config, tokenizer, step).snapshot.parameters
        if self._exists(TRAINER) and not self._exists(MODEL):
            state = self.trainer_state(config, tokenizer)
            if state.done == 0:  # the process was killed within the first checkpoint
                return state.snapshot.parameters
        return self._read_checked_tensors(MODEL, config, tokenizer, ("",))[0]

    def members(self, checkpoint: int | str | None = None) -> dict[str, bytes]:
        """The files that a run needs for everything but resuming, all of them checked, by name.

        checkpoint: of the parameters, as in `parameters`. Of recorded paths only the file names are kept.
        """
        config, tokenizer = self.config(), self.tokenizer()
        parameters = self.parameters(config, tokenizer, checkpoint)
        self.metrics(), self.report()
        is_used = {
            CONTEXTS: bool(self.contexts(config, tokenizer).keys),
            KNESER_NEY: self.average(config, tokenizer) is not None,
            KNOWN: self.known(config, tokenizer) is not None,
            MODEL: False,  # it may hold the parameters of another checkpoint
        }
        names = [name for name in ARCHIVED if is_used.get(name, True) and self._exists(name)]
        best = None if checkpoint is not None else self.best(config, tokenizer)
        metadata = {"format": FORMAT, **_of_best(best), "tokenizer": tokenizer_digest(tokenizer)}
        public = config.without_folders()
        rewritten = {CONFIG: json_bytes(_recorded(public)), SETTINGS: settings_toml(public).encode()}
        return {
            **{name: rewritten.get(name) or bytes(self._contents(name, MAX_FREE_BYTES)) for name in names},
            MODEL: tensor_bytes(parameters, metadata),
        }

    def _parse_checkpoint(self, checkpoint: int | str | None, config: RunConfig) -> int | None:
        """The step that `checkpoint` names, None if it names no step; RunFolderError if it is invalid."""
        name = str(checkpoint) if type(checkpoint) is int and checkpoint <= LARGEST_INT else checkpoint
        if name is None:
            return None
        if not isinstance(name, str) or not (name in (BEST, LAST) or STEP.fullmatch(name)):
            raise RunFolderError(
                f"checkpoint: expected {BEST}, {LAST} or a step, got {shortened(checkpoint)}"
            )
        if name == BEST and not config.data.val_fraction:
            raise RunFolderError(
                f"{self.path}: has no best checkpoint, as the run has no validation set; try "
                f"`checkpoint={LAST!r}`"
            )
        return None if name in (BEST, LAST) else int(name)

    def trainer_state(self, config: RunConfig, tokenizer: Tokenizer, step: int | None = None) -> TrainerState:
        """The newest checkpoint, or the kept one of `step`, checked against settings and tokenizer."""
        name = TRAINER if step is None else checkpoint_name(step)
        self._check_kept(step)
        groups = (PARAMETERS, *OPTIMIZERS[config.train.optimizer].slots)
        arrays, metadata = self._read_checked_tensors(name, config, tokenizer, [f"{g}." for g in groups])
        tensors_of: dict[str, Arrays] = {group: {} for group in groups}
        for tensor, array in arrays.items():
            group, _, parameter = tensor.partition(".")
            tensors_of[group][parameter] = array
        done, rng = metadata.get("done"), metadata.get("rng")
        if type(done) is not int or not 0 <= done <= config.train.steps or not isinstance(rng, list):
            raise RunFolderError(
                f"{self.path / name}: expected a step of the run, got {shortened(done)}; the file was changed"
            )
        return TrainerState(
            done=done,
            snapshot=Snapshot(tensors_of.pop(PARAMETERS), tensors_of),
            rng=rng,
            best=self._parse_part(name, Best, metadata.get("best")),
            losses=self._parse_part(name, LossMeans, metadata.get("losses")),
        )

    def _check_kept(self, step: int | None) -> None:
        """RunFolderError if `step` is given and no checkpoint of it was kept."""
        if step is None or step in (steps := self.kept_steps()):
            return
        parameters = self.steps_of_parameters()
        if step in parameters:
            kept = "its parameters alone were kept, which can be loaded and fine-tuned"
        elif steps or parameters:
            kept = f"kept steps: {', '.join(map(str, sorted({*steps, *parameters})))}"
        else:
            kept = "none was kept; `checkpoint_every=100` with `keep=5` keeps five"
        raise RunFolderError(f"{self.path}: has no checkpoint of step {step}; {kept}")

    def _parse_part(self, name: str, kind: type[Part], values: Any) -> Part | None:
        """A part of the trainer state from the metadata of the file `name`; None if absent."""
        try:
            return None if values is None else kind.of(values)
        except SettingError as error:
            raise RunFolderError(f"{self.path / name}: {error}; the file was changed") from None

    def _read_checked_tensors(
        self, name: str, config: RunConfig, tokenizer: Tokenizer, prefixes: Iterable[str]
    ) -> tuple[Arrays, dict[str, Any]]:
        """The tensors and metadata of a file, checked against the settings and the tokenizer.

        prefixes: of tensor names; the file has all parameters once under each.
        """
        shapes = {prefix + one.name: one.shape for prefix in prefixes for one in tensors(config.model)}
        arrays, metadata = self._read_tensors(name, shapes)
        self._check_tokenizer_of(name, metadata, config, tokenizer)
        return arrays, metadata

    def _check_tokenizer_of(
        self, name: str, metadata: dict[str, Any], config: RunConfig, tokenizer: Tokenizer
    ) -> None:
        """RunFolderError unless the file `name` belongs to this tokenizer, and it to the settings."""
        if metadata.get("tokenizer") != tokenizer_digest(tokenizer):
            raise RunFolderError(
                f"{self.path / TOKENIZER}: expected the tokenizer of {name}, got another one; one of the "
                "files was changed"
            )
        self.check_tokenizer(config, tokenizer)


def _of_best(best: Best | None) -> dict[str, Any]:
    """The metadata of parameters that are the best."""
    return {} if best is None else {"best": best.values()}


def _recorded(config: RunConfig) -> dict[str, Any]:
    """The contents of config.json, in the current format."""
    return {**config.values(), "format": FORMAT}


def checkpoint_name(step: int) -> str:
    """The file name of the checkpoint kept after a step."""
    return CHECKPOINT.format(step)


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """SHA-256 of a tokenizer."""
    return hashlib.sha256(json.dumps(tokenizer.values(), sort_keys=True).encode()).hexdigest()
