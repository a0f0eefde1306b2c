"""One of many trainings, as a row: a plain dictionary of its settings and results."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.fields import Kind, check_names, current_names, kinds, plain
from motegpt.config.needs import check_needs
from motegpt.config.presets import PRESETS, settings_of
from motegpt.config.sections import REQUESTS, SECTIONS, TrainConfig, check_settable
from motegpt.engines import default_engine, engine_class
from motegpt.engines.cost import operations_per_token
from motegpt.errors import MotegptError, SettingError, TrainingDiverged, UsageError
from motegpt.model.spec import parameter_count
from motegpt.system.libraries import installed_version
from motegpt.training.begin import begin
from motegpt.training.records import StepRecord
from motegpt.training.reference import flat_settings

if TYPE_CHECKING:
    from motegpt.training.data import Data
    from motegpt.training.loop import Trainer

KEEP = Kind(str, "", choices=("best", "all"), optional=True)  # models
OK, DIVERGED, REFUSED, FAILED = "ok", "diverged", "refused", "failed"
LAST = 0.05  # of the steps, whose mean is the loss of a row
RESULTS = (
    "loss", "val_loss", "val_accuracy", "best_val_loss", "best_step", "steps_done", "tokens", "parameters",
    "operations", "seconds",
)  # fmt: skip


SERIES = ("curve", "statistics")  # lists in a row with an item per logged step, if asked for


class Ended(NamedTuple):
    """A training that ended. trainer: None if it was refused or failed; records: the logged steps."""

    row: dict[str, Any]
    trainer: Trainer | None = None
    records: Sequence[StepRecord] = ()

    @property
    def score(self) -> float:
        """As score_of."""
        return score_of(self.row)


def score_of(row: Mapping[str, Any]) -> float:
    """The best loss on held-out documents, or else the loss; infinite unless all went well."""
    if row["status"] != OK:
        return math.inf
    return float(row["loss"] if row["best_val_loss"] is None else row["best_val_loss"])


def check_result(name: str) -> None:
    """SettingError for a setting whose name in a row is that of a result: `seconds`."""
    if name in RESULTS:
        raise SettingError(f"{name}: expected steps or epochs, as {name} of a row is measured; set steps")


def check_given(settings: Mapping[str, Any], curves: bool, keep: str | None) -> dict[str, Any]:
    """The settings of a training of many, by their current names.

    SettingError for a name that no training has, and for a setting without effect. curves, keep: as
    of api.many.train_many; without them, nobody sees the logged steps, or the models.
    """
    settings = current_names(settings)
    check_names(settings, ["preset", "engine", *(name for one in REQUESTS.values() for name in kinds(one))])
    for name in settings:
        check_result(name)
    check_settable(settings)
    missing = {
        "folder": "train that model alone, with `out`",
        "samples": "generate from the models that `keep` keeps",
    }
    if keep is None:
        missing["model"] = "set `keep`"
        missing |= {} if curves else {"records": "set `curves`"}
    check_needs(settings, missing)
    return settings


def check_without_validation(settings: Mapping[str, Any]) -> None:
    """SettingError for a setting that has no effect where nothing is held out."""
    check_needs(settings, {"validation": "set `val_fraction=0.1`"})


def train_one(
    index: int,
    settings: Mapping[str, Any],
    data: Data,
    curves: bool = False,
    interrupted: Callable[[], bool] = lambda: False,
) -> Ended | None:
    """Train to the end; None if interrupted. Other arguments, and rows: as of api.many.train_many."""
    began = time.perf_counter()
    row = _blank(index, settings, data, curves)
    try:
        trainer = _begun(settings, data)
        trainer.every_record, trainer.has_samples = curves, False
        if trainer.validation is None:
            check_without_validation(settings)
    except UsageError as error:
        return Ended(row | {"status": REFUSED, "reason": str(error)})
    except Exception as error:
        return Ended(row | {"status": FAILED, "reason": _reason(error)})
    row |= flat_settings(trainer.config)
    losses, records, done, ending = array("d"), list[StepRecord](), None, {"status": OK}
    try:
        for chunk in trainer.run(interrupted=interrupted):
            losses.extend(chunk.losses)
            records += chunk.records
        if not trainer.ended:
            return None
        if (reason := trainer.divergence_message()) is not None:
            ending = {"status": DIVERGED, "reason": reason}
    except TrainingDiverged as error:
        losses, done, ending = array("d"), error.step, {"status": DIVERGED, "reason": str(error)}
    except Exception as error:
        losses, ending = array("d"), {"status": FAILED, "reason": _reason(error)}
    row |= _results(trainer, losses, records, trainer.done if done is None else done) | ending
    if curves:
        row |= _series(records)
    return Ended(row | {"seconds": time.perf_counter() - began}, trainer, records)


def _blank(index: int, settings: Mapping[str, Any], data: Data, curves: bool) -> dict[str, Any]:
    """The row before anything is known but the settings that were given."""
    names = [name for section in SECTIONS.values() for name in kinds(section)]
    preset, engine = plain(settings.get("preset")), plain(settings.get("engine"))
    known = settings_of(preset) if isinstance(preset, str) and preset in PRESETS else {}
    known |= {**data.settings, **data.found, **settings}
    row: dict[str, Any] = {"index": index, "status": None, "reason": None}
    row |= {name: known.get(name) for name in names} | {"preset": preset, "engine": engine}
    row |= dict.fromkeys(RESULTS) | {"data": data.digest, "version": installed_version("motegpt")}
    return {**row, "curve": []} if curves else row


def _begun(settings: Mapping[str, Any], data: Data) -> Trainer:
    """The training with these settings, in one thread unless they say otherwise."""
    given = dict(settings)
    preset, engine = plain(given.pop("preset", None)), plain(given.pop("engine", None))
    settings_of(preset)  # raises for none, and for auto, which chooses what the others leave open
    engine = default_engine() if engine is None else engine
    engine_class(engine)
    if engine in kinds(TrainConfig)["threads"].engines:
        given = {"threads": 1, **given}
    return begin(data, given, preset=preset, engine=engine).trainer


def _results(
    trainer: Trainer, losses: Sequence[float], records: Sequence[StepRecord], done: int
) -> dict[str, Any]:
    """losses: of all steps, or none; done: steps."""
    config, best, tokens = trainer.config, trainer.best, trainer.plan.tokens(0, done)
    last = losses[-math.ceil(LAST * len(losses)) :]
    evaluated = [record.val_loss for record in records if record.val_loss is not None]
    accurate = [record.val_accuracy for record in records if record.val_accuracy is not None]
    per_sequence = tokens / (done * config.train.batch_size) if done else 0.0
    return {
        "engine": config.engine,
        "level": config.level,
        "loss": math.fsum(last) / len(last) if last else None,
        "val_loss": evaluated[-1] if evaluated else None,
        "val_accuracy": accurate[-1] if accurate else None,
        "best_val_loss": None if best is None else best.loss,
        "best_step": None if best is None else best.step,
        "steps_done": done,
        "tokens": tokens,
        "parameters": parameter_count(config.model),
        "operations": operations_per_token(config.model, per_sequence) * tokens,
    }


def _series(records: Sequence[StepRecord]) -> dict[str, Any]:
    """SERIES of the logged steps; statistics only if there are any."""
    curve = [[record.step, record.loss, record.val_loss] for record in records]
    found = [{"step": record.step, **record.statistics} for record in records if record.statistics]
    return {"curve": curve} | ({"statistics": found} if found else {})


def _reason(error: Exception) -> str:
    """One line."""
    words = str(error).split()
    return " ".join(words if isinstance(error, MotegptError) else [f"{type(error).__name__}:", *words])
