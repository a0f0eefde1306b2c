"""The facts of a run as JSON values, for `motegpt show`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from motegpt.api.gpt import GPT
from motegpt.config.sections import SECTIONS
from motegpt.errors import MotegptError
from motegpt.model.spec import tensors
from motegpt.training.run_folder import TRAINER
from motegpt.views.runs import ACCURACY, TRAIN_ACCURACY, nearest_preset
from motegpt.views.text import with_flags

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.views.runs import Run

SAMPLES, SEED = 5, 0
MAX_TOKENS, MAX_TRIES, MAX_BEAMS = 256, 100, 16  # limits for the samples
ENGINE = "array"  # for the samples: installed everywhere, with the same results


def summary(run: Run, samples: int = SAMPLES) -> dict[str, Any]:
    """The facts of a run; RunFolderError if one of its files is damaged."""
    preset, differing = nearest_preset(run.config)
    values = run.config.values()
    texts, why_none = generate_samples(run, samples)
    return {
        "run": run.path,
        "format": run.config.format,
        "engine": run.config.engine,
        "level": run.config.level,
        "settings": {section: values[section] for section in SECTIONS},
        "preset": {"nearest": preset, "differing": differing},
        "parameters": {"total": sum(sizes(run.config.model).values()), "groups": sizes(run.config.model)},
        "average": average(run),
        "vocabulary": {
            "size": run.tokenizer.vocab_size,
            "characters": run.tokenizer.alphabet,
            "kind": run.tokenizer.kind,
            "framing": run.tokenizer.framing,
        },
        "files": files(run),
        "source": values["source"],
        "base": values["base"],
        "progress": progress(run),
        "loss": extremes(*run.losses()),
        "val_loss": extremes(*run.series("val_loss")),
        "accuracy": extremes(*run.series(TRAIN_ACCURACY), best=max),
        "val_accuracy": extremes(*run.series(ACCURACY), best=max),
        "records": len(run.records),
        "samples": {"seed": SEED, "texts": texts, "why_none": why_none},
    }


def sizes(model: ModelConfig) -> dict[str, int]:
    """Number of parameters of each group of tensors, summed over layers."""
    groups: dict[str, int] = {}
    for tensor in tensors(model):
        groups[tensor.group] = groups.get(tensor.group, 0) + tensor.size
    return groups


def average(run: Run) -> dict[str, Any] | None:
    """Order, number and weight of the n-grams that the model is averaged with; None without them."""
    found = run.folder.average(run.config, run.tokenizer)
    if found is None:
        return None
    n_grams = found.kneser_ney
    return {"order": n_grams.order, "n_grams": len(n_grams.grams), "weight": found.weight}


def files(run: Run) -> dict[str, int]:
    """Size in bytes of each file of the run except hidden ones; of a run in one file, that of this file."""
    if run.folder.path.is_file():
        return {run.folder.path.name: run.folder.path.stat().st_size}
    paths = [path for path in sorted(run.folder.path.iterdir()) if path.is_file() and path.name[0] != "."]
    return {path.name: path.stat().st_size for path in paths}


def progress(run: Run) -> dict[str, Any]:
    """step: steps done, if known; exhausted: whether early stopping ended the run.

    resumable: whether the trainer's state exists; best: step and loss of the best evaluation; kept: steps of
    the checkpoints; parameters: steps whose parameters alone are kept.
    """
    train, resumable = run.config.train, (run.folder.path / TRAINER).is_file()
    state = run.folder.trainer_state(run.config, run.tokenizer) if resumable else None
    best = state.best if state else run.folder.best(run.config, run.tokenizer)
    step = state.done if state else max((record["step"] for record in run.records), default=None)
    tokens = dict(zip(*run.series("tokens"), strict=True))
    return {
        "step": step,
        "steps": train.steps,
        "tokens": None if step is None else tokens.get(step),
        "finished": step == train.steps,
        "exhausted": best is not None and best.is_out_of_patience(train.patience),
        "resumable": resumable,
        "best": None if best is None else {"step": best.step, "loss": best.loss},
        "kept": run.folder.kept_steps(),
        "parameters": run.folder.steps_of_parameters(),
    }


def extremes(
    steps: Sequence[float], losses: Sequence[float], best: Callable[..., int] = min
) -> dict[str, Any] | None:
    """The first, last and best value, each with its step; None if there are none. best: min of losses."""
    if not losses:
        return None
    at: dict[str, int] = {"first": 0, "last": -1, "best": best(range(len(losses)), key=losses.__getitem__)}
    return {name: {"step": steps[i], "loss": losses[i]} for name, i in at.items()}


def generate_samples(run: Run, count: int) -> tuple[list[str], str | None]:
    """Samples with the run's settings and a fixed seed, and the reason if there are none.

    Run folders are untrusted input, so the settings that determine the cost of sampling are limited.
    """
    model, sample = GPT.load(run.folder.path, ENGINE), run.config.sample
    if not count:
        return [], None
    if len(sample.prefix) > MAX_TOKENS:
        return [], f"expected a prefix of at most {MAX_TOKENS} characters, got a longer one"
    limits: dict[str, Any] = {
        "tries": min(sample.tries, MAX_TRIES),
        "beams": sample.beams and min(sample.beams, MAX_BEAMS),
    }
    if (sample.max_new_tokens or run.config.model.block_size) > MAX_TOKENS:
        limits["max_new_tokens"] = MAX_TOKENS
    try:
        return model.generate(count, seed=SEED, **limits), None
    except MotegptError as error:
        return [], with_flags(str(error))
