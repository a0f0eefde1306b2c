// Zip files: written with stored entries, read stored or deflated. What is read is untrusted input.

import {crc32} from "./hash.js";

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const UTF8_NAMES = 0x0800;
const DATE = 0x21; // flag of UTF-8 names; 1 January 1980
const MAX_FILES = 1000;
const MAX_UNPACKED = 2 ** 29; // entries; bytes

/** The bytes of a zip file of {name, bytes}, stored. */
export function zipOf(files) {
  const encoder = new TextEncoder();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const {name, bytes} of files) {
    const encoded = encoder.encode(name);
    const crc = crc32(bytes);
    const common = [
      [2, 20],
      [2, UTF8_NAMES],
      [2, 0],
      [2, 0],
      [2, DATE],
      [4, crc],
      [4, bytes.length],
      [4, bytes.length],
      [2, encoded.length],
      [2, 0],
    ];
    const header = packed([[4, LOCAL], ...common]);
    const rest = [
      [2, 0],
      [2, 0],
      [2, 0],
      [4, 0],
      [4, offset],
    ]; // comment, disk, attributes, place
    directory.push(packed([[4, CENTRAL], [2, 20], ...common, ...rest]), encoded);
    parts.push(header, encoded, bytes);
    offset += header.length + encoded.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const n = files.length;
  const end = packed([
    [4, END],
    [2, 0],
    [2, 0],
    [2, n],
    [2, n],
    [4, size],
    [4, offset],
    [2, 0],
  ]);
  return joinedBytes([...parts, ...directory, end]);
}

/** Bytes of little-endian numbers [size, value]. */
function packed(numbers) {
  const bytes = new Uint8Array(numbers.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [size, value] of numbers) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return bytes;
}

/** The parts one after the other. */
export function joinedBytes(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Whether bytes begin as a zip file does. */
export function isZip(bytes) {
  return bytes.length >= 22 && [LOCAL, END].includes(viewOf(bytes).getUint32(0, true));
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function damaged(why) {
  return new Error(`zip: expected a complete zip file, got a damaged one (${why}); download it again`);
}

/** The files {name, bytes} of a zip file; throws a sentence for a damaged or oversized one. */
export async function unzip(bytes) {
  const files = [];
  const limit = {left: MAX_UNPACKED};
  for (const entry of directoryOf(bytes)) {
    if (!entry.name.endsWith("/"))
      files.push({name: entry.name, bytes: await contentsOf(bytes, entry, limit)});
  }
  return files;
}

/** The entries of the central directory. */
function directoryOf(bytes) {
  const view = viewOf(bytes);
  const entries = [];
  let at = bytes.length - 22;
  while (at >= 0 && view.getUint32(at, true) !== END) at--;
  if (at < 0) throw damaged("no directory");
  const count = view.getUint16(at + 10, true);
  if (count > MAX_FILES) throw new Error(`zip: expected at most ${MAX_FILES} files, got ${count}`);
  at = view.getUint32(at + 16, true);
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== CENTRAL) throw damaged("its directory");
    const [flags, method] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true)];
    const [crc, size, unpacked] = [16, 20, 24].map((place) => view.getUint32(at + place, true));
    const [name, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const text = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + name));
    entries.push({name: text, flags, method, crc, size, unpacked, at: view.getUint32(at + 42, true)});
    at += 46 + name + extra + comment;
  }
  return entries;
}

async function contentsOf(bytes, entry, limit) {
  const view = viewOf(bytes);
  if (entry.flags & 1) throw new Error(`zip: ${entry.name} is encrypted; unpack it first`);
  if (entry.at + 30 > bytes.length || view.getUint32(entry.at, true) !== LOCAL) throw damaged(entry.name);
  const start = entry.at + 30 + view.getUint16(entry.at + 26, true) + view.getUint16(entry.at + 28, true);
  if (start + entry.size > bytes.length) throw damaged(`${entry.name} is cut off`);
  const stored = bytes.subarray(start, start + entry.size);
  limit.left -= Math.max(entry.unpacked, entry.size);
  if (limit.left < 0) throw new Error(`zip: expected at most ${MAX_UNPACKED} bytes unpacked, got more`);
  if (entry.method !== 0 && entry.method !== 8) {
    throw new Error(`zip: ${entry.name}: expected a stored or deflated file, got method ${entry.method}`);
  }
  const found = entry.method === 0 ? stored.slice() : await inflated(stored, entry);
  if (found.length !== entry.unpacked || crc32(found) !== entry.crc) throw damaged(entry.name);
  return found;
}

/** The unpacked bytes of an entry; stops where there are more than it says. */
async function inflated(stored, entry) {
  const stream = new Blob([stored]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const reader = stream.getReader();
  const parts = [];
  let size = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      size += part.value.length;
      if (size > entry.unpacked) throw damaged(`${entry.name} is longer than it says`);
    }
  } catch {
    throw damaged(entry.name);
  }
  return joinedBytes(parts);
}
