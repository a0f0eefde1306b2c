// Standard input and output of the scripts that Python tests run.

import {readFileSync} from "node:fs";

/** The JSON on standard input. */
export const given = JSON.parse(readFileSync(0, "utf-8"));

/** Print a value as JSON; typed arrays as lists, whole numbers of 64 bits as texts. */
export function answer(value) {
  const plain = (_, one) =>
    typeof one === "bigint" ? String(one) : ArrayBuffer.isView(one) ? Array.from(one) : one;
  process.stdout.write(JSON.stringify(value, plain));
}

/** What a function returns, or {error: its sentence}. */
export function attempt(act) {
  try {
    return act();
  } catch (error) {
    return {error: error.message};
  }
}

/** A generator like those of the core, of numbers that only show what was asked for. */
export function countingRandom() {
  let drawn = 0;
  return {gauss: (mean, std, n) => Float64Array.from({length: n}, () => mean + std * ++drawn)};
}
