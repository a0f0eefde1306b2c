// Settings by name, checked against boot.fields as src/motegpt/config checks them, and their four sections.

import {quoted} from "./data.js";
import {kvSize, mlpSize, parameterCount} from "./spec.js";

const SECTION_NAMES = ["model", "data", "train", "sample"];
const FOUND_FROM_DATA = ["vocab_size", "ngram_rows"];
const OTHER_LENGTHS = ["epochs", "seconds"]; // alternatives to `steps` that a run does not record
const MOST_ITEMS = 100; // of a setting that is a list
const LARGEST_CACHE = 2 ** 30; // numbers in the keys of one sequence
// What a page can hold: parameters and, to train, numbers that one step keeps for its backward pass.
const MAX_PARAMETERS = 16e6;
const MAX_ACTIVATIONS = 64e6;
// Settings that the page takes from a trained run only, with what does train them.
const ONLY_OF_RUNS = {ngram_orders: null, kneser_ney: null};
// clip_node: Oxidized-GPT has these settings with these values alone (src/motegpt/engines/node_clip.py).
const OF_OXIDIZED = {
  n_kv_head: null,
  n_hidden: null,
  activation: "relu",
  bias: false,
  norm: "rms",
  norm_gain: false,
  norm_bias: false,
  final_norm: false,
  tied: false,
  embedding_norm: true,
  scaled_init: false,
  position: "learned",
  qk_norm: false,
  optimizer: "adam",
  adam: "corrected",
  dropout: 0,
};
// Settings of runs that the page looks into, and does not train further.
const OF_TENSORS = ["frozen", "lr_scale"];
const NEED_A_NORM = ["norm_gain", "norm_bias", "final_norm"];
// The section [data] of a list that the page reads.
const PLAIN_READING = {column: null, header: null, delimiter: null, encoding: null};

/** A value as Python writes it in a message. */
function pythonValue(value) {
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "True" : "False";
  return typeof value === "string" ? quoted(value).replace(/^"(.*)"$/s, "'$1'") : quoted(value);
}

function isText(value) {
  return typeof value === "string" && !/\p{Surrogate}/u.test(value);
}

function isOfType(field, value) {
  const isInteger = typeof value === "bigint" || Number.isSafeInteger(value);
  switch (field.type) {
    case "int":
      return isInteger;
    case "float":
      return typeof value === "number" && Number.isFinite(value);
    case "bool":
      return typeof value === "boolean";
    case "str":
      return isText(value);
    case "tuple":
      return Array.isArray(value) && value.length <= MOST_ITEMS && value.every(isText);
    default:
      return false;
  }
}

function isWithin(field, value) {
  if (field.choices) return field.choices.includes(value);
  if (typeof value !== "number" && typeof value !== "bigint") return true;
  return (
    (field.at_least === undefined || value >= field.at_least) &&
    (field.above === undefined || value > field.above) &&
    (field.at_most === undefined || value <= field.at_most) &&
    (field.below === undefined || value < field.below)
  );
}

/** Throws "name: expected …, got …" unless a value is within the bounds of its field. */
export function checkSetting(name, value, fields) {
  if (!Object.hasOwn(fields, name)) throw new Error(`unknown setting ${quoted(name)}`);
  const field = fields[name];
  if (value === null && field.optional) return;
  if (value === undefined || !isOfType(field, value) || !isWithin(field, value)) {
    throw new Error(`${name}: expected ${field.expected}, got ${pythonValue(value)}`);
  }
}

/**
 * The complete flat settings with `changes`, checked. boot: with presets and fields; changes.preset: the
 * preset to begin with. Throws a sentence that begins with the name of the wrong setting.
 */
export function completeSettings(changes, boot) {
  const {preset = boot.preset, ...given} = changes;
  const base = Object.hasOwn(boot.presets, preset) ? boot.presets[preset] : null;
  if (!base)
    throw new Error(`preset: expected one of ${Object.keys(boot.presets).join(", ")}, got ${quoted(preset)}`);
  for (const name of OTHER_LENGTHS) {
    if (given[name] !== undefined && given[name] !== null)
      throw new Error(`${name}: expected \`steps\` in the page; set them`);
    delete given[name];
  }
  const settings = {...base, ...given};
  for (const name of FOUND_FROM_DATA) delete settings[name];
  settings.seed = wholeNumber(settings.seed);
  for (const [name, value] of Object.entries(settings)) checkSetting(name, value, boot.fields);
  checkTogether(settings);
  return settings;
}

/**
 * A seed given as digits, which a number beyond 2^53 has to be; as a BigInt where a number cannot hold it.
 */
function wholeNumber(seed) {
  if (typeof seed !== "string" || !/^\d{1,20}$/.test(seed)) return seed;
  return Number.isSafeInteger(Number(seed)) ? Number(seed) : BigInt(seed);
}

/** Throws for settings that contradict each other. */
export function checkTogether(settings) {
  const {n_embd: width, n_head: heads, position} = settings;
  const next = (n) => Math.ceil(width / n) * n;
  if (width % heads) {
    throw new Error(
      `n_embd: expected a multiple of n_head = ${heads}, got ${width}; try \`n_embd=${next(heads)}\``,
    );
  }
  if (position === "rope" && (width / heads) % 2) {
    throw new Error(
      `n_embd: expected an even multiple of n_head = ${heads} with \`position='rope'\`, which rotates ` +
        `pairs of channels, got ${width}; try \`n_embd=${next(2 * heads)}\``,
    );
  }
  const kv = settings.n_kv_head ?? heads;
  if (heads % kv) {
    throw new Error(
      `n_kv_head: expected a divisor of n_head = ${heads}, got ${kv}; try \`n_kv_head=${greatestDivisor(heads, kv)}\``,
    );
  }
  for (const name of NEED_A_NORM) {
    if (settings.norm === "none" && settings[name])
      throw new Error(`${name}: expected false with \`norm='none'\`, got true`);
  }
  if (settings.zero_init && settings.scaled_init) {
    throw new Error("scaled_init: expected false with `zero_init=True`, got true; leave one out");
  }
  if (settings.lr_min > settings.lr) {
    throw new Error(`lr_min: expected at most lr = ${settings.lr}, got ${settings.lr_min}`);
  }
  if (settings.format === "stream") settings.framing = "none";
  else if (settings.framing === "none") {
    throw new Error("framing: expected bos or bos_eos, got none, which is for `format='stream'`");
  }
  if (settings.clip_node !== null) {
    for (const [name, value] of Object.entries(OF_OXIDIZED)) {
      if (settings[name] !== value) {
        throw new Error(
          `clip_node: Oxidized-GPT has no \`${name}=${pythonValue(settings[name])}\`; leave one out, or ` +
            `try \`${name}=${pythonValue(value)}\``,
        );
      }
    }
  }
}

function greatestDivisor(a, b) {
  return b ? greatestDivisor(b, a % b) : a;
}

/** Throws for what a new model in the page cannot have, and what is too large for it. */
export function checkForPage(settings, vocabSize) {
  for (const [name, off] of Object.entries(ONLY_OF_RUNS)) {
    if (settings[name] !== off) {
      throw new Error(
        `${name}: expected none in the page, got ${settings[name]}; motegpt train has it, and the page ` +
          "opens its runs",
      );
    }
  }
  checkReading(settings);
  const model = {...settings, vocab_size: vocabSize, ngram_rows: []};
  checkSize(model);
  const reason = whyNoStep(model, settings);
  if (reason) throw new Error(reason);
}

/** Throws unless the page reads lists as the section [data] says. */
export function checkReading(data) {
  const form = data.format ?? "text";
  if (form !== "text" && form !== "stream") {
    throw new Error(`format: expected text or stream in the page, got ${form}; motegpt play FILE reads it`);
  }
  for (const [name, off] of Object.entries(PLAIN_READING)) {
    if (data[name] !== off)
      throw new Error(`${name}: expected none in the page, got ${pythonValue(data[name])}`);
  }
}

/** Throws for a model that is too large for a page, even to look into. */
export function checkSize(model) {
  const {n_layer: layers, n_embd: width, block_size: block} = model;
  const [kv, hidden] = [kvSize(model), mlpSize(model)];
  if (layers * block * kv > LARGEST_CACHE) {
    throw new Error(
      `n_layer, block_size, n_embd: expected a product of at most ${LARGEST_CACHE} (the keys of one ` +
        `sequence), got ${layers * block * kv}`,
    );
  }
  const estimated = layers * width * (2 * width + 2 * kv + 2 * hidden);
  const count = estimated > MAX_PARAMETERS ? estimated : parameterCount(model);
  if (count > MAX_PARAMETERS) {
    throw new Error(
      `n_layer, n_embd: expected at most ${grouped(MAX_PARAMETERS)} parameters in the page, got ` +
        `${grouped(count)}; motegpt train takes more`,
    );
  }
}

/** Why the page cannot train a model, which it can look into, with the settings `train`; null if it can. */
export function whyNoStep(model, train) {
  const one = OF_TENSORS.find((name) => train[name]?.length);
  if (one) {
    return (
      `${one}: expected none to train in the page, which trains all tensors alike, got ` +
      `${quoted(train[one].join(", "))}; motegpt train has it`
    );
  }
  const {n_layer: layers, n_embd: width, n_head: heads, block_size: block, vocab_size: vocabSize} = model;
  const [kv, hidden] = [kvSize(model), mlpSize(model)];
  const perPosition = layers * (6 * width + 2 * kv + 2 * hidden + 2 * heads * block) + 2 * vocabSize;
  const activations = train.batch_size * block * perPosition;
  if (activations <= MAX_ACTIVATIONS) return null;
  const smaller = block * perPosition > MAX_ACTIVATIONS ? "block_size" : "batch_size";
  return (
    `batch_size, block_size: expected steps of at most ${grouped(MAX_ACTIVATIONS)} activations to train in ` +
    `the page, got ${grouped(activations)}; try a smaller \`${smaller}\`, or motegpt train, which takes more`
  );
}

/** 16,000,000 */
function grouped(number) {
  return number.toLocaleString("en-US");
}

/** The flat settings as the four sections of config.json; found: vocab_size and ngram_rows. */
export function sectionsOf(settings, fields, found) {
  const sections = Object.fromEntries(SECTION_NAMES.map((section) => [section, {}]));
  for (const [name, value] of Object.entries(settings)) sections[fields[name].section][name] = value;
  Object.assign(sections.model, found);
  return sections;
}

/** The flat settings in the sections of config.json, without what is found from the data. */
export function flatSettings(config) {
  const flat = Object.assign({}, ...SECTION_NAMES.map((section) => config[section]));
  for (const name of FOUND_FROM_DATA) delete flat[name];
  return flat;
}
