// Looking into a run for one text: ids, losses, probabilities, activations, and what a mask changes.

import {averagedLogits} from "./generation.js";
import {batchOf, longestSequence} from "./plan.js";
import {lossOfPieces, rowLoss} from "./validation.js";

const CAUSE_DOCUMENTS = 32; // whose loss a mask changes

/** {ids, targets}: the inputs of a text, and the target of each, -1 where there is none. */
export function idsOfText(text, tokenizer, blockSize) {
  const hasBos = tokenizer.bos !== null;
  const ids = hasBos || !text ? tokenizer.prompt(text) : tokenizer.encode(text);
  if (ids.length > blockSize) {
    const [most, got] = [blockSize, ids.length].map((n) => n - hasBos);
    throw new Error(
      `text: expected at most ${most} tokens (block_size ${blockSize}), got ${got}; shorten it, or set a ` +
        "larger `block_size`",
    );
  }
  return {ids: Int32Array.from(ids), targets: Int32Array.from([...ids.slice(1), tokenizer.stop ?? -1])};
}

/** Probabilities (T · V) of logits, in double precision. */
export function softmaxRows(logits, size) {
  const p = new Float64Array(logits.length);
  for (let start = 0; start < p.length; start += size) {
    let highest = -Infinity;
    let sum = 0;
    for (let i = start; i < start + size; i++) highest = Math.max(highest, logits[i]);
    for (let i = start; i < start + size; i++) sum += p[i] = Math.exp(logits[i] - highest);
    for (let i = start; i < start + size; i++) p[i] /= sum;
  }
  return p;
}

/** lookAtIds of a text. */
export function lookInto(run, text, mask) {
  const {ids, targets} = idsOfText(text, run.tokenizer, run.config.model.block_size);
  return lookAtIds(run, text, ids, targets, mask);
}

/**
 * {step, text, ids, targets, labels, loss, losses, probabilities (T · V), look, average} of the GPT, with a
 * mask in this look alone. Losses in nats, NaN where there is no target; average: {loss, losses,
 * probabilities} with the n-grams of the run, null without any.
 */
export function lookAtIds(run, text, ids, targets, mask) {
  const {vocab_size: size} = run.config.model;
  const look = run.model.look(ids, mask ?? {});
  return {
    step: run.done,
    text,
    ids,
    targets,
    labels: Array.from(ids, (id) => run.tokenizer.labels[id]),
    ...predictions(look.logits, targets, size),
    look,
    average: run.average && predictions(averagedRows(run, look.logits, ids), targets, size),
  };
}

/** {loss, losses, probabilities} of logits (T · V). */
function predictions(logits, targets, size) {
  const losses = Float64Array.from(targets, (target, t) =>
    target < 0 ? NaN : rowLoss(logits, t * size, size, target),
  );
  const counted = losses.filter((loss) => !Number.isNaN(loss));
  const loss = counted.reduce((sum, one) => sum + one, 0) / counted.length;
  return {loss, losses, probabilities: softmaxRows(logits, size)};
}

/** log p (T · V) of a run's average with its n-grams. */
function averagedRows(run, logits, ids) {
  const {vocab_size: size} = run.config.model;
  const rows = new Float64Array(logits.length);
  ids.forEach((_, t) => {
    const row = logits.subarray(t * size, (t + 1) * size);
    rows.set(averagedLogits(row, run.average, ids.subarray(0, t + 1)), t * size);
  });
  return rows;
}

/** The text as a batch of one document, as training would see it. */
export function batchOfText(run, text) {
  const {tokenizer} = run;
  const {model, data, train} = run.config;
  const {ids, targets} = idsOfText(text, tokenizer, model.block_size);
  const all = targets.at(-1) < 0 ? ids : Int32Array.from([...ids, targets.at(-1)]);
  if (all.length < 2) throw new Error("text: expected at least 2 tokens, got 1; write more");
  return batchOf(
    [all.slice(0, Math.max(2, longestSequence(model.block_size, data.cut)))],
    1,
    train.loss_mean,
  );
}

/** Sequences whose loss shows what a mask does in general: held-out ones where there are any. */
function causeSequences(run) {
  if (!run.plan) return [];
  const documents = run.validation.length ? run.validation : run.training;
  const {block_size: block} = run.config.model;
  const distinct = [...new Set(documents.slice(0, 4 * CAUSE_DOCUMENTS))].slice(0, CAUSE_DOCUMENTS);
  return run.wholeSequences(distinct).map((ids) => ids.subarray(0, block + 1));
}

/**
 * {before, after, documents}: the mean loss in nats per token with and without a mask; null without a list.
 */
export function causeInGeneral(run, mask) {
  const sequences = causeSequences(run);
  const {vocab_size: size} = run.config.model;
  if (!sequences.length) return null;
  const targets = sequences.reduce((sum, ids) => sum + ids.length - 1, 0);
  const before = lossOfPieces(
    run.model,
    sequences.map((ids) => ({ids, counted: ids.length - 1})),
    size,
  );
  let after = 0;
  for (const ids of sequences) {
    const {logits} = run.model.look(ids.subarray(0, -1), maskWithin(mask, ids.length - 1));
    for (let t = 0; t + 1 < ids.length; t++) after += rowLoss(logits, t * size, size, ids[t + 1]);
  }
  return {before: before / targets, after: after / targets, documents: sequences.length};
}

/** A mask without the cells that a shorter text does not have. */
function maskWithin(mask, length) {
  return mask.cells ? {...mask, cells: mask.cells.filter(([, , t]) => t < length)} : mask;
}
