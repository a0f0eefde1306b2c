/** The model of a page as a URL hash: settings that differ from the preset, the text, and a short list. */

const LONGEST_LINK = 8000; // characters; longer ones are cut by some mail and chat programs
const LARGEST_HASH = 1 << 20; // characters of JSON that a link may unpack to

/** Bytes -> base64url without padding, and back. */
function toBase64Url(bytes) {
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function fromBase64Url(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

/** A stream's bytes; an error when there are more than `most`. */
async function readBytes(stream, most) {
  const parts = [];
  let size = 0;
  for (const reader = stream.getReader(); ;) {
    const {done, value} = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) throw new Error("too long");
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

const through = (bytes, stream) => new Blob([bytes]).stream().pipeThrough(stream);

/** A value as text for a hash: "1" and deflated JSON, or "0" and plain JSON where the browser cannot deflate. */
export async function packLink(value) {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  if (typeof CompressionStream === "undefined") return `0${toBase64Url(bytes)}`;
  return `1${toBase64Url(await readBytes(through(bytes, new CompressionStream("deflate-raw")), Infinity))}`;
}

/** The value of a hash. Error when it is damaged. */
export async function unpackLink(text) {
  const bytes = fromBase64Url(text.slice(1));
  const plain = text[0] === "1"
    ? await readBytes(through(bytes, new DecompressionStream("deflate-raw")), LARGEST_HASH)
    : bytes;
  if (!"01".includes(text[0])) throw new Error("unknown version");
  return JSON.parse(new TextDecoder("utf-8", {fatal: true}).decode(plain));
}

/** The settings that differ from those of a preset. */
export function differences(settings, base) {
  const differs = ([name, value]) => (base[name] ?? null) !== (value ?? null);
  return Object.fromEntries(Object.entries(settings).filter(differs));
}

/**
 * The hash of a page's state, "#m=…", and a sentence about what it leaves out, or null.
 * state: {preset, settings, list, text}; boot: with presets, and the one for settings of a run, which have none. A list
 * that is not built in travels as text.
 */
export async function hashOf(state, boot) {
  const preset = state.preset ?? boot.preset;
  const value = {preset, set: differences(state.settings, boot.presets[preset]), text: state.text};
  const own = state.list && !state.list.builtIn;
  const withList = {...value, list: own ? {name: state.list.name, text: state.list.text} : state.list?.name};
  const hash = own && state.list.text.length > LARGEST_HASH ? null : `#m=${await packLink(withList)}`;
  if (hash && hash.length <= LONGEST_LINK) return {hash, remark: null};
  return {
    hash: `#m=${await packLink(value)}`,
    remark: "The link has the settings without the list, which is too long for a link: " +
      "share the list as a file, or write a page with it by `motegpt play FILE --out page.html`.",
  };
}

const isRecord = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** {preset, set, list, text} of a hash that hashOf made; null when the hash is of nothing; Error when damaged. */
export async function readHash(hash, presets) {
  const found = /^#m=([\w-]+)$/.exec(hash);
  if (!found) {
    if (hash.startsWith("#m=")) throw new Error("damaged");
    return null;
  }
  const value = await unpackLink(found[1]);
  const isList = value?.list === undefined || typeof value.list === "string" ||
    (isRecord(value.list) && typeof value.list.name === "string" && typeof value.list.text === "string");
  if (!isRecord(value) || !Object.hasOwn(presets, value.preset) || !isRecord(value.set) || !isList ||
      typeof value.text !== "string") {
    throw new Error("damaged");
  }
  return value;
}
