import {readFileSync} from "node:fs";
import {loadCore as load} from "/tmp/sess_standin/wcore.js";
const f = Math.fround, M = (1n << 64n) - 1n;
class Lcg {
  constructor(seed) { this.s = BigInt(seed) & M; }
  word() { return this.s = (this.s * 6364136223846793005n + 1442695040888963407n) & M; }
  uniform() { return f(Number(this.word() >> 32n)) * 2 ** -32; }
  one(mean, std) {
    const u1 = Math.max(this.uniform(), 2 ** -32), u2 = this.uniform();
    const r = f(Math.sqrt(f(-2 * f(Math.log(u1))))), c = f(Math.cos(f(f(2 * Math.PI) * u2)));
    return f(mean + f(f(r * c) * f(std)));
  }
  gauss(mean, std, n) { return Float64Array.from({length: n}, () => this.one(mean, std)); }
  shuffle(n) {
    const a = Int32Array.from({length: n}, (_, i) => i);
    for (let i = n - 1; i > 0; i--) { const j = Number(this.word() % BigInt(i + 1)); [a[i], a[j]] = [a[j], a[i]]; }
    return a;
  }
  categorical(w) { let c = 0; const cum = Array.from(w, (x) => (c += x)); const t = this.uniform() * c; const i = cum.findIndex((e) => t < e); return i < 0 ? w.length - 1 : i; }
  state() { return [this.s]; }
  restore([s]) { this.s = BigInt(s); }
}
function splitmix(seed, i) {
  let z = (BigInt(seed) + (BigInt(i) + 1n) * 0x9E3779B97F4A7C15n) & M;
  z = ((z ^ (z >> 30n)) * 0xBF58476D1CE4E5B9n) & M; z = ((z ^ (z >> 27n)) * 0x94D049BB133111EBn) & M; return z ^ (z >> 31n);
}
export async function loadCore() {
  const core = await load(readFileSync("/work/w/wasm/src/motegpt/page/motegpt.wasm"));
  core.random = (name, seed) => new Lcg(seed);
  core.stream = splitmix;
  core.rates = (t, first, n) => Float64Array.from({length: n}, (_, i) => t.lr * (1 - (first + i) / t.steps));
  core.scalars = (t, first, n) => Float64Array.from(Array.from({length: n}, (_, i) => { const s = first + i + 1, lr = t.lr * (1 - (first + i) / t.steps);
    return [t.beta1, 1 - t.beta1, t.beta2, 1 - t.beta2, 1 - lr * t.weight_decay, lr / (1 - t.beta1 ** s), 1 / (1 - t.beta2 ** s), t.eps]; }).flat());
  return core;
}
