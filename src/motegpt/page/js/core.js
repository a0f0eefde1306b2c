// The core as WebAssembly: arrays in, typed arrays out. The only file that knows addresses.
//
// Shapes: P parameters, n slots, V tokens, L layers, T positions, B sequences per step. Flat arrays of
// parameters hold the tensors of the specification one after the other, in row-major order. Losses are in nats.

const CORE_BYTES = { float32: Float32Array, float64: Float64Array };
const CORE_NUMBERS = ["vocab_size", "block_size", "n_layer", "n_embd", "n_head", "n_hidden", "embedding_norm",
  "norm_eps", "rope_base", "qk_norm"];
const CORE_CHOICES = ["activation", "norm", "position"];
const CORE_SIDE_BY_SIDE = 64; // texts that are generated together

/**
 * Compiles the module.
 * @param {BufferSource} bytes motegpt.wasm
 * @returns {Promise<Core>} rejected with a sentence where WebAssembly or its vectors are missing
 */
export async function loadCore(bytes) {
  if (typeof WebAssembly !== "object") {
    throw new Error("core: expected a browser with WebAssembly, got one without; use a newer browser");
  }
  try {
    return new Core(await WebAssembly.compile(bytes));
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    throw new Error("core: expected a browser with WebAssembly SIMD (Chrome 91, Firefox 89, Safari 16.4 or newer); "
      + `use a newer browser (${error.message})`);
  }
}

// The library's exit would print through these; nothing else calls them.
const CORE_IMPORTS = { wasi_snapshot_preview1: { fd_close: () => 8, fd_seek: () => 8, fd_write: () => 8 } };

/** One instance of the module with a memory of its own. After a failure it refuses every further call. */
class CoreInstance {
  /** @param {WebAssembly.Module} module  @param {string} owner what a message calls it: "model" */
  constructor(module, owner) {
    this.owner = owner;
    this.failure = null;
    this.exports = new WebAssembly.Instance(module, CORE_IMPORTS).exports;
    this.exports._initialize();
  }

  /** Bytes of its memory, which never shrinks. */
  get bytes() {
    return this.exports ? this.exports.memory.buffer.byteLength : 0;
  }

  /** An export's result; an Error with the reason where it fails. */
  call(name, ...given) {
    if (this.failure) throw new Error(`${this.owner}: ${this.failure}`);
    try {
      return this.exports[name](...given);
    } catch (error) {
      const reason = this.text(this.exports.reason()) || `${name}: ${error.message}`;
      this.failure = `expected a ${this.owner} that works, got one that failed before (${reason}); make a new one`;
      throw new Error(reason);
    }
  }

  /** The zero-terminated text at an address. */
  text(at) {
    const memory = new Uint8Array(this.exports.memory.buffer);
    return new TextDecoder().decode(memory.slice(at, memory.indexOf(0, at)));
  }

  /** A view of count numbers at an address, valid until the next call. */
  view(Type, at, count) {
    return new Type(this.exports.memory.buffer, at, count);
  }

  /** A copy of them. */
  read(Type, at, count) {
    return this.view(Type, at, count).slice();
  }

  /** f(frame)'s result; what the frame allocates is released after it. */
  within(f) {
    const frame = new CoreFrame(this);
    const result = f(frame);
    frame.release();
    return result;
  }

  /** Gives the memory back. */
  free() {
    this.failure = this.failure || `expected a ${this.owner} in use, got one that was freed; make a new one`;
    this.exports = null;
  }
}

/** Arrays that exist in an instance during one call. */
class CoreFrame {
  constructor(instance) {
    this.instance = instance;
    this.blocks = [];
  }

  /** The address of room for count numbers, zero. */
  room(Type, count) {
    const at = this.instance.call("allocate", count * Type.BYTES_PER_ELEMENT) >>> 0;
    this.blocks.push(at);
    return at;
  }

  /** The address of a copy of an array; 0 for null. */
  put(Type, numbers) {
    if (numbers === null || numbers === undefined) return 0;
    const at = this.room(Type, numbers.length);
    this.instance.view(Type, at, numbers.length).set(numbers);
    return at;
  }

  /** The address of a text. */
  text(text) {
    return this.put(Uint8Array, new TextEncoder().encode(`${text}\0`));
  }

  release() {
    for (const at of this.blocks) this.instance.call("release", at);
  }
}

/** The compiled module, and an instance for what belongs to no model. */
export class Core {
  constructor(module) {
    this.module = module;
    this.shared = new CoreInstance(module, "core");
    this.models = new Set();
  }

  /** Bytes of memory of the core and of the models that were not freed. */
  get bytes() {
    return [...this.models].reduce((sum, model) => sum + model.instance.bytes, this.shared.bytes);
  }

  /**
   * A model in training, with parameters and slots of zeros.
   * @param {{shape: Object, tensors: {name: string, shape: number[], product: boolean, decayed: boolean}[],
   *   contexts?: ArrayLike<number>[]}} specification shape: the architecture, settings by name; contexts: keys of
   *   each table of the n-gram embedding, row · 2^20 + token in ascending order
   * @param {{dtype: "float32"|"float64", optimizer: "adam"|"sgd"}} options
   * @returns {CoreModel} an Error for what the core cannot compute
   */
  model(specification, options) {
    const model = new CoreModel(new CoreInstance(this.module, "model"), specification, options);
    model.release = () => this.models.delete(model);
    this.models.add(model);
    return model;
  }

  /** @param {{levels: Object[], unigrams: Float64Array}} tables  @returns {CoreNGrams} for CoreModel.generate */
  nGrams(tables) {
    return new CoreNGrams(tables);
  }
}

/**
 * Tables of Kneser-Ney n-grams, checked; models copy them when they generate with them.
 *
 * As src/motegpt/ngrams/kneser_ney.py has them: levels: those of 2, 3, … tokens, each with children (shorter
 * contexts + 1), first (contexts), starts (contexts + 1), last (n-grams), share (n-grams) and backoff (contexts);
 * unigrams (V).
 */
export class CoreNGrams {
  constructor({ levels, unigrams }) {
    const check = (holds, expected) => { if (!holds) throw new Error(`n-grams: expected ${expected}`); };
    const areProbabilities = (numbers) => numbers.every((p) => p >= 0 && p <= 1);
    const areStarts = (starts, ranges, count) => starts.length === ranges + 1 && starts[0] === 0
      && starts[ranges] === count && starts.every((start, i) => i === 0 || start >= starts[i - 1]);
    check(levels.length >= 1 && levels.length <= 7, "n-grams of 2 … 8 tokens");
    check(unigrams.length > 0 && areProbabilities(unigrams), "probabilities");
    let shorter = 1;
    for (const { children, first, starts, last, share, backoff } of levels) {
      check(areStarts(children, shorter, first.length), "children in order");
      check(areStarts(starts, first.length, last.length), "starts in order");
      check(last.every((id) => id >= 0 && id < unigrams.length), "token ids in 0 … V - 1");
      check(share.length === last.length && areProbabilities(share), "a probability for each n-gram");
      check(backoff.length === first.length && areProbabilities(backoff), "a probability for each context");
      shorter = first.length;
    }
    this.levels = levels;
    this.unigrams = unigrams;
  }
}

/** Checks sequences: those of `count` steps of B each. An Error that names the operation if they do not fit. */
function checkCoreBatch(operation, shape, batch, count, B) {
  const { tokens, offsets, weights } = batch;
  const refuse = (expected, got) => { throw new Error(`${operation}: expected ${expected}, got ${got}`); };
  if (!(Number.isInteger(B) && B >= 1)) refuse("at least one sequence per step", B);
  if (offsets.length < count * B + 1) refuse(`offsets of ${count * B} sequences`, offsets.length - 1);
  const end = offsets[count * B];
  if (end > tokens.length) refuse("sequences within the tokens", `one that ends at ${end} of ${tokens.length}`);
  for (let s = 0; s < count * B; s++) {
    const length = offsets[s + 1] - offsets[s];
    if (!(length >= 2 && length <= shape.block_size + 1)) {
      refuse(`sequences of 2 … block_size + 1 = ${shape.block_size + 1} tokens`, `one of ${length}`);
    }
  }
  checkCoreTokens(operation, shape, tokens.subarray(offsets[0], end));
  const targets = end - offsets[0] - count * B;
  if (weights.length < targets) refuse(`${targets} weights`, weights.length);
  for (let i = 0; i < targets; i++) if (!Number.isFinite(weights[i])) refuse("finite weights", weights[i]);
}

/** An Error for a token id that is not in the vocabulary. */
function checkCoreTokens(operation, shape, ids) {
  for (const id of ids) {
    if (!(Number.isInteger(id) && id >= 0 && id < shape.vocab_size)) {
      throw new Error(`${operation}: expected token ids in 0 … vocab_size - 1 = ${shape.vocab_size - 1}, got ${id}`);
    }
  }
}

/** An Error for a mask of layers, heads, positions or parameters that there are not. */
function checkCoreMask(shape, size, mask) {
  const inside = (i, count) => Number.isInteger(i) && i >= 0 && i < count;
  const layer = (i) => inside(i, shape.n_layer), head = (i) => inside(i, shape.n_head);
  const kinds = {
    heads: ["[layer, head]", (one) => layer(one[0]) && head(one[1])],
    layers: ["a layer", (one) => layer(one)],
    parts: ["[layer, \"attn\" or \"mlp\"]", (one) => layer(one[0]) && ["attn", "mlp"].includes(one[1])],
    cells: ["[layer, head, t, u] with u in 0 … t", (one) => layer(one[0]) && head(one[1])
      && inside(one[2], shape.block_size) && inside(one[3], one[2] + 1)],
    weights: ["[index, number] of a parameter", (one) => inside(one[0], size) && Number.isFinite(one[1])],
  };
  for (const [kind, given] of Object.entries(mask)) {
    if (!(kind in kinds)) throw new Error(`look: expected a mask of ${Object.keys(kinds).join(", ")}, got ${kind}`);
    const [expected, holds] = kinds[kind];
    for (const one of given) if (!holds(one)) throw new Error(`look: \`${kind}\`: expected ${expected}, got ${one}`);
  }
}

/** A bound as the core has it: infinite for none. */
function coreBound(operation, name, bound) {
  if (bound === null || bound === undefined) return Infinity;
  if (!(bound > 0)) throw new Error(`${operation}: \`${name}\`: expected a bound above 0 or null, got ${bound}`);
  return bound;
}

/** A probability of dropout, 0 for none. */
function coreDropout(operation, name, given) {
  const p = given ?? 0;
  if (!(p >= 0 && p < 1)) throw new Error(`${operation}: \`${name}\`: expected 0 or more and below 1, got ${p}`);
  return p;
}

/** A number as 64 bits. */
function coreSeed(seed) {
  return BigInt.asUintN(64, BigInt(seed ?? 0));
}

/** A model: parameters, slots of their optimizer, and the buffers to train them. */
export class CoreModel {
  constructor(instance, specification, { dtype = "float32", optimizer = "adam" }) {
    if (!(dtype in CORE_BYTES)) throw new Error(`dtype: expected float32 or float64, got ${dtype}`);
    this.instance = instance;
    this.shape = specification.shape;
    this.dtype = dtype;
    this.Real = CORE_BYTES[dtype];
    this.handle = instance.within((frame) => describeCoreModel(frame, specification, dtype, optimizer));
    this.size = instance.call("parameter_count", this.handle);
    this.slotCount = instance.call("slot_count", this.handle);
    this.nGrams = null;
    this.release = () => {};
  }

  /** Gives the memory back; the model cannot be used afterwards. */
  free() {
    this.instance.free();
    this.release();
  }

  /** @param {ArrayLike<number>} parameters (P)  @param {?ArrayLike<number>} slots (n · P), zeros if null */
  load(parameters, slots = null) {
    const all = this.slotCount * this.size;
    if (parameters.length !== this.size) this.refuse("load", `${this.size} parameters`, parameters.length);
    if (slots && slots.length !== all) this.refuse("load", `${all} numbers of slots`, slots.length);
    this.instance.within((frame) => {
      const at = frame.put(this.Real, parameters);
      this.call("load", at, slots ? frame.put(this.Real, slots) : frame.room(this.Real, all));
    });
  }

  /** @returns {Float32Array|Float64Array} a copy of the parameters (P) */
  parameters() {
    return this.instance.within((frame) => {
      const at = frame.room(this.Real, this.size);
      this.call("store", at, 0);
      return this.instance.read(this.Real, at, this.size);
    });
  }

  /** @returns {Float32Array|Float64Array} a copy of the slots (n · P): of Adam m, then v */
  slots() {
    return this.instance.within((frame) => {
      const at = frame.room(this.Real, this.slotCount * this.size);
      this.call("store", frame.room(this.Real, this.size), at);
      return this.instance.read(this.Real, at, this.slotCount * this.size);
    });
  }

  /**
   * Trains for `count` steps of B sequences each.
   * @param {{tokens: Int32Array, offsets: Int32Array, weights: Float64Array}} batch sequence s is
   *   tokens[offsets[s] … offsets[s + 1]), its inputs all but the last and its targets all but the first; a weight
   *   for each target, sequence by sequence; step i has the sequences i · B … i · B + B - 1
   * @param {Float64Array} scalars (count · n) of the optimizer, as core.scalars gives them
   * @param {{clip_node?, clip_value?, clip_norm?: ?number, dropout?, ngram_dropout?: number,
   *   seed?: number|bigint, first?: number, table_decay?: ?Float64Array}} options first: the step of the training
   *   that is step 0 here; table_decay (count): factors of the n-gram tables after each step
   * @returns {Float64Array} (count) losses in nats, each before its update
   */
  train(batch, count, B, scalars, options = {}) {
    checkCoreBatch("train", this.shape, batch, count, B);
    const clips = ["clip_node", "clip_value", "clip_norm"].map((name) => coreBound("train", name, options[name]));
    const decay = options.table_decay ?? null;
    if (scalars.length < count || scalars.length % Math.max(1, count)) {
      this.refuse("train", `the same number of scalars for each of ${count} steps`, scalars.length);
    }
    if (decay && decay.length !== count) this.refuse("train", `${count} factors of the tables`, decay.length);
    if (count === 0) return new Float64Array(0);
    return this.instance.within((frame) => {
      const losses = frame.room(Float64Array, count);
      this.call("train", ...this.steps(frame, batch), count, B, frame.put(Float64Array, scalars), ...clips,
        ...this.dropout("train", options), options.first ?? 0, frame.put(Float64Array, decay), losses);
      return this.instance.read(Float64Array, losses, count);
    });
  }

  /**
   * Loss and gradient of one step of B sequences, with the options of `train`; clipped by node only. With a
   * `first`, dropout is that of this step.
   * @returns {{loss: number, gradient: Float32Array|Float64Array}} nats; (P)
   */
  gradients(batch, B, options = {}) {
    checkCoreBatch("gradients", this.shape, batch, 1, B);
    const clip = coreBound("gradients", "clip_node", options.clip_node);
    return this.instance.within((frame) => {
      const at = frame.room(this.Real, this.size);
      const loss = this.call("gradients", ...this.steps(frame, batch), B, clip, ...this.dropout("gradients", options),
        options.first ?? 0, at);
      return { loss, gradient: this.instance.read(this.Real, at, this.size) };
    });
  }

  /**
   * The logits of a sequence, or of several of one step.
   * @param {ArrayLike<number>|{tokens, offsets}} given ids (T), or sequences as in `train`
   * @returns {Float32Array|Float64Array} (T · V), position by position
   */
  logits(given) {
    const batch = "offsets" in given ? given : { tokens: Int32Array.of(...given, 0), offsets: [0, given.length + 1] };
    const B = batch.offsets.length - 1, T = batch.offsets[B] - batch.offsets[0] - B;
    const all = { ...batch, weights: new Float64Array(T) };
    checkCoreBatch("logits", this.shape, all, 1, B);
    const count = T * this.shape.vocab_size;
    return this.instance.within((frame) => {
      const at = frame.room(this.Real, count);
      this.call("logits", ...this.steps(frame, all), B, at);
      return this.instance.read(this.Real, at, count);
    });
  }

  /**
   * Looks into the forward pass over a sequence, and changes it for this look alone.
   * @param {ArrayLike<number>} ids (T)
   * @param {{heads?: number[][], layers?: number[], parts?: Array[], cells?: number[][], weights?: number[][]}} mask
   *   heads: [layer, head], whose output z is 0; layers, and parts: [layer, "attn"|"mlp"], that add nothing; cells:
   *   [layer, head, t, u] of the attention pattern that are 0, without a new softmax; weights: [index, value] of the
   *   flat parameters that are replaced
   * @returns {{T: number, logits, lens, activations: Object}} logits (T · V); lens ((L + 1) · T · V): the head
   *   applied to the residual stream before the first layer and after each; activations: {rows, columns, values} or,
   *   of attention, {heads, rows, columns, values}, by the names of docs/notation.md
   */
  look(ids, mask = {}) {
    const { instance, Real, shape } = this, T = ids.length, V = shape.vocab_size;
    if (!(T >= 1 && T <= shape.block_size)) this.refuse("look", `1 … block_size = ${shape.block_size} tokens`, T);
    checkCoreTokens("look", shape, ids);
    checkCoreMask(shape, this.size, mask);
    const parameters = this.call("begin_look");
    for (const [i, value] of mask.weights ?? []) instance.view(Real, parameters, this.size)[i] = value;
    for (const one of mask.heads ?? []) this.call("mask_head", ...one);
    for (const layer of mask.layers ?? []) for (const mlp of [0, 1]) this.call("mask_part", layer, mlp);
    for (const [layer, part] of mask.parts ?? []) this.call("mask_part", layer, Number(part === "mlp"));
    for (const one of mask.cells ?? []) this.call("mask_cell", ...one);
    instance.within((frame) => this.call("look", frame.put(Int32Array, ids), T));
    return {
      T,
      logits: instance.read(Real, this.call("look_logits"), T * V),
      lens: instance.read(Real, this.call("look_lens"), (shape.n_layer + 1) * T * V),
      activations: this.activations(),
    };
  }

  /** @private What the last look recorded, by name. */
  activations() {
    const { instance, Real } = this, found = {};
    instance.within((frame) => {
      const at = frame.room(Int32Array, 5);
      for (let i = 0; i < this.call("look_records"); i++) {
        const name = instance.text(this.call("look_record", i, at));
        const [layer, heads, rows, columns, values] = instance.read(Int32Array, at, 5);
        const sizes = heads ? { heads, rows, columns } : { rows, columns };
        const record = { ...sizes, values: instance.read(Real, values, (heads || 1) * rows * columns) };
        found[layer < 0 ? name : `blocks.${layer}.${name}`] = record;
      }
    });
    return found;
  }

  /**
   * Generates a text for each generator state, which it advances.
   * @param {{prompt: ArrayLike<number>, prefix?: number, max: number, min?: number, end?: ?number, temperature?: number,
   *   top_k?: number, top_p?: number, min_p?: number, repetition_penalty?: number, masked?: number[],
   *   stop?: ArrayLike<number>, n_grams?: ?{tables: CoreNGrams, weight: number}}} request prefix: tokens at the end of
   *   the prompt that are part of the text; max, min: tokens, without the end; end: the token that ends a text; masked:
   *   tokens that are never sampled; n_grams: to average with
   * @param {BigUint64Array} states (n), of core.stream
   * @returns {number[][]} the ids of each text, without prompt and end
   */
  generate(request, states) {
    const { prompt, prefix = 0, max, min = 0, end = null, temperature = 1, stop = [], masked = [] } = request;
    const { top_k = 0, top_p = 1, min_p = 0, repetition_penalty = 1, n_grams = null } = request;
    const { instance, shape } = this, n = states.length;
    const check = (holds, expected) => { if (!holds) throw new Error(`generate: expected ${expected}`); };
    checkCoreTokens("generate", shape, prompt);
    checkCoreTokens("generate", shape, stop);
    checkCoreTokens("generate", shape, masked);
    check(prompt.length >= 1, "a prompt of at least 1 token");
    check(max >= 1 && min >= 0 && min <= max, "`max` of at least 1, and `min` in 0 … `max`");
    check(prefix >= 0 && prefix <= prompt.length, "a `prefix` of 0 … the length of the prompt");
    check(temperature >= 0 && temperature < Infinity, "a finite `temperature` of at least 0");
    check(repetition_penalty > 0 && repetition_penalty < Infinity, "a finite `repetition_penalty` above 0");
    check(top_k >= 0 && top_p > 0 && min_p >= 0 && min_p <= 1, "`top_k` of at least 0, `top_p` above 0, `min_p` in 0 … 1");
    this.average(n_grams);
    if (n === 0) return [];
    const never = masked.length ? Uint8Array.from({ length: shape.vocab_size }, (_, id) => masked.includes(id)) : null;
    return instance.within((frame) => {
      const at = frame.put(BigUint64Array, states);
      const ids = frame.room(Int32Array, n * max), lengths = frame.room(Int32Array, n);
      const finite = this.call("generate", frame.put(Int32Array, prompt), prompt.length, prefix, min, max, end ?? -1,
        frame.put(Int32Array, stop), stop.length, frame.put(Uint8Array, never), temperature, repetition_penalty,
        Math.min(top_k, shape.vocab_size), top_p, min_p, n_grams ? n_grams.weight : 0, n, CORE_SIDE_BY_SIDE, at, ids, lengths);
      check(finite, "finite logits, got others; train with a lower learning rate");
      states.set(instance.view(BigUint64Array, at, n));
      const counts = instance.read(Int32Array, lengths, n), all = instance.read(Int32Array, ids, n * max);
      return Array.from(counts, (count, i) => [...all.subarray(i * max, i * max + count)]);
    });
  }

  /** @private The n-grams of the next text, or none, are those in the instance. */
  average(n_grams) {
    const tables = n_grams ? n_grams.tables : null;
    if (tables === this.nGrams) return;
    const { instance } = this;
    this.call("clear_n_grams");
    this.nGrams = null;
    if (!tables) return;
    if (tables.unigrams.length !== this.shape.vocab_size) {
      this.refuse("generate", `n-grams of vocab_size = ${this.shape.vocab_size} tokens`, tables.unigrams.length);
    }
    instance.within((frame) => {
      this.call("set_unigrams", frame.put(Float64Array, tables.unigrams), tables.unigrams.length);
      for (const level of tables.levels) {
        this.call("add_n_gram_level", frame.put(Float64Array, level.children), frame.put(Int32Array, level.first),
          frame.put(Float64Array, level.starts), frame.put(Int32Array, level.last), frame.put(Float64Array, level.share),
          frame.put(Float64Array, level.backoff), level.children.length - 1, level.first.length, level.last.length);
      }
    });
    this.nGrams = tables;
  }

  /** @param {number} n  @returns {CoreDecoder} n sequences that grow token by token, from the present parameters */
  decoder(n) {
    return new CoreDecoder(this, n);
  }

  /** @private An export's result, with the model as first argument. */
  call(name, ...given) {
    return this.instance.call(name, this.handle, ...given);
  }

  /** @private The addresses of tokens, offsets and weights. */
  steps(frame, { tokens, offsets, weights }) {
    return [frame.put(Int32Array, tokens), frame.put(Int32Array, offsets), frame.put(Float64Array, weights)];
  }

  /** @private Seed and probabilities of dropout. */
  dropout(operation, options) {
    return [coreSeed(options.seed), coreDropout(operation, "dropout", options.dropout),
      coreDropout(operation, "ngram_dropout", options.ngram_dropout)];
  }

  /** @private */
  refuse(operation, expected, got) {
    throw new Error(`${operation}: expected ${expected}, got ${got}`);
  }
}

/** The address of a new model. */
function describeCoreModel(frame, { shape, tensors, contexts = [] }, dtype, optimizer) {
  const { instance } = frame, made = instance.call("describe");
  const value = (name) => {
    if (shape[name] === undefined) throw new Error(`\`${name}\`: expected a value, got none`);
    return shape[name];
  };
  for (const name of CORE_NUMBERS) instance.call("describe_number", made, frame.text(name), Number(value(name)));
  for (const name of CORE_CHOICES) {
    instance.call("describe_choice", made, frame.text(name), frame.text(value(name)));
  }
  for (const tensor of tensors) {
    const sizes = frame.put(Int32Array, tensor.shape);
    instance.call("describe_tensor", made, frame.text(tensor.name), sizes, tensor.shape.length,
      Number(tensor.product), Number(tensor.decayed));
  }
  for (const keys of contexts) {
    instance.call("describe_contexts", made, frame.put(Float64Array, keys), keys.length);
  }
  return instance.call("make_model", made, Number(dtype === "float32"), frame.text(optimizer));
}

/** n sequences side by side with their keys and values. */
export class CoreDecoder {
  constructor(model, n) {
    this.model = model;
    this.n = n;
    this.fed = 0;
    this.handle = model.call("make_decoder", n);
  }

  /**
   * Appends a token to each sequence.
   * @param {ArrayLike<number>} ids (n)
   * @returns {Float32Array|Float64Array} (n · V), the logits of the tokens to follow
   */
  feed(ids) {
    const { model, n } = this, { instance, shape, Real } = model, count = n * shape.vocab_size;
    if (ids.length !== n) model.refuse("feed", `${n} token ids`, ids.length);
    checkCoreTokens("feed", shape, ids);
    if (this.fed >= shape.block_size) model.refuse("feed", `at most block_size = ${shape.block_size} tokens`, "more");
    this.fed += 1;
    return instance.within((frame) => {
      const at = frame.room(Real, count);
      instance.call("feed", this.handle, frame.put(Int32Array, ids), at);
      return instance.read(Real, at, count);
    });
  }

  /** Sequence i goes on from what sequence sources[i] was fed.  @param {ArrayLike<number>} sources (n) */
  reorder(sources) {
    const { model, n } = this;
    if (sources.length !== n || !Array.from(sources).every((i) => Number.isInteger(i) && i >= 0 && i < n)) {
      model.refuse("reorder", `${n} sources of 0 … n - 1`, sources);
    }
    const { instance } = model;
    instance.within((frame) => instance.call("reorder", this.handle, frame.put(Int32Array, sources)));
  }

  /** Forgets everything that was fed. */
  reset() {
    this.fed = 0;
    this.model.instance.call("reset", this.handle);
  }

  /** Gives the memory back. */
  free() {
    this.model.instance.call("delete_decoder", this.handle);
  }
}
