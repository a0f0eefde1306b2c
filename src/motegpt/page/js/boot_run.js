// The trained run that the page starts with: weights in half precision; the list that it learned comes apart.

import {sourceInMemory, weightsAlone} from "./files.js";
import {checkedConfig, checkedContexts, checkedTokenizer} from "./run_config.js";
import {tensors} from "./spec.js";

const ARRAYS = {F32: Float32Array, F64: Float64Array, I64: BigInt64Array, U16: Uint16Array, U32: Uint32Array};

/** The number that 16 bits are as a half. */
function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
}

/** The numbers of an array {dtype, shape, base64}, as doubles. */
export function numbersOf({dtype, base64}) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  if (dtype === "F16") return Float64Array.from(new Uint16Array(bytes.buffer), halfToNumber);
  return Float64Array.from(new ARRAYS[dtype](bytes.buffer), Number);
}

/** The state of boot.run, as `readRun` returns that of a folder without a trainer. */
export function stateOfBootRun(run, boot) {
  const config = checkedConfig({...run.config, source: run.config.source ?? {}}, boot);
  const tokenizer = checkedTokenizer(run.tokenizer, config);
  const all = tensors(config.model);
  const last = all.at(-1);
  const parameters = new Float64Array(last.offset + last.size);
  for (const {name, size, offset} of all) {
    const values = run.tensors[name] ? numbersOf(run.tensors[name]) : [];
    if (values.length !== size)
      throw new Error(`run: ${name}: expected ${size} numbers, got ${values.length}`);
    parameters.set(values, offset);
  }
  const {documents = 1} = run.config.source ?? {};
  config.source = {...sourceInMemory([]), sha256: "", documents};
  return {
    ...weightsAlone(parameters, config, run.step ?? 0),
    config,
    tokenizer,
    metrics: [],
    carried: [],
    bestParameters: null,
    contexts: checkedContexts((run.contexts ?? []).map(numbersOf), config.model),
    average: run.kneser_ney ? averageOfBootRun(run.kneser_ney) : null,
  };
}

function averageOfBootRun({order, weight, levels, unigrams}) {
  const named = (level) =>
    Object.fromEntries(Object.entries(level).map(([name, array]) => [name, numbersOf(array)]));
  return {order, weight, levels: levels.map(named), unigrams: numbersOf(unigrams)};
}
