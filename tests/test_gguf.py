"""Export to GGUF: what is in the file, and what is refused. tests/test_llama_cpp.py computes with it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from motegpt import GPT, UsageError
from motegpt.config.presets import settings_of
from motegpt.config.sections import ModelConfig, section_values
from motegpt.data.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer
from motegpt.interchange.gguf import GPT2_FILE, LLAMA_FILE, file_layout, rotated
from motegpt.interchange.gguf_vocabulary import NONCHARACTER, special_ids, vocabulary
from motegpt.model.spec import tensors
from tests.exported import ARCHITECTURES, DOCUMENTS, TOKENIZERS, small_model

EXPORTED = {"gpt2": {}, "llama": {}, "llama, grouped, tied, biases": {}}


@pytest.fixture
def reader():
    return pytest.importorskip("gguf").GGUFReader


def written(reader, path):
    """Metadata and tensors of a file."""
    file = reader(path)
    values = {name: field.contents() for name, field in file.fields.items()}
    return values, {tensor.name: np.array(tensor.data) for tensor in file.tensors}


def test_the_file_of_a_gpt2(reader, tmp_path):
    model = small_model(preset="gpt2", temperature=0.25, top_k=3)
    model.export(tmp_path / "small.gguf", to="gguf")
    values, arrays = written(reader, tmp_path / "small.gguf")
    expected = {
        "general.architecture": "gpt2", "general.name": "small", "general.file_type": 0,
        "general.sampling.temp": 0.25, "general.sampling.top_k": 3, "general.sampling.top_p": 1.0,
        "general.sampling.min_p": 0.0, "gpt2.context_length": 9, "gpt2.embedding_length": 12,
        "gpt2.block_count": 2, "gpt2.feed_forward_length": 48, "gpt2.attention.head_count": 3,
        "gpt2.attention.head_count_kv": 3, "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.bos_token_id": 14, "tokenizer.ggml.eos_token_id": 14,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.tokens": [*"▁-aehilmnoxzéë", "<BOS>"],
        "tokenizer.ggml.token_type": [1] * 14 + [3],
    }  # fmt: skip
    assert {name: values.get(name) for name in expected} == expected
    assert values["gpt2.attention.layer_norm_epsilon"] == pytest.approx(1e-5)
    assert model.config.source.sha256 in values["general.description"]
    ours = {name: array.astype(np.float32) for name, array in model.parameters.items()}
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert sum(array.size for array in arrays.values()) == sum(map(np.size, ours.values()))
    stacked = np.concatenate([ours[f"layer1.attn_w{part}"] for part in "qkv"])
    assert (arrays["blk.1.attn_qkv.weight"] == stacked).all(), "not transposed"
    assert (arrays["position_embd.weight"] == ours["wpe"]).all()
    assert (arrays["blk.0.ffn_down.bias"] == ours["layer0.mlp_fc2_bias"]).all()
    assert "output.weight" not in arrays, "tied"


def test_the_file_of_a_llama(reader, tmp_path):
    model = small_model(preset="llama", bias=True, n_kv_head=1)
    model.export(tmp_path / "small.gguf", to="gguf")
    values, arrays = written(reader, tmp_path / "small.gguf")
    assert values["llama.rope.freq_base"] == 10_000
    assert (values["llama.rope.dimension_count"], values["llama.attention.head_count_kv"]) == (4, 1)
    ours = {name: array.astype(np.float32) for name, array in model.parameters.items()}
    order = [0, 2, 1, 3]  # of the rows of a head
    assert (arrays["blk.0.attn_k.weight"] == ours["layer0.attn_wk"][order]).all()
    assert (arrays["blk.0.attn_k.bias"] == ours["layer0.attn_wk_bias"][order]).all()
    second = slice(4, 8)
    assert (arrays["blk.0.attn_q.weight"][second] == ours["layer0.attn_wq"][second][order]).all()
    assert (arrays["blk.0.attn_v.weight"] == ours["layer0.attn_wv"]).all()
    assert (arrays["output.weight"] == ours["lm_head"]).all()


@pytest.mark.parametrize("preset", ["gpt2", "llama"])
def test_every_parameter_has_a_place(preset):
    layout = {"gpt2": GPT2_FILE, "llama": LLAMA_FILE}[preset]
    model = of_preset(preset, bias=True, tied=False)
    placed = [name for entry in layout.entries(model) for name in entry.tensors]
    assert sorted(placed) == sorted(tensor.name for tensor in tensors(model))


def test_rotated_rows_turn_neighbors():
    rows = np.arange(12, dtype=np.float32)
    assert rotated(rows, 6).tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert (rotated(rows[:, None] * [1, 2], 6)[:, 1] == 2 * rotated(rows, 6)).all()


def of_preset(preset, **changes):
    small = {"n_layer": 1, "n_embd": 12, "n_head": 3, "block_size": 8, "vocab_size": 7}
    return ModelConfig.of({**section_values(settings_of(preset), "model"), **small, **changes})


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        ("microgpt", {}, "norm: expected layer, as in GPT-2, got rms; "),
        ("zeroclaw", {}, "norm: expected layer, "),
        (
            "gpt2",
            {"activation": "gelu"},
            "activation: expected gelu_tanh, as in GPT-2, got gelu; ",
        ),
        ("gpt2", {"bias": False}, "bias: expected true, as in GPT-2, got false; "),
        ("gpt2", {"position": "none"}, "position: expected learned, "),
        ("gpt2", {"qk_norm": True}, "qk_norm: expected false, "),
        ("llama", {"activation": "gelu_tanh"}, "activation: expected swiglu, as in Llama, "),
        ("llama", {"embedding_norm": True}, "embedding_norm: expected false, "),
        ("llama", {"ngram_orders": 3, "ngram_rows": (4, 2)}, "ngram_orders: expected none, .* got 3; "),
    ],
)
def test_other_architectures_are_refused(preset, changes, message):
    with pytest.raises(UsageError, match=f"^{message}.*train with `preset='llama'`"):
        file_layout(of_preset(preset, **changes))


TAUGHT = {kind: settings for kind, settings in TOKENIZERS.items() if kind in ("bpe", "words", "regex")}


@pytest.mark.parametrize("kind", TAUGHT)
def test_other_tokenizers_are_refused(kind):
    settings = {name: value for name, value in TAUGHT[kind].items() if name != "tokenizer"}
    with pytest.raises(UsageError, match=f"tokenizer: expected characters, bytes or .*, got {kind}, "):
        vocabulary(Tokenizer.of(DOCUMENTS, "bos", kind, **settings))


@pytest.mark.parametrize(
    ("characters", "framing", "named"),
    [("a▁", "bos", "without '▁', which .* for a space"), ("\0a", "bos", "for the end of a token"),
     ("aé", "none", "ASCII characters in a stream, got 'é'")],
)  # fmt: skip
def test_alphabets_that_llama_cpp_changes_are_refused(characters, framing, named):
    with pytest.raises(UsageError, match=named):
        vocabulary(CharacterTokenizer(characters, framing))


def test_no_text_contains_the_name_of_a_special_token():
    assert special_ids(CharacterTokenizer("abc", "bos_eos")) == {0: "<BOS>", 1: "<EOS>"}
    assert special_ids(CharacterTokenizer("<BOS>", "bos")) == {5: f"{NONCHARACTER}<BOS>"}
    assert special_ids(ByteTokenizer("bos")) == {256: f"{NONCHARACTER}<BOS>"}


def test_the_command(motegpt, tmp_path, reader):
    run, out = str(tmp_path / "run"), tmp_path / "a b" / "small.gguf"
    small_model(preset="llama").save(run)
    ended = motegpt("export", run, "--to", "gguf", "--out", str(out))
    assert (ended.code, ended.out) == (0, f"{out}: llama, 3,876 parameters, float32\n")
    before = out.read_bytes()
    ended = motegpt("export", run, "--to", "gguf", "--out", str(out))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "already exists" in ended.err
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["small.gguf"]
    small_model(preset="microgpt").save(tmp_path / "other")
    ended = motegpt("export", str(tmp_path / "other"), "--to", "gguf", "--out", str(tmp_path / "x.gguf"))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "norm: expected layer" in ended.err
    assert "--preset llama" in ended.err
    assert not (tmp_path / "x.gguf").exists()


def test_a_name_that_is_no_text(tmp_path, reader):
    path = tmp_path / "\udcff.gguf"  # a byte that is not UTF-8
    small_model(preset="gpt2").export(path, to="gguf")
    assert written(reader, path)[0]["general.name"] == "?"


def test_a_folder_is_not_replaced(tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"out: .*empty"):
        small_model(preset="gpt2").export(tmp_path / "empty", to="gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_what_is_left_out_is_said_with_its_cost(tmp_path, motegpt, reader):
    GPT.train(
        [f"{a}n{b}n{c}" for a in "abcdefgh" for b in "aeiou" for c in "xyzst"], preset="llama", steps=3,
        n_layer=1, n_embd=8, n_head=2, block_size=8, engine="array", out=tmp_path / "run", kneser_ney=3,
        kneser_ney_weight=0.25, warmup_steps=0,
    )  # fmt: skip
    ended = motegpt("export", str(tmp_path / "run"), "--to", "gguf", "--out", str(tmp_path / "out.gguf"))
    assert "Kneser-Ney n-grams of up to 3 tokens have a share of 0.25" in ended.err


def test_without_the_library(tmp_path):
    """One line that says how to install it, and nothing is written."""
    model = small_model(preset="llama")
    model.save(tmp_path / "run")
    program = "import sys; sys.modules['gguf'] = None; from motegpt.cli import main; main(sys.argv[1:])"
    words = ["export", "run", "--to", "gguf", "--out", "out.gguf"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "export to gguf" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_architectures_of_the_tests_are_covered():
    """Which of the architectures that are exported elsewhere can be a GGUF."""
    fitting = set()
    for name, (_, settings) in ARCHITECTURES.items():
        changes = {key: value for key, value in settings.items() if key in ModelConfig.__dataclass_fields__}
        try:
            file_layout(of_preset(settings["preset"], **changes))
        except UsageError:
            continue
        fitting.add(name)
    assert fitting == {"gpt2", "llama", "llama, grouped, tied, biases"}


@pytest.mark.parametrize("layout", [GPT2_FILE, LLAMA_FILE], ids=lambda layout: layout.name)
def test_the_page_has_the_tables(layout):
    page = (Path(__file__).parents[1] / "docs" / "interchange.md").read_text("utf-8")
    rows = [
        f"| {', '.join(f'`{part}`' for part in module.parts)} | `{module.name}` | ".replace("{i}", "N")
        for module in layout.modules
    ]
    rows += [f"| `{key.setting}` | `{key.name}` | " for key in layout.keys]
    assert [row for row in rows if row not in page] == []
