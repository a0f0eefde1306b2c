"""A deep model on a list of names: the validation loss after one minute of training.

    python benchmarks/deep_names.py names.txt

The settings are those of the configuration names-200k. A tenth of the distinct names is held out, with all
their duplicates, so that no name is in both sets. The loss is the mean over all tokens of the held-out
names, in nats. The number of steps is estimated from the speed of the first few, so that the schedule ends
with the minute; the held-out names are evaluated once, after the last step.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from motegpt.cli.options import merge, read_toml
from motegpt.data.corpus import Corpus, read_corpus
from motegpt.engines import default_engine
from motegpt.training.build import prepare
from motegpt.training.loop import Trainer

CONFIG = "names-200k"
TIMED_STEPS = 300


def trainer_of(corpus: Corpus, settings: dict[str, Any], steps: int) -> Trainer:
    """A new run that is evaluated after its last step."""
    return prepare(corpus, {**settings, "steps": steps, "eval_every": steps}, default_engine())


def seconds_per_step(corpus: Corpus, settings: dict[str, Any]) -> float:
    """The mean duration of the first steps of a run, which is discarded."""
    trial = trainer_of(corpus, settings, TIMED_STEPS)
    began = time.perf_counter()
    trial.engine.train(trial.plan, 0, TIMED_STEPS)
    return (time.perf_counter() - began) / TIMED_STEPS


def main() -> None:
    """Train for the given time and print the loss."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    file = read_toml(CONFIG)
    settings = merge(file.pop("preset"), file, {"seed": arguments.seed})
    corpus = read_corpus(arguments.data)
    began = time.perf_counter()
    step_seconds = seconds_per_step(corpus, settings)
    steps = int(0.97 * (arguments.seconds - (time.perf_counter() - began)) / step_seconds)
    trainer = trainer_of(corpus, settings, steps)
    for _ in trainer.run():
        pass
    seconds = time.perf_counter() - began
    held = len(trainer.validation.sequences) if trainer.validation else 0
    print(f"{steps} steps of {settings['batch_size']} names in {seconds:.0f} s on {trainer.engine.name}")
    loss = trainer.best_val_loss()
    print(f"validation loss {loss:.4f} nats per token over {held} held-out names")


if __name__ == "__main__":
    main()
