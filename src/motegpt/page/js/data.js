// From a text to documents, and from documents to token ids, as src/motegpt/data reads a file of lines.

import {sha256} from "./hash.js";

const UTF8_BYTES = new TextEncoder();
const OTHER_FORMATS =
  /\.(csv|tsv|json|jsonl|ndjson|gz|xlsx?|ods|docx|odt|pdf|zip|7z|tar|tgz|xz|bz2|zst|parquet)$/i;
// What Python strips; unlike String.trim not U+FEFF, but the separators U+001C … U+001F and U+0085.
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const EDGES = new RegExp(`^${SPACE}|${SPACE}$`, "g");
const OPENINGS = ["[", "{", "[{", "[["]; // a first line of indented JSON

/** The text in backticks of a message: quoted, on one line, not long. */
export function quoted(value, longest = 60) {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= longest ? text : `${text.slice(0, longest - 3)}...`;
}

/** The text of a file; throws unless it is UTF-8. Removes a byte order mark. */
export function decodeText(bytes, name) {
  if (bytes.includes(0)) {
    throw new Error(`${name}: expected text, got binary data (a zero byte); save it as UTF-8 text`);
  }
  try {
    return new TextDecoder("utf-8", {fatal: true}).decode(bytes);
  } catch {
    throw new Error(`${name}: expected UTF-8, got another encoding; motegpt play FILE says which it may be`);
  }
}

/** Line ends as newlines. */
export function withNewlines(text) {
  return text.replace(/\r\n?/g, "\n");
}

/** Order of strings by code point, as Python sorts them. */
export function byCodePoint(a, b) {
  const x = [...a];
  const y = [...b];
  const at = x.findIndex((character, i) => character !== y[i]);
  if (at < 0) return x.length - y.length;
  return at >= y.length ? 1 : x[at].codePointAt(0) - y[at].codePointAt(0);
}

function normalizedText(text, data) {
  return data.normalize ? text.normalize(data.normalize.toUpperCase()) : text;
}

/**
 * The documents of a list {name, text | bytes}: its lines without empty ones, or one stream; data: the
 * section [data]. Throws a sentence for other formats, characters that are none, and a list without
 * documents.
 */
export function readDocuments({name, text, bytes}, data) {
  const what = name || "list";
  if (OTHER_FORMATS.test(what)) {
    throw new Error(
      `${what}: expected a text file with one document per line; motegpt play ${what} reads others`,
    );
  }
  const whole = withNewlines(bytes ? decodeText(bytes, what) : text.replace(/^\ufeff/, ""));
  if (whole.includes("\0")) throw new Error(`${what}: expected text, got a zero character; remove it`);
  if (/\p{Surrogate}/u.test(whole)) {
    throw new Error(`${what}: expected Unicode characters, got half of a surrogate pair; remove it`);
  }
  if (data.format === "stream") {
    if (!whole) throw noDocuments(what);
    return [normalizedText(whole, data)];
  }
  if (data.format !== "text" && looksLikeJson(whole)) {
    throw new Error(`${what}: expected one document per line, got JSON; motegpt play FILE reads it`);
  }
  const lines = whole.split("\n").map((line) => normalizedText(line, data).replace(EDGES, ""));
  const documents = lines.filter((line) => line);
  if (!documents.length) throw noDocuments(what);
  return data.deduplicate ? [...new Set(documents)] : documents;
}

function noDocuments(what) {
  return new Error(`${what}: expected at least one document, got an empty list; write one document per line`);
}

function jsonValue(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Whether a text is JSON: one value, the beginning of an indented value, or a first line that is an object.
 */
function looksLikeJson(text) {
  const [first, ...others] = text.trimStart().split("\n");
  const opening = first.trim();
  if (!/^[[{]/.test(opening)) return false;
  const isIndented = OPENINGS.includes(opening) && /^["[{]/.test(others.join("\n").trim());
  const value = jsonValue(opening);
  return isIndented || (value !== null && !Array.isArray(value)) || jsonValue(text) !== null;
}

/** The characters of a text: its code points. */
export function charactersOf(text) {
  return [...text];
}

const FRAMINGS = {
  bos: {before: [], after: ["<BOS>"]},
  bos_eos: {before: ["<BOS>", "<EOS>"], after: []},
  none: {before: [], after: []},
};

/** Text <-> token ids, with the special tokens of a framing; kind: "characters" or "bytes". */
export class Tokenizer {
  /**
   * characters: the alphabet in the order of ids; unused for bytes. appended: how many of them, the last ones,
   * have ids behind those of the special tokens.
   */
  constructor({kind = "characters", characters = "", framing, appended = 0}) {
    const {before, after} = FRAMINGS[framing];
    this.kind = kind;
    this.framing = framing;
    this.units = kind === "bytes" ? Array.from({length: 256}, (_, byte) => byte) : charactersOf(characters);
    this.characters = characters;
    this.appended = appended;
    this.first = before.length;
    const end = this.units.length - appended;
    this.ids = new Map(this.units.map((unit, i) => [unit, this.first + i + (i < end ? 0 : after.length)]));
    this.vocab_size = this.first + this.units.length + after.length;
    const specials = [...before.keys(), ...after.map((_, i) => this.first + end + i)];
    this.bos = specials[0] ?? null;
    this.stop = specials.at(-1) ?? null;
    const labels = this.units.map(unitLabel);
    this.labels = [...before, ...labels.slice(0, end), ...after, ...labels.slice(end)];
  }

  /** A tokenizer fit to documents; throws if a model could learn nothing from them. */
  static learn(documents, data) {
    if (data.tokenizer === "bytes") return new Tokenizer({kind: "bytes", framing: data.framing});
    const found = new Set();
    for (const document of documents) for (const character of document) found.add(character);
    const characters = [...found].sort(byCodePoint);
    if (characters.length < 2) {
      throw new Error(
        `vocabulary: expected at least 2 distinct characters, got ${characters.length} ` +
          `(${quoted(characters.join(""))}); with one there is nothing to learn`,
      );
    }
    return new Tokenizer({characters: characters.join(""), framing: data.framing});
  }

  /** What tokenizer.json records, without the format. */
  values() {
    if (this.kind === "bytes") return {kind: this.kind, framing: this.framing};
    const {characters, framing, appended} = this;
    return appended ? {characters, framing, appended} : {characters, framing};
  }

  /** The id that is never the next token, a BOS that is not also the end; null if there is none. */
  get never() {
    return this.bos === this.stop ? null : this.bos;
  }

  /** The ids of a text; throws for a character without one. */
  encode(text) {
    const units = this.kind === "bytes" ? [...UTF8_BYTES.encode(text)] : charactersOf(text);
    return units.map((unit) => {
      const id = this.ids.get(unit);
      if (id === undefined) {
        throw new Error(
          `text: expected only characters of the training data, got ${quoted(unit)}; known characters: ` +
            quoted(this.characters),
        );
      }
      return id;
    });
  }

  /** The ids of a whole document, between its special tokens. */
  encodeDocument(document) {
    const ids = this.encode(document);
    return this.bos === null ? ids : [this.bos, ...ids, this.stop];
  }

  /** The text of ids; special tokens appear as <BOS> and <EOS>. */
  decode(ids) {
    if (this.kind !== "bytes") return Array.from(ids, (id) => this.labels[id]).join("");
    const bytes = Array.from(ids).flatMap((id) =>
      id < this.first || id >= this.first + 256 ? [...UTF8_BYTES.encode(this.labels[id])] : [id - this.first],
    );
    return new TextDecoder("utf-8", {ignoreBOM: true}).decode(Uint8Array.from(bytes));
  }

  /**
   * The ids fed before the first new token: BOS and the prefix; for a stream a separator if there is none.
   */
  prompt(prefix = "") {
    const text = this.encode(prefix);
    if (this.bos !== null) return [this.bos, ...text];
    if (text.length) return text;
    const separator = ["\n", " "].find((character) => this.kind === "bytes" || this.ids.has(character));
    return separator === undefined ? [this.first] : this.encode(separator);
  }
}

function unitLabel(unit) {
  if (typeof unit === "string") return unit;
  return unit >= 32 && unit < 127 ? String.fromCharCode(unit) : `\\x${unit.toString(16).padStart(2, "0")}`;
}

/**
 * {training, validation}: data.val_fraction of the distinct documents is held out, with all duplicates, by
 * their hashes; of a stream, its end.
 */
export function splitDocuments(documents, data, seed) {
  if (!data.val_fraction) return {training: documents, validation: []};
  if (data.format === "stream") return splitStream(documents[0], data.val_fraction);
  const hashes = documents.map((document) => sha256(`${data.split_seed ?? seed}\n${document}`).slice(0, 16));
  const distinct = [...new Set(hashes)].sort();
  if (distinct.length < 2) {
    throw new Error(
      `val_fraction: expected at least 2 different documents, got ${distinct.length}; set it to 0`,
    );
  }
  const count = Math.min(
    Math.max(1, roundHalfEven(data.val_fraction * distinct.length)),
    distinct.length - 1,
  );
  const limit = distinct[count - 1];
  return {
    training: documents.filter((_, i) => hashes[i] > limit),
    validation: documents.filter((_, i) => hashes[i] <= limit),
  };
}

function splitStream(text, fraction) {
  const characters = charactersOf(text);
  const count = Math.max(2, roundHalfEven(fraction * characters.length));
  const length = characters.length - count;
  if (length < 2) {
    throw new Error(
      `val_fraction: expected more data to hold out a part, got ${characters.length} characters`,
    );
  }
  return {training: [characters.slice(0, length).join("")], validation: [characters.slice(length).join("")]};
}

/** Python's round: to the nearest integer, halves to the even one. */
function roundHalfEven(x) {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
