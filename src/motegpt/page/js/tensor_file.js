// Safetensors files with a digest of their contents, as in src/motegpt/training/tensor_files.py.

import {Sha256} from "./hash.js";
import {Float, parseJson, pythonJson, rawItems, sortedItems} from "./json.js";

const ENTRY = "motegpt";
const DIGEST = "sha256";
const MAX_HEADER = 2 ** 24;
// dtype in the file -> array, NumPy's name
const TYPES = {
  F32: [Float32Array, "float32"],
  F64: [Float64Array, "float64"],
  I64: [BigInt64Array, "int64"],
  U8: [Uint8Array, "uint8"],
  U16: [Uint16Array, "uint16"],
  U32: [Uint32Array, "uint32"],
  U64: [BigUint64Array, "uint64"],
};
export const FLOAT_TYPES = ["F32", "F64"],
  INTEGER_TYPES = ["I64"],
  UNSIGNED_TYPES = ["U8", "U16", "U32", "U64"];

function dtypeOf(values) {
  return Object.keys(TYPES).find((dtype) => values instanceof TYPES[dtype][0]);
}

function bytesOfArray(values) {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** A shape as Python writes a tuple. */
function tupleText(shape) {
  return `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
}

/** tensors: {name: {shape, values}}; items: the metadata as in rawItems, without the digest. */
function digestOf(tensors, items) {
  const total = new Sha256().update(sortedItems(items));
  for (const name of Object.keys(tensors).sort()) {
    const {shape, values} = tensors[name];
    total.update(`${name} ${TYPES[dtypeOf(values)][1]} ${tupleText(shape)}\n`).update(values);
  }
  return total.hex();
}

/** The bytes of a file of {name: {shape, values}} with this metadata and their digest. */
export function tensorBytes(tensors, metadata) {
  const items = Object.entries(metadata).map(([name, value]) => [name, pythonJson(value)]);
  const digest = digestOf(tensors, items);
  const entry = pythonJson({...metadata, [DIGEST]: digest});
  const header = {__metadata__: {[ENTRY]: entry}};
  const places = [];
  // In the order of the library: the widest numbers first, so that each tensor is aligned.
  const width = (name) => tensors[name].values.BYTES_PER_ELEMENT;
  const names = Object.keys(tensors).sort((a, b) => width(b) - width(a) || (a < b ? -1 : 1));
  let offset = 0;
  for (const name of names) {
    const {shape, values} = tensors[name];
    header[name] = {dtype: dtypeOf(values), shape, data_offsets: [offset, offset + values.byteLength]};
    places.push([offset, values]);
    offset += values.byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(8 + length + offset).fill(32, 0, 8 + length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, 8);
  for (const [start, values] of places) bytes.set(bytesOfArray(values), 8 + length + start);
  return bytes;
}

/**
 * {tensors: {name: {shape, values}}, metadata} of a file. expected: {name: shape, or null for any}; dtypes:
 * those allowed. Throws a sentence that names the file if it is damaged, was changed, or has other tensors.
 */
export function readTensors(name, bytes, expected, dtypes) {
  const {header, start} = headerOf(name, bytes);
  const text = header.__metadata__?.[ENTRY];
  delete header.__metadata__;
  checkNames(name, header, expected, dtypes);
  const tensors = {};
  let end = 0;
  for (const [key, entry] of Object.entries(header).sort(
    ([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0],
  )) {
    const [first, last] = entry.data_offsets;
    const size = entry.shape.reduce((product, n) => product * n, 1);
    const [Values] = TYPES[entry.dtype];
    if (first !== end || last - first !== size * Values.BYTES_PER_ELEMENT || start + last > bytes.length) {
      throw incomplete(name, `the place of ${key}`);
    }
    tensors[key] = {shape: entry.shape, values: new Values(bytes.slice(start + first, start + last).buffer)};
    end = last;
  }
  if (start + end !== bytes.length) throw incomplete(name, "its length");
  return {tensors, metadata: checkedMetadata(name, text, tensors)};
}

function incomplete(name, why) {
  return new Error(`${name}: is not a complete safetensors file (${why}); download it again`);
}

function headerOf(name, bytes) {
  if (bytes.length < 8) throw incomplete(name, `${bytes.length} bytes`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (length > MAX_HEADER || 8 + length > bytes.length) throw incomplete(name, "the length of its header");
  let header = null;
  try {
    header = JSON.parse(new TextDecoder("utf-8", {fatal: true}).decode(bytes.subarray(8, 8 + length)));
  } catch {
    throw incomplete(name, "its header");
  }
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject(header) || !Object.values(header).every(isObject)) throw incomplete(name, "its header");
  return {header, start: 8 + length};
}

function checkNames(name, header, expected, dtypes) {
  const names = new Set([...Object.keys(expected), ...Object.keys(header)]);
  const isCount = (n) => Number.isSafeInteger(n) && n >= 0;
  for (const key of [...names].sort()) {
    const entry = Object.hasOwn(header, key) ? header[key] : {};
    const {shape, dtype, data_offsets: place} = entry;
    const wanted = Object.hasOwn(expected, key) ? expected[key] : undefined;
    const isShape = Array.isArray(shape) && shape.every(isCount);
    if (wanted === undefined || !isShape || (wanted && String(wanted) !== String(shape))) {
      throw new Error(
        `${name}: ${key.slice(0, 40)}: expected shape ` +
          `${wanted ? tupleText(wanted) : wanted === null ? "any" : "none"}, ` +
          `got ${isShape ? tupleText(shape) : "none"}; config.json belongs to another model`,
      );
    }
    if (!dtypes.includes(dtype)) {
      const got = typeof dtype === "string" ? dtype.slice(0, 20) : "none";
      throw new Error(`${name}: ${key}: expected ${dtypes.join(" or ")}, got ${got}; the file was changed`);
    }
    if (!Array.isArray(place) || place.length !== 2 || !place.every(isCount)) throw incomplete(name, key);
  }
}

/** The metadata, if they and the tensors match the digest and all numbers are finite. */
function checkedMetadata(name, text, tensors) {
  let metadata = null;
  let items = [];
  try {
    metadata = parseJson(text);
    items = rawItems(text);
  } catch {
    throw incomplete(name, "its metadata");
  }
  const digest = digestOf(
    tensors,
    items.filter(([key]) => key !== DIGEST),
  );
  if (metadata?.[DIGEST] !== digest)
    throw new Error(`${name}: contents do not match the digest; the file was changed`);
  for (const [key, {values}] of Object.entries(tensors)) {
    if (values instanceof Float32Array || values instanceof Float64Array) {
      if (!values.every(Number.isFinite)) {
        throw new Error(`${name}: ${key}: expected finite numbers, got NaN or infinity; the model diverged`);
      }
    }
  }
  return metadata;
}

/** A number that is written as a float, also where it is whole. */
export function asFloat(value) {
  return value === null ? null : new Float(value);
}
