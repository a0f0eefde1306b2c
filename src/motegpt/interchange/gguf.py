"""Export to GGUF, the file format of llama.cpp: GPT-2's and Llama's layouts, in single precision.

The tables have the names of llama.cpp for what layouts.py has in those of transformers. Matrices are
(out, in) in both layouts. RoPE rotates neighboring channels there, and the channels i and i + D/2 of a head
here, so the rows of the queries and keys of each head are reordered: 0, D/2, 1, D/2 + 1, …; scores are sums
over the channels, and do not change. The library `gguf` writes the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.config.text import shortened
from motegpt.errors import LibraryUnavailable, UsageError
from motegpt.interchange.card import without_average
from motegpt.interchange.folders import check_free, new_file
from motegpt.interchange.gguf_vocabulary import vocabulary
from motegpt.interchange.layouts import GPT2, LLAMA, Key, Layout, Module, arrays_of
from motegpt.model.spec import FINAL_NORM, parameter_count
from motegpt.system.libraries import imports_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig, SampleConfig
    from motegpt.interchange.model import PortableModel

NAMES = {"gpt2": "GPT-2", "llama": "Llama"}  # of layouts, in messages
ROTATED = ("attn_q.", "attn_k.")  # in names of tensors
LAYER_MODULES = (  # of both layouts
    Module("token_embd", ("wte",)),
    Module("blk.{i}.attn_norm", ("layer{i}.ln1",)),
    Module("blk.{i}.attn_output", ("layer{i}.attn_wo",)),
    Module("blk.{i}.ffn_norm", ("layer{i}.ln2",)),
    Module("blk.{i}.ffn_up", ("layer{i}.mlp_fc1",)),
    Module("blk.{i}.ffn_down", ("layer{i}.mlp_fc2",)),
    Module("output_norm", (FINAL_NORM,)),
    Module("output", ("lm_head",)),
)
SIZES = (  # of both layouts
    Key("context_length", "block_size"),
    Key("embedding_length", "n_embd"),
    Key("block_count", "n_layer"),
    Key("feed_forward_length", "n_hidden", shown="mlp_size"),
    Key("attention.head_count", "n_head"),
    Key("attention.head_count_kv", "n_kv_head", shown="kv_heads"),
)
GPT2_FILE = replace(
    GPT2,
    modules=(
        *LAYER_MODULES,
        Module("position_embd", ("wpe",)),
        Module("blk.{i}.attn_qkv", ("layer{i}.attn_wq", "layer{i}.attn_wk", "layer{i}.attn_wv")),
    ),
    keys=(*SIZES, Key("attention.layer_norm_epsilon", "norm_eps")),
    demands={**GPT2.demands, "activation": ("gelu_tanh",)},
    is_grouped=True,
)
LLAMA_FILE = replace(
    LLAMA,
    modules=(
        *LAYER_MODULES,
        Module("blk.{i}.attn_q", ("layer{i}.attn_wq",)),
        Module("blk.{i}.attn_k", ("layer{i}.attn_wk",)),
        Module("blk.{i}.attn_v", ("layer{i}.attn_wv",)),
        Module("blk.{i}.ffn_gate", ("layer{i}.mlp_gate",)),
    ),
    keys=(
        *SIZES,
        Key("attention.layer_norm_rms_epsilon", "norm_eps"),
        Key("rope.dimension_count", "head_size"),
        Key("rope.freq_base", "rope_base"),
    ),
)


def export_gguf(model: PortableModel, out: Path) -> list[str]:
    """Write the file; returns lines for the user.

    Raises UsageError if something is at `out`, if it cannot be written, and for a model or a tokenizer that
    llama.cpp does not compute exactly; LibraryUnavailable without `gguf`. Then nothing is written.
    """
    check_free(out)
    tokens, layout = vocabulary(model.tokenizer), file_layout(model.config.model)
    metadata = {**_metadata(model, layout, out.stem), **tokens}
    with imports_for("export to gguf", LibraryUnavailable):
        from gguf import GGUFWriter  # type: ignore[import-not-found, unused-ignore]

    with new_file(out) as path:
        writer = GGUFWriter(path, layout.name)
        _add(writer, metadata)
        for name, array in tensors_of(model, layout):
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return [
        f"{out}: {layout.name}, {parameter_count(model.config.model):,} parameters, float32",
        *([] if model.weight is None else [without_average(model)]),
    ]


def file_layout(model: ModelConfig) -> Layout:
    """GPT-2's or Llama's layout; UsageError names a setting of a model that has neither."""
    layout = LLAMA_FILE if model.position == "rope" else GPT2_FILE
    name = layout.misfit(model)
    if name is None:
        return layout
    allowed, got = " or ".join(map(_shown, layout.demands[name])), _shown(getattr(model, name))
    if name == "ngram_rows":
        name, allowed, got = "ngram_orders", "none", str(model.ngram_orders)
    raise UsageError(
        f"{name}: expected {allowed}, as in {NAMES[layout.name]}, got {got}; llama.cpp has no such "
        "part: train with `preset='llama'` or `preset='gpt2'`, or export to hf"
    )


def _shown(value: Any) -> str:
    """A value of a setting for a message."""
    return str(value).lower() if isinstance(value, bool) else shortened(value).strip("'")


def _metadata(model: PortableModel, layout: Layout, name: str) -> dict[str, Any]:
    """The settings, and how the run samples. All is explicit, as llama.cpp has other defaults."""
    settings, sample, source = model.config.model, model.config.sample, model.config.source
    documents = "imported" if source.is_imported else f"{source.documents:,} documents"
    return {
        "general.name": name,
        "general.description": f"{documents}, SHA-256 {source.sha256[:64]}",
        "general.file_type": 0,  # float32 throughout
        **_sampling(sample),
        **{f"{layout.name}.{key.name}": getattr(settings, key.shown or key.setting) for key in layout.keys},
    }


def _sampling(sample: SampleConfig) -> dict[str, Any]:
    return {
        "general.sampling.temp": float(sample.temperature),
        "general.sampling.top_k": sample.top_k or 0,
        "general.sampling.top_p": float(sample.top_p or 1),
        "general.sampling.min_p": float(sample.min_p or 0),
    }


SIGNED = ("general.sampling.", "tokenizer.ggml.token_type")  # beginnings of keys whose integers are signed


def _add(writer: Any, metadata: dict[str, Any]) -> None:
    """Add each entry with the type that llama.cpp reads."""
    for key, value in metadata.items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                (writer.add_int32 if key.startswith(SIGNED) else writer.add_uint32)(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value.encode("utf-8", "replace").decode())  # names of files
            case _:
                writer.add_array(key, value)


def tensors_of(model: PortableModel, layout: Layout) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors of the file by name."""
    import numpy as np

    settings = model.config.model
    for name, array in arrays_of(layout, settings, model.parameters).items():
        single = np.asarray(array, np.float32)
        yield name, rotated(single, settings.head_size) if any(part in name for part in ROTATED) else single


def rotated(rows: NDArray[np.float32], head_size: int) -> NDArray[np.float32]:
    """A matrix (heads · D, C) or bias (heads · D,) with the rows of each head in the order of llama.cpp."""
    import numpy as np

    halves = rows.reshape(-1, 2, head_size // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)
