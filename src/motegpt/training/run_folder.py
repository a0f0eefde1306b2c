"""The run folder: what a training leaves on disk, and how it is read back.

    config.json          every setting, and which data they were used on      (replaced on resuming)
    tokenizer.json       the alphabet and the framing                          (written once)
    metrics.jsonl        one JSON object a logged step                         (appended)
    trainer.safetensors  parameters, optimizer's slots, step, generator, losses (replaced whole)
    model.safetensors    the parameters to sample from: the best, or the last  (replaced whole)
    checkpoint-*         earlier states of the trainer, if some are to be kept (named by their step)
    .lock                held by the process that trains here

JSON and safetensors only: reading a folder executes nothing. Run folders are untrusted input, checked by
system/files.py and tensor_files.py. A file is written under a temporary name, synced and renamed, so a kill
at any moment leaves the old file or the new one; and since all that resuming needs is one file, the old state
or the new one. Each safetensors file carries a digest of its contents, so damage is noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from motegpt.config.fields import LARGEST_INT, Settings, plain
from motegpt.config.text import shortened
from motegpt.data.tokenizers import Tokenizer
from motegpt.engines.base import Snapshot
from motegpt.errors import MotegptError, RunFolderError, SettingError
from motegpt.model.spec import tensors
from motegpt.optim import OPTIMIZERS
from motegpt.system.files import is_not_regular, nearest_name, read_bounded_file, replace_file
from motegpt.training.losses import LossMeans
from motegpt.training.state import FORMAT, FORMATS, Best, RunConfig, TrainerState
from motegpt.training.tensor_files import read_tensors, tensor_bytes

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from motegpt.engines.base import Arrays

Part = TypeVar("Part", bound=Settings)

STEP = re.compile(r"0|[1-9][0-9]{0,19}")  # as checkpoint_name writes it
BEST, LAST = "best", "last"
LARGEST_JSON, LARGEST_METRICS = 2**26, 2**30  # bytes
LOCK, TEMPORARY = ".lock", ".{}.new"
CONFIG, TOKENIZER, METRICS = "config.json", "tokenizer.json", "metrics.jsonl"
TRAINER, MODEL, KEPT = "trainer.safetensors", "model.safetensors", "checkpoint-{}.safetensors"
PARAMETERS = "w"  # in a checkpoint tensors are called w.name, and slot.name for each slot of the optimizer
# All there is of a run that ended before its config.json was written, and before its first checkpoint was.
BEFORE_CONFIG = {LOCK, TEMPORARY.format(CONFIG)}
BEFORE_CHECKPOINT = {
    *BEFORE_CONFIG, CONFIG, TOKENIZER, METRICS,
    *(TEMPORARY.format(name) for name in (TOKENIZER, METRICS, TRAINER, MODEL)),
}  # fmt: skip


class RunFolder:
    """One run on disk."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: BaseFileLock | None = None

    @classmethod
    def create(
        cls, path: str | Path, config: RunConfig, tokenizer: Tokenizer, overwrite: bool = False
    ) -> RunFolder:
        """Begin a run, locked until it is unlocked; RunFolderError if one is there, unless `overwrite`."""
        folder = cls(path)
        try:
            folder.check_available(overwrite)
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.lock()
            for name in (TRAINER, MODEL, METRICS, *map(checkpoint_name, folder.kept())):
                (folder.path / name).unlink(missing_ok=True)
            folder.write_config(config)
            folder._write_json(TOKENIZER, {"format": FORMAT, **tokenizer.values()})
        except OSError as error:
            folder.unlock()
            raise folder._unwritable(error) from None
        except MotegptError:
            folder.unlock()
            raise
        return folder

    def lock(self) -> None:
        """Keep other processes from training here, and clear away what a killed one left half written.

        RunFolderError if another process does train here.
        """
        from filelock import FileLock, Timeout

        if self._lock is not None:
            return
        self._check_own_files()
        lock = FileLock(self.path / LOCK, timeout=0, thread_local=False)  # another thread may go on
        try:
            lock.acquire()
        except Timeout:
            raise RunFolderError(
                f"{self.path}: another process is training in this folder; wait for its end, or choose "
                "another `out`"
            ) from None
        self._lock = lock
        for left in self.path.glob(TEMPORARY.format("*")):
            left.unlink()

    def _check_own_files(self) -> None:
        """RunFolderError if what is written in place, or cleared away, is not a file of this folder."""
        half_written = [path for path in self.path.glob(TEMPORARY.format("*")) if not path.is_symlink()]
        for path in (self.path / LOCK, self.path / METRICS, *half_written):
            if is_not_regular(path):
                what = "a link" if path.is_symlink() else "something else"
                raise RunFolderError(
                    f"{path}: expected a file of the run, got {what}; nothing was written; remove it first"
                )

    def unlock(self) -> None:
        """Let others train here."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def check_available(self, overwrite: bool = False) -> None:
        """RunFolderError unless a new run may be written here. Only a run folder is ever overwritten."""
        try:
            self._check_available(overwrite)
        except OSError as error:
            raise self._unwritable(error) from None

    def _check_available(self, overwrite: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path}: expected a folder to write a run to, got a file")
        names = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        if names <= BEFORE_CONFIG or (names <= BEFORE_CHECKPOINT and self._is_run()):
            return
        if not self._is_run():
            raise RunFolderError(f"{self.path}: the folder holds other files; choose a new one for `out`")
        if not overwrite:
            raise RunFolderError(
                f"{self.path}: a run is there already; continue it with "
                f"`resume={str(self.path)!r}`, choose another `out`, or replace it with `overwrite=True`"
            )

    def _is_run(self) -> bool:
        """Whether config.json is one of a run, of this or another version."""
        try:
            values = json.loads(read_bounded_file(self.path / CONFIG, LARGEST_JSON))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(values, dict) and {"format", "engine", "model", "train"} <= values.keys()

    def write_config(self, config: RunConfig) -> None:
        """Replace config.json, in today's format whatever `config` was read from."""
        self._write_json(CONFIG, {**config.values(), "format": FORMAT})

    def append_metrics(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add a line a record to metrics.jsonl."""
        try:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        except OSError as error:
            raise MotegptError(f"{self.path / METRICS}: cannot be written ({error.strerror})") from error

    def truncate_metrics(self, step: int) -> None:
        """Forget the records after `step`: those of steps that were not saved."""
        kept = [record for record in self.metrics() if record["step"] <= step]
        self._write(METRICS, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def metrics(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl; RunFolderError names a line that is none."""
        records = []
        for number, line in enumerate(self._metrics_lines(), 1):
            try:
                record = json.loads(line)
                if type(record["step"]) is not int or not 0 <= record["step"] <= LARGEST_INT:
                    raise TypeError
            except (ValueError, KeyError, TypeError, RecursionError):
                raise RunFolderError(
                    f"{self.path / METRICS}: line {number}: expected an object with a step, got {line[:40]!r}"
                ) from None
            records.append(record)
        return records

    def save(self, state: TrainerState, tokenizer: Tokenizer, keep: int = 1) -> None:
        """Write a checkpoint: the file that resuming reads.

        keep: with more than one, the state is kept under its step's name too, the newest `keep` of those.
        The file that resuming reads comes last: after a kill before it, resuming comes by here again.
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
            "tokenizer": digest_of(tokenizer),
        }
        if keep > 1:
            self._write_tensors(checkpoint_name(state.done), arrays, metadata)
            self._forget(state.done, keep)
        self._write_tensors(TRAINER, arrays, metadata)

    def kept(self) -> list[int]:
        """The steps after which a checkpoint was kept, in order."""
        before, after = KEPT.split("{}")
        names = (path.name for path in self.path.glob(KEPT.format("*")))
        numbers = (name.removeprefix(before).removesuffix(after) for name in names)
        return sorted(int(number) for number in numbers if STEP.fullmatch(number))

    def _forget(self, done: int, keep: int) -> None:
        """Delete all but the newest `keep` checkpoints up to step `done`, and those of a future given up."""
        past = [step for step in self.kept() if step <= done]
        for step in set(self.kept()) - set(past[-keep:]):
            (self.path / checkpoint_name(step)).unlink(missing_ok=True)

    def save_parameters(self, parameters: Arrays, tokenizer: Tokenizer) -> None:
        """Write the parameters alone: enough to sample from, not to resume."""
        self._write_tensors(MODEL, parameters, {"tokenizer": digest_of(tokenizer)})

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

    def parameters(
        self, config: RunConfig, tokenizer: Tokenizer, checkpoint: int | str | None = None
    ) -> Arrays:
        """The parameters to sample from, checked against the settings and the tokenizer.

        checkpoint: BEST by the held-out data, LAST, or the step of a kept one; None takes the best where
        something was held out, else the last.
        """
        checkpoint = plain(checkpoint)
        step = self._step_of(checkpoint, config)
        if checkpoint == LAST or step is not None:
            return self.trainer_state(config, tokenizer, step).snapshot.parameters
        if self._has(TRAINER) and not self._has(MODEL):
            state = self.trainer_state(config, tokenizer)
            if state.done == 0:  # nothing came after the first file of the first checkpoint
                return state.snapshot.parameters
        return self._read_tensors(MODEL, config, tokenizer, ("",))[0]

    def _step_of(self, checkpoint: int | str | None, config: RunConfig) -> int | None:
        """The step that a checkpoint is named by, if it is; RunFolderError for what is no name."""
        name = str(checkpoint) if type(checkpoint) is int and checkpoint <= LARGEST_INT else checkpoint
        if name is None:
            return None
        if not isinstance(name, str) or not (name in (BEST, LAST) or STEP.fullmatch(name)):
            raise RunFolderError(
                f"checkpoint: expected {BEST}, {LAST} or a step, got {shortened(checkpoint)}"
            )
        if name == BEST and not config.data.val_fraction:
            raise RunFolderError(f"{self.path}: has no best checkpoint: nothing was held out to judge by")
        return None if name in (BEST, LAST) else int(name)

    def trainer_state(self, config: RunConfig, tokenizer: Tokenizer, step: int | None = None) -> TrainerState:
        """The newest checkpoint, or the kept one of a step, checked against settings and tokenizer."""
        name = TRAINER if step is None else checkpoint_name(step)
        if step is not None and step not in self.kept():
            there = ", ".join(map(str, self.kept()))
            none = "none was; `checkpoint_every=100` with `keep=5` keeps five"
            there = f"there are: {there}" if there else none
            raise RunFolderError(f"{self.path}: no checkpoint of step {step} was kept; {there}")
        names = (PARAMETERS, *OPTIMIZERS[config.train.optimizer].slots)
        arrays, metadata = self._read_tensors(name, config, tokenizer, [f"{group}." for group in names])
        groups: dict[str, Arrays] = {group: {} for group in names}
        for tensor, array in arrays.items():
            group, _, parameter = tensor.partition(".")
            groups[group][parameter] = array
        done, rng = metadata.get("done"), metadata.get("rng")
        if type(done) is not int or not 0 <= done <= config.train.steps or not isinstance(rng, list):
            raise RunFolderError(
                f"{self.path / name}: expected a step of the run, got {shortened(done)}; it was changed"
            )
        return TrainerState(
            done=done,
            snapshot=Snapshot(groups.pop(PARAMETERS), groups),
            rng=rng,
            best=self._part(name, Best, metadata.get("best")),
            losses=self._part(name, LossMeans, metadata.get("losses")),
        )

    def _part(self, name: str, kind: type[Part], values: Any) -> Part | None:
        """A part of the trainer's state, if it is in the file `name`."""
        try:
            return None if values is None else kind.of(values)
        except SettingError as error:
            raise RunFolderError(f"{self.path / name}: {error}; it was changed") from None

    def _metrics_lines(self) -> list[str]:
        """The whole lines of metrics.jsonl; a kill may have cut the last one short."""
        path = self.path / METRICS
        if not self._has(METRICS):
            return []
        try:
            return read_bounded_file(path, LARGEST_METRICS).decode("utf-8", "replace").split("\n")[:-1]
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be read ({error.strerror})") from None

    def _write_json(self, name: str, values: Mapping[str, Any]) -> None:
        self._write(name, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())

    def _read_json(self, name: str) -> Any:
        """The object in a JSON file, of a version of the format that can be read."""
        path = self.path / name
        if not self._has(name):
            raise self._missing(name)
        try:
            values = json.loads(read_bounded_file(path, LARGEST_JSON))
        except (ValueError, OSError, RecursionError) as error:
            raise RunFolderError(f"{path}: expected JSON, got {error}") from None
        self._check_format(path, values)
        return values

    def _write_tensors(self, name: str, arrays: Arrays, metadata: dict[str, Any]) -> None:
        self._write(name, tensor_bytes(arrays, {"format": FORMAT, **metadata}))

    def _read_tensors(
        self, name: str, config: RunConfig, tokenizer: Tokenizer, groups: Iterable[str]
    ) -> tuple[Arrays, dict[str, Any]]:
        """The tensors and metadata of a file that belongs to these settings and this tokenizer.

        groups: what stands before the names of the parameters, once each.
        """
        path = self.path / name
        if not self._has(name):
            raise self._missing(name)
        shapes = {group + one.name: one.shape for group in groups for one in tensors(config.model)}
        arrays, metadata = read_tensors(path, shapes, lambda found: self._check_format(path, found))
        self._check_tokenizer(name, metadata, config, tokenizer)
        return arrays, metadata

    @staticmethod
    def _check_format(path: Path, values: Any) -> None:
        """RunFolderError unless `values` is an object of a version of the format that can be read."""
        found = values.get("format") if isinstance(values, dict) else None
        if found not in FORMATS:
            raise RunFolderError(
                f"{path}: expected run format {' or '.join(map(str, FORMATS))}, got "
                f"{shortened(found)}; it was written by another version of motegpt or by another program"
            )

    def _check_tokenizer(
        self, name: str, metadata: Mapping[str, Any], config: RunConfig, tokenizer: Tokenizer
    ) -> None:
        """RunFolderError unless the file, the settings and the tokenizer belong together."""
        if metadata.get("tokenizer") != digest_of(tokenizer):
            raise RunFolderError(f"{self.path / TOKENIZER}: is not the tokenizer {name} was trained with")
        self.check_vocabulary(config, tokenizer)

    def check_vocabulary(self, config: RunConfig, tokenizer: Tokenizer) -> None:
        """RunFolderError unless the settings are those of a run with this tokenizer."""
        for what, wanted, got in (
            ("ids", config.model.vocab_size, tokenizer.vocab_size),
            ("kind", config.data.tokenizer, tokenizer.kind),
            ("framing", config.data.framing, tokenizer.framing),
        ):
            if wanted != got:
                raise RunFolderError(
                    f"{self.path / TOKENIZER}: {what}: expected {wanted}, as in {CONFIG}, got {got}; the "
                    "folder was changed"
                )

    def _has(self, name: str) -> bool:
        """Whether a file is there; RunFolderError if that cannot be found out."""
        try:
            return (self.path / name).is_file()
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _missing(self, name: str) -> RunFolderError:
        if self.path.exists() and not self.path.is_dir():
            return RunFolderError(
                f"{self.path}: expected a run folder, as training with `out` makes, got a file"
            )
        if not self.path.is_dir():
            near = nearest_name(self.path, folders=True)
            repair = f"did you mean {near}?" if near else f"training with `out={str(self.path)!r}` makes one"
            return RunFolderError(f"{self.path}: no such run folder; {repair}")
        if not (self.path / CONFIG).is_file():
            return RunFolderError(f"{self.path}: is not a run folder (no {CONFIG})")
        return RunFolderError(
            f"{self.path}: has no {name}; the run stopped before its first checkpoint: start it again with "
            f"`out={str(self.path)!r}`"
        )

    def _unwritable(self, error: OSError) -> RunFolderError:
        return RunFolderError(f"{self.path}: cannot be written ({error.strerror}); choose another `out`")

    def _write(self, name: str, data: bytes) -> None:
        """Replace a file so that a kill at any moment leaves the old one or the new one."""
        try:
            replace_file(self.path / name, self.path / TEMPORARY.format(name), data)
        except OSError as error:
            raise MotegptError(f"{self.path / name}: cannot be written ({error.strerror})") from error


def checkpoint_name(step: int) -> str:
    """The file of the checkpoint kept after a step."""
    return KEPT.format(step)


def digest_of(tokenizer: Tokenizer) -> str:
    """SHA-256 of a tokenizer."""
    return hashlib.sha256(json.dumps(tokenizer.values(), sort_keys=True).encode()).hexdigest()
