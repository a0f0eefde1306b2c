// A run folder <-> the state of a session, as src/motegpt/training/run_folder.py writes and reads it. What is
// read is untrusted input: every file is checked before anything is made of it.

import {quoted} from "./data.js";
import {sha256} from "./hash.js";
import {parseJson, pythonJson} from "./json.js";
import {kneserNeyTables} from "./kneser_ney.js";
import {checkedConfig, checkedContexts, checkedTokenizer} from "./run_config.js";
import {tensors} from "./spec.js";
import {
  FLOAT_TYPES,
  INTEGER_TYPES,
  UNSIGNED_TYPES,
  asFloat,
  readTensors,
  tensorBytes,
} from "./tensor_file.js";
import {isZip, unzip} from "./zip.js";

const FORMAT = 3;
const FORMATS = [2, FORMAT];
const CONFIG = "config.json";
const TOKENIZER = "tokenizer.json";
const METRICS = "metrics.jsonl";
const TRAINER = "trainer.safetensors";
const MODEL = "model.safetensors";
const CONTEXTS = "contexts.safetensors";
const KNESER_NEY = "kneser_ney.safetensors";
const LIST = "list.txt";
const CARRIED = [CONTEXTS, KNESER_NEY, "texts.safetensors", "settings.toml"]; // never change in a run
const MAX_JSON = 2 ** 26;
const MAX_COUNT = 2 ** 40;
const MERSENNE_VERSION = 3; // of the states of Python's random.Random
const SLOT_NAMES = {adam: ["m", "v"], sgd: ["velocity"]};
const BUILT_IN = "built-in names";
const IN_MEMORY = "documents in memory";

/** Names of an optimizer's slots, in the order of the flat array (n · P). */
export function slotNames(optimizer) {
  return SLOT_NAMES[optimizer];
}

/** The recorded source of a list; builtIn: it is the one that comes with the package. */
export function sourceOf(list, documents, builtIn) {
  const digest = sha256(list.bytes ?? list.text);
  return {
    kind: builtIn ? BUILT_IN : "file",
    path: builtIn ? null : LIST,
    others: [],
    sha256: digest,
    documents,
  };
}

/** The recorded source of documents that are no file. */
export function sourceInMemory(documents) {
  return {
    kind: IN_MEMORY,
    path: null,
    others: [],
    sha256: digestOf(documents),
    documents: documents.length,
  };
}

function digestOf(documents) {
  return sha256(documents.join("\n"));
}

function bytesOfText(text) {
  return new TextEncoder().encode(text);
}

function tokenizerDigest(tokenizer) {
  return sha256(pythonJson(tokenizer.values(), true));
}

/** The parts of a flat array (P) by name, with their shapes. */
function namedTensors(flat, model, prefix = "") {
  return Object.fromEntries(
    tensors(model).map(({name, shape, offset, size}) => [
      prefix + name,
      {shape, values: flat.subarray(offset, offset + size)},
    ]),
  );
}

/** The flat array (P) of named parts. */
function flatTensors(named, model, prefix = "") {
  const all = tensors(model);
  const last = all.at(-1);
  const flat = new Float64Array(last.offset + last.size);
  for (const {name, offset} of all) flat.set(named[prefix + name].values, offset);
  return flat;
}

/**
 * The files {name, bytes} of a run folder. state: {config, tokenizer, done, parameters, slots, rng, best,
 * bestParameters, losses, metrics, carried, list}, as `readRun` returns it; arrays in the run's dtype.
 */
export function runFiles(state) {
  const {config, tokenizer, list} = state;
  const digest = tokenizerDigest(tokenizer);
  const {model, train} = config;
  const groups = namedTensors(state.parameters, model, "w.");
  slotNames(train.optimizer).forEach((slot, i) => {
    const size = state.parameters.length;
    Object.assign(groups, namedTensors(state.slots.subarray(i * size, (i + 1) * size), model, `${slot}.`));
  });
  const trainer = {
    format: FORMAT,
    done: state.done,
    rng: rngValues(train.rng, state.rng),
    best: bestValues(state.best),
    losses: lossValues(state.losses),
    tokenizer: digest,
  };
  const toSample = namedTensors(state.bestParameters ?? state.parameters, model);
  const json = (values) => bytesOfText(`${JSON.stringify(values, integersAsNumbers, 2)}\n`);
  const files = [
    {name: CONFIG, bytes: bytesOfText(`${indentedJson({...config, format: FORMAT})}\n`)},
    {name: TOKENIZER, bytes: json({format: FORMAT, ...tokenizer.values()})},
    {
      name: METRICS,
      bytes: bytesOfText(state.metrics.map((record) => `${pythonJson(recordValues(record))}\n`).join("")),
    },
    {name: TRAINER, bytes: tensorBytes(groups, trainer)},
    {name: MODEL, bytes: tensorBytes(toSample, {format: FORMAT, tokenizer: digest})},
    ...state.carried,
  ];
  return list ? [...files, {name: LIST, bytes: list.bytes ?? bytesOfText(list.text)}] : files;
}

/** The state of a generator of the core, as Python records it. */
function rngValues(name, {words, gaussNext}) {
  return name === "python" ? [MERSENNE_VERSION, words, asFloat(gaussNext)] : words;
}

/** The inverse of rngValues; throws for what is no state of that generator. */
function rngState(name, values) {
  const isPython = name === "python";
  const words = isPython ? values?.[1] : values;
  const gaussNext = isPython ? (values?.[2] ?? null) : null;
  const isWord = (word) =>
    (Number.isSafeInteger(word) || typeof word === "bigint") && word >= 0 && word < 2 ** 64;
  const isState =
    Array.isArray(values) &&
    Array.isArray(words) &&
    words.every(isWord) &&
    (!isPython || (values.length === 3 && values[0] === MERSENNE_VERSION)) &&
    (gaussNext === null || Number.isFinite(gaussNext));
  if (!isState)
    throw new Error(`${TRAINER}: rng: expected a saved state of the generator ${name}; the file was changed`);
  return {words: words.map(BigInt), gaussNext};
}

/** JSON with indented lines; whole numbers beyond 2^53 stay exact. */
function indentedJson(values) {
  const marked = JSON.stringify(
    values,
    (_, value) => (typeof value === "bigint" ? `\u0000${value}` : value),
    2,
  );
  return marked.replace(/"\\u0000(\d+)"/g, "$1");
}

function integersAsNumbers(_, value) {
  return typeof value === "bigint" ? Number(value) : value;
}

function bestValues(best) {
  return (
    best && {step: best.step, loss: asFloat(best.loss), evaluations_since_best: best.evaluations_since_best}
  );
}

function lossValues(losses) {
  const mean = ({value, count}) => ({value: asFloat(value), count});
  return losses && {recent: mean(losses.recent), tail: mean(losses.tail)};
}

function recordValues({step, loss, mean_loss, lr, tokens, val_loss}) {
  const values = {step, loss: asFloat(loss), mean_loss: asFloat(mean_loss), lr: asFloat(lr), tokens};
  return val_loss === undefined ? values : {...values, val_loss: asFloat(val_loss)};
}

/** The files of one folder by name: of the files given, or of a zip, those beside config.json. */
async function folderOf(files) {
  const all = files.length === 1 && isZip(files[0].bytes) ? await unzip(files[0].bytes) : files;
  const paths = all.map(({name}) => name.replaceAll("\\", "/"));
  const configs = paths.filter((path) => path === CONFIG || path.endsWith(`/${CONFIG}`));
  if (configs.length !== 1) {
    const found = configs.length ? "several" : `none among ${quoted(paths.slice(0, 5).join(", "))}`;
    throw new Error(`run: expected the files of a run folder with one ${CONFIG}, got ${found}`);
  }
  const folder = configs[0].slice(0, -CONFIG.length);
  const inside = all.filter(
    (_, i) => paths[i].startsWith(folder) && !paths[i].slice(folder.length).includes("/"),
  );
  return new Map(inside.map(({name, bytes}) => [name.replaceAll("\\", "/").slice(folder.length), bytes]));
}

function jsonOf(files, name) {
  const bytes = files.get(name);
  if (!bytes) throw new Error(`${name}: missing; add it to the files of the run`);
  if (bytes.length > MAX_JSON)
    throw new Error(`${name}: expected at most ${MAX_JSON} bytes, got ${bytes.length}`);
  let values = null;
  try {
    values = parseJson(new TextDecoder("utf-8", {fatal: true}).decode(bytes));
  } catch {
    throw new Error(`${name}: expected JSON, got something else; the file was changed`);
  }
  if (!FORMATS.includes(values?.format)) {
    throw new Error(
      `${name}: expected run format ${FORMATS.join(" or ")}, got ${quoted(values?.format ?? null)}; ` +
        "another version of motegpt or another program wrote it",
    );
  }
  return values;
}

/** Run `check`, with the file's name before its sentence. */
function within(name, check) {
  try {
    return check();
  } catch (error) {
    throw new Error(`${name}: ${error.message}; the file was changed`);
  }
}

/** The state of the run in some files {name, bytes}, or in one zip file. boot: with presets and fields. */
export async function readRun(given, boot) {
  const files = await folderOf(given);
  const config = within(CONFIG, () => checkedConfig(jsonOf(files, CONFIG), boot));
  const tokenizer = within(TOKENIZER, () => checkedTokenizer(jsonOf(files, TOKENIZER), config));
  const read = (name, shapes, dtypes) => {
    if (!files.has(name)) throw new Error(`${name}: missing; add it to the files of the run`);
    const found = readTensors(name, files.get(name), shapes, dtypes);
    if (found.metadata.tokenizer !== tokenizerDigest(tokenizer)) {
      throw new Error(
        `${TOKENIZER}: expected the tokenizer of ${name}, got another one; one of the files was changed`,
      );
    }
    return found;
  };
  const shapesOf = (prefix) => tensors(config.model).map(({name, shape}) => [prefix + name, shape]);
  const toSample = () =>
    flatTensors(read(MODEL, Object.fromEntries(shapesOf("")), FLOAT_TYPES).tensors, config.model);
  const state = {
    config,
    tokenizer,
    metrics: metricsOf(files),
    carried: [],
    ...(files.has(TRAINER) ? trainerState(read, shapesOf, config) : weightsAlone(toSample(), config, stepOf(files))),
  };
  state.bestParameters = state.best ? toSample() : null;
  state.metrics = state.metrics.filter(({step}) => step <= state.done);
  state.carried = CARRIED.filter((name) => files.has(name)).map((name) => ({name, bytes: files.get(name)}));
  state.contexts = config.model.ngram_rows.length ? contextsOf(read, config.model) : [];
  state.average = config.train.kneser_ney === null ? null : averageOf(read, config, tokenizer);
  state.others = [...files].filter(([name]) => !name.startsWith(".")).map(([name, bytes]) => ({name, bytes}));
  return state;
}

/** Parameters without a trainer: nothing to resume from. */
export function weightsAlone(parameters, config, step) {
  const slots = new Float64Array(slotNames(config.train.optimizer).length * parameters.length);
  const done = Math.min(step, config.train.steps);
  return {done, parameters, slots, rng: null, best: null, losses: null};
}

function trainerState(read, shapesOf, config) {
  const groups = ["w", ...slotNames(config.train.optimizer)];
  const shapes = Object.fromEntries(groups.flatMap((group) => shapesOf(`${group}.`)));
  const {tensors: found, metadata} = read(TRAINER, shapes, FLOAT_TYPES);
  const [parameters, ...slots] = groups.map((group) => flatTensors(found, config.model, `${group}.`));
  const all = new Float64Array(slots.length * parameters.length);
  slots.forEach((slot, i) => all.set(slot, i * parameters.length));
  const {done, rng, best = null, losses = null} = metadata;
  if (!Number.isSafeInteger(done) || done < 0 || done > config.train.steps) {
    throw new Error(
      `${TRAINER}: expected a step of the run, got ${quoted(done ?? null)}; the file was changed`,
    );
  }
  const isMean = (one) => Number.isFinite(one?.value) && Number.isSafeInteger(one?.count);
  const isBest = (one) =>
    [one.step, one.evaluations_since_best].every(Number.isSafeInteger) && Number.isFinite(one.loss);
  if ((losses && !(isMean(losses.recent) && isMean(losses.tail))) || (best && !isBest(best))) {
    throw new Error(`${TRAINER}: expected the losses of a run, got others; the file was changed`);
  }
  return {done, parameters, slots: all, rng: rngState(config.train.rng, rng), best, losses};
}

/** The last recorded step. */
function stepOf(files) {
  return metricsOf(files).at(-1)?.step ?? 0;
}

/** The records of metrics.jsonl; a kill may have cut the last line off. */
function metricsOf(files) {
  if (!files.has(METRICS)) return [];
  const lines = new TextDecoder().decode(files.get(METRICS)).split("\n").slice(0, -1);
  return lines.map((line, i) => {
    try {
      const record = JSON.parse(line);
      if (!Number.isSafeInteger(record.step) || !Number.isFinite(record.loss)) throw new Error("no record");
      return record;
    } catch {
      throw new Error(
        `${METRICS}: line ${i + 1}: expected an object with a step, got ${quoted(line.slice(0, 40))}`,
      );
    }
  });
}

/** The keys of the contexts of each order, as in src/motegpt/ngrams/contexts.py. */
function contextsOf(read, model) {
  const names = model.ngram_rows.map((_, i) => `ngram${i + 2}`);
  const shapes = Object.fromEntries(names.map((name, i) => [name, [model.ngram_rows[i]]]));
  const {tensors: found} = read(CONTEXTS, shapes, INTEGER_TYPES);
  return checkedContexts(
    names.map((name) => Float64Array.from(found[name].values, Number)),
    model,
  );
}

/** The Kneser-Ney tables and their weight. */
function averageOf(read, config, tokenizer) {
  const order = config.train.kneser_ney;
  const {vocab_size: vocabSize} = config.model;
  const {tensors: found, metadata} = read(KNESER_NEY, {grams: null, counts: null}, UNSIGNED_TYPES);
  const grams = Array.from(found.grams.values, Number);
  const counts = Array.from(found.counts.values, Number);
  const {weight} = metadata;
  const last = order - 1;
  const isShaped = String(found.grams.shape) === String([counts.length, order]) && counts.length > 0;
  const isGram = (id, i) =>
    id <= vocabSize + 1 && (i % order !== last || (id < vocabSize && id !== tokenizer.never));
  if (
    !(weight >= 0 && weight <= 1) ||
    !isShaped ||
    !grams.every(isGram) ||
    !counts.every((count) => count >= 1 && count <= MAX_COUNT)
  ) {
    throw new Error(
      `${KNESER_NEY}: expected n-grams of ${order} of ${vocabSize} tokens, got others; the file was changed`,
    );
  }
  return {weight, ...kneserNeyTables(grams, counts, order, vocabSize, tokenizer.never)};
}

/** The list among some files that a run was trained on, or null. */
export function listOfRun(files, source, documentsOf) {
  for (const {name, bytes} of files) {
    if (source.kind !== IN_MEMORY && sha256(bytes) === source.sha256) return {name, bytes};
    if (source.kind === IN_MEMORY && /\.txt$|^[^.]+$/.test(name)) {
      const documents = documentsOf({name, bytes});
      if (documents && digestOf(documents) === source.sha256) return {name, bytes};
    }
  }
  return null;
}
