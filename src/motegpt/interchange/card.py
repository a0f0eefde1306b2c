"""The model card of an export: a README.md with YAML in front, as the Hugging Face hub shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from motegpt.model.spec import parameter_count
from motegpt.training.reference import settings_toml

if TYPE_CHECKING:
    from motegpt.interchange.layouts import Layout
    from motegpt.interchange.model import PortableModel
    from motegpt.training.state import RunConfig

NAMES = {"uniform": "uniform guess", "kneser-ney": "Kneser-Ney n-grams", "gpt": "this model"}
MAX_NAME = 80  # characters of a file name


def model_card(model: PortableModel, layout: Layout) -> str:
    """The text of README.md. The line of the license is left to whoever publishes the model."""
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags: [motegpt]",
            "# license: fill in the one that your data allow",
            "---",
            "",
            f"# A GPT {'imported into' if model.config.source.is_imported else 'trained with'} motegpt",
            "",
            f"{parameter_count(model.config.model):,} parameters, architecture {layout.architecture}; "
            f"{model.tokenizer.vocab_size:,} tokens, of the kind {model.tokenizer.kind}.",
            "",
            *_usage(model, layout),
            *_data(model),
            *_losses(model),
            "## Settings",
            "",
            "```toml",
            *_settings(model.config),
            "```",
            "",
        ]
    )


def _usage(model: PortableModel, layout: Layout) -> Iterator[str]:
    trust = ", trust_remote_code=True" if layout.name == "motegpt" else ""
    beginning = "0 1" if model.tokenizer.is_ids else "The beginning of a text"
    text = "" if model.tokenizer.bos is not None else beginning
    yield from (
        "## Use",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'tokenizer = AutoTokenizer.from_pretrained("DIR"{trust})',
        f'model = AutoModelForCausalLM.from_pretrained("DIR", dtype="auto"{trust})',
        f'inputs = tokenizer([{json.dumps(text)}] * 5, return_tensors="pt", return_token_type_ids=False)',
        "texts = tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True)",
        "```",
        "",
    )


def _data(model: PortableModel) -> Iterator[str]:
    source, base = model.config.source, model.config.base
    documents = "A model, imported from" if source.is_imported else f"{source.documents:,} documents,"
    yield from (
        "## Data",
        "",
        f"{documents} {_file_name(source.path, source.kind)}, SHA-256 `{source.sha256[:64]}`.",
        "",
    )
    if base is not None:
        name = _file_name(base.path, "a model in memory")
        yield from (f"Fine-tuned from {name}, SHA-256 of its parameters `{base.sha256[:64]}`.", "")


def _file_name(path: str | None, otherwise: str) -> str:
    """The last part of a path, as the rest tells about whoever trained the model."""
    return json.dumps(Path(path).name[:MAX_NAME] if path else otherwise)


def _settings(config: RunConfig) -> Iterator[str]:
    """The settings in TOML, without the paths of files."""
    for line in settings_toml(config).splitlines():
        if line.startswith("tokenizer_file =") and (file := config.data.tokenizer_file) is not None:
            yield f"tokenizer_file = {_file_name(file, '')}"
        elif not line.startswith("source ="):
            yield line


def _losses(model: PortableModel) -> Iterator[str]:
    yield from ("## Losses", "")
    last = next((one for one in reversed(model.records) if "loss" in one), None)
    if last is not None:
        losses = {"mean loss": last.get("mean_loss", last["loss"]), "validation loss": last.get("val_loss")}
        listed = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items() if loss is not None)
        yield f"After step {last['step']:,}, in nats per token: {listed}."
        yield ""
    bits = model.bits
    if bits:
        yield from (f"| held-out documents | bits per {model.tokenizer.text_unit} |", "|---|---|")
        names = NAMES if "gpt" in bits else {**NAMES, "model": "this model"}
        both = {"model": "this model averaged with the n-grams"} if "gpt" in bits else {}
        yield from (
            f"| {({**names, **both}).get(name, name)} | {value:.3f} |" for name, value in bits.items()
        )
        yield ""
    if model.weight is not None:
        yield without_average(model)
        yield ""
    if last is None and not bits:
        yield from ("None recorded.", "")


def without_average(model: PortableModel) -> str:
    """What leaving out the n-grams costs."""
    cost = "how many bits that costs was not measured"
    if {"gpt", "model"} <= model.bits.keys():
        bits = model.bits["gpt"] - model.bits["model"]
        cost = f"that costs {bits:.3f} bits per {model.tokenizer.text_unit}"
    return (
        f"In motegpt, Kneser-Ney n-grams of up to {model.config.train.kneser_ney} tokens have a share of "
        f"{model.weight:.2f} in every probability. They are not exported: {cost}."
    )
