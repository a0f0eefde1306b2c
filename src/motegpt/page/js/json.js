// JSON as Python writes and reads it: whole numbers beyond 2^53 as BigInt, floats as repr, digests of values.

/** A number that Python is to read as a float: 2 becomes 2.0. */
export class Float {
  constructor(value) {
    this.value = value;
  }
}

const NUMBERS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;
const BIG = /^-?\d{16,}$/;
const MARK = "\u0000"; // no text in a file that is read here has it

/** The value of a JSON text; whole numbers that a double may not hold are BigInt. Throws SyntaxError. */
export function parseJson(text) {
  const marked = text.replace(NUMBERS, (found) => (BIG.test(found) ? `"\\u0000${found}"` : found));
  return JSON.parse(marked, (_, value) => {
    if (typeof value !== "string" || !value.startsWith(MARK)) return value;
    const number = BigInt(value.slice(1));
    return BigInt.asIntN(53, number) === number ? Number(number) : number;
  });
}

/** repr of a float. */
function floatText(x) {
  if (!Number.isFinite(x)) throw new Error(`expected a finite number, got ${x}`);
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    const [digits, exponent] = x.toExponential().split("e");
    return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
  }
  return Number.isInteger(x) ? `${Object.is(x, -0) ? "-0" : BigInt(x)}.0` : String(x);
}

function stringText(text) {
  return JSON.stringify(text).replace(
    /[\x7f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** json.dumps(value, sort_keys=sorted). Numbers are ints where they are whole, unless they are a Float. */
export function pythonJson(value, sorted = false) {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "bigint") return String(value);
  if (value instanceof Float) return floatText(value.value);
  if (typeof value === "number") return Number.isSafeInteger(value) ? String(value) : floatText(value);
  if (typeof value === "string") return stringText(value);
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    return `[${Array.from(value, (one) => pythonJson(one, sorted)).join(", ")}]`;
  }
  const names = Object.keys(value);
  if (sorted) names.sort();
  return `{${names.map((name) => `${stringText(name)}: ${pythonJson(value[name], sorted)}`).join(", ")}}`;
}

/** The names of the object in a JSON text with the text of each value, as it is written there. */
export function rawItems(text) {
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^"{}[\],:\s]+/g;
  const items = [];
  let depth = 0;
  let name = null;
  let start = 0;
  for (let found = token.exec(text); found; found = token.exec(text)) {
    const [sign] = found;
    if (sign === "{" || sign === "[") depth++;
    if (depth === 1 && name === null && sign[0] === '"') name = JSON.parse(sign);
    if (depth === 1 && sign === ":") start = token.lastIndex;
    if (depth === 1 && name !== null && (sign === "," || sign === "}")) {
      items.push([name, text.slice(start, found.index).trim()]);
      name = null;
    }
    if (sign === "}" || sign === "]") depth--;
  }
  return items;
}

/** json.dumps(sorted(metadata.items())) of the items of `rawItems`. */
export function sortedItems(items) {
  const parts = [...items]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, raw]) => `[${stringText(name)}, ${raw}]`);
  return `[${parts.join(", ")}]`;
}
