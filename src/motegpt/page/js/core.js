// The core as WebAssembly: arrays in, typed arrays out.
//
// Shapes: P parameters, n slots, V tokens, L layers, T positions, B sequences per step. Flat arrays of
// parameters hold the tensors of the specification one after the other, in row-major order. Losses are in
// nats.

import { CoreNGrams, checkCore, coreSeed } from "./core-checks.js";
import { CoreInstance, passCoreSettings } from "./core-memory.js";
import { CoreModel } from "./core-model.js";

const CORE_TRAIN_NUMBERS = ["steps", "warmup_steps", "lr", "lr_min", "beta1", "beta2", "eps", "momentum",
  "weight_decay", "ngram_weight_decay"];
const CORE_TRAIN_CHOICES = ["schedule", "optimizer", "adam"];
const CORE_STATE_WORDS = 625; // of the generator with the longest state

/**
 * Compiles the module.
 * @param {BufferSource} bytes motegpt.wasm
 * @returns {Promise<Core>} rejected with a sentence where WebAssembly or its vectors are missing
 */
export async function loadCore(bytes) {
  checkCore(typeof WebAssembly === "object", "core", "a browser with WebAssembly; use a newer browser");
  try {
    return new Core(await WebAssembly.compile(bytes));
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    const needed = "a browser with WebAssembly SIMD: Chrome 91, Firefox 89, Safari 16.4 or newer";
    throw new Error(`core: expected ${needed}; use a newer browser (${error.message})`);
  }
}

/** The compiled module, with an instance for what belongs to no model. */
export class Core {
  constructor(module) {
    this.module = module;
    this.shared = new CoreInstance(module, "core", true);
    this.models = new Set();
  }

  /** Bytes of memory of the core and of all models that were not freed. */
  get bytes() {
    return [...this.models].reduce((sum, model) => sum + model.instance.bytes, this.shared.bytes);
  }

  /**
   * A model in training, with parameters and slots of zeros. It has a memory of its own, until `free`.
   * @param {{shape: Object, tensors: {name: string, shape: number[], product: boolean, decayed: boolean}[],
   *   contexts?: ArrayLike<number>[]}} specification shape: settings of the architecture by name; contexts:
   *   keys of each table of the n-gram embedding, row · 2^20 + token in ascending order
   * @param {{dtype: "float32"|"float64", optimizer: "adam"|"sgd"}} options
   * @returns {CoreModel} an Error for what the core cannot compute
   */
  model(specification, options) {
    const instance = new CoreInstance(this.module, "model");
    const model = new CoreModel(instance, specification, options, () => this.models.delete(model));
    this.models.add(model);
    return model;
  }

  /** @param {{levels: Object[], unigrams: Float64Array}} tables  @returns {CoreNGrams} for generation */
  nGrams(tables) {
    return new CoreNGrams(tables);
  }

  /**
   * The generator of a run.
   * @param {"python"|"lcg"|"xoshiro128+"} name  @param {number|bigint} seed  @returns {CoreRandom}
   */
  random(name, seed) {
    return new CoreRandom(this.shared, name, seed);
  }

  /** @returns {bigint} the initial state of the generator of text i */
  stream(seed, i) {
    return BigInt.asUintN(64, this.shared.call("stream", coreSeed(seed), i));
  }

  /** @returns {Int32Array} 0 … n - 1 in the order of an epoch, where epochs are reshuffled */
  epochOrder(seed, epoch, n) {
    return this.shared.within((frame) => {
      const at = frame.room(Int32Array, n);
      this.shared.call("epoch_order", coreSeed(seed), epoch, n, at);
      return this.shared.read(Int32Array, at, n);
    });
  }

  /** @returns {Float64Array} (count) learning rates of the steps from `first` on; train: settings by name */
  rates(train, first, count) {
    return this.perStep("rates", train, first, count);
  }

  /** @returns {Float64Array} (count · n) scalars of the optimizer, for CoreModel.train */
  scalars(train, first, count) {
    return this.perStep("scalars", train, first, count);
  }

  /** @returns {Float64Array} (count) factors of the n-gram tables after each step, for CoreModel.train */
  tableDecay(train, first, count) {
    return this.perStep("table_decays", train, first, count);
  }

  /** @private Numbers of steps that follow from the settings of training. */
  perStep(name, train, first, count) {
    const { shared } = this;
    return shared.within((frame) => {
      const settings = frame.room(Uint8Array, shared.call("settings_size"));
      passCoreSettings(frame, "settings", settings, train, CORE_TRAIN_NUMBERS, CORE_TRAIN_CHOICES);
      const size = count * (name === "scalars" ? shared.call("scalar_count", settings) : 1);
      const at = frame.room(Float64Array, size);
      shared.call(name, settings, first, count, at);
      return shared.read(Float64Array, at, size);
    });
  }
}

/** A generator of src/motegpt/model/rng.py: the same numbers for the same seed. */
export class CoreRandom {
  constructor(instance, name, seed) {
    this.instance = instance;
    this.handle = instance.within((frame) => instance.call("make_rng", frame.text(name), coreSeed(seed)));
  }

  /** Gives the memory back. */
  free() {
    this.instance.call("delete_rng", this.handle);
  }

  /** @returns {number} a number in [0, 1) */
  uniform() {
    return this.instance.call("uniform", this.handle);
  }

  /** @returns {Float64Array} (n) numbers of the normal distribution */
  gauss(mean, std, n) {
    return this.instance.within((frame) => {
      const at = frame.room(Float64Array, n);
      this.instance.call("gauss", this.handle, mean, std, n, at);
      return this.instance.read(Float64Array, at, n);
    });
  }

  /** @returns {Int32Array} 0 … n - 1 in a random order */
  shuffle(n) {
    return this.instance.within((frame) => {
      const at = frame.put(Int32Array, Int32Array.from({ length: n }, (_, i) => i));
      this.instance.call("shuffle", this.handle, n, at);
      return this.instance.read(Int32Array, at, n);
    });
  }

  /** @param {ArrayLike<number>} weights (n)  @returns {number} i with probability weights[i] / Σ weights */
  categorical(weights) {
    checkCore(weights.length > 0, "categorical", "at least one weight", 0);
    const { instance, handle } = this;
    return instance.within((frame) => {
      return instance.call("categorical", handle, frame.put(Float64Array, weights), weights.length);
    });
  }

  /** @returns {{words: bigint[], gaussNext: ?number}} gaussNext: of python, the second number of a pair */
  state() {
    return this.instance.within((frame) => {
      const words = frame.room(BigUint64Array, CORE_STATE_WORDS), gauss = frame.room(Float64Array, 1);
      const count = this.instance.call("rng_state", this.handle, words, gauss);
      const [gaussNext] = this.instance.read(Float64Array, gauss, 1);
      const all = [...this.instance.read(BigUint64Array, words, count)];
      return { words: all, gaussNext: Number.isNaN(gaussNext) ? null : gaussNext };
    });
  }

  /** Restores a state; an Error if it is not one of such a generator. */
  restore({ words, gaussNext = null }) {
    const { instance, handle } = this;
    const restored = instance.within((frame) => {
      const at = frame.put(BigUint64Array, Array.from(words, BigInt));
      return instance.call("restore_rng", handle, at, words.length, gaussNext ?? NaN);
    });
    checkCore(restored, "restore", "a state of this generator");
  }
}
