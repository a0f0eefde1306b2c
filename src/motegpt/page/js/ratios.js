/** Update-to-weight ratios over time, per tensor, in bounded memory. */
import {deviation} from "./numbers.js";

const MOST = 512; // steps that are kept; when there are more, every second is dropped

export class Ratios {
  constructor() {
    this.steps = [];
    this.rows = []; // of each step: log10 of std(update) / std(weights) per tensor
  }

  clear() {
    this.steps = [];
    this.rows = [];
  }

  /** The ratios of one step; tensors: of the description. Steps at and after it are forgotten. */
  add(step, weights, update, tensors) {
    const known = this.steps.findIndex((one) => one >= step);
    if (known >= 0) {
      this.steps.length = known;
      this.rows.length = known;
    }
    this.steps.push(step);
    this.rows.push(Float64Array.from(tensors, (tensor) => ratio(weights, update, tensor)));
    if (this.steps.length > MOST) {
      this.steps = this.steps.filter((_, i) => i % 2);
      this.rows = this.rows.filter((_, i) => i % 2);
    }
  }

  /** The ratios of one tensor, one per step. */
  of(index) {
    return this.rows.map((row) => row[index]);
  }
}

/** log10 of the standard deviation of a tensor's update over that of its weights; NaN where either is zero. */
export function ratio(weights, update, {offset, shape}) {
  const count = shape.reduce((product, size) => product * size, 1);
  const [changed, own] = [deviation(update, offset, count), deviation(weights, offset, count)];
  return changed > 0 && own > 0 ? Math.log10(changed / own) : NaN;
}
