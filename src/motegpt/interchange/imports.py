"""Import of another program's folder: GPT-2's and Llama's layout, and motegpt's own.

The folder is untrusted input: nothing in it is executed, and what motegpt's models do not have is named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.config.presets import REFERENCE_PRESET, settings_of
from motegpt.config.sections import DataConfig, ModelConfig, SampleConfig, TrainConfig, section_values
from motegpt.config.text import shortened
from motegpt.data.source import IMPORTED, Source
from motegpt.data.tokenizers import FileTokenizer
from motegpt.engines import default_engine
from motegpt.errors import RunFolderError, SettingError, UsageError
from motegpt.interchange.folders import check_free, new_folder
from motegpt.interchange.layouts import LAYOUTS, OWN, Layout, model_of, parameters_of
from motegpt.interchange.model import PortableModel
from motegpt.interchange.sampling_in import sampling_in
from motegpt.interchange.tokens_in import TOKENIZER, tokenizer_in
from motegpt.interchange.weights import Found, read_floats, read_integers, read_json, tensors_in
from motegpt.model.spec import table_names
from motegpt.ngrams.contexts import Contexts
from motegpt.system.runs import ENDING, is_archive, is_run_folder
from motegpt.training.build import default_dtype
from motegpt.training.run_folder import RunFolder
from motegpt.training.state import RunConfig
from motegpt.training.tensor_files import digest

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Arrays

CONFIG, HEAD = "config.json", "lm_head.weight"
ADVICE, WORD = re.compile("; (?:try|leave|set) [^;]*$"), re.compile(r"\b[a-z_]+\b")  # of a SettingError


def import_hf(folder: Path, out: Path) -> PortableModel:
    """Make a run of the model in a folder; UsageError, and nothing is written, if it cannot be one."""
    check_free(out)
    if out.suffix == ENDING:
        raise UsageError(
            f"out: expected a folder to write a run to, got {out}, the name of a file; import with another "
            "`out`, then export the run to this file"
        )
    model = read_hf(folder)
    with new_folder(out) as temporary:
        run = RunFolder.create(temporary, model.config, model.tokenizer, contexts=model.contexts)
        try:
            run.save_parameters(model.parameters, model.tokenizer)
        finally:
            run.unlock()
    return model


def read_hf(folder: Path) -> PortableModel:
    """The model in a folder of transformers, or of `motegpt export`; RunFolderError if it is unsupported."""
    if is_archive(folder) or is_run_folder(folder):
        raise RunFolderError(
            f"{folder}: expected a folder of the library transformers, got a run, which needs no import"
        )
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: expected a folder with {CONFIG} and model.safetensors, got none")
    path = folder / CONFIG
    config = read_json(path)
    layout = _layout(path, config)
    try:
        model = model_of(layout, config)
    except RunFolderError as error:
        raise RunFolderError(f"{path}: {error}") from None
    except SettingError as error:
        raise RunFolderError(f"{path}: {_in_keys(str(error), layout)}") from None
    arrays, contexts = _tensors(folder, layout, model)
    tokenizer = tokenizer_in(folder, config, model.vocab_size)
    return PortableModel(
        _run_config(folder, layout, model, tokenizer, arrays),
        tokenizer,
        parameters_of(layout, model, arrays),
        contexts,
    )


def _layout(path: Path, config: Mapping[str, Any]) -> Layout:
    """The layout that a config.json names."""
    kind, architectures = config.get("model_type"), config.get("architectures") or []
    layout = next((one for one in LAYOUTS.values() if one.model_type == kind), None)
    if layout is None:
        known = ", ".join(one.model_type for one in LAYOUTS.values())
        raise RunFolderError(f"{path}: model_type: expected one of {known}, got {shortened(kind)}")
    allowed = [layout.architecture, *layout.also]
    if not isinstance(architectures, list) or any(one not in allowed for one in architectures):
        raise RunFolderError(
            f"{path}: architectures: expected {' or '.join(allowed)}, got {shortened(architectures)}"
        )
    return layout


def _in_keys(message: str, layout: Layout) -> str:
    """The message of a SettingError with the keys of config.json, and without advice for a training."""
    keys = {key.setting: key.name for key in reversed(layout.keys)}
    message = ADVICE.sub("", message).replace("`", "")
    return WORD.sub(lambda word: keys.get(word[0], word[0]), message)


def _tensors(folder: Path, layout: Layout, model: ModelConfig) -> tuple[Arrays, Contexts]:
    """The parameters under the names of the layout, and the contexts of the n-gram embedding."""
    shapes = {entry.name: entry.shape for entry in layout.entries(model)}
    tables = {
        f"{name}.keys": (rows,) for name, rows in zip(table_names(model), model.ngram_rows, strict=True)
    }
    found: dict[str, Found] = {}
    for name, one in tensors_in(folder).items():
        full = _full_name(name, layout, shapes)
        if full in found:
            raise RunFolderError(f"{folder}: {full}: expected it once, got it with and without its prefix")
        if not full.endswith(layout.buffers):
            found[full] = one
    extra = {HEAD} if model.tied and layout is not OWN else set()
    _check_names(folder, shapes | tables, found, extra)
    arrays = read_floats({name: one for name, one in found.items() if name not in tables})
    if HEAD in extra and HEAD in arrays and not _is_equal(arrays.pop(HEAD), arrays[_embedding(layout)]):
        raise RunFolderError(
            f"{folder}: {HEAD}: expected the numbers of {_embedding(layout)}, as tie_word_embeddings says, "
            "got others"
        )
    keys = {name.removesuffix(".keys"): read_integers(found[name]) for name in tables}
    try:
        return arrays, Contexts.checked(keys, model) if keys else Contexts()
    except RunFolderError as error:
        raise RunFolderError(f"{folder}: {error}") from None


def _full_name(name: str, layout: Layout, shapes: Mapping[str, Any]) -> str:
    """The name with the prefix of the layout, which files of the model without its head leave out."""
    full = f"{layout.prefix}{name}"
    return full if full in shapes or full.endswith(layout.buffers) else name


def _embedding(layout: Layout) -> str:
    return f"{layout.modules[0].name}.weight"


def _is_equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _check_names(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, Found], extra: set[str]
) -> None:
    """RunFolderError for the first tensor that is missing, surplus or of another shape."""
    for name in sorted(shapes.keys() | found.keys()):
        if name in extra:
            continue
        expected, got = shapes.get(name), found[name].shape if name in found else None
        if expected != got:
            words = [
                "no such tensor" if one is None else f"shape {shortened(one)}" for one in (expected, got)
            ]
            shown = name if name in shapes else shortened(name)
            raise RunFolderError(f"{folder}: {shown}: expected {words[0]}, got {words[1]}")


def _format(tokenizer: Tokenizer) -> str | None:
    """The setting `format` of data that a tokenizer is for; None for documents that are texts."""
    if tokenizer.is_ids:
        return "id_stream" if tokenizer.is_stream else "ids"
    return None if tokenizer.bos is not None else "stream"


def _run_config(
    folder: Path, layout: Layout, model: ModelConfig, tokenizer: Tokenizer, arrays: Arrays
) -> RunConfig:
    """The settings of the run: those of the preset of that name, for a training on other data, and how the
    folder samples.
    """
    settings = settings_of(REFERENCE_PRESET if layout is OWN else layout.name)
    engine, dtype = default_engine(), str(next(iter(arrays.values())).dtype)
    settings = default_dtype(engine, {**settings, "dtype": dtype}, is_set=False)
    data: dict[str, Any] = {
        **section_values(settings, "data"),
        "tokenizer": tokenizer.kind,
        "framing": tokenizer.framing,
        "format": _format(tokenizer),
    }
    if isinstance(tokenizer, FileTokenizer):
        data["tokenizer_file"] = str((folder / TOKENIZER).absolute())
    if (pattern := getattr(tokenizer, "pattern", None)) is not None and tokenizer.kind in ("bpe", "regex"):
        data["token_pattern"] = pattern
    try:
        return RunConfig(
            engine=engine,
            model=model,
            data=DataConfig.of(data),
            train=TrainConfig.of(section_values(settings, "train")),
            sample=SampleConfig.of({**section_values(settings, "sample"), **sampling_in(folder)}),
            source=Source(kind=IMPORTED, path=str(folder.absolute()), sha256=digest(arrays, {}), documents=0),
        )
    except SettingError as error:
        raise RunFolderError(f"{folder}: {error}") from None
