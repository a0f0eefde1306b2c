"""Start or resume a run: the common entry of the command line and the Python API.

All arguments are checked before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.arguments import flag, path_of
from motegpt.config.epochs import merge_settings
from motegpt.config.fields import kinds, plain
from motegpt.config.needs import check_needs
from motegpt.config.presets import AUTO, base_settings
from motegpt.config.sections import REQUESTS, DataConfig, check_settable, section_of, section_values
from motegpt.data.corpus import Corpus, corpus_from, paths_of
from motegpt.data.source import reload_corpus
from motegpt.engines import check_settings, default_engine, engine_class
from motegpt.engines.budget import operations_per_second
from motegpt.errors import RunFolderError, SettingError, UsageError
from motegpt.system import ranks
from motegpt.system.runs import fine_tuning_of
from motegpt.training.build import default_dtype, prepare, resume
from motegpt.training.data import Data
from motegpt.training.loop import Trainer
from motegpt.training.remarks import remarks_on
from motegpt.training.run_folder import RunFolder

if TYPE_CHECKING:
    from motegpt.training.auto import Choice
    from motegpt.training.fine_tune import Base

AnyPath = str | PathLike[str]
# Strings; a file or folder, or several as paths; Data; None: the built-in names, or those of a resumed run.
Documents = Iterable[str] | AnyPath | Iterable[PathLike[str]] | Data | None  # or IdDocuments, texts too


class StartedRun(NamedTuple):
    """A run, its data, and one-line remarks for the user; choices: what was chosen for the run, and why."""

    trainer: Trainer
    corpus: Corpus
    remarks: list[str]
    choices: Sequence[str] = ()


def begin(
    docs: Documents,
    given: Mapping[str, Any],
    *,
    preset: str | None = None,
    engine: str | None = None,
    out: AnyPath | None = None,
    overwrite: bool = False,
    resumed: AnyPath | None = None,
    checkpoint: int | None = None,
    base: AnyPath | Base | None = None,
    extend_vocabulary: bool = False,
) -> StartedRun:
    """Start a run, fine-tune a model, or resume a run.

    given: settings by name, which override the preset or those of the resumed run. resumed: the folder of a
    run to resume; its data are read again if `docs` is None; base: a model to fine-tune, or its run folder;
    checkpoint: the step of a kept checkpoint to resume or fine-tune; extend_vocabulary: append the characters
    that the base lacks. Raises UsageError for arguments that exclude each other.
    """
    engine, preset, checkpoint = plain(engine), plain(preset), plain(checkpoint)
    overwrite, extend = flag("overwrite", overwrite), flag("extend_vocabulary", extend_vocabulary)
    if extend and base is None:
        raise UsageError("extend_vocabulary: expected a model to fine-tune, got none; set `from`")
    if resumed is None:
        if checkpoint is not None and base is None:
            raise UsageError("checkpoint: expected a run to resume, got none; set `resume`")
        path = None if out is None else path_of("out", out, RunFolderError)
        preset = AUTO if preset is None else preset
        given = {**docs.settings, **given} if isinstance(docs, Data) else given
        if base is not None:
            base = _checked_base(base, checkpoint, docs, given, path)
            engine = base.config.engine if engine is None else engine
        return _new_run(docs, given, preset, engine, path, overwrite, base, extend)
    if base is not None:
        raise UsageError("from: expected no `resume`, which continues a run with its own data; leave one out")
    if preset is not None or out is not None or overwrite:
        raise UsageError(
            "resume: expected no `preset`, `out` or `overwrite`, as a run keeps its preset and folder"
        )
    folder = RunFolder(path_of("resume", resumed, RunFolderError))
    try:
        return _resumed_run(folder, docs, given, engine, checkpoint)
    except BaseException:
        folder.unlock()
        raise


def _new_run(
    docs: Documents,
    given: Mapping[str, Any],
    preset: str,
    engine: str | None,
    out: Path | None,
    overwrite: bool,
    base: Base | None = None,
    extend: bool = False,
) -> StartedRun:
    """A new run, with its folder created if `out` is given.

    base: a model to fine-tune; extend: its vocabulary may grow.
    """
    check_settable(given)
    engine = default_engine() if engine is None else engine
    kept = {} if base is None else base.kept_settings(preset)
    defaults = base_settings(preset) | kept
    check_settings(engine, given, defaults)
    settings = default_dtype(engine, merge_settings(defaults, given), is_set="dtype" in given)
    if out is None:
        check_needs(given, {"folder": "set `out`"})
    else:
        RunFolder(out).check_available(overwrite)
    corpus = _corpus(docs, DataConfig.of(section_values(settings, "data")))
    given = {**given, **_settings_of_data(corpus, given)}
    choices: list[str] = []
    if base is not None:
        base = base.fitted(corpus, extend)
        choices.append(base.described())
    if preset == AUTO:
        choice = choice_for(corpus, {**kept, **given, "dtype": settings["dtype"]}, engine, base)
        settings, choices = choice.settings, [*choices, *choice.reasons]
    trainer = prepare(docs if isinstance(docs, Data) else corpus, settings, engine, base)
    if preset == AUTO:
        trainer.budget = choice.seconds
        trainer.config = trainer.config.replace(check=choice.check, fits_weight=choice.fits_weight)
        _add_measure(trainer, corpus, base)
    if out is not None and ranks.rank() == 0:
        trainer.folder = RunFolder.create(
            out, trainer.config, trainer.tokenizer, overwrite, trainer.engine.contexts
        )
        if preset == AUTO:
            trainer.folder.write_settings(trainer.config)
    return StartedRun(trainer, corpus, [*corpus.assumed, *remarks_on(trainer)], choices)


def _corpus(docs: Documents, data: DataConfig) -> Corpus:
    return docs.corpus(data) if isinstance(docs, Data) else corpus_from(docs, data)


def _settings_of_data(corpus: Corpus, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the data decide; SettingError if others were given."""
    found = corpus.found
    if "val_fraction" in found and plain(given.get("val_fraction")) is not None:
        raise SettingError(
            "val_fraction: expected none, as the data have a split of their own, got "
            f"{given['val_fraction']}; leave it out"
        )
    return found


def _checked_base(
    base: AnyPath | Base, checkpoint: int | None, docs: Documents, given: Mapping[str, Any], out: Path | None
) -> Base:
    """The model to fine-tune; an error unless it can be trained on `docs` with the given settings."""
    from motegpt.training.fine_tune import Base

    if docs is None:
        raise UsageError("data: expected documents to fine-tune the model on, got none; give them")
    if not isinstance(base, Base):
        base = Base.read(RunFolder(path_of("from", base, RunFolderError)), checkpoint)
    base.check_given(given)
    base.check_out(out)
    return base


def _add_measure(trainer: Trainer, corpus: Corpus, base: Base | None = None) -> None:
    """Let a run of the preset auto measure itself at its end. base: the model that is fine-tuned."""
    check = trainer.config.check
    if base is not None and check == "second model":
        if trainer.start is None:
            trainer.start = trainer.engine.export().parameters  # with the rows of appended tokens
        base = replace(base, parameters=trainer.start)
    if check is not None:
        from motegpt.training.measure import Measure

        trainer.measure = Measure(corpus, check, partial(prepare, base=base), trainer.config.fits_weight)


def choice_for(corpus: Corpus, given: Mapping[str, Any], engine: str, base: Base | None = None) -> Choice:
    """Complete settings for a corpus. given: settings, with `dtype`; base: a model to fine-tune."""
    from motegpt.training.auto import choose
    from motegpt.training.facts import facts_of

    given = {
        name: kinds(REQUESTS[section_of(name)])[name].check(name, value) for name, value in given.items()
    }
    speed = operations_per_second(engine, engine_class(engine).level(given.get("level")), given["dtype"])
    of_base = () if base is None else (base.tokenizer, base.tuning(corpus))
    return choose(facts_of(corpus, given, *of_base), given, speed)


def _resumed_run(
    folder: RunFolder,
    docs: Documents,
    given: Mapping[str, Any],
    engine: str | None,
    checkpoint: int | None,
) -> StartedRun:
    """A saved run at its last checkpoint, or at the kept one of step `checkpoint`."""
    from motegpt.training.fine_tune import resumed_base

    folder.check_resumable()
    config = folder.config()
    if config.source.is_imported:
        raise RunFolderError(
            f"resume: {folder.path} is an imported model, which has no training to resume; "
            f"fine-tune it with {fine_tuning_of(folder.path)}"
        )
    check_settings(
        config.engine if engine is None else engine, given, {**config.model.values(), **config.train.values()}
    )
    changes = dict(given)
    if engine is not None:
        train = default_dtype(engine, config.train.values(), is_set="dtype" in given)
        changes = {"dtype": train["dtype"], **given}
    paths = None if docs is None else paths_of(docs)
    if docs is None or paths is not None:
        repair = f"pass it as `docs`, with `resume={str(folder.path)!r}`"
        corpus = reload_corpus(config.source, config.data, paths, repair)
    else:
        corpus = _corpus(docs, config.data)
    trainer = resume(folder, corpus, changes, engine, checkpoint)
    _check_unfinished(trainer, folder)
    _add_measure(trainer, corpus, resumed_base(trainer, folder))
    return StartedRun(trainer, corpus, [*corpus.assumed, *remarks_on(trainer, config)])


def _check_unfinished(trainer: Trainer, folder: RunFolder) -> None:
    """UsageError if the run is complete."""
    if trainer.done >= trainer.config.train.steps:
        raise UsageError(
            f"resume: {folder.path} has completed all {trainer.done} steps; set a larger `steps` to continue"
        )
    if trainer.ended:
        raise UsageError(
            f"resume: {folder.path} stopped early after step {trainer.done}; set a larger "
            "`patience` to continue"
        )
