"""Exported folders in the library transformers: the same logits, ids and texts; and its folders here.

`make test-interchange` runs these with both majors of the library; elsewhere they are skipped.
"""

import random

import numpy as np
import pytest

from motegpt import GPT
from motegpt.data.batches import Batch
from tests.exported import ARCHITECTURES, DOCUMENTS, TOKENIZERS, small_model

transformers = pytest.importorskip("transformers", reason="make test-interchange")
torch = pytest.importorskip("torch")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

FIVE = int(transformers.__version__.split(".")[0]) >= 5
CACHE = "cache" if FIVE else "past_key_values"
EXACT, SINGLE = 1e-12, 1e-5
ERROR = {"llama": SINGLE}  # layout -> of LlamaForCausalLM, which keeps the frequencies of RoPE in float32
pytestmark = pytest.mark.filterwarnings("ignore")


def loaded(folder, **more):
    """The model and the tokenizer of a folder."""
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **{"dtype": "auto", **more})
    return model.eval(), AutoTokenizer.from_pretrained(folder, trust_remote_code=True)


def logits_of(model, ids):
    """motegpt's logits (T, V)."""
    return np.asarray(model.engine.logits(Batch.of([[*ids, 0]], "tokens"))[0])


def sequences(model, count=6, seed=0):
    """Random ids, the first as long as the block."""
    rng, size = random.Random(seed), model.config.model.block_size
    lengths = [size, *(rng.randint(2, size) for _ in range(count - 1))]
    begin = [] if model.tokenizer.bos is None else [model.tokenizer.bos]
    ids = list(model.tokenizer.text_ids)
    return [begin + rng.choices(ids, k=length - len(begin)) for length in lengths]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def case(request, tmp_path_factory):
    layout, settings = ARCHITECTURES[request.param]
    model, folder = small_model(**settings), tmp_path_factory.mktemp("hf") / "out"
    model.export(folder)
    theirs, tokenizer = loaded(folder)
    return layout, model, theirs, tokenizer, folder


def difference(theirs, expected):
    return np.abs(theirs.double().numpy() - expected).max()


def test_the_class_and_the_dtype(case):
    layout, model, theirs, _, folder = case
    assert type(theirs).__name__ == layout.architecture
    assert theirs.dtype == torch.float64
    single, _ = loaded(folder, dtype=torch.float32)
    with torch.no_grad():
        for ids in sequences(model):
            expected = logits_of(model, ids)
            found = difference(single(torch.tensor([ids])).logits[0], expected)
            assert found < SINGLE * max(1, np.abs(expected).max())


def test_equal_logits(case):
    layout, model, theirs, _, _ = case
    with torch.no_grad():
        for ids in sequences(model):
            found = theirs(torch.tensor([ids])).logits[0]
            assert difference(found, logits_of(model, ids)) < ERROR.get(layout.name, EXACT)


def test_equal_logits_with_a_cache(case):
    layout, model, theirs, _, _ = case
    with torch.no_grad():
        for number, ids in enumerate(sequences(model)):
            expected, x, cache, found = logits_of(model, ids), torch.tensor([ids]), {}, []
            cuts = range(1, len(ids)) if number % 2 else [len(ids) // 2]  # one by one, or in two parts
            for part in np.split(np.arange(len(ids)), list(cuts)):
                out = theirs(x[:, part], use_cache=True, **cache)
                cache = {CACHE: out.past_key_values}
                found.append(out.logits[0])
            assert difference(torch.cat(found), expected) < ERROR.get(layout.name, EXACT)


def test_equal_logits_with_padding_on_the_left(case):
    layout, model, theirs, _, _ = case
    rows = sequences(model)
    longest, pad = max(map(len, rows)), 0
    x = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)  # which generate makes, and the library's models need
    with torch.no_grad():
        found = theirs(x, attention_mask=mask, position_ids=positions).logits
        first = theirs(x[:, :-1], attention_mask=mask[:, :-1], position_ids=positions[:, :-1], use_cache=True)
        last = theirs(
            x[:, -1:],
            attention_mask=mask,
            position_ids=positions[:, -1:],
            **{CACHE: first.past_key_values},
        ).logits
    for row, ids in enumerate(rows):
        expected = logits_of(model, ids)
        assert difference(found[row, -len(ids) :], expected) < ERROR.get(layout.name, EXACT)
        assert difference(last[row, -1:], expected[-1:]) < ERROR.get(layout.name, EXACT)


def test_the_same_greedy_texts(case):
    _, model, theirs, tokenizer, _ = case
    prefixes = ["", "n", "han", "zo"]
    expected = [model.generate(1, prefix=prefix, temperature=0)[0] for prefix in prefixes]
    for text, found in zip(expected, greedy(theirs, tokenizer, prefixes), strict=True):
        assert text.startswith(found), "padding counts, so that shorter prefixes end earlier"
        assert found == text or len(found) >= model.config.model.block_size - 3
    assert [greedy(theirs, tokenizer, [prefix])[0] for prefix in prefixes] == expected


def greedy(model, tokenizer, texts, **more):
    more_than_one = {"padding": True, "padding_side": "left"} if len(texts) > 1 else {}
    inputs = tokenizer(texts, return_tensors="pt", return_token_type_ids=False, **more_than_one)
    found = model.generate(**inputs, do_sample=False, **more)
    return tokenizer.batch_decode(found, skip_special_tokens=True)


def test_sampling_and_beams(case):
    _, model, theirs, tokenizer, _ = case
    torch.manual_seed(1)
    inputs = tokenizer([""] * 20, return_tensors="pt", return_token_type_ids=False)
    texts = tokenizer.batch_decode(theirs.generate(**inputs, temperature=30.0), skip_special_tokens=True)
    assert len(set(texts)) > 3
    assert all(len(text) <= model.config.model.block_size for text in texts)
    assert greedy(theirs, tokenizer, [""], num_beams=3)[0]


def test_the_loss_and_its_gradient(case):
    _, model, theirs, _, _ = case
    ids = sequences(model)[0]
    x = torch.tensor([ids])
    loss = theirs(x, labels=x).loss
    log_p = torch.log_softmax(torch.tensor(logits_of(model, ids)), -1)
    expected = -log_p[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].mean()
    assert abs(loss.item() - expected.item()) < SINGLE
    loss.backward()
    assert theirs.get_input_embeddings().weight.grad.abs().sum() > 0
    theirs.zero_grad()


def test_written_by_the_library_it_is_the_same(case, tmp_path):
    """save_pretrained, and back: the layouts of stock classes are read again."""
    layout, model, theirs, _, folder = case
    theirs.save_pretrained(tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "again" / name).write_bytes((folder / name).read_bytes())
    again = GPT.from_hf(tmp_path / "again", "array")
    for name, array in model.parameters.items():
        assert (again.parameters[name] == array).all(), name
    if layout.name == "gpt2":
        written = (tmp_path / "again" / "model.safetensors").read_bytes()
        again.export(tmp_path / "back")
        assert (tmp_path / "back" / "model.safetensors").read_bytes() == written


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizers_case(request, tmp_path_factory):
    model = small_model(preset="microgpt", **TOKENIZERS[request.param])
    folder = tmp_path_factory.mktemp("hf") / "out"
    model.export(folder)
    return model, *loaded(folder)


def test_equal_ids_and_texts(tokenizers_case):
    model, _, tokenizer = tokenizers_case
    ours, rng = model.tokenizer, random.Random(2)
    alphabet = ours.alphabet or "anhxé 漢\n🙂́²<BOS>"
    begin = [] if ours.bos is None else [ours.bos]
    texts = ["", "<BOS>", "a<EOS>", "hanna", *random_texts(rng, alphabet), *random_texts(rng, DOCUMENTS)]
    texts = [text for text in texts if not ours.unknown(text)]
    assert len(texts) > 30
    for text, found in zip(texts, tokenizer(texts).input_ids, strict=True):
        ids = ours.encode(text)
        assert found == begin + ids, text
        assert tokenizer.decode(ids) == ours.decode(ids) == text
    for _ in range(300):
        ids = rng.choices(range(ours.vocab_size), k=rng.randint(1, 20))
        assert tokenizer.decode(ids) == ours.decode(ids)


def random_texts(rng, parts):
    return ["".join(rng.choices(parts, k=rng.randint(1, 30))) for _ in range(1000)]


def test_unknown_characters_are_refused(tokenizers_case):
    model, _, tokenizer = tokenizers_case
    if model.tokenizer.alphabet:
        with pytest.raises(Exception, match=r"(?i)unk"):
            tokenizer("aQa")


def test_the_same_greedy_text_of_every_tokenizer(tokenizers_case):
    model, theirs, tokenizer = tokenizers_case
    prefix = "" if model.tokenizer.bos is not None else "n"
    more = {} if prefix == "" else {"max_length": 9}
    expected = model.generate(1, temperature=0, prefix=prefix, **({"max_new_tokens": 8} if more else {}))
    assert greedy(theirs, tokenizer, [prefix], **more) == expected


# Folders of others: their tokenizers, their special tokens, their shards.


def foreign_tokenizer(folder, specials):
    """A byte-level BPE as GPT-2's, with special tokens behind the others or before them."""
    library = pytest.importorskip("tokenizers")
    one = library.Tokenizer(library.models.BPE())
    one.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    one.decoder = library.decoders.ByteLevel()
    one.post_processor = library.processors.ByteLevel(trim_offsets=False)
    trainer = library.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=specials if len(specials) > 1 else [],
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    one.train_from_iterator(DOCUMENTS * 4, trainer)
    one.add_special_tokens(specials)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=one, bos_token=specials[0], eos_token=specials[-1]
    )
    fast.save_pretrained(folder)
    return fast


def written(folder, config_class, model_class, specials, **settings):
    """A model with random parameters in a folder, in shards of 20 kB, and its tokenizer."""
    tokenizer = foreign_tokenizer(folder, specials)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(3)
    model = model_class(config_class(vocab_size=len(tokenizer), **ids, **settings)).eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    model.save_pretrained(folder, max_shard_size="20kB")
    return model, tokenizer


GPT2_SIZES = {"n_positions": 16, "n_embd": 24, "n_layer": 2, "n_head": 3}
LLAMA_SIZES = {
    "max_position_embeddings": 16, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def test_a_gpt2_of_others(tmp_path):
    theirs, _ = written(
        tmp_path / "theirs",
        transformers.GPT2Config,
        transformers.GPT2LMHeadModel,
        ["<|endoftext|>"],
        **GPT2_SIZES,
    )
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    model = GPT.from_hf(tmp_path / "theirs")
    assert model.config.data.framing == "bos"
    bos = theirs.config.bos_token_id
    assert model.tokenizer.bos == bos
    ids = [bos, *model.tokenizer.encode("hanna 漢")]
    with torch.no_grad():
        assert difference(theirs(torch.tensor([ids])).logits[0], model.logits("hanna 漢")) < SINGLE
    found = theirs.generate(torch.tensor([[bos]]), do_sample=False, max_length=17, pad_token_id=bos)[
        0
    ].tolist()
    end = found.index(bos, 1) if bos in found[1:] else len(found)
    assert model.generate(1, temperature=0) == [model.tokenizer.decode(found[1:end])]
    model.export(tmp_path / "back")
    again, tokenizer = loaded(tmp_path / "back")
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert tokenizer("hanna 漢").input_ids == ids
    tuned = model.fine_tune(["anna", "nan"], preset="gpt2", steps=2, progress=False)
    assert tuned.config.source.documents == 2
    assert tuned.tokenizer == model.tokenizer


@pytest.mark.parametrize(
    "more", [{}, {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}]
)
def test_a_llama_of_others(tmp_path, more):
    theirs, tokenizer = written(
        tmp_path / "theirs",
        transformers.LlamaConfig,
        transformers.LlamaForCausalLM,
        ["<unk>", "<s>", "</s>"],
        **{**LLAMA_SIZES, **more},
    )
    model = GPT.from_hf(tmp_path / "theirs")
    assert model.config.data.format == "stream"
    text = "<s>hanna"
    ids = tokenizer(text).input_ids
    assert model.tokenizer.encode(text) == ids
    with torch.no_grad():
        assert difference(theirs(torch.tensor([ids])).logits[0], model.logits(text)) < SINGLE
    model.export(tmp_path / "back")
    again, copied = loaded(tmp_path / "back")
    assert copied(text).input_ids == ids
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_half_precision_is_read_exactly(tmp_path):
    for dtype in (torch.float16, torch.bfloat16):
        folder = tmp_path / str(dtype)
        theirs, _ = written(
            folder, transformers.LlamaConfig, transformers.LlamaForCausalLM, ["<s>", "</s>"], **LLAMA_SIZES
        )
        for file in folder.glob("*.safetensors*"):
            file.unlink()
        theirs.to(dtype).save_pretrained(folder)
        model = GPT.from_hf(folder)
        expected = theirs.get_input_embeddings().weight.detach().float().numpy()
        assert model.config.train.dtype == "float32"
        assert (model.parameters["wte"] == expected).all()


@pytest.mark.parametrize(
    "ids", [[[3, 1, 2, 0], [0, 10, 2, 1]], [0, 1, 2, 10] * 9], ids=["sequences", "stream"]
)
def test_a_model_of_ids(ids, tmp_path):
    """Numbers with spaces between them are its texts there too."""
    model = GPT.train(ids=ids, preset="microgpt", steps=1, n_embd=8, n_head=2, block_size=3, dtype="float64")
    model.export(tmp_path / "out")
    theirs, tokenizer = loaded(tmp_path / "out")
    assert tokenizer("0  10\n1")["input_ids"] == model.tokenizer.encode("0  10\n1") == [0, 10, 1]
    assert tokenizer.decode([10, 0, 2]) == model.tokenizer.decode([10, 0, 2]) == "10 0 2"
    with torch.no_grad():
        found = theirs(torch.tensor([[0, 10, 1]])).logits[0]
    assert difference(found, logits_of(model, [0, 10, 1])) < EXACT
    ours = model.generate(
        1, prefix="0 10", temperature=0, max_new_tokens=1 if model.tokenizer.is_stream else 2
    )
    inputs = tokenizer(["0 10"], return_tensors="pt", return_token_type_ids=False)
    assert tokenizer.batch_decode(theirs.generate(**inputs, do_sample=False)) == ours
