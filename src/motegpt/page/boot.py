"""What the page starts from, as JSON: presets, settings and built-in lists, and a list or a run of the user.

Everything that the page knows about settings comes from here, so that it is written once, in config/.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import Kind, kinds
from motegpt.config.presets import PRESETS, REFERENCE_PRESET, expected_settings, settings_of
from motegpt.config.sections import FOUND_FROM_DATA, REQUESTS, ModelConfig, section_values
from motegpt.config.sections.data import TEXT_FORMATS
from motegpt.data.ids.documents import IdDocuments
from motegpt.errors import DataError, RunFolderError, UsageError
from motegpt.model.spec import parameter_count
from motegpt.page.lists import lists

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from motegpt.ngrams.average import Average
    from motegpt.training.state import RunConfig
    from motegpt.views.runs import Run

HALF, SINGLE = "<f2", "<f4"
DTYPES = {HALF: "F16", SINGLE: "F32", "<i8": "I64", "<u4": "U32", "<u2": "U16"}  # as in safetensors
LINE_BREAKS = ("\n", "\r")
FORMATS = re.compile(r"(\.(?!txt$)[a-z]\w{1,6})+$", re.IGNORECASE)  # endings of files other than lists
READ = dict.fromkeys(("column", "header", "delimiter", "encoding"))  # settings of files that Python has read
LARGEST_PRESET = 1_000_000  # parameters
TOKENIZERS = ("characters", "bytes")  # that the page has
FRAMINGS_OF_TEXT = ("bos", "bos_eos", "none")
CHOICES = {"tokenizer": TOKENIZERS, "format": TEXT_FORMATS, "framing": FRAMINGS_OF_TEXT}


def boot(data: dict[str, Any] | None = None, run: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the page starts from. data: from `list_of`; run: from `run_of`; None: the built-in names."""
    return {
        "version": version("motegpt"),
        "preset": REFERENCE_PRESET,
        "presets": {preset: expected_settings(preset) for preset in PRESETS if fits_page(preset)},
        "fields": {name: _field(section, kind) for section, name, kind in _settings()},
        "lists": [one._asdict() for one in lists()],
        "list": data,
        "run": run,
    }


def fits_page(preset: str) -> bool:
    """Whether a browser trains a model of the sizes of a preset while somebody watches."""
    settings = {**section_values(settings_of(preset), "model"), "vocab_size": 27}
    return parameter_count(ModelConfig.of(settings)) <= LARGEST_PRESET


def list_of(name: str, documents: Sequence[str]) -> dict[str, Any]:
    """A list of the user, named without the format that it was read from.

    Raises DataError for documents that are not one line each, and for token ids.
    """
    if isinstance(documents, IdDocuments):
        raise DataError(f"play: expected texts, which the page shows, got token ids in {name}")
    for number, document in enumerate(documents, 1):
        if any(sign in document for sign in LINE_BREAKS):
            raise DataError(
                f"play: expected documents of one line each, got a line break in document {number:,} of "
                f"{name}; the page shows one document per line"
            )
    return {"name": FORMATS.sub("", name), "text": "".join(f"{document}\n" for document in documents)}


def run_of(run: Run) -> dict[str, Any]:
    """A trained run: settings, tokenizer, and weights in half precision; not the list that it learned.

    Raises RunFolderError for a damaged run, and UsageError for a tokenizer that the page lacks.
    """
    if run.tokenizer.kind not in TOKENIZERS:
        raise UsageError(
            f"play: expected a run with tokens that are {' or '.join(TOKENIZERS)}, as the page shows texts, "
            f"got {run.tokenizer.kind}; motegpt sample, show and plot take it"
        )
    average = run.folder.average(run.config, run.tokenizer)
    parameters = {name: _array(values, HALF) for name, values in run.parameters().items()}
    return {
        "name": run.name,
        "config": _config(run.config),
        "tokenizer": run.tokenizer.values(),
        "step": _step(run),
        "tensors": parameters,
        "contexts": [_array(keys, "<i8") for keys in run.contexts().keys],
        "kneser_ney": None if average is None else _n_grams(average),
    }


def _step(run: Run) -> int:
    """The step of the weights; without the trainer's state, which has it, the last one recorded."""
    from motegpt.training.fine_tune import step_of

    step = step_of(run.folder, run.config, run.tokenizer, run.checkpoint)
    last = run.records[-1]["step"] if run.records else 0
    return last if step is None else step


def _config(config: RunConfig) -> dict[str, Any]:
    """The settings, and of the data only how many documents they were: a path can name a person.

    The settings that read its file are those of the list in the page, which `list_of` made of any format.
    """
    values = config.without_folders().values()
    form = "stream" if config.data.format == "stream" else "text"
    data = {**values["data"], **READ, "format": form}
    return {**values, "data": data, "source": {"documents": values["source"]["documents"]}}


def _n_grams(average: Average) -> dict[str, Any]:
    """The tables that the core averages with (generation.hpp), and their weight."""
    n_grams = average.kneser_ney
    integers = dict.fromkeys(("children", "first", "starts", "last"), "<u4")
    dtypes = {**integers, "share": SINGLE, "backoff": SINGLE}
    levels = [
        {name: _array(values, dtype) for (name, dtype), values in zip(dtypes.items(), level, strict=True)}
        for level in n_grams.tables()
    ]
    unigrams = _array(n_grams.unigrams, SINGLE)
    return {"order": n_grams.order, "weight": average.weight, "levels": levels, "unigrams": unigrams}


def _array(values: ArrayLike, dtype: str) -> dict[str, Any]:
    """An array as the page reads it; RunFolderError where half precision cannot hold it."""
    import numpy as np

    array = np.asarray(values)
    with np.errstate(over="ignore"):
        stored = array.astype(dtype)
    if dtype == HALF and not np.isfinite(stored).all():
        return _array(values, SINGLE)
    if dtype == SINGLE and not np.isfinite(stored).all():
        raise RunFolderError("play: expected finite weights, got ∞ or NaN; the training diverged")
    data = base64.b64encode(stored.tobytes()).decode()
    return {"dtype": DTYPES[dtype], "shape": list(array.shape), "base64": data}


def _settings() -> list[tuple[str, str, Kind]]:
    """Every setting that users can set: its section, its name and its bounds."""
    return [
        (section, name, replace(kind, choices=CHOICES.get(name, kind.choices)))
        for section, settings in REQUESTS.items()
        for name, kind in kinds(settings).items()
        if name not in FOUND_FROM_DATA
    ]


def _field(section: str, kind: Kind) -> dict[str, Any]:
    """A setting as the page shows and checks it; bounds that it does not have are missing."""
    bounds = {name: getattr(kind, name) for name in ("at_least", "above", "at_most", "below")}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    choices = {"choices": list(kind.choices)} if kind.choices else {}
    optional = {"optional": True} if kind.optional else {}
    optimizers = {"optimizers": list(kind.optimizers)} if kind.optimizers else {}
    about = {"section": section, "type": kind.base.__name__, "help": kind.help, "expected": str(kind)}
    return {**about, **given, **choices, **optional, **optimizers}
