// Serves the core to tests/wasm.py: a request per line of stdin, its answer per line of stdout, both JSON.
// A typed array is {type, base64}; NaN and infinity are numbers of such an array.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { CoreModel } from "../../src/motegpt/page/js/core-model.js";
import { loadCore } from "../../src/motegpt/page/js/core.js";

const TYPES = { Float32Array, Float64Array, Int32Array, Uint8Array, Uint32Array, BigUint64Array };
const core = await loadCore(readFileSync(new URL("../../src/motegpt/page/motegpt.wasm", import.meta.url)));
const objects = [core];

function decoded(key, value) {
  if (typeof value !== "object" || value === null) return value;
  if ("object" in value) return objects[value.object];
  if (!("base64" in value)) return value;
  const bytes = Buffer.from(value.base64, "base64");
  return new TYPES[value.type](bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

function encoded(key, value) {
  if (typeof value === "bigint") return { bigint: String(value) };
  if (!ArrayBuffer.isView(value)) return value;
  const base64 = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
  return { type: value.constructor.name, base64 };
}

/** Models that Python no longer has give their memory back. */
function forget(numbers) {
  for (const i of numbers) {
    if (objects[i] instanceof CoreModel) objects[i].free();
    objects[i] = null;
  }
}

/** The answer to {on, call, given, forget}: object number `on`, its method (or property) and its arguments. */
function answer(request) {
  const { on, call, given } = request, target = objects[on];
  forget(request.forget);
  const result = typeof target[call] === "function" ? target[call](...given) : target[call];
  if (result === null || typeof result !== "object" || ArrayBuffer.isView(result)) return result;
  if (Object.getPrototypeOf(result) === Object.prototype || Array.isArray(result)) return result;
  return { object: objects.push(result) - 1 };
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply;
  try {
    reply = { value: answer(JSON.parse(line, decoded)) };
  } catch (error) {
    reply = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(reply, encoded)}\n`);
}
