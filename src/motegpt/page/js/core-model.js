// A model in the core: trains, looks inside, generates.

import {
  checkCore, checkCoreBatch, checkCoreMask, checkCoreTokens, checkedCoreRequest, coreBound, coreDropout,
  coreSeed, isCoreIndex,
} from "./core-checks.js";
import { passCoreSettings } from "./core-memory.js";

const CORE_REALS = { float32: Float32Array, float64: Float64Array };
const CORE_MODEL_NUMBERS = ["vocab_size", "block_size", "n_layer", "n_embd", "n_head", "n_kv_head", "n_hidden", "bias",
  "embedding_norm", "norm_gain", "norm_bias", "final_norm", "norm_eps", "rope_base", "qk_norm"];
const CORE_MODEL_CHOICES = ["activation", "norm", "position"];
const CORE_SIDE_BY_SIDE = 64; // texts that are generated together

/** A model: parameters, slots of their optimizer, and the buffers to train them. */
export class CoreModel {
  /** See Core.model. release(): called by `free`. */
  constructor(instance, specification, { dtype = "float32", optimizer = "adam" }, release = () => {}) {
    checkCore(dtype in CORE_REALS, "dtype", "float32 or float64", dtype);
    this.instance = instance;
    this.shape = specification.shape;
    this.dtype = dtype;
    this.Real = CORE_REALS[dtype];
    this.release = release;
    this.handle = instance.within((frame) => {
      const described = describeCoreModel(frame, specification);
      return instance.call("make_model", described, Number(dtype === "float32"), frame.text(optimizer));
    });
    this.size = this.call("parameter_count");
    this.slotCount = this.call("slot_count");
    this.nGrams = null; // the tables that the instance has
  }

  /** Gives the memory back; the model cannot be used afterwards. */
  free() {
    this.instance.free();
    this.release();
  }

  /** @param {ArrayLike<number>} parameters (P)  @param {?ArrayLike<number>} slots (n · P); null: zeros */
  load(parameters, slots = null) {
    const all = this.slotCount * this.size;
    checkCore(parameters.length === this.size, "load", `${this.size} parameters`, parameters.length);
    checkCore(!slots || slots.length === all, "load", `${all} numbers of slots`, slots?.length);
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
   *   tokens[offsets[s] … offsets[s + 1]), its inputs all but the last and its targets all but the first; a
   *   weight of each target, sequence by sequence; step i has the sequences i · B … i · B + B - 1
   * @param {Float64Array} scalars (count · n) of the optimizer, as Core.scalars gives them
   * @param {{clip_node?: ?number, clip_value?: ?number, clip_norm?: ?number, dropout?: number,
   *   ngram_dropout?: number, seed?: number|bigint, first?: number, table_decay?: ?Float64Array}} options
   *   first: the step of the training that is step 0 here; table_decay (count), as Core.tableDecay gives it
   * @returns {Float64Array} (count) losses in nats, each before its update
   */
  train(batch, count, B, scalars, options = {}) {
    checkCoreBatch("train", this.shape, batch, count, B);
    const clips = ["clip_node", "clip_value", "clip_norm"].map((name) =>
      coreBound("train", name, options[name]));
    const decay = options.table_decay ?? null;
    const expected = count * this.call("scalars_per_step");
    checkCore(scalars.length === expected, "train", `${expected} scalars`, scalars.length);
    checkCore(!decay || decay.length === count, "train", `${count} factors of the tables`, decay?.length);
    return this.instance.within((frame) => {
      const losses = frame.room(Float64Array, count);
      this.call("train", ...this.steps(frame, batch), count, B, frame.put(Float64Array, scalars), ...clips,
        ...this.dropout("train", options), options.first ?? 0, frame.put(Float64Array, decay), losses);
      return this.instance.read(Float64Array, losses, count);
    });
  }

  /**
   * Loss and gradient of one step of B sequences, with the options of `train`; clipped by node only.
   * @returns {{loss: number, gradient: Float32Array|Float64Array}} nats; (P)
   */
  gradients(batch, B, options = {}) {
    checkCoreBatch("gradients", this.shape, batch, 1, B);
    const clip = coreBound("gradients", "clip_node", options.clip_node);
    return this.instance.within((frame) => {
      const at = frame.room(this.Real, this.size);
      const loss = this.call("gradients", ...this.steps(frame, batch), B, clip,
        ...this.dropout("gradients", options), options.first ?? 0, at);
      return { loss, gradient: this.instance.read(this.Real, at, this.size) };
    });
  }

  /**
   * The logits of one sequence, or of several.
   * @param {ArrayLike<number>|{tokens: Int32Array, offsets: Int32Array}} given ids (T), or as in `train`
   * @returns {Float32Array|Float64Array} (T · V), position by position
   */
  logits(given) {
    const isBatch = "offsets" in given; // a batch has targets, ids have none
    const { tokens, offsets } = isBatch
      ? given : { tokens: Int32Array.of(...given, 0), offsets: [0, given.length + 1] };
    const B = offsets.length - 1, T = Math.max(0, offsets[B] - offsets[0] - B);
    const batch = { tokens, offsets, weights: new Float64Array(T) };
    checkCoreBatch("logits", this.shape, batch, 1, B);
    const count = T * this.shape.vocab_size;
    return this.instance.within((frame) => {
      const at = frame.room(this.Real, count);
      this.call("logits", ...this.steps(frame, batch), B, at);
      return this.instance.read(this.Real, at, count);
    });
  }

  /**
   * Looks into the forward pass over a sequence, and changes it for this look alone.
   * @param {ArrayLike<number>} ids (T)
   * @param {{heads?: number[][], layers?: number[], parts?: Array[], cells?: number[][],
   *   weights?: number[][]}} mask heads: [layer, head], whose output z is 0; layers, and parts: [layer,
   *   "attn"|"mlp"], that add nothing; cells: [layer, head, t, u] of the attention pattern that are 0, without a
   *   new softmax; weights: [index, value], which replace flat parameters
   * @returns {{T: number, logits: Float64Array, lens: Float64Array, activations: Object}} of the model's
   *   dtype. logits (T · V); lens ((L + 1) · T · V): the head applied to the residual stream before the first
   *   layer and after each; activations: {rows, columns, values} or, of attention, {heads, rows, columns,
   *   values}, by the names of docs/notation.md
   */
  look(ids, mask = {}) {
    const { instance, Real, shape } = this, T = ids.length, V = shape.vocab_size;
    checkCore(T >= 1 && T <= shape.block_size, "look", `1 … block_size = ${shape.block_size} tokens`, T);
    checkCoreTokens("look", shape, ids);
    checkCoreMask(shape, this.size, mask);
    this.beginLook(mask);
    instance.within((frame) => this.call("look", frame.put(Int32Array, ids), T));
    return {
      T,
      logits: instance.read(Real, this.call("look_logits"), T * V),
      lens: instance.read(Real, this.call("look_lens"), (shape.n_layer + 1) * T * V),
      activations: this.activations(),
    };
  }

  /** @private Passes the mask of the next look. */
  beginLook({ heads, layers, parts, cells, weights }) {
    const parameters = this.call("begin_look");
    const view = this.instance.view(this.Real, parameters, this.size);
    for (const [i, value] of weights ?? []) view[i] = value;
    for (const one of heads ?? []) this.call("mask_head", ...one);
    for (const layer of layers ?? []) for (const isMlp of [0, 1]) this.call("mask_part", layer, isMlp);
    for (const [layer, part] of parts ?? []) this.call("mask_part", layer, Number(part === "mlp"));
    for (const one of cells ?? []) this.call("mask_cell", ...one);
  }

  /** @private What the last look recorded, by name. */
  activations() {
    const { instance, Real } = this;
    return instance.within((frame) => {
      const at = frame.room(Int32Array, 5), found = {};
      for (let i = 0; i < this.call("look_records"); i++) {
        const name = instance.text(this.call("look_record", i, at));
        const [layer, heads, rows, columns, address] = instance.read(Int32Array, at, 5);
        const values = instance.read(Real, address, (heads || 1) * rows * columns);
        const full = layer < 0 ? name : `blocks.${layer}.${name}`;
        found[full] = heads ? { heads, rows, columns, values } : { rows, columns, values };
      }
      return found;
    });
  }

  /**
   * Generates a text for each generator state, which it advances.
   * @param {{prompt: ArrayLike<number>, max: number, prefix?: number, min?: number, end?: ?number,
   *   temperature?: number, top_k?: number, top_p?: number, min_p?: number, repetition_penalty?: number,
   *   masked?: number[], stop?: ArrayLike<number>, n_grams?: ?{tables: CoreNGrams, weight: number}}} given
   *   max, min: tokens of a text, without the end; prefix: tokens at the end of the prompt that are part of
   *   the text; end: the token that ends a text; masked: tokens that are never sampled; n_grams: to average with
   * @param {BigUint64Array} states (n), of Core.stream
   * @returns {number[][]} the ids of each text, without prompt and end
   */
  generate(given, states) {
    const request = checkedCoreRequest(this.shape, given), { prompt, max, stop, masked, n_grams } = request;
    const { instance, shape } = this, n = states.length;
    const weight = n_grams ? n_grams.weight : 0;
    checkCore(weight >= 0 && weight <= 1, "generate", "a weight of the n-grams in 0 … 1", weight);
    this.averageWith(n_grams ? n_grams.tables : null);
    if (n === 0) return [];
    const never = Uint8Array.from({ length: shape.vocab_size }, (_, id) => Number(masked.includes(id)));
    return instance.within((frame) => {
      const at = frame.put(BigUint64Array, states);
      const ids = frame.room(Int32Array, n * max), lengths = frame.room(Int32Array, n);
      const finite = this.call("generate", frame.put(Int32Array, prompt), prompt.length, request.prefix,
        request.min, max, request.end ?? -1, frame.put(Int32Array, stop), stop.length,
        masked.length ? frame.put(Uint8Array, never) : 0, request.temperature, request.repetition_penalty,
        Math.min(request.top_k, shape.vocab_size), request.top_p, request.min_p, weight, n, CORE_SIDE_BY_SIDE,
        at, ids, lengths);
      checkCore(finite, "generate", "finite logits; train with a lower learning rate");
      states.set(instance.view(BigUint64Array, at, n));
      const counts = instance.read(Int32Array, lengths, n), all = instance.read(Int32Array, ids, n * max);
      return Array.from(counts, (count, i) => [...all.subarray(i * max, i * max + count)]);
    });
  }

  /** @private Makes these n-grams, or none for null, those of the instance. */
  averageWith(tables) {
    if (tables === this.nGrams) return;
    this.call("clear_n_grams");
    this.nGrams = null;
    if (!tables) return;
    const V = this.shape.vocab_size, { levels, unigrams } = tables;
    checkCore(unigrams.length === V, "generate", `n-grams of vocab_size = ${V} tokens`, unigrams.length);
    this.instance.within((frame) => {
      this.call("set_unigrams", frame.put(Float64Array, unigrams), V);
      for (const { children, first, starts, last, share, backoff } of levels) {
        this.call("add_n_gram_level", frame.put(Float64Array, children), frame.put(Int32Array, first),
          frame.put(Float64Array, starts), frame.put(Int32Array, last), frame.put(Float64Array, share),
          frame.put(Float64Array, backoff), children.length - 1, first.length, last.length);
      }
    });
    this.nGrams = tables;
  }

  /** @param {number} n  @returns {CoreDecoder} of n sequences, with the present parameters */
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
  dropout(operation, { seed, dropout, ngram_dropout }) {
    return [coreSeed(seed), coreDropout(operation, "dropout", dropout),
      coreDropout(operation, "ngram_dropout", ngram_dropout)];
  }
}

/** The address of what describes a model. */
function describeCoreModel(frame, { shape, tensors, contexts = [] }) {
  const { instance } = frame, made = instance.call("describe");
  passCoreSettings(frame, "describe", made, shape, CORE_MODEL_NUMBERS, CORE_MODEL_CHOICES);
  for (const { name, shape: sizes, product, decayed } of tensors) {
    const at = frame.put(Int32Array, sizes), uses = [Number(product), Number(decayed)];
    instance.call("describe_tensor", made, frame.text(name), at, sizes.length, ...uses);
  }
  for (const keys of contexts) {
    instance.call("describe_contexts", made, frame.put(Float64Array, keys), keys.length);
  }
  return made;
}

/** n sequences side by side, with their keys and values. */
export class CoreDecoder {
  constructor(model, n) {
    checkCore(Number.isInteger(n) && n >= 1, "decoder", "at least 1 sequence", n);
    this.model = model;
    this.instance = model.instance;
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
    const { shape, Real } = this.model, { instance, n, handle } = this, count = n * shape.vocab_size;
    checkCore(ids.length === n, "feed", `${n} token ids`, ids.length);
    checkCoreTokens("feed", shape, ids);
    checkCore(this.fed < shape.block_size, "feed", `at most block_size = ${shape.block_size} tokens`, "more");
    this.fed += 1;
    return instance.within((frame) => {
      const at = frame.room(Real, count);
      instance.call("feed", handle, frame.put(Int32Array, ids), at);
      return instance.read(Real, at, count);
    });
  }

  /** Sequence i goes on from what sequence sources[i] was fed.  @param {ArrayLike<number>} sources (n) */
  reorder(sources) {
    const all = Array.from(sources), fits = all.length === this.n && all.every((i) => isCoreIndex(i, this.n));
    checkCore(fits, "reorder", `${this.n} sources of 0 … ${this.n - 1}`, all);
    const { instance, handle } = this;
    instance.within((frame) => instance.call("reorder", handle, frame.put(Int32Array, all)));
  }

  /** Forgets everything that was fed. */
  reset() {
    this.fed = 0;
    this.instance.call("reset", this.handle);
  }

  /** Gives the memory back. */
  free() {
    this.instance.call("delete_decoder", this.handle);
  }
}
