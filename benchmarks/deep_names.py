"""A deep model on a list of names: the validation loss after one minute of training.

    python benchmarks/deep_names.py names.txt

A tenth of the distinct names is held out, with all their duplicates, so nothing that is judged was
learned. The loss is the mean over all tokens of the held-out names, in nats. The number of steps is
chosen beforehand, from the speed of the first few, so that the schedule ends with the minute.
"""

from __future__ import annotations

import argparse
import random
import time

from motegpt.batches import Batch
from motegpt.documents import corpus_of, read_corpus
from motegpt.engines import default_engine
from motegpt.presets import settings_of
from motegpt.train import Trainer, prepare

SETTINGS = {
    "n_layer": 4,
    "n_embd": 64,
    "batch_size": 32,
    "loss_mean": "tokens",
    "lr": 0.004,
    "lr_min": 0.0001,
    "schedule": "cosine",
    "warmup_steps": 200,
    "weight_decay": 0.2,
    "clip_norm": 1.0,
    "beta1": 0.9,
    "beta2": 0.99,
    "init_std": 0.05,
    "zero_init": True,
    "dtype": "float32",
}
TIMED_STEPS = 300


def split(documents: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Nine tenths and one tenth; the duplicates of a document stay on its side."""
    distinct = sorted(set(documents))
    random.Random(seed).shuffle(distinct)
    held = set(distinct[: len(distinct) // 10])
    return [d for d in documents if d not in held], [d for d in documents if d in held]


def validation_loss(trainer: Trainer, documents: list[str]) -> float:
    """Mean loss over all tokens of some documents, in nats."""
    longest = trainer.config.model.block_size + 1
    sequences = [ids[:longest] for ids in trainer.tokenizer.encode_all(documents)]
    total = tokens = 0.0
    for start in range(0, len(sequences), 64):
        batch = Batch.of(sequences[start : start + 64], "tokens")
        count = sum(map(len, batch.inputs))
        total, tokens = total + count * trainer.engine.gradients(batch)[0], tokens + count
    return total / tokens


def main() -> None:
    """Train for the given time and print the loss."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    learned, held = split(read_corpus(arguments.data).documents, arguments.seed)
    settings = {**settings_of("microgpt"), **SETTINGS, "seed": arguments.seed}
    began = time.perf_counter()
    trial = prepare(corpus_of(learned), settings, default_engine())
    started = time.perf_counter()
    trial.engine.train(trial.plan, 0, TIMED_STEPS)
    per_step = (time.perf_counter() - started) / TIMED_STEPS
    steps = int(0.97 * (arguments.seconds - (time.perf_counter() - began)) / per_step)
    trainer = prepare(corpus_of(learned), {**settings, "steps": steps}, default_engine())
    for _ in trainer.run():
        pass
    seconds = time.perf_counter() - began
    loss = validation_loss(trainer, held)
    print(f"{steps} steps of {settings['batch_size']} names in {seconds:.0f} s on {trainer.engine.name}")
    print(f"validation loss {loss:.4f} nats a token over {len(held)} names that were never seen")


if __name__ == "__main__":
    main()
