"""What there is to say of a run, as plain values: `motegpt show` lays them out, its --json is just them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from motegpt.api.gpt import GPT
from motegpt.config.sections import SECTIONS
from motegpt.errors import MotegptError, SettingError
from motegpt.model.spec import tensors
from motegpt.training.run_folder import TRAINER
from motegpt.views.runs import nearest_preset
from motegpt.views.text import with_flags

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.views.runs import Run

SAMPLES, SEED = 5, 0
LONGEST, WORK = 256, 2**16  # tokens of a sample; layers passed on its way, 32 logits counted as one
TRIES, BEAMS = 100, 16
ENGINE = "array"  # what draws the samples: it is always there, and the same everywhere


def summary(run: Run, samples: int = SAMPLES) -> dict[str, Any]:
    """Everything `motegpt show` knows; RunFolderError if a file of the run is damaged."""
    preset, differing = nearest_preset(run.config)
    values = run.config.values()
    drawn, why_none = draw(run, samples)
    return {
        "run": run.path,
        "format": run.config.format,
        "engine": run.config.engine,
        "settings": {section: values[section] for section in SECTIONS},
        "preset": {"nearest": preset, "differing": differing},
        "parameters": {"total": sum(sizes(run.config.model).values()), "groups": sizes(run.config.model)},
        "vocabulary": {
            "size": run.tokenizer.vocab_size,
            "characters": run.tokenizer.alphabet,
            "kind": run.tokenizer.kind,
            "framing": run.tokenizer.framing,
        },
        "files": files(run),
        "source": values["source"],
        "progress": progress(run),
        "loss": extremes(*run.losses()),
        "val_loss": extremes(*run.series("val_loss")),
        "records": len(run.records),
        "samples": {"seed": SEED, "texts": drawn, "why_none": why_none},
    }


def sizes(model: ModelConfig) -> dict[str, int]:
    """How many numbers each group of tensors holds: embeddings, head, attention and MLP of all layers."""
    groups: dict[str, int] = {}
    for tensor in tensors(model):
        groups[tensor.group] = groups.get(tensor.group, 0) + tensor.size
    return groups


def files(run: Run) -> dict[str, int]:
    """Bytes of each file of the run, hidden ones aside."""
    paths = [path for path in sorted(run.folder.path.iterdir()) if path.is_file() and path.name[0] != "."]
    return {path.name: path.stat().st_size for path in paths}


def progress(run: Run) -> dict[str, Any]:
    """step: done so far, as far as is known; exhausted: whether early stopping ended the run.

    resumable: whether the trainer's state is there; best: where the held-out data judged best; kept: the
    steps of the checkpoints that were kept.
    """
    train, resumable = run.config.train, (run.folder.path / TRAINER).is_file()
    state = run.folder.trainer_state(run.config, run.tokenizer) if resumable else None
    best = state.best if state else None
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
        "kept": run.folder.kept(),
    }


def extremes(steps: Sequence[float], losses: Sequence[float]) -> dict[str, Any] | None:
    """The first, last and lowest of some losses, each with its step; None if none was recorded."""
    if not losses:
        return None
    at: dict[str, int] = {"first": 0, "last": -1, "best": min(range(len(losses)), key=losses.__getitem__)}
    return {name: {"step": steps[i], "loss": losses[i]} for name, i in at.items()}


def draw(run: Run, count: int) -> tuple[list[str], str | None]:
    """Texts drawn with the run's own settings and a fixed seed; without any, why there are none.

    They are a glance at a run that anyone may have made: no longer, and no harder to find, than LONGEST,
    WORK, TRIES and BEAMS allow.
    """
    model = GPT.load(run.folder.path, ENGINE)
    if not count:
        return [], None
    try:
        return model.generate(count, seed=SEED, **_glance(run)), None
    except MotegptError as error:
        return [], with_flags(str(error))


def _glance(run: Run) -> dict[str, Any]:
    """The settings that keep drawing short; a text of block_size tokens is left as it is if that is short."""
    model, sample = run.config.model, run.config.sample
    most = max(1, min(LONGEST, WORK // (model.n_layer + model.vocab_size // 32)))
    if len(run.tokenizer.encode(sample.prefix)) > most:
        raise SettingError(f"the prefix is longer than the {most} tokens of a glance")
    wanted = sample.max_new_tokens or model.block_size
    return {
        "tries": min(sample.tries, TRIES),
        "beams": sample.beams and min(sample.beams, BEAMS),
        "max_new_tokens": sample.max_new_tokens if wanted <= most else most,
    }
