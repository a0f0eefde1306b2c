"""What each process of test_distributed.py runs: gradients and a short training, saved by rank 0."""

import sys

import numpy as np

from motegpt.config.sections import model_and_training
from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.engines import fresh_engine
from motegpt.ngrams.contexts import Contexts
from motegpt.system import ranks
from tests.conftest import VOCABULARY, random_sequences, small_settings

BATCH = 4
SETTINGS = {"n_layer": 2, "batch_size": BATCH, "clip_norm": 0.5, "clip_value": 0.2, "steps": 5, "n_head": 4}
CASES = [  # loss_mean, and settings
    ("documents", {"adam": "corrected", "clip_node": 10.0}),
    ("tokens", {"adam": "folded", "position": "rope", "qk_norm": True}),
    ("documents", {"adam": "corrected", "dropout": 0.2, "checkpoint_activations": True}),
    ("documents", {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.1}),
    ("documents", {"preset": "gpt2", "scaled_init": False, "n_kv_head": 2, "position": "rope"}),
    ("tokens", {"preset": "llama", "n_kv_head": 1, "checkpoint_activations": True}),
    ("documents", {"ngram_orders": 4, "ngram_dropout": 0.5, "ngram_weight_decay": 2.0, "steps": 9}),
]


def settings_of_case(case, **changes):
    """The settings of one of CASES."""
    loss_mean, own = case
    return small_settings(**{**SETTINGS, "loss_mean": loss_mean, **own, **changes})


def engine_of_case(case, **changes):
    """The torch engine for one of CASES."""
    settings, contexts = settings_of_case(case, **changes), None
    if "ngram_orders" in settings:
        plan = DocumentPlan(random_sequences(5, 12, 6), BATCH, case[0])
        contexts = Contexts.of_plan(plan, settings["ngram_orders"], 2)
        settings["ngram_rows"] = contexts.sizes
    return fresh_engine("torch", *model_and_training(settings, VOCABULARY), contexts)


def results(engine, loss_mean):
    """Everything an engine is asked for, as named arrays."""
    sequences = random_sequences(5, 12, 6)
    batch = Batch.of(sequences[:BATCH], loss_mean)
    loss, gradients = engine.gradients(batch, 2)
    losses = engine.train(DocumentPlan(sequences, BATCH, loss_mean), 0, engine.settings.steps)
    state = engine.export()
    fed = engine.decoder(1).feed([2])
    groups = {"g": gradients, "w": state.parameters, **state.slots}
    arrays = {f"{group}.{name}": array for group, named in groups.items() for name, array in named.items()}
    logits = engine.logits(batch)[0]
    return {"loss": loss, "losses": losses, "fed": fed, "logits": logits, **arrays}


def main(out, accumulate, *shards):
    """Save OUT.CASE.SHARD.npz for each case."""
    for shard in map(int, shards):
        for number, case in enumerate(CASES):
            engine = engine_of_case(case, accumulate=int(accumulate), shard=bool(shard))
            if ranks.rank() == 0:
                np.savez(f"{out}.{number}.{shard}.npz", **results(engine, case[0]))
                engine.dismiss()
            else:
                engine.follow(DocumentPlan(random_sequences(5, 12, 6), BATCH, case[0]))
    engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
