// A worker's host with messages as a page sends them, for tests/test_page_worker.py: answers and events in
// order.
//
// given: {boot, script: [[message, what to wait for before the next]]}; to wait for: an id, or the name of
// an event.

import {readFileSync} from "node:fs";

import {Host} from "../../src/motegpt/page/js/worker.js";
import {answer, given} from "./io.mjs";

const module = readFileSync(new URL("../../src/motegpt/page/motegpt.wasm", import.meta.url));
const sent = [];
const waiting = [];

/** What a page gets: a copy, as postMessage makes one, with the buffers handed over. */
function post(message, buffers) {
  sent.push({at: performance.now(), ...structuredClone(message, {transfer: buffers})});
  for (const one of waiting.splice(0)) one();
}

async function until(holds) {
  while (!sent.some(holds)) await new Promise((resolve) => waiting.push(resolve));
}

const host = new Host(post);
host.receive({id: 0, do: "start", module, boot: given.boot});
await until(({id}) => id === 0);
for (const [messages, wanted] of given.script) {
  const before = sent.length;
  for (const message of messages) host.receive(message);
  const holds = (one) =>
    typeof wanted === "number"
      ? one.id === wanted
      : one.event === wanted.event && Object.entries(wanted).every(([name, value]) => one[name] === value);
  await until((one) => sent.indexOf(one) >= before && holds(one));
}
host.channel.port1.close();
answer(sent);
