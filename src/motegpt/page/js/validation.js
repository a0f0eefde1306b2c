// The loss on held-out documents during training, on the same sample as src/motegpt/training/validation.py.

import {batchOf, windowsOf} from "./plan.js";

const SAMPLED_TARGETS = 4096; // per evaluation
const MAX_LOGITS = 2 ** 18; // per pass

/** -log softmax(row)[target] of a row of logits, in nats. */
export function rowLoss(logits, start, size, target) {
  let highest = -Infinity;
  let sum = 0;
  for (let i = start; i < start + size; i++) highest = Math.max(highest, logits[i]);
  for (let i = start; i < start + size; i++) sum += Math.exp(logits[i] - highest);
  return Math.log(sum) + highest - logits[start + target];
}

/** The sum of the losses of some pieces {ids, counted}: of the last `counted` targets of each. */
export function lossOfPieces(model, pieces, vocabSize) {
  let total = 0;
  for (const group of groupsOf(pieces, Math.max(1, Math.floor(MAX_LOGITS / vocabSize)))) {
    const batch = batchOf(
      group.map(({ids}) => ids),
      group.length,
      "tokens",
    );
    const logits = model.logits(batch);
    let row = 0;
    for (const {ids, counted} of group) {
      for (let at = 1; at < ids.length; at++, row++) {
        if (at >= ids.length - counted) total += rowLoss(logits, row * vocabSize, vocabSize, ids[at]);
      }
    }
  }
  return total;
}

/** Pieces in groups of a limited number of positions; a longer piece is a group of its own. */
function groupsOf(pieces, positions) {
  const groups = [];
  let size = Infinity;
  for (const piece of pieces) {
    size += piece.ids.length - 1;
    if (size > positions) {
      groups.push([]);
      size = piece.ids.length - 1;
    }
    groups.at(-1).push(piece);
  }
  return groups;
}

/** The fixed sample of windows of the held-out sequences. */
export class ValidationSample {
  constructor(sequences, blockSize, vocabSize, core) {
    this.vocabSize = vocabSize;
    const windows = sequences.flatMap((ids, i) =>
      windowsOf(ids.length - 1, blockSize).map((one) => [i, ...one]),
    );
    const hashes = windows.map((_, i) => core.stream(0, i));
    const order = [...windows.keys()].sort((a, b) =>
      hashes[a] < hashes[b] ? -1 : hashes[a] > hashes[b] ? 1 : a - b,
    );
    const chosen = [];
    let targets = 0;
    for (const i of order) {
      targets += windows[i][3] - windows[i][2];
      if (targets > SAMPLED_TARGETS && chosen.length) break;
      chosen.push(i);
    }
    this.pieces = chosen
      .sort((a, b) => a - b)
      .map((i) => {
        const [sequence, start, first, end] = windows[i];
        return {ids: sequences[sequence].subarray(start, end + 1), counted: end - first};
      });
    this.targets = this.pieces.reduce((sum, {counted}) => sum + counted, 0);
  }

  /** The mean loss of the model's present parameters, in nats per token. */
  loss(model) {
    return lossOfPieces(model, this.pieces, this.vocabSize) / this.targets;
  }
}
