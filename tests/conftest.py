"""Shared by tests: reference runs, small problems, and the command line in this process."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest

from motegpt.cli import main
from motegpt.config.presets import expected_settings, settings_of
from motegpt.config.sections import (
    FOUND_FROM_DATA,
    ModelConfig,
    TrainConfig,
    model_and_training,
    section_of,
)
from motegpt.data.batches import Batch
from motegpt.engines import ENGINES, engine_class, fresh_engine, why_unavailable
from motegpt.engines.base import Engine
from motegpt.engines.node_clip import SIZES, TRAINING
from motegpt.model.rng import make_rng
from motegpt.model.spec import initialize, tensors
from motegpt.ngrams.contexts import Contexts
from tests import browser
from tests.page_node import NODE

hypothesis.settings.register_profile("motegpt", deadline=None)  # other work must not make a test fail
hypothesis.settings.load_profile("motegpt")

ENGINES_HERE = [name for name in ENGINES if why_unavailable(name) is None]
WASM_HERE = ["wasm"] if NODE else []  # where node can run the core of the page
REFERENCE = Path(__file__).parent / "reference"
VOCABULARY = 6
OF_OXIDIZED = {  # required by clip_node
    name: value
    for name, value in expected_settings("oxidized").items()
    if (section_of(name) == "model" and name not in SIZES | FOUND_FROM_DATA) or name in TRAINING
}
ARCHITECTURES = {  # beside today's: arguments of small_settings
    "gpt2": {"preset": "gpt2", "n_layer": 2},
    "llama": {"preset": "llama", "n_layer": 2, "n_head": 4, "n_kv_head": 2, "rope_base": 100.0},
    "layer": {
        "norm": "layer", "norm_bias": True, "n_layer": 2, "n_head": 4, "n_kv_head": 1, "qk_norm": True,
        "activation": "gelu", "final_norm": True, "position": "rope",
    },
    "rms": {"norm_gain": True, "norm_bias": True, "bias": True, "n_hidden": 5, "activation": "swiglu"},
    "none": {"norm": "none", "position": "none", "embedding_norm": False, "n_layer": 2, "n_hidden": 12},
}  # fmt: skip


@pytest.fixture(scope="session")
def names_txt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public list of 32,033 names."""
    path = tmp_path_factory.mktemp("public") / "names.txt"
    path.write_bytes(gzip.decompress((REFERENCE / "names.txt.gz").read_bytes()))
    return path


@pytest.fixture(scope="session")
def microgpt_reference() -> dict[str, Any]:
    """Losses and samples of the pure-Python microgpt, seed 42."""
    return reference_run("microgpt")


@pytest.fixture(scope="session")
def zeroclaw_reference() -> dict[str, Any]:
    """Losses and samples of zeroclawgpt, seed 42."""
    return reference_run("zeroclaw")


def reference_run(program: str) -> dict[str, Any]:
    """A run of a reference program with seed 42; see tests/reference/README.md."""
    return json.loads((REFERENCE / f"{program}_seed42.json").read_text())


class Ended(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def motegpt(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """Run a command line in this process, in an empty folder; see with_preset."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            main(with_preset([str(word) for word in words]))
        return Ended(int(ending.value.code or 0), *capsys.readouterr())

    return run


def with_preset(words: list[str]) -> list[str]:
    """The words of a command line, with a preset if it trains and names none."""
    named = {"--preset", "--resume", "--config", "--help"} & {word.partition("=")[0] for word in words}
    return ["train", "--preset", "microgpt", *words[1:]] if words[:1] == ["train"] and not named else words


def small_settings(preset: str = "microgpt", **changes: Any) -> dict[str, Any]:
    """A small version of a preset in double precision, without zero initialization."""
    small = {
        "n_embd": 8,
        "n_head": 2,
        "block_size": 6,
        "dtype": "float64",
        "zero_init": False,
        "init_std": 0.3,
    }
    return {**settings_of(preset), **small, **changes}


def small_engine(name: str, settings: dict[str, Any], vocab_size: int = VOCABULARY) -> Engine:
    """An engine with fresh parameters; the same settings give the same ones on every engine."""
    return engine_named(name, *model_and_training(settings, vocab_size))


def engine_named(
    name: str, model: ModelConfig, train: TrainConfig, contexts: Contexts | None = None
) -> Engine:
    """As fresh_engine; name: an engine, or "wasm", the core as WebAssembly."""
    if name != "wasm":
        return fresh_engine(name, model, train, contexts)
    from tests.wasm import WasmEngine

    engine = WasmEngine(model, train, contexts)
    engine.load(initialize(model, make_rng(train.rng, train.seed)))
    return engine


def engine_that_says(
    logits: Sequence[float], name: str = "array", dtype: str = "float64", block_size: int = 4, **settings: Any
) -> Engine:
    """An engine whose logits are these numbers for every input.

    The embedding is 1, the layer adds nothing, and the head multiplies by the numbers.
    """
    import numpy as np

    chosen = {"n_embd": 1, "n_head": 1, "embedding_norm": False, "block_size": block_size, "dtype": dtype}
    model, train = model_and_training(small_settings(**chosen, **settings), len(logits))
    engine = engine_class(name)(model, train)
    values = {one.name: np.zeros(one.shape) for one in tensors(model)}
    values["wte"][:] = 1.0
    values["lm_head"][:, 0] = logits
    engine.load(values)
    return engine


def random_sequences(seed: int, count: int, longest: int, vocab_size: int = VOCABULARY) -> list[list[int]]:
    """Ragged token sequences with 1 … longest inputs; the first is the longest."""
    chance = random.Random(seed)
    lengths = [longest, *(chance.randint(1, longest) for _ in range(count - 1))]
    return [[chance.randrange(vocab_size) for _ in range(n + 1)] for n in lengths]


def random_batch(seed: int, count: int = 3, longest: int = 6, loss_mean: str = "documents") -> Batch:
    """A ragged batch."""
    return Batch.of(random_sequences(seed, count, longest), loss_mean)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser, one per process of the tests; skips where there is none."""
    with browser.launched() as running:
        yield running


@pytest.fixture(scope="session")
def page_html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the built-in lists, as a file."""
    from motegpt.page.boot import boot
    from motegpt.page.document import build_page

    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(build_page(boot()), encoding="utf-8")
    return path


@pytest.fixture
def open_page(chromium: Any, page_html: Path) -> Iterator[browser.Open]:
    """Opens the page in a tab; at the end no tab may have reported an error or used the network."""
    tabs = browser.Tabs(chromium, page_html)
    yield tabs.open
    tabs.close()
