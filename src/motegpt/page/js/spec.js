// The list of a model's tensors, as in src/motegpt/model/spec.py, against which a test checks it.

/** Roles with weight decay; tables have their own. */
const DECAYED_ROLES = new Set(["embedding", "weight"]);
const HIDDEN_RATIO = 4; // width of the MLP's hidden layer / n_embd

/** One tensor of a model; init: mean and standard deviation of the initial values. */
function tensorOf(name, shape, role, init, group, products = 0) {
  const size = shape.reduce((product, n) => product * n, 1);
  return {
    name,
    shape,
    size,
    role,
    init,
    group,
    products,
    product: products > 0,
    decayed: DECAYED_ROLES.has(role),
  };
}

/**
 * Every tensor in canonical order, each with its offset in the flat array (P).
 * model: the settings of the section [model], vocab_size and ngram_rows included.
 */
export function tensors(model) {
  const init = [0, model.init_std];
  const rows = [model.vocab_size, model.n_embd];
  const found = [tensorOf("wte", rows, "embedding", init, "token embedding", model.tied ? 1 : 0)];
  if (model.position === "learned") {
    const shape = [model.block_size, model.n_embd];
    found.push(tensorOf("wpe", shape, "embedding", init, "position embedding"));
  }
  model.ngram_rows.forEach((contexts, i) => {
    found.push(tensorOf(`ngram${i + 2}`, [contexts, model.n_embd], "table", [0, 0], "n-gram embedding"));
  });
  if (!model.tied) found.push(tensorOf("lm_head", rows, "weight", init, "head", 1));
  for (let i = 0; i < model.n_layer; i++) found.push(...layerTensors(model, `layer${i}`));
  let offset = 0;
  for (const tensor of found) {
    tensor.offset = offset;
    offset += tensor.size;
  }
  return found;
}

function layerTensors(model, module) {
  const c = model.n_embd;
  const hidden = HIDDEN_RATIO * c;
  const init = [0, model.init_std];
  const toResidual = model.zero_init ? [0, 0] : init;
  const weight = (name, shape, values, group) =>
    tensorOf(`${module}.${name}`, shape, "weight", values, group, 1);
  const gain = model.qk_norm ? [tensorOf(`${module}.attn_q_gain`, [1], "gain", [2, 0], "norms")] : [];
  return [
    weight("attn_wq", [c, c], init, "attention"),
    weight("attn_wk", [c, c], init, "attention"),
    weight("attn_wv", [c, c], init, "attention"),
    weight("attn_wo", [c, c], toResidual, "attention"),
    ...gain,
    weight("mlp_fc1", [hidden, c], init, "MLP"),
    weight("mlp_fc2", [c, hidden], toResidual, "MLP"),
  ];
}

/** The number of parameters, P. */
export function parameterCount(model) {
  return tensors(model).reduce((sum, tensor) => sum + tensor.size, 0);
}

/** The model as the core takes it: its sizes, its choices and its table of tensors. */
export function specificationOf(model, contexts = []) {
  const names = [
    "vocab_size",
    "block_size",
    "n_layer",
    "n_embd",
    "n_head",
    "embedding_norm",
    "activation",
    "norm_eps",
    "position",
    "rope_base",
    "qk_norm",
  ];
  const shape = Object.fromEntries(names.map((name) => [name, model[name]]));
  return {
    shape: {...shape, n_hidden: HIDDEN_RATIO * model.n_embd, norm: "rms"},
    tensors: tensors(model),
    contexts,
  };
}

/**
 * Initial values (P). rng: of the core; it advances for constant tensors too, as in Python, but not for
 * tables, whose sizes depend on the data.
 */
export function initialize(model, rng) {
  const flat = new Float64Array(parameterCount(model));
  for (const {
    role,
    init: [mean, std],
    offset,
    size,
  } of tensors(model)) {
    if (role !== "table") flat.set(rng.gauss(mean, std, size), offset);
  }
  return flat;
}
