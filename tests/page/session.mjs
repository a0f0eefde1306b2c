// Actions of a session, one after the other, for tests/test_page_session.py.
//
// given: {boot, actions: [[name, arguments, what]]}; what: the parts of an answer that are wanted, as paths
// with dots; null for all. Bytes of files come and go as base64.

import {readFileSync} from "node:fs";

import {loadCore} from "../../src/motegpt/page/js/core.js";
import {Session} from "../../src/motegpt/page/js/session.js";
import {answer, given} from "./io.mjs";

const module = new URL("../../src/motegpt/page/motegpt.wasm", import.meta.url);
const session = new Session(await loadCore(readFileSync(module)), given.boot);

const unpacked = ({name, base64}) => ({name, bytes: new Uint8Array(Buffer.from(base64, "base64"))});
const packed = ({name, bytes}) => ({name, base64: Buffer.from(bytes).toString("base64")});
const part = (value, path) => path.split(".").reduce((one, name) => one?.[name], value);

const answers = [];
for (const [name, args = {}, what = null] of given.actions) {
  try {
    const files = args.files ? {files: args.files.map(unpacked)} : {};
    const result = (await session[name]({...args, ...files})) ?? null;
    const plain = result?.zip
      ? {files: result.files.map(packed), zip: packed({name: "zip", bytes: result.zip})}
      : result;
    answers.push(
      what === null ? plain : Object.fromEntries(what.map((path) => [path, part(plain, path) ?? null])),
    );
  } catch (error) {
    answers.push({error: error.message});
  }
}
answer({answers, bytes: session.core.bytes});
