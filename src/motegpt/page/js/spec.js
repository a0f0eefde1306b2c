// The list of a model's tensors, as in src/motegpt/model/spec.py, against which a test checks it.

/** Roles with weight decay; tables have their own. */
const DECAYED_ROLES = new Set(["embedding", "weight"]);
const HIDDEN_RATIO = 4; // width of the MLP's hidden layer / n_embd, unless it is set
const GATED_MULTIPLE = 16; // of SwiGLU: two thirds of that, up to a multiple of this
const FINAL_NORM = "ln_f"; // place of the norm before the head

/** The width of all keys, and of all values, of a position. */
export const kvSize = ({n_embd, n_head, n_kv_head}) => ((n_kv_head ?? n_head) * n_embd) / n_head;

/** Whether the MLP multiplies its hidden layer by a gate, the product with a third matrix. */
const isGated = ({activation}) => activation === "swiglu";

/** The width of the MLP's hidden layer. */
export function mlpSize(model) {
  if (model.n_hidden !== null) return model.n_hidden;
  if (!isGated(model)) return HIDDEN_RATIO * model.n_embd;
  return Math.ceil((HIDDEN_RATIO * 2 * model.n_embd) / (3 * GATED_MULTIPLE)) * GATED_MULTIPLE;
}

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
  if (model.final_norm) found.push(...normTensors(model, FINAL_NORM));
  let offset = 0;
  for (const tensor of found) {
    tensor.offset = offset;
    offset += tensor.size;
  }
  return found;
}

/** The tensors of the norm at a place such as "layer0.ln1". */
function normTensors(model, place) {
  const found = [];
  if (model.norm_gain) found.push(tensorOf(`${place}_gain`, [model.n_embd], "gain", [1, 0], "norms"));
  if (model.norm_bias) found.push(tensorOf(`${place}_bias`, [model.n_embd], "bias", [0, 0], "norms"));
  return found;
}

/** Matrices, given as [name, shape, init], then their biases, if there are any. */
function matrixTensors(model, group, matrices) {
  const weights = matrices.map(([name, shape, init]) => tensorOf(name, shape, "weight", init, group, 1));
  if (!model.bias) return weights;
  return [...weights, ...matrices.map(([name, [out]]) => tensorOf(`${name}_bias`, [out], "bias", [0, 0], group))];
}

function layerTensors(model, module) {
  const [c, kv, hidden] = [model.n_embd, kvSize(model), mlpSize(model)];
  const init = [0, model.init_std];
  const divisor = model.scaled_init ? Math.sqrt(2 * model.n_layer) : 1;
  const toResidual = [0, model.zero_init ? 0 : model.init_std / divisor];
  return [
    ...normTensors(model, `${module}.ln1`),
    ...matrixTensors(model, "attention", [
      [`${module}.attn_wq`, [c, c], init],
      [`${module}.attn_wk`, [kv, c], init],
      [`${module}.attn_wv`, [kv, c], init],
      [`${module}.attn_wo`, [c, c], toResidual],
    ]),
    ...(model.qk_norm ? [tensorOf(`${module}.attn_q_gain`, [1], "gain", [2, 0], "norms")] : []),
    ...normTensors(model, `${module}.ln2`),
    ...matrixTensors(model, "MLP", [
      ...(isGated(model) ? [[`${module}.mlp_gate`, [hidden, c], init]] : []),
      [`${module}.mlp_fc1`, [hidden, c], init],
      [`${module}.mlp_fc2`, [c, hidden], toResidual],
    ]),
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
    "bias",
    "embedding_norm",
    "activation",
    "norm",
    "norm_gain",
    "norm_bias",
    "final_norm",
    "norm_eps",
    "position",
    "rope_base",
    "qk_norm",
  ];
  const shape = Object.fromEntries(names.map((name) => [name, model[name]]));
  return {
    shape: {...shape, n_kv_head: model.n_kv_head ?? model.n_head, n_hidden: mlpSize(model)},
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
