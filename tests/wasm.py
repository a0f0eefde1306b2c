"""The core as WebAssembly, run by node and used from Python: its objects, and an engine over them."""

from __future__ import annotations

import base64
import json
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from motegpt.data.batches import Batch, Chunk
from motegpt.data.plan import Plan
from motegpt.engines.base import Decoder, Engine, Snapshot, check_sources
from motegpt.generation.request import Request
from motegpt.model.rng import Stream
from motegpt.model.spec import check_names_match, check_shape, named_views, tensors
from motegpt.ngrams.average import Average
from motegpt.ngrams.kneser_ney import KneserNey
from motegpt.optim.base import table_decay
from tests.page_node import NEEDED, NODE, SCRIPTS

SERVER = SCRIPTS / "core.mjs"
TYPES = {
    "Float32Array": np.float32, "Float64Array": np.float64, "Int32Array": np.int32, "Uint8Array": np.uint8,
    "Uint32Array": np.uint32, "BigUint64Array": np.uint64,
}  # fmt: skip
FORGOTTEN: list[int] = []  # objects of JavaScript that Python no longer has
NAMES = {np.dtype(dtype): name for name, dtype in TYPES.items()}
SHAPE = (
    "vocab_size", "block_size", "n_layer", "n_embd", "n_head", "bias", "embedding_norm", "activation", "norm",
    "norm_gain", "norm_bias", "final_norm", "norm_eps", "position", "rope_base", "qk_norm",
)  # fmt: skip


class JavaScriptError(Exception):
    """An Error that JavaScript threw."""


class Remote:
    """An object of JavaScript; its methods and properties, called with their names in JavaScript."""

    def __init__(self, number: int) -> None:
        self.number = number
        if number > 0:
            weakref.finalize(self, FORGOTTEN.append, number)  # freed with the next request

    def call(self, name: str, *given: Any) -> Any:
        """A method's result, or a property."""
        return _ask(self.number, name, given)


@cache
def server() -> subprocess.Popen[str]:
    """The process that serves this one."""
    assert NODE is not None, NEEDED
    return subprocess.Popen(
        [NODE, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


def core() -> Remote:
    """The core itself, object 0."""
    return Remote(0)


def _ask(number: int, name: str, given: Sequence[Any]) -> Any:
    process = server()
    assert process.stdin is not None
    assert process.stdout is not None
    request = {"on": number, "call": name, "given": given, "forget": [FORGOTTEN.pop() for _ in FORGOTTEN[:]]}
    process.stdin.write(json.dumps(request, default=_encoded) + "\n")
    process.stdin.flush()
    reply = json.loads(process.stdout.readline(), object_hook=_decoded)
    if "error" in reply:
        raise JavaScriptError(reply["error"])
    return reply.get("value")


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"type": NAMES[value.dtype], "base64": base64.b64encode(value.tobytes()).decode()}
    if isinstance(value, Remote):
        return {"object": value.number}
    raise TypeError(f"not for JavaScript: {value!r}")


def _decoded(value: dict[str, Any]) -> Any:
    if "base64" in value:
        return np.frombuffer(base64.b64decode(value["base64"]), TYPES[value["type"]]).copy()
    if "object" in value:
        return Remote(value["object"])
    if "bigint" in value:
        return int(value["bigint"])
    return value


def batch_of(chunk: Chunk) -> dict[str, Any]:
    """The sequences of a chunk as core.js takes them."""
    starts, lengths = chunk.starts.ravel(), chunk.lengths.ravel()
    parts = [chunk.tokens[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    return {
        "tokens": np.concatenate(parts).astype(np.int32) if parts else np.zeros(0, np.int32),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        "weights": np.asarray(chunk.weights, np.float64),
    }


def specification(model: Any, contexts: Any = None) -> dict[str, Any]:
    """A ModelConfig, its tensors and the keys of its contexts as core.js takes them."""
    return {
        "shape": {name: getattr(model, name) for name in SHAPE}
        | {"n_kv_head": model.kv_heads, "n_hidden": model.mlp_size},
        "tensors": [
            {"name": one.name, "shape": one.shape, "product": one.products > 0, "decayed": one.decayed}
            for one in tensors(model)
        ],
        "contexts": [np.asarray(keys, np.float64) for keys in (contexts.keys if contexts else ())],
    }


def n_grams(kneser_ney: KneserNey) -> Remote:
    """The tables of Kneser-Ney n-grams in JavaScript."""
    names = {"children": np.float64, "first": np.int32, "starts": np.float64, "last": np.int32,
             "share": np.float64, "backoff": np.float64}  # fmt: skip
    levels = [
        {name: np.asarray(x, dtype) for (name, dtype), x in zip(names.items(), level, strict=True)}
        for level in kneser_ney.tables()
    ]
    return core().call("nGrams", {"levels": levels, "unigrams": np.asarray(kneser_ney.unigrams, np.float64)})


class WasmEngine(Engine):
    """The engine interface over core.js, for the tests that compare engines."""

    name = "wasm"
    dtypes = ("float32", "float64")

    def __init__(self, model: Any, train: Any, contexts: Any = None) -> None:
        super().__init__(model, train, contexts)
        options = {"dtype": train.dtype, "optimizer": train.optimizer}
        self.remote = core().call("model", specification(model, self.contexts), options)

    def _load(self, parameters: Any, slots: Any) -> None:
        flat = [self._flat(values) for values in slots or ()]
        self.remote.call("load", self._flat(parameters), np.concatenate(flat) if flat else None)

    def _flat(self, values: Mapping[str, Any]) -> Any:
        check_names_match(values, self.model, "load")
        for one in tensors(self.model):
            check_shape(one, np.shape(values[one.name]), "load")
        return np.concatenate(
            [np.ravel(np.asarray(values[one.name], self.settings.dtype)) for one in tensors(self.model)]
        )

    def export(self) -> Snapshot:
        slots = np.split(self.remote.call("slots"), len(self.optimizer.slots))
        return self._snapshot(self._named(self.remote.call("parameters")), list(map(self._named, slots)))

    def _named(self, flat: Any) -> dict[str, Any]:
        return named_views(flat, self.model)

    def logits(self, batch: Batch) -> list[Any]:
        flat = self.remote.call("logits", batch_of(Chunk.of([batch]))).reshape(-1, self.model.vocab_size)
        return np.split(flat, np.cumsum([len(row) for row in batch.inputs])[:-1])

    def gradients(self, batch: Batch, step: int | None = None) -> tuple[float, dict[str, Any]]:
        options = {"clip_node": self.settings.clip_node, "seed": self.settings.seed, "first": step or 0}
        if step is not None:
            options |= {"dropout": self.settings.dropout, "ngram_dropout": self.settings.ngram_dropout}
        found = self.remote.call("gradients", batch_of(Chunk.of([batch])), len(batch.inputs), options)
        return found["loss"], self._named(found["gradient"])

    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        chunk, train = plan.chunk(start, count), self.settings
        options = {name: getattr(train, name) for name in (
            "clip_node", "clip_value", "clip_norm", "seed", "dropout", "ngram_dropout")}  # fmt: skip
        options["first"] = start
        if self.contexts.keys:
            options["table_decay"] = np.array([table_decay(train, start + i) for i in range(count)])
        scalars = np.asarray(self.optimizer.chunk(train, start, count), np.float64)
        losses = self.remote.call(
            "train", batch_of(chunk), count, chunk.starts.shape[1], scalars.ravel(), options
        )
        return losses.tolist()

    def generate(
        self, request: Request, rngs: Sequence[Stream], average: Average | None = None
    ) -> list[list[int]]:
        given = {
            "prompt": request.prompt, "max": request.max_new_tokens, "min": request.min_new_tokens,
            "prefix": request.n_prefix_tokens, "end": request.end, "stop": request.stop,
            "masked": list(request.masked), "temperature": request.filters.temperature, **request.filters.on,
        }  # fmt: skip
        if average is not None:
            given["n_grams"] = {"tables": n_grams(average.kneser_ney), "weight": average.weight}
        found: list[list[int]] = self.remote.call(
            "generate", given, np.array([rng.number for rng in rngs], np.uint64)
        )
        return found

    def decoder(self, n: int) -> WasmDecoder:
        return WasmDecoder(self.remote, n)


class WasmDecoder(Decoder):
    """The decoder interface over core.js."""

    def __init__(self, model: Remote, n: int) -> None:
        self._model, self._remote, self._n = model, model.call("decoder", n), n

    def feed(self, ids: Sequence[int]) -> Any:
        try:
            return self._remote.call("feed", list(ids)).reshape(self._n, -1)
        except JavaScriptError as error:
            raise ValueError(error) from None

    def reorder(self, sources: Sequence[int]) -> None:
        check_sources(sources, self._n)
        self._remote.call("reorder", list(sources))

    def reset(self) -> None:
        self._remote.call("reset")
