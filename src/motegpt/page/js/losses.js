/**
 * The losses of a training in bounded memory: each one up to CAPACITY steps, then means of 2, 4, … steps.
 */
const CAPACITY = 1 << 16;

export class LossHistory {
  constructor(capacity = CAPACITY) {
    this.sums = new Float64Array(capacity);
    this.clear();
  }

  clear() {
    this.width = 1; // steps per bucket
    this.steps = 0;
  }

  /**
   * Append the losses (nats) of the steps from `first`, counted from 0; those at and after it are forgotten. Steps
   * before it that were not recorded are NaN.
   */
  append(first, losses) {
    this.truncate(first);
    while (this.steps < first) this.#add(NaN);
    for (const loss of losses) this.#add(loss);
  }

  #add(loss) {
    if (this.steps === this.sums.length * this.width) this.#halve();
    const bucket = Math.floor(this.steps / this.width);
    this.sums[bucket] = (this.steps % this.width ? this.sums[bucket] : 0) + loss;
    this.steps += 1;
  }

  /** Forget the steps from `step` on. Within a bucket, its mean stays. */
  truncate(step) {
    if (step >= this.steps) return;
    const bucket = Math.floor(step / this.width);
    if (step % this.width) this.sums[bucket] = this.#mean(bucket) * (step % this.width);
    this.steps = step;
  }

  /** Mean loss of the steps from `first` up to, not including, `end`; NaN when none is known. */
  mean(first, end) {
    const from = Math.max(0, Math.floor(first / this.width));
    const to = Math.min(Math.ceil(this.steps / this.width), Math.max(from + 1, Math.ceil(end / this.width)));
    let sum = 0;
    let count = 0;
    for (let bucket = from; bucket < to; bucket += 1) {
      if (Number.isNaN(this.sums[bucket])) continue;
      sum += this.sums[bucket];
      count += this.#count(bucket);
    }
    return count ? sum / count : NaN;
  }

  /** The losses as an array: of each step, or of buckets of `width` steps. */
  values() {
    return Float64Array.from({length: Math.ceil(this.steps / this.width)}, (_, bucket) => this.#mean(bucket));
  }

  #count(bucket) {
    return Math.min(this.width, this.steps - bucket * this.width);
  }

  #mean(bucket) {
    return this.sums[bucket] / this.#count(bucket);
  }

  #halve() {
    for (let i = 0; i < this.sums.length / 2; i += 1) this.sums[i] = this.sums[2 * i] + this.sums[2 * i + 1];
    this.width *= 2;
  }
}
