/** One parameter's update in numbers, by the equations of src/motegpt/optim. */
import {four} from "./draw.js";

/**
 * The update of one parameter as rows [{name, value, sum}], sum the equation in numbers, the last row the new w.
 * settings: optimizer and adam form; scalars: of the step, in the order of AdamScalars or SGDScalars; slots: its
 * values before, by name; decayed: whether weight decay applies.
 */
export function updateRows({settings, scalars, lr, w, gradient, slots, decayed}) {
  const given = [{name: "w", value: w, sum: "the weight"}, {name: "g", value: gradient, sum: "its gradient"}];
  return [...given, ...(settings.optimizer === "sgd" ? sgdRows : adamRows)({settings, scalars, lr, w, gradient, slots, decayed})];
}

function sgdRows({scalars: [momentum, decay, lr], w, gradient, slots, decayed}) {
  const velocity = momentum * slots.velocity + gradient;
  const kept = decayed ? decay : 1;
  return [
    {name: "velocity", value: velocity, sum: `${four(momentum)} · ${four(slots.velocity)} + ${four(gradient)}`},
    {name: "lr", value: lr, sum: "the learning rate of this step"},
    {name: "new w", value: kept * w - lr * velocity, sum: `${shrunk(kept, w)} − ${four(lr)} · ${four(velocity)}`},
  ];
}

function adamRows({settings, scalars, lr, w, gradient, slots, decayed}) {
  const [beta1, rest1, beta2, rest2, decay, stepSize, vScale, eps] = scalars;
  const m = beta1 * slots.m + rest1 * gradient;
  const v = beta2 * slots.v + rest2 * gradient * gradient;
  const kept = decayed ? decay : 1;
  const next = kept * w - (stepSize * m) / (Math.sqrt(vScale * v) + eps);
  const averages = [
    {name: "m", value: m, sum: `${four(beta1)} · ${four(slots.m)} + ${four(rest1)} · ${four(gradient)}`},
    {name: "v", value: v, sum: `${four(beta2)} · ${four(slots.v)} + ${four(rest2)} · ${four(gradient)}²`},
  ];
  if (settings.adam === "folded") {
    return [...averages, {name: "step size", value: stepSize, sum: `lr ${four(lr)}, with the corrections of m and v`},
      {name: "new w", value: next, sum: `${shrunk(kept, w)} − ${four(stepSize)} · ${four(m)} / (√${four(v)} + ${four(eps)})`}];
  }
  const [mHat, vHat] = [lr > 0 ? (m * stepSize) / lr : m, v * vScale];
  return [...averages,
    {name: "m̂", value: mHat, sum: `${four(m)} / ${four(m / mHat)}, corrected for its start at 0`},
    {name: "v̂", value: vHat, sum: `${four(v)} / ${four(1 / vScale)}`},
    {name: "lr", value: lr, sum: "the learning rate of this step"},
    {name: "new w", value: next, sum: `${shrunk(kept, w)} − ${four(lr)} · ${four(mHat)} / (√${four(vHat)} + ${four(eps)})`}];
}

const shrunk = (kept, w) => (kept === 1 ? four(w) : `${four(kept)} · ${four(w)}`);

/** The index of the parameter that an update changes most, among those of some tensors. */
export function largestUpdate(before, after, tensors) {
  let best = tensors[0].offset;
  for (const {offset, shape} of tensors) {
    const end = offset + shape.reduce((product, size) => product * size, 1);
    for (let i = offset; i < end; i += 1) {
      if (Math.abs(after[i] - before[i]) > Math.abs(after[best] - before[best])) best = i;
    }
  }
  return best;
}
