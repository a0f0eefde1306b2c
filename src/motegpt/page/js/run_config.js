// The settings and the tokenizer of a saved run, checked; its files are untrusted input.

import {Tokenizer, charactersOf, quoted} from "./data.js";
import {checkSetting, checkSize, checkTogether, flatSettings, sectionsOf} from "./settings.js";

const TOKEN_BITS = 2 ** 20; // a key of a context is row · TOKEN_BITS + token
const MOST_ORDERS = 7; // tables of the n-gram embedding

/** Settings of a run, checked; what config.json lacks has the value of boot.preset. */
export function checkedConfig(values, boot) {
  const isObject = (one) => typeof one === "object" && one !== null && !Array.isArray(one);
  for (const section of ["model", "data", "train", "sample", "source"]) {
    if (!isObject(values[section])) throw new Error(`${section}: expected a section, got none`);
  }
  const {vocab_size, ngram_rows: rows = []} = values.model;
  const isCount = (n, least) => Number.isSafeInteger(n) && n >= least && n <= 2 ** 31;
  if (!isCount(vocab_size, 2))
    throw new Error(`vocab_size: expected at least 2, got ${quoted(vocab_size ?? null)}`);
  if (!Array.isArray(rows) || !rows.every((n) => isCount(n, 1)) || rows.length > MOST_ORDERS) {
    throw new Error(`ngram_rows: expected a list of numbers, got ${quoted(rows)}`);
  }
  const defaults = {...boot.presets[boot.preset]};
  for (const name of ["vocab_size", "ngram_rows"]) delete defaults[name];
  const settings = {...defaults, ...flatSettings(values)};
  for (const [name, value] of Object.entries(settings)) checkSetting(name, value, boot.fields);
  checkTogether(settings);
  checkSize({...settings, vocab_size, ngram_rows: rows});
  const sections = sectionsOf(settings, boot.fields, {vocab_size, ngram_rows: rows});
  const {engine = "native", source, base = null, check = null, fits_weight = false, level = null} = values;
  return {engine, ...sections, source, base, check, fits_weight, level};
}

/** The tokenizer with these values, checked against the settings. */
export function checkedTokenizer(values, config) {
  const {kind = "characters", characters = "", framing, appended = 0} = values;
  const {data, model} = config;
  if (framing !== data.framing || kind !== data.tokenizer) {
    throw new Error(
      `expected the tokenizer of config.json (${data.tokenizer}, ${data.framing}), got another`,
    );
  }
  const isText = typeof characters === "string" && !/\p{Surrogate}/u.test(characters);
  if (
    !isText ||
    new Set(characters).size !== [...characters].length ||
    (kind === "characters" && !characters)
  ) {
    throw new Error("expected distinct characters, got none or a repeated one");
  }
  const others = charactersOf(characters).length - appended;
  if (appended !== 0 && !(Number.isInteger(appended) && appended > 0 && others > 0)) {
    throw new Error(`expected fewer appended tokens than characters, got ${quoted(appended)}`);
  }
  const tokenizer = new Tokenizer({kind, characters, framing, appended});
  if (tokenizer.vocab_size !== model.vocab_size) {
    throw new Error(`expected ${model.vocab_size} tokens, as in config.json, got ${tokenizer.vocab_size}`);
  }
  return tokenizer;
}

/** The keys, if they can be those of contexts; throws else. */
export function checkedContexts(contexts, model) {
  let before = model.vocab_size;
  contexts.forEach((keys, i) => {
    const isFine = keys.every(
      (key, at) =>
        (at === 0 || keys[at - 1] < key) &&
        key >= 0 &&
        Math.floor(key / TOKEN_BITS) < before &&
        key % TOKEN_BITS < model.vocab_size,
    );
    if (!isFine || keys.length !== model.ngram_rows[i]) {
      throw new Error(
        `contexts.safetensors: ngram${i + 2}: expected keys of contexts in order, got others; the file ` +
          "was changed",
      );
    }
    before = keys.length;
  });
  return contexts;
}
