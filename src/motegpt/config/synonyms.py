"""Names of settings and commands in other programs, to suggest motegpt's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

MIN_SIMILARITY = 0.8  # difflib ratio of a suggestion; epochs and eps have 0.67
# Name -> names in PyTorch, Hugging Face, nanoGPT, scikit-learn and elsewhere.
SYNONYMS = {
    "n_layer": "num_layers num_hidden_layers depth",
    "n_embd": "hidden_size hidden_dim d_model embed_dim embedding_dim embedding_size dim width",
    "n_head": "heads num_heads num_attention_heads attention_heads",
    "block_size": "context_length context_size context_window n_ctx seq_len seq_length sequence_length "
    "n_positions max_seq_len max_position_embeddings",
    "activation": "nonlinearity hidden_act activation_function",
    "tied": "weight_tying tie_word_embeddings tie_embeddings",
    "norm_eps": "rms_norm_eps layer_norm_eps layer_norm_epsilon",
    "init_std": "initializer_range",
    "position": "positional_embedding position_embedding_type pos_emb positional_encoding rope rotary",
    "rope_base": "rope_theta rotary_base rotary_emb_base rope_freq_base",
    "qk_norm": "use_qk_norm qk_layernorm qk_rmsnorm",
    "deduplicate": "dedup drop_duplicates",
    "val_fraction": "validation_split validation_fraction val_split val_size test_size",
    "epochs": "num_epochs n_epochs max_epochs num_train_epochs",
    "steps": "max_steps iterations iters max_iters max_iter n_iter num_iterations num_steps train_steps",
    "batch_size": "batch minibatch train_batch_size per_device_train_batch_size",
    "seed": "random_seed random_state",
    "lr": "learning_rate max_lr",
    "schedule": "lr_decay decay_lr lr_schedule scheduler lr_scheduler lr_scheduler_type",
    "warmup_steps": "warmup warmup_iters num_warmup_steps",
    "lr_min": "min_lr eta_min",
    "optimizer": "optim optimiser algorithm",
    "beta1": "adam_beta1",
    "beta2": "adam_beta2",
    "eps": "epsilon adam_eps adam_epsilon",
    "weight_decay": "wd l2",
    "dropout": "dropout_rate dropout_prob p_dropout resid_pdrop embd_pdrop hidden_dropout_prob",
    "clip_norm": "grad_clip gradient_clip clip max_grad_norm gradient_clip_val clip_grad_norm "
    "gradient_clipping",
    "dtype": "precision torch_dtype",
    "threads": "num_threads num_workers workers n_jobs",
    "checkpoint_activations": "gradient_checkpointing activation_checkpointing",
    "autocast": "amp fp16 bf16 mixed_precision",
    "accumulate": "gradient_accumulation_steps grad_accum accumulate_grad_batches",
    "log_every": "log_interval logging_steps log_steps",
    "eval_every": "eval_interval eval_steps val_every",
    "checkpoint_every": "save_every save_interval save_steps checkpoint_interval",
    "checkpoint_at": "save_at log_checkpoints checkpoint_steps",
    "patience": "early_stopping early_stopping_patience",
    "n": "num_samples n_samples samples count num_return_sequences",
    "temperature": "temp",
    "prefix": "prompt start starts_with",
    "repetition_penalty": "repeat_penalty frequency_penalty",
    "top_p": "nucleus",
    "max_new_tokens": "max_tokens n_predict num_tokens",
    "max_length": "length max_len",
    "stop": "stop_sequence stop_token eos",
    "suffix": "ends_with",
    "beams": "num_beams beam_size beam_width",
    "engine": "backend framework",
    "out": "output output_dir out_dir save_dir",
    "resume": "resume_from resume_from_checkpoint init_from",
    "train": "fit learn resume",
    "sample": "generate predict infer inference",
    "score": "perplexity likelihood",
    "eval": "evaluate test validate",
    "show": "info inspect summary describe",
    "plot": "chart visualize",
    "data": "dataset fetch check download",
    "cost": "estimate flops",
    "bench": "benchmark",
}
RENAMED = {  # former names of settings, and of entries in saved files; still accepted
    "normalise": "normalize",
    "waited": "evaluations_since_best",
}


def flag_of(name: str, on: bool = True) -> str:
    """How the command line writes a setting: --batch-size, or --no-tied for one that is switched off."""
    return f"--{'' if on else 'no-'}{name.replace('_', '-')}"


def hint(name: str, known: Iterable[str], written: Callable[[str], str] = str) -> str:
    """The hint for an unknown name: "did you mean lr?", or an empty string.

    written: formats the suggested name.
    """
    suggestion = closest_name(name, known)
    return f"did you mean {written(suggestion)}?" if suggestion else ""


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name of a synonym or misspelled name; None if no name is similar enough."""
    by_key = {_key(one): one for one in known}
    for candidate in _synonym_chain(name):
        if _key(candidate) in by_key:
            return by_key[_key(candidate)]
    import difflib

    nearest = difflib.get_close_matches(_key(name), by_key, n=1, cutoff=MIN_SIMILARITY)
    return by_key[nearest[0]] if nearest else None


def _key(name: str) -> str:
    """A name without word separators: batch_size, --batch-size and batchSize have the same key."""
    return re.sub("[-_ ]", "", name).lower()


def _synonym_chain(name: str) -> Iterator[str]:
    """The name and everything it is a synonym of: init_from, resume, train."""
    yield name
    for own, synonyms in SYNONYMS.items():
        if _key(name) in map(_key, synonyms.split()):
            yield from _synonym_chain(own)
