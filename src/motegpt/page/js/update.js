// Weights, gradients and updates of a run, and one step in slow motion. The run stays as it is.

import {batchOfText, lookAtIds} from "./inspect.js";

/**
 * (P) numbers: "weights", a slot of the optimizer by name, "gradients" of a text (else of the next step), or
 * "update", what the next step adds.
 */
export function parameterValues(run, kind, text) {
  if (kind === "weights") return run.model.parameters();
  if (run.slots.includes(kind)) return slotsByName(run, run.model.slots())[kind];
  if (kind === "gradients") return gradientOf(run, text ?? null);
  if (kind === "update") {
    const {before, after} = nextUpdate(run);
    return after.map((weight, i) => weight - before[i]);
  }
  throw new Error(`weights: expected weights, gradients, update, ${run.slots.join(", ")}, got ${kind}`);
}

function slotsByName(run, all) {
  const {size} = run.model;
  return Object.fromEntries(run.slots.map((name, i) => [name, all.slice(i * size, (i + 1) * size)]));
}

/** The step that is to come; the last one where the run has ended. */
function nextStep(run) {
  return Math.min(run.done, run.config.train.steps - 1);
}

/** The gradient (P) of a text without dropout, or, without a text, of the next step's batch with it. */
function gradientOf(run, text) {
  const {options} = run;
  if (text !== null) {
    return run.model.gradients(batchOfText(run, text), 1, {clip_node: options.clip_node}).gradient;
  }
  if (!run.plan) throw new Error("text: expected one, as this run has no list, got none");
  const first = nextStep(run);
  return run.model.gradients(run.batches(first, 1), run.plan.batchSize, {...options, first}).gradient;
}

/** Loss of the next step, and parameters and slots before and after it; the step is taken back. */
function nextUpdate(run) {
  if (!run.plan) throw new Error("update: expected a run with its list, got one without; add the list");
  const {model} = run;
  const [before, slotsBefore] = [model.parameters(), model.slots()];
  try {
    const [loss] = run.trainSteps(nextStep(run), 1);
    return {loss, before, after: model.parameters(), slotsBefore, slotsAfter: model.slots()};
  } finally {
    model.load(before, slotsBefore);
  }
}

/** The next step as frames: forward pass of its first document, gradients, update. */
export function slowMotion(run) {
  const {train} = run.config;
  const step = nextStep(run);
  const {loss, before, after, slotsBefore, slotsAfter} = nextUpdate(run);
  const [sequence] = run.plan.sequencesOf(step, 1);
  const {stop, bos} = run.tokenizer;
  const text = run.tokenizer.decode(sequence.filter((id) => id !== stop && id !== bos));
  const looked = lookAtIds(run, text, sequence.subarray(0, -1), sequence.subarray(1));
  return {
    ...looked,
    step,
    forward: looked.look,
    batch_loss: loss,
    gradients: clipped(gradientOf(run, null), train),
    before,
    after,
    slots_before: slotsByName(run, slotsBefore),
    slots_after: slotsByName(run, slotsAfter),
    lr: run.core.rates(train, step, 1)[0],
    scalars: Array.from(run.core.scalars(train, step, 1)),
  };
}

/** A gradient as the optimizer takes it: clipped by value, then by norm. */
function clipped(gradient, {clip_value: value, clip_norm: norm}) {
  const bounded = value === null ? gradient : gradient.map((x) => Math.min(Math.max(x, -value), value));
  const length = Math.sqrt(bounded.reduce((sum, x) => sum + x * x, 0));
  return norm === null || length <= norm ? bounded : bounded.map((x) => (x * norm) / length);
}
