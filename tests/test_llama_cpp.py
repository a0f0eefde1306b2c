"""Exported GGUF files in llama.cpp: the same probabilities, the same greedy text, the same ids."""

from pathlib import Path

import numpy as np
import pytest

from motegpt import GPT, UsageError
from motegpt.engines import why_unavailable
from tests.exported import DOCUMENTS, small_model
from tests.transcripts import checked

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
from tests.llama_cpp import LlamaCpp

# Of log-probabilities. llama.cpp computes in single precision, and looks the GELU up in a table of numbers in
# half precision.
TOLERANCES = {"gpt2": 2e-3, "llama": 5e-6}
MODELS = {
    "gpt2": {},
    "gpt2, untied, grouped, narrow": {"tied": False, "n_kv_head": 1, "n_hidden": 10},
    "gpt2, bos_eos": {"framing": "bos_eos"},
    "gpt2, bytes": {"tokenizer": "bytes", "block_size": 16},
    "llama": {},
    "llama, grouped, tied, biases": {"n_kv_head": 1, "tied": True, "bias": True, "rope_base": 300.0},
    "llama, bytes, bos_eos": {"tokenizer": "bytes", "block_size": 16, "framing": "bos_eos"},
    "llama, bytes of a stream": {"tokenizer": "bytes", "format": "stream", "block_size": 16},
}


@pytest.fixture(params=MODELS)
def pair(request, tmp_path):
    """The layout, a model, and its file in llama.cpp."""
    preset = request.param.partition(",")[0]
    model = small_model(preset=preset, **MODELS[request.param])
    model.export(tmp_path / "model.gguf", to="gguf")
    return preset, model, LlamaCpp(tmp_path / "model.gguf")


def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def test_the_same_model(pair):
    """Texts and lists of ids give the same, so texts have the same ids."""
    layout, model, llama = pair
    bos, size, forced = model.tokenizer.bos, model.tokenizer.vocab_size, model.tokenizer.encode("a")[0]
    for text in ("", "an", "nan", "émi", "x -a"):
        ids = [*([] if bos is None else [bos]), *model.tokenizer.encode(text)]
        if not ids:
            continue
        expected = log_softmax(model.logits(text)[-1])
        for prompt in (text or ids, ids):
            got = llama.log_probabilities(prompt, size, forced)
            np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCES[layout], err_msg=text)
        assert (
            text + llama.greedy(text or ids, 4)
            == model.generate(1, temperature=0, prefix=text, max_new_tokens=4)[0]
        )


@pytest.mark.slow
@pytest.mark.parametrize("preset", TOLERANCES)
def test_a_model_trained_on_names(preset, names_txt, tmp_path):
    """Trained with the native engine, where it was built; every greedy text is the same to its end."""
    engine = "native" if why_unavailable("native") is None else "array"
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 4, "block_size": 16}
    training = {"steps": 150, "batch_size": 32, "lr": 3e-3, "warmup_steps": 10}
    model = GPT.train(names_txt, preset=preset, engine=engine, progress=False, **sizes, **training)
    model.export(tmp_path / "names.gguf", to="gguf")
    llama = LlamaCpp(tmp_path / "names.gguf")
    for letter in "abcdefghijklmnopqrstuvwxyz":
        expected = log_softmax(model.logits(letter)[-1])
        got = llama.log_probabilities(letter, model.tokenizer.vocab_size, 0)
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCES[preset], err_msg=letter)
        assert (
            letter + llama.greedy(letter, 12)
            == model.generate(1, temperature=0, prefix=letter, max_new_tokens=12)[0]
        )


def test_a_tokenizer_file_like_that_of_gpt2(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    library.train_from_iterator(DOCUMENTS * 9, tokenizers.trainers.BpeTrainer(
        vocab_size=290, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    ))  # fmt: skip
    library.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer": "file", "tokenizer_file": str(tmp_path / "tokenizer.json"), "block_size": 40}
    model = small_model(preset="llama", **settings)
    model.export(tmp_path / "model.gguf", to="gguf")
    llama, size = LlamaCpp(tmp_path / "model.gguf"), model.tokenizer.vocab_size
    for text in ("hanna", "anna émile", "x-an  ana, na!", "Don't  \n 12 ▁ 日本 é<BOS>"):
        expected = log_softmax(model.logits(text)[-1])
        got = llama.log_probabilities(text, size, model.tokenizer.encode("a")[0])
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCES["llama"], err_msg=text)
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UsageError, match="or a file like GPT-2's, got file, "):
        small_model(preset="llama", **settings).export(tmp_path / "other.gguf", to="gguf")


def test_any_character(tmp_path):
    """Line breaks, tabs, combining marks, and characters beyond 16 bits, as text and as ids."""
    documents = ["a\nb\tc", "😀e\u0301 <|x|>", "\x7f\u200d\x85a", "[0]  (a)"]
    model = small_model(preset="llama", documents=documents, block_size=12)
    model.export(tmp_path / "model.gguf", to="gguf")
    llama, size = LlamaCpp(tmp_path / "model.gguf"), model.tokenizer.vocab_size
    for text in documents:
        expected = log_softmax(model.logits(text)[-1])
        got = llama.log_probabilities(text, size, model.tokenizer.encode("a")[0])
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCES["llama"], err_msg=text)


def test_special_tokens_are_not_found_in_texts(tmp_path):
    model = GPT.train(["<BOS>", "BOS", "a<b>"], preset="llama", n_layer=1, n_embd=8, n_head=2, block_size=12,
                      steps=1, warmup_steps=0, engine="array", progress=False)  # fmt: skip
    model.export(tmp_path / "model.gguf", to="gguf")
    assert LlamaCpp(tmp_path / "model.gguf").tokens("<BOS>") == 1 + len("<BOS>")


def test_unknown_characters_are_errors(tmp_path):
    small_model(preset="llama").export(tmp_path / "model.gguf", to="gguf")
    llama = LlamaCpp(tmp_path / "model.gguf")
    for text in ("q", "è", "n\nn"):
        with pytest.raises(ValueError, match="_Map_base::at"):
            llama.greedy(text, 1)
    assert llama.greedy("an", 2), "it goes on"


def test_the_run_samples_there_as_here(tmp_path):
    model = small_model(preset="llama", temperature=0.0)
    model.export(tmp_path / "model.gguf", to="gguf")
    llama = LlamaCpp(tmp_path / "model.gguf")
    found = {llama.complete("an", n_predict=4)["choices"][0]["text"] for _ in range(4)}
    assert {f"an{text}" for text in found} == {
        model.generate(1, prefix="an", temperature=0, max_new_tokens=4)[0]
    }


@pytest.mark.slow
@pytest.mark.skipif(why_unavailable("native") is not None, reason="the page shows the native engine")
def test_the_page(tmp_path, monkeypatch, capsys):
    """The transcripts up to that of llama.cpp, and what its script prints, which is the last sample."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs" / "interchange.md").read_text("utf-8")
    page = page[: page.index("## To TransformerLens")].replace("```shellsession", "```console")
    shown = list(checked(page, tmp_path))
    script = next(block.text for block in shown if block.language == "py" and "xllamacpp" in block.text)
    capsys.readouterr()
    exec(script, {})
    printed = capsys.readouterr().out.splitlines()[-1]
    transcript = next(block.text for block in reversed(shown) if "--temperature 0" in block.text)
    assert printed in transcript.splitlines()
