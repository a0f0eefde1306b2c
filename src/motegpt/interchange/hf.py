"""Export to the library transformers: a folder that AutoModelForCausalLM and AutoTokenizer read.

    config.json             the settings, as keys of the layout
    generation_config.json  special tokens, and how the run samples
    model.safetensors       the parameters, and the contexts of the n-gram embedding
    tokenizer.json          the tokenizer, and its names in tokenizer_config.json
    modeling_motegpt.py     the architecture, where it is neither GPT-2's nor Llama's
    README.md               the model card

It is written with the standard library, NumPy and safetensors.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.errors import UsageError
from motegpt.interchange.card import model_card, without_average
from motegpt.interchange.folders import check_free, new_folder
from motegpt.interchange.layouts import OWN, Layout, arrays_of, config_of, layout_of
from motegpt.interchange.sampling_in import GENERATION
from motegpt.interchange.tokens import special_names, tokenizer_config, tokenizer_json
from motegpt.model.spec import parameter_count, table_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.interchange.model import PortableModel

CONFIG, MODEL = "config.json", "model.safetensors"
TOKENIZER, TOKENIZER_CONFIG, CARD = "tokenizer.json", "tokenizer_config.json", "README.md"
CODE = "modeling_motegpt"
METADATA = {"format": "pt"}  # of model.safetensors, which transformers asks for


def export_hf(model: PortableModel, out: Path) -> list[str]:
    """Write the folder; returns lines for the user.

    Raises UsageError if something is at `out`, if it cannot be written, or for a tokenizer that the library
    does not have; then nothing is written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    check_free(out)
    layout = layout_of(model.config.model)
    arrays = tensors_of(model, layout)
    dtype = str(next(iter(arrays.values())).dtype)
    texts = {
        CONFIG: _json(hf_config(model, layout, dtype)),
        GENERATION: _json(generation_config(model)),
        TOKENIZER: _json(tokenizer_json(model.tokenizer)),
        TOKENIZER_CONFIG: _json(tokenizer_config(model.tokenizer, model.config.model.block_size)),
        CARD: model_card(model, layout),
    }
    if layout is OWN:
        texts[f"{CODE}.py"] = files("motegpt.interchange").joinpath(f"{CODE}.py").read_text("utf-8")
    with new_folder(out) as folder:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        try:
            save_file(arrays, folder / MODEL, METADATA)
        except SafetensorError as error:  # also of a full disk, for which the library has no OSError
            raise UsageError(f"out: {out} cannot be written ({error}); choose another") from None
        (folder / MODEL).chmod((folder / CONFIG).stat().st_mode)  # the library makes it private
    return [
        f"{out}: {layout.architecture}, {parameter_count(model.config.model):,} parameters, {dtype}",
        *([] if model.weight is None else [without_average(model)]),
    ]


def tensors_of(model: PortableModel, layout: Layout) -> dict[str, NDArray[Any]]:
    """The contents of model.safetensors."""
    arrays = arrays_of(layout, model.config.model, model.parameters)
    names = table_names(model.config.model)
    return {**arrays} | {f"{name}.keys": keys for name, keys in zip(names, model.contexts.keys, strict=True)}


def hf_config(model: PortableModel, layout: Layout, dtype: str) -> dict[str, Any]:
    """config.json. dtype: of the parameters."""
    code = {
        "AutoConfig": f"{CODE}.MotegptConfig",
        "AutoModelForCausalLM": f"{CODE}.{OWN.architecture}",
    }
    return {
        "architectures": [layout.architecture],
        "model_type": layout.model_type,
        **({"auto_map": code} if layout is OWN else {}),
        "dtype": dtype,
        **_special_ids(model),
        **config_of(layout, model.config.model),
    }


def _special_ids(model: PortableModel) -> dict[str, int | None]:
    """Without special tokens none: transformers has others by default."""
    ids: list[int | None] = [*special_names(model.tokenizer).values()] or [None]
    return {"bos_token_id": ids[0], "eos_token_id": ids[-1], "pad_token_id": ids[-1]}


def generation_config(model: PortableModel) -> dict[str, Any]:
    """generation_config.json: how the run samples, without its penalties, beams and rules on texts.

    All is explicit, as defaults there differ.
    """
    sample, size, special = model.config.sample, model.config.model.block_size, _special_ids(model)
    is_greedy = sample.temperature == 0
    chosen = {
        "do_sample": not is_greedy,
        "temperature": 1.0 if is_greedy else sample.temperature,
        "top_k": sample.top_k or 0,
        "top_p": sample.top_p or 1.0,
        **({} if sample.min_p is None else {"min_p": sample.min_p}),
    }
    never = [] if special["bos_token_id"] == special["eos_token_id"] else [special["bos_token_id"]]
    return {
        **special,
        "max_length": size if model.tokenizer.is_stream else size + 1,  # the last token is not fed
        **(chosen if not is_greedy else {"do_sample": False}),
        **({"suppress_tokens": never} if never else {}),
    }


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
