// SHA-256 and CRC-32 of bytes, synchronous: crypto.subtle is neither, and absent from pages opened as files.

/** The first 32 bits of the fractional part of root(p) for the first `count` primes p. */
function primeRoots(count, root) {
  const found = [];
  for (let n = 2; found.length < count; n++) {
    let divisor = 2;
    while (divisor * divisor <= n && n % divisor !== 0) divisor++;
    if (divisor * divisor > n) found.push(((root(n) % 1) * 2 ** 32) | 0);
  }
  return found;
}

const ROUND_CONSTANTS = Int32Array.from(primeRoots(64, Math.cbrt));
const INITIAL_HASH = primeRoots(8, Math.sqrt);
const UTF8 = new TextEncoder();

/** SHA-256 (FIPS 180-4) of bytes that come in parts. */
export class Sha256 {
  constructor() {
    this.state = Int32Array.from(INITIAL_HASH);
    this.block = new Uint8Array(64);
    this.words = new Int32Array(64);
    this.length = 0;
  }

  /** data: a text, hashed as UTF-8, or a typed array, hashed as its bytes. Returns this. */
  update(data) {
    const bytes =
      typeof data === "string"
        ? UTF8.encode(data)
        : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    let at = 0;
    while (at < bytes.length) {
      const used = this.length % 64;
      const count = Math.min(64 - used, bytes.length - at);
      this.block.set(bytes.subarray(at, at + count), used);
      at += count;
      this.length += count;
      if (this.length % 64 === 0) this.compress();
    }
    return this;
  }

  /** The digest as 64 hexadecimal digits; ends the hash. */
  hex() {
    const bits = this.length * 8;
    const padding = new Uint8Array(((119 - (this.length % 64)) % 64) + 9);
    padding[0] = 0x80;
    const end = new DataView(padding.buffer);
    end.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32));
    end.setUint32(padding.length - 4, bits >>> 0);
    this.update(padding);
    return Array.from(this.state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }

  compress() {
    const w = this.words;
    const view = new DataView(this.block.buffer);
    for (let t = 0; t < 16; t++) w[t] = view.getInt32(4 * t);
    for (let t = 16; t < 64; t++) {
      const x = w[t - 15];
      const y = w[t - 2];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = this.state;
    for (let t = 0; t < 64; t++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + ROUND_CONSTANTS[t] + w[t]) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => (this.state[i] += value));
  }
}

/** SHA-256 of a text or a typed array, as hexadecimal digits. */
export function sha256(data) {
  return new Sha256().update(data).hex();
}

const CRC_TABLE = Int32Array.from({length: 256}, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

/** CRC-32 of bytes, as in zip files. */
export function crc32(bytes) {
  let c = -1;
  for (const byte of bytes) c = CRC_TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ -1) >>> 0;
}
