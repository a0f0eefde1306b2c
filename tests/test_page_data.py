"""The page's tensors, documents, token ids, batches and baselines are those of Python."""

from __future__ import annotations

import base64
import hashlib
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from motegpt.config.fields import kinds
from motegpt.config.presets import PRESETS, settings_of
from motegpt.config.sections import DataConfig, ModelConfig, TrainConfig, section_values
from motegpt.data.corpus import built_in_names, corpus_in
from motegpt.data.plan import plan_of
from motegpt.data.split import split
from motegpt.data.tokenizers import Tokenizer
from motegpt.errors import DataError, SettingError
from motegpt.evaluation.nll import never_target
from motegpt.evaluation.windows import windows_of
from motegpt.generation.request import prompt_of
from motegpt.model.rng import RunRng
from motegpt.model.spec import initialize, tensors
from motegpt.ngrams.counts import baselines
from tests.page_node import needs_node, run_script

pytestmark = needs_node


def run_cases(name: str, values: list[Any]) -> list[Any]:
    """What the page makes of each value."""
    return run_script("data", [[name, value] for value in values])


def models() -> list[ModelConfig]:
    """The models of the presets, and of each many with random choices."""
    fields, random, found = kinds(ModelConfig), Random(1), []
    axes: dict[str, tuple[Any, ...]] = {
        "n_layer": (1, 2, 5), "ngram_rows": ((), (7,), (5, 3)), "n_head": (2, 4), "n_kv_head": (None, 1, 2),
        "n_hidden": (None, 1, 50), "n_embd": (8, 16, 40),
    }  # fmt: skip
    for name, kind in fields.items():
        if kind.choices or kind.base is bool:
            axes[name] = kind.choices or (False, True)
    for preset in PRESETS:
        base = {**section_values(settings_of(preset), "model"), "vocab_size": 28, "ngram_orders": 3}
        found.append(ModelConfig.of(base))
        while len(found) % 40:
            chosen = {name: random.choice(values) for name, values in axes.items()}
            with suppress(SettingError):  # settings that contradict each other
                found.append(ModelConfig.of({**base, **chosen}))
    return found


class CountingRng(RunRng):
    """Numbers that show only the order in which they were asked for."""

    name = "counting"
    drawn = 0

    def gauss(self, mean: float, std: float) -> float:
        self.drawn += 1
        return mean + std * self.drawn

    def _compiled(self) -> None:
        """There is no compiled one."""

    uniform = state = restore = None  # type: ignore[assignment]


def test_tensors_of_every_model() -> None:
    answers = run_cases("tensors", [one.values() for one in models()])
    for model, found in zip(models(), answers, strict=True):
        offset = 0
        for tensor, one in zip(tensors(model), found, strict=True):
            expected = {
                "name": tensor.name, "shape": list(tensor.shape), "role": tensor.role.value,
                "size": tensor.size, "group": tensor.group, "offset": offset,
                "init": [tensor.init.mean, tensor.init.std],
                "products": tensor.products, "product": bool(tensor.products), "decayed": tensor.decayed,
            }  # fmt: skip
            assert one == expected
            offset += tensor.size


def test_initialization_asks_the_generator_in_the_same_order() -> None:
    some = models()[::17]
    for model, found in zip(some, run_cases("initialize", [one.values() for one in some]), strict=True):
        expected = [x for values in initialize(model, CountingRng()).values() for x in values]
        assert found == expected


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000])
def test_hashes(size: int) -> None:
    data = bytes(i * 7 % 256 for i in range(size))
    (found,) = run_cases("hashes", [base64.b64encode(data).decode()])
    assert found == {"sha256": hashlib.sha256(data).hexdigest(), "crc32": zlib.crc32(data)}


NASTY = [
    b"anna\nida\n", b"anna\r\nida\rzoe", b"\xef\xbb\xbfanna\nida", b"\n\n  anna  \n\t\n ida\x1c\x1f\n",
    "\u00a0zoë\u2003\n\u3000ida\x85\n\ufeffeva\u2028x\n".encode(), "e\u0301va\n\u00e9va\n\ufb01n".encode(),
    "\U0001f600 smile\n\U00010400\n\uffee\n".encode(), b"anna\n\nanna\nida\nanna", b"anna", b"\x0banna\x0c\n",
    "a\u180eb\n\u180e\n\u200bx\u200b\n".encode(),
]  # fmt: skip
READINGS: list[dict[str, Any]] = [
    {}, {"normalize": "nfc"}, {"normalize": "nfkc"}, {"deduplicate": True}, {"format": "text"},
    {"format": "stream"}, {"format": "stream", "normalize": "nfc"},
]  # fmt: skip


def data_config(**changes: Any) -> DataConfig:
    return DataConfig.of({**section_values(settings_of("microgpt"), "data"), **changes})


def test_documents_of_nasty_files() -> None:
    cases = [(data, data_config(**reading)) for data in NASTY for reading in READINGS]
    given = [{"base64": base64.b64encode(data).decode(), "data": config.values()} for data, config in cases]
    for (data, config), found in zip(cases, run_cases("documents", given), strict=True):
        assert found == list(corpus_in({Path("list"): data}, config).documents), (data, config)


REFUSED = [
    b"", b"\n \n", b"\xff\xfeanna", b"a\0b", b"caf\xe9\n", b'{"name": "anna"}\n', b'[\n  "anna"\n]',
    b"[1, 2]",
    b'["anna",\n"ida"]',
]  # fmt: skip


def test_refused_files() -> None:
    given = [{"base64": base64.b64encode(data).decode(), "data": data_config().values()} for data in REFUSED]
    for data, found in zip(REFUSED, run_cases("documents", given), strict=True):
        with pytest.raises(DataError):
            corpus_in({Path("list"): data}, data_config())
        assert found["error"].startswith("list: expected "), data


def test_text_that_only_looks_like_json_is_read() -> None:
    data = b"[anna]\n{ida}\n"
    given = [{"base64": base64.b64encode(data).decode(), "data": data_config().values()}]
    assert run_cases("documents", given) == [list(corpus_in({Path("list"): data}, data_config()).documents)]


TEXTS = ["anna", "zoë", "\U0001f600a", "\uffee", "a b", "\u00e9\U00010400"]


@pytest.mark.parametrize("kind", ["characters", "bytes"])
@pytest.mark.parametrize("framing", ["bos", "bos_eos", "none"])
def test_tokenizers(framing: str, kind: str) -> None:
    stream = {"format": "stream"} if framing == "none" else {}
    data = data_config(framing=framing, tokenizer=kind, **stream)
    (found,) = run_cases("learn", [{"documents": TEXTS, "data": data.values()}])
    check_tokenizer(found, Tokenizer.of(TEXTS, framing, kind))


@pytest.mark.parametrize("framing", ["bos", "bos_eos", "none"])
def test_tokenizers_with_appended_characters(framing: str) -> None:
    tokenizer = Tokenizer.of(TEXTS[:2], framing).extended("\U0001f600\uffee b\u00e9\U00010400")
    (found,) = run_cases("learn", [{"documents": TEXTS, "values": tokenizer.values()}])
    check_tokenizer(found, tokenizer)


def check_tokenizer(found: dict[str, Any], tokenizer: Tokenizer) -> None:
    specials = [[one] if one is not None else [] for one in (tokenizer.bos, tokenizer.stop)]
    ids = [[*specials[0], *tokenizer.encode(text), *specials[1]] for text in TEXTS]
    assert found == {
        "values": tokenizer.values(), "ids": ids, "texts": [tokenizer.decode(one) for one in ids],
        "bos": tokenizer.bos, "stop": tokenizer.stop, "vocab_size": tokenizer.vocab_size,
        "never": never_target(tokenizer), "prompt": prompt_of("", tokenizer),
    }  # fmt: skip


def test_one_character_is_no_vocabulary() -> None:
    (found,) = run_cases("learn", [{"documents": ["aa", "a"], "data": data_config().values()}])
    with pytest.raises(DataError) as error:
        Tokenizer.of(["aa", "a"], "bos")
    assert found["error"].split(" (")[0] == str(error.value).split(" (")[0]


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.1, 0.25, 0.99])
@pytest.mark.parametrize(("seed", "split_seed"), [(0, None), (42, None), (42, 0), (2**40, 2**53 - 1)])
def test_split(fraction: float, seed: int, split_seed: int | None) -> None:
    names = [*built_in_names().decode().split(), "anna", "anna", "zoë"]
    for form, documents in ((None, names), ("stream", [" ".join(names)])):
        data = data_config(val_fraction=fraction, format=form, split_seed=split_seed)
        (found,) = run_cases("split", [{"documents": documents, "data": data.values(), "seed": seed}])
        training, held_out = split(documents, data, seed)
        assert found == {"training": list(training), "validation": list(held_out)}


@pytest.mark.parametrize("loss_mean", ["documents", "tokens"])
@pytest.mark.parametrize("cut", ["targets", "tokens"])
@pytest.mark.parametrize("batch_size", [1, 3, 250])
def test_batches(batch_size: int, cut: str, loss_mean: str) -> None:
    names = built_in_names().decode().split()
    settings = {**settings_of("microgpt"), "batch_size": batch_size, "loss_mean": loss_mean, "cut": cut}
    data = DataConfig.of(section_values(settings, "data"))
    train = TrainConfig.of(section_values(settings, "train"))
    order = list(reversed(range(len(names))))
    spans = [(0, 1), (0, 40), (95, 10), (1234, 3)]
    given = {
        "documents": names, "data": data.values(), "train": train.values(), "blockSize": 5, "order": order,
        "spans": spans,
    }  # fmt: skip
    plan = plan_of(names, Tokenizer.of(names, data.framing), data, train, 5, order)
    for (start, count), found in zip(spans, run_cases("chunks", [given])[0], strict=True):
        chunk, at = plan.chunk(start, count), 0
        assert found["before"] == plan.tokens(0, start)
        assert found["weights"] == chunk.weights.tolist()
        for begin, length in zip(chunk.starts.ravel(), chunk.lengths.ravel(), strict=True):
            assert found["tokens"][at : at + length] == chunk.tokens[begin : begin + length].tolist()
            at += length
        assert found["offsets"][-1] == at == len(found["tokens"])


def test_windows() -> None:
    cases = [(targets, block) for targets in (0, 1, 7, 8, 9, 40) for block in (2, 3, 8)]
    found = run_cases("windows", [list(case) for case in cases])
    assert found == [[list(window) for window in windows_of(*case)] for case in cases]


@pytest.mark.parametrize("loss_mean", ["documents", "tokens"])
@pytest.mark.parametrize("framing", ["bos", "bos_eos"])
def test_baselines(framing: str, loss_mean: str) -> None:
    names = built_in_names().decode().split()
    tokenizer = Tokenizer.of(names, framing)
    training, evaluated = (
        [list(one) for one in tokenizer.encode_documents(part)] for part in (names[:70], names[60:])
    )
    given = {
        "training": training, "evaluated": evaluated, "vocabSize": tokenizer.vocab_size,
        "lossMean": loss_mean, "never": never_target(tokenizer),
    }  # fmt: skip
    (found,) = run_cases("baselines", [given])
    expected = baselines(training, evaluated, tokenizer.vocab_size, loss_mean, never_target(tokenizer))
    assert found == {name: pytest.approx(expected[name], abs=1e-12) for name in found}
    assert list(found) == ["uniform", "unigram", "bigram", "trigram"]
