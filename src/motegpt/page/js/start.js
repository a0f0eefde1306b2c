/** Starts the worker from what the document carries, or says why this browser cannot. */
import {byId} from "./dom.js";

const SIMD = [ // the smallest module with a vector instruction: (func (result v128) (i8x16.splat (i32.const 0)))
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
];

/** What this browser lacks, as a sentence; null when it has everything. */
export function whyNot(scope = globalThis) {
  const advice = "A current Firefox, Chrome, Edge or Safari can show this page.";
  if (typeof scope.WebAssembly !== "object") return `This browser has no WebAssembly, which computes the model. ${advice}`;
  if (!scope.WebAssembly.validate(new Uint8Array(SIMD))) {
    return `This browser's WebAssembly has no vector instructions (SIMD), which compute the model. ${advice}`;
  }
  if (typeof scope.Worker === "undefined") return `This browser has no workers, in which the model trains. ${advice}`;
  return null;
}

/** The bytes of an element whose text is gzip in base64. */
export async function unpacked(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** The worker, whose script the document carries. */
export async function startWorker() {
  const url = URL.createObjectURL(new Blob([await unpacked("worker")], {type: "text/javascript"}));
  return new Worker(url);
}
