// Looking into a run for one text: ids, losses, probabilities, activations, and what a mask changes.

import {batchOf, longestSequence} from "./plan.js";
import {lossOfPieces, rowLoss} from "./validation.js";

const CAUSE_DOCUMENTS = 32; // whose loss a mask changes

/** {ids, targets}: the inputs of a text, and the target of each, -1 where there is none. */
export function idsOfText(text, tokenizer, blockSize) {
  const ids = tokenizer.bos === null && !text ? tokenizer.prompt() : tokenizer.bos === null
    ? tokenizer.encode(text) : [tokenizer.bos, ...tokenizer.encode(text)];
  if (ids.length > blockSize) {
    const special = tokenizer.bos === null ? 0 : 1;
    throw new Error(
      `text: expected at most ${blockSize - special} tokens (block_size ${blockSize}), got ${ids.length - special}; `
      + "shorten it, or set a larger `block_size`",
    );
  }
  return {ids: Int32Array.from(ids), targets: Int32Array.from([...ids.slice(1), tokenizer.stop ?? -1])};
}

/** Probabilities (T · V) of logits, in double precision. */
export function softmaxRows(logits, size) {
  const p = new Float64Array(logits.length);
  for (let start = 0; start < p.length; start += size) {
    let highest = -Infinity, sum = 0;
    for (let i = start; i < start + size; i++) highest = Math.max(highest, logits[i]);
    for (let i = start; i < start + size; i++) sum += p[i] = Math.exp(logits[i] - highest);
    for (let i = start; i < start + size; i++) p[i] /= sum;
  }
  return p;
}

/** {step, text, ids, targets, labels, loss, losses, probabilities, look} of a text, with a mask in this look alone. */
export function lookInto(run, text, mask) {
  const {tokenizer} = run, {model} = run.config;
  const {ids, targets} = idsOfText(text, tokenizer, model.block_size), look = run.model.look(ids, mask ?? {});
  const losses = Float64Array.from(targets, (target, t) =>
    (target < 0 ? NaN : rowLoss(look.logits, t * model.vocab_size, model.vocab_size, target)));
  const counted = losses.filter((loss) => !Number.isNaN(loss));
  return {
    step: run.done, text, ids, targets, labels: Array.from(ids, (id) => tokenizer.labels[id]),
    loss: counted.reduce((sum, loss) => sum + loss, 0) / counted.length, losses,
    probabilities: softmaxRows(look.logits, model.vocab_size), look,
  };
}

/** The text as a batch of one document, as training would see it. */
export function batchOfText(run, text) {
  const {tokenizer} = run, {model, data, train} = run.config;
  const {ids, targets} = idsOfText(text, tokenizer, model.block_size);
  const all = targets.at(-1) < 0 ? ids : Int32Array.from([...ids, targets.at(-1)]);
  if (all.length < 2) throw new Error("text: expected at least 2 tokens, got 1; write more");
  return batchOf([all.slice(0, Math.max(2, longestSequence(model.block_size, data.cut)))], 1, train.loss_mean);
}

/** Sequences whose loss shows what a mask does in general: held-out ones where there are any. */
function causeSequences(run) {
  if (!run.plan) return [];
  const documents = run.validation.length ? run.validation : run.training, {block_size: block} = run.config.model;
  const distinct = [...new Set(documents.slice(0, 4 * CAUSE_DOCUMENTS))].slice(0, CAUSE_DOCUMENTS);
  return run.wholeSequences(distinct).map((ids) => ids.subarray(0, block + 1));
}

/** {before, after, documents}: the mean loss in nats per token with and without a mask; null without a list. */
export function causeInGeneral(run, mask) {
  const sequences = causeSequences(run), {vocab_size: size} = run.config.model;
  if (!sequences.length) return null;
  const targets = sequences.reduce((sum, ids) => sum + ids.length - 1, 0);
  const before = lossOfPieces(run.model, sequences.map((ids) => ({ids, counted: ids.length - 1})), size);
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
