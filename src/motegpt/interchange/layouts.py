"""GPT-2's and Llama's layouts as tables: their settings and tensors, and ours.

A layout is a list of modules, each with the tensors of motegpt that it holds, and a list of the keys of its
config.json. Export and import read the same rows in opposite directions. The layout `motegpt` has every model
under its own names; the others are those that programs know without our code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.fields import kinds
from motegpt.config.sections import ModelConfig
from motegpt.config.sections.bounds import LARGEST_ORDER
from motegpt.config.text import shortened
from motegpt.errors import RunFolderError
from motegpt.model.spec import FINAL_NORM, bias_name, table_name, tensors

if TYPE_CHECKING:
    from motegpt.engines.base import Arrays

LAYER = "{i}"  # in a name: the number of the layer
REQUIRED = object()  # default of keys without one
OFF: tuple[Any, ...] = (None, False, {}, [])  # values of keys for parts that a model does not have
SYNONYMS = {"gelu_pytorch_tanh": "gelu_new", "swish": "silu"}  # words of transformers that mean the same
ROPE = ("rope_parameters", "rope_scaling")  # keys with the settings of RoPE, of transformers 5 and 4


class Module(NamedTuple):
    """A module of a layout. parts: the matrices, norms or embeddings of motegpt that it holds, one above the
    other: its `weight` is their weights or gains, its `bias` their biases. transposed: they are (in, out).
    """

    name: str
    parts: tuple[str, ...]
    transposed: bool = False


class Key(NamedTuple):
    """A key of config.json. setting: of ModelConfig; shown: the attribute that is written, if not this one;
    default: of the key where it is missing; words: its value for each value of the setting.
    """

    name: str
    setting: str
    default: Any = REQUIRED
    shown: str = ""
    words: Mapping[Any, Any] | None = None


class Entry(NamedTuple):
    """A tensor of a layout, and the tensors of motegpt that make it up."""

    name: str
    tensors: tuple[str, ...]
    shape: tuple[int, ...]
    transposed: bool


@dataclass(frozen=True)
class Layout:
    """model_type, architecture: in config.json; prefix: of tensor names, which files may leave out.

    demands: allowed values of settings, all others are free; is_grouped: whether several queries may share a
    key; fixed: keys with the one value that is supported, which is also their default; ignored: keys without
    influence on what a model computes; dropout: keys that are written as 0; buffers: endings of names of
    tensors that are no parameters.
    """

    name: str
    model_type: str
    architecture: str
    modules: tuple[Module, ...]
    keys: tuple[Key, ...]
    prefix: str = ""
    also: tuple[str, ...] = ()  # architectures with the same tensors
    demands: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    is_grouped: bool = True
    fixed: Mapping[str, Any] = field(default_factory=dict)
    ignored: str = ""
    dropout: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()

    def misfit(self, model: ModelConfig) -> str | None:
        """The first setting of a model that the layout does not have; None if it has all."""
        for name, allowed in self.demands.items():
            if getattr(model, name) not in allowed:
                return name
        return None if self.is_grouped or model.kv_heads == model.n_head else "n_kv_head"

    def entries(self, model: ModelConfig) -> Iterator[Entry]:
        """Every tensor of a model of this layout."""
        known = {tensor.name: tensor.shape for tensor in tensors(model)}
        for module in self.modules:
            for i in range(model.n_layer if LAYER in module.name else 1):
                name, *parts = (text.replace(LAYER, str(i)) for text in (module.name, *module.parts))
                weights = tuple(part if part in known else f"{part}_gain" for part in parts)
                for kind, found in (("weight", weights), ("bias", tuple(map(bias_name, parts)))):
                    if known.keys() >= set(found):
                        _, *rest = known[found[0]]
                        shape = (sum(known[one][0] for one in found), *rest)
                        turned = module.transposed and len(shape) == 2
                        yield Entry(f"{name}.{kind}", found, shape[::-1] if turned else shape, turned)


# Keys that transformers writes for every model, and that change nothing of what GPT-2 or Llama compute.
COMMON_KEYS = """
    _name_or_path architectures attn_implementation auto_map bos_token_id dtype eos_token_id model_type
    pad_token_id torch_dtype transformers_version use_cache output_attentions output_hidden_states return_dict
    task_specific_params id2label label2id problem_type gradient_checkpointing
"""
PLAIN: dict[str, tuple[Any, ...]] = {  # what neither GPT-2 nor Llama has
    "embedding_norm": (False,),
    "qk_norm": (False,),
    "ngram_rows": ((),),
}

GPT2 = Layout(
    name="gpt2",
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    also=("GPT2Model",),
    prefix="transformer.",
    modules=(
        Module("transformer.wte", ("wte",)),
        Module("transformer.wpe", ("wpe",)),
        Module("transformer.h.{i}.ln_1", ("layer{i}.ln1",)),
        Module(
            "transformer.h.{i}.attn.c_attn",
            ("layer{i}.attn_wq", "layer{i}.attn_wk", "layer{i}.attn_wv"),
            transposed=True,
        ),
        Module("transformer.h.{i}.attn.c_proj", ("layer{i}.attn_wo",), transposed=True),
        Module("transformer.h.{i}.ln_2", ("layer{i}.ln2",)),
        Module("transformer.h.{i}.mlp.c_fc", ("layer{i}.mlp_fc1",), transposed=True),
        Module("transformer.h.{i}.mlp.c_proj", ("layer{i}.mlp_fc2",), transposed=True),
        Module("transformer.ln_f", (FINAL_NORM,)),
        Module("lm_head", ("lm_head",)),
    ),
    keys=(
        Key("vocab_size", "vocab_size", 50257),
        Key("n_positions", "block_size", 1024),
        Key("n_embd", "n_embd", 768),
        Key("n_layer", "n_layer", 12),
        Key("n_head", "n_head", 12),
        Key("n_inner", "n_hidden", None, shown="mlp_size"),
        Key(
            "activation_function",
            "activation",
            "gelu_new",
            words={"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "squared_relu": "relu2"},
        ),
        Key("layer_norm_epsilon", "norm_eps", 1e-5),
        Key("initializer_range", "init_std", 0.02),
        Key("tie_word_embeddings", "tied", True),
    ),
    demands={
        "position": ("learned",),
        "norm": ("layer",),
        "norm_gain": (True,),
        "norm_bias": (True,),
        "final_norm": (True,),
        "bias": (True,),
        "activation": ("gelu_tanh", "gelu", "relu", "squared_relu"),
        **PLAIN,
    },
    is_grouped=False,
    fixed={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    ignored=f"""{COMMON_KEYS} n_ctx n_special predict_special_tokens
        reorder_and_upcast_attn summary_activation summary_first_dropout summary_proj_to_labels summary_type
        summary_use_proj""",
    dropout=("attn_pdrop", "embd_pdrop", "resid_pdrop"),
    buffers=(".attn.bias", ".attn.masked_bias"),
)

LLAMA = Layout(
    name="llama",
    model_type="llama",
    architecture="LlamaForCausalLM",
    also=("LLaMAForCausalLM", "LlamaModel"),
    prefix="model.",
    modules=(
        Module("model.embed_tokens", ("wte",)),
        Module("model.layers.{i}.input_layernorm", ("layer{i}.ln1",)),
        Module("model.layers.{i}.self_attn.q_proj", ("layer{i}.attn_wq",)),
        Module("model.layers.{i}.self_attn.k_proj", ("layer{i}.attn_wk",)),
        Module("model.layers.{i}.self_attn.v_proj", ("layer{i}.attn_wv",)),
        Module("model.layers.{i}.self_attn.o_proj", ("layer{i}.attn_wo",)),
        Module("model.layers.{i}.post_attention_layernorm", ("layer{i}.ln2",)),
        Module("model.layers.{i}.mlp.gate_proj", ("layer{i}.mlp_gate",)),
        Module("model.layers.{i}.mlp.up_proj", ("layer{i}.mlp_fc1",)),
        Module("model.layers.{i}.mlp.down_proj", ("layer{i}.mlp_fc2",)),
        Module("model.norm", (FINAL_NORM,)),
        Module("lm_head", ("lm_head",)),
    ),
    keys=(
        Key("vocab_size", "vocab_size", 32000),
        Key("max_position_embeddings", "block_size", 2048),
        Key("hidden_size", "n_embd", 4096),
        Key("num_hidden_layers", "n_layer", 32),
        Key("num_attention_heads", "n_head", 32),
        Key("num_key_value_heads", "n_kv_head", None, shown="kv_heads"),
        Key("head_dim", "head_size", None),
        Key("intermediate_size", "n_hidden", 11008, shown="mlp_size"),
        Key("hidden_act", "activation", "silu", words={"swiglu": "silu"}),
        Key("rms_norm_eps", "norm_eps", 1e-6),
        Key("rope_theta", "rope_base", 10_000.0),
        Key("attention_bias", "bias", False),
        Key("mlp_bias", "bias", False),
        Key("initializer_range", "init_std", 0.02),
        Key("tie_word_embeddings", "tied", False),
    ),
    demands={
        "position": ("rope",),
        "norm": ("rms",),
        "norm_gain": (True,),
        "norm_bias": (False,),
        "final_norm": (True,),
        "activation": ("swiglu",),
        **PLAIN,
    },
    fixed={"pretraining_tp": 1, "partial_rotary_factor": 1.0},
    ignored=COMMON_KEYS,
    dropout=("attention_dropout",),
    buffers=(".rotary_emb.inv_freq",),
)

LAYER_PARTS = "ln1 attn_wq attn_wk attn_wv attn_wo attn_q ln2 mlp_gate mlp_fc1 mlp_fc2"  # of our own layers
OWN = Layout(
    name="motegpt",
    model_type="motegpt",
    architecture="MotegptForCausalLM",
    modules=(
        Module("wte", ("wte",)),
        Module("wpe", ("wpe",)),
        *(Module(name, (name,)) for name in map(table_name, range(2, LARGEST_ORDER + 1))),
        *(Module(f"layers.{{i}}.{part}", (f"layer{{i}}.{part}",)) for part in LAYER_PARTS.split()),
        Module(FINAL_NORM, (FINAL_NORM,)),
        Module("lm_head", ("lm_head",)),
    ),
    keys=tuple(
        Key(name, name, shown={"n_kv_head": "kv_heads", "n_hidden": "mlp_size"}.get(name, ""))
        for name in kinds(ModelConfig)
    ),
    fixed={"tie_word_embeddings": False},  # `tied` is a setting of ours
    ignored=COMMON_KEYS,
)

LAYOUTS = {layout.name: layout for layout in (GPT2, LLAMA, OWN)}


def layout_of(model: ModelConfig) -> Layout:
    """The first layout that a model has: that of GPT-2 or Llama if it is theirs, else our own."""
    return next(layout for layout in LAYOUTS.values() if layout.misfit(model) is None)


def config_of(layout: Layout, model: ModelConfig) -> dict[str, Any]:
    """The settings of a model as keys of config.json."""
    values = {**layout.fixed, **dict.fromkeys(layout.dropout, 0.0)}
    for key in layout.keys:
        value = getattr(model, key.shown or key.setting)
        values[key.name] = value if key.words is None else key.words[value]
    if "rope_theta" in values:
        values[ROPE[0]] = {"rope_type": "default", "rope_theta": values["rope_theta"]}
    return values


def model_of(layout: Layout, config: Mapping[str, Any]) -> ModelConfig:
    """The settings in a config.json; RunFolderError names a key that motegpt's models have not.

    Raises SettingError for values that fit the layout, and no model.
    """
    known = (
        {key.name for key in layout.keys} | layout.fixed.keys() | {*layout.ignored.split(), *layout.dropout}
    )
    config = _with_base(config) if layout.demands.get("position") == ("rope",) else config
    for name, value in config.items():
        if name not in known and not any(_is_same(value, off) for off in OFF):
            raise _unsupported(name if name.isidentifier() else shortened(name), "none", value)
    for name, value in layout.fixed.items():
        if not _is_same(got := config.get(name, value), value):
            raise _unsupported(name, value, got)
    values: dict[str, Any] = {name: allowed[0] for name, allowed in layout.demands.items()}
    values.update({"zero_init": False} if layout is not OWN else {})
    seen: dict[str, str] = {}
    for key in layout.keys:
        value = config.get(key.name, key.default)
        if value is REQUIRED:
            continue
        if key.words is not None:
            value = _word(key, value)
        if key.setting in seen and values[key.setting] != value:
            expected = f"{shortened(values[key.setting])}, as {seen[key.setting]}"
            raise _unsupported(key.name, expected, value)
        values[key.setting], seen[key.setting] = value, key.name
    head_size = values.pop("head_size", None)
    model = ModelConfig.of(values)
    if head_size is not None and head_size != model.head_size:
        raise _unsupported("head_dim", model.head_size, head_size)
    return model.replace(n_kv_head=None) if model.n_kv_head == model.n_head else model


def _is_same(a: Any, b: Any) -> bool:
    """Whether JSON values are equal; in Python, false equals 0."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _with_base(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with `rope_theta` at its top; RunFolderError for RoPE of another kind."""
    found = dict(config)
    for place in ROPE:
        inside = found.pop(place, None) or {}
        if not isinstance(inside, dict):
            raise _unsupported(place, "settings by name", inside)
        for name, value in inside.items():
            if name in ("rope_type", "type") and value != "default":
                raise _unsupported(f"{place}: {name}", "default", value)
            if name not in ("rope_type", "type", "rope_theta", "partial_rotary_factor"):
                raise _unsupported(f"{place}: {name}", "none", value)
        found.update({name: value for name, value in inside.items() if name not in ("rope_type", "type")})
    return found


def _word(key: Key, value: Any) -> Any:
    """The setting that a value of a key with words is for."""
    assert key.words is not None
    meant = SYNONYMS.get(value, value) if isinstance(value, str) else value
    found = [ours for ours, theirs in key.words.items() if theirs == meant]
    if not found:
        raise _unsupported(key.name, " or ".join(map(str, key.words.values())), value)
    return found[0]


def _unsupported(name: str, expected: Any, got: Any) -> RunFolderError:
    return RunFolderError(
        f"{name}: expected {expected}, got {shortened(got)}; motegpt's models have no such part"
    )


def arrays_of(layout: Layout, model: ModelConfig, parameters: Arrays) -> Arrays:
    """The parameters of a model, by name, as the tensors of a layout."""
    import numpy as np

    shapes = {tensor.name: tensor.shape for tensor in tensors(model)}
    found: Arrays = {}
    for entry in layout.entries(model):
        parts = [np.asarray(parameters[name]).reshape(shapes[name]) for name in entry.tensors]
        whole = np.concatenate(parts) if len(parts) > 1 else parts[0]
        found[entry.name] = np.ascontiguousarray(whole.T if entry.transposed else whole)
    return found


def parameters_of(layout: Layout, model: ModelConfig, arrays: Arrays) -> Arrays:
    """The inverse of arrays_of."""
    import numpy as np

    shapes = {tensor.name: tensor.shape for tensor in tensors(model)}
    found: Arrays = {}
    for entry in layout.entries(model):
        whole, start = arrays[entry.name], 0
        whole = whole.T if entry.transposed else whole
        for name in entry.tensors:
            stop = start + shapes[name][0]
            found[name], start = np.ascontiguousarray(whole[start:stop]), stop
    return found
