// The token sequences of each step, as in src/motegpt/data/plan.py: a pure function of the step.

/** Maximum number of tokens of a sequence. */
export function longestSequence(blockSize, cut) {
  return cut === "targets" ? blockSize + 1 : blockSize;
}

/** The sequences that are trained on and, without held-out data, evaluated: documents cut to the block. */
export function trainingSequences(documents, tokenizer, data, blockSize) {
  const longest = longestSequence(blockSize, data.cut);
  return documents.map((document) => Int32Array.from(tokenizer.encodeDocument(document).slice(0, longest)));
}

/**
 * Sequences as the core takes them: tokens, offsets (n + 1) and the weight of every target.
 * batchSize: of the steps that the sequences make up, one after the other.
 */
export function batchOf(sequences, batchSize, lossMean) {
  const offsets = new Int32Array(sequences.length + 1);
  sequences.forEach((sequence, i) => (offsets[i + 1] = offsets[i] + sequence.length));
  const tokens = new Int32Array(offsets[sequences.length]);
  const weights = new Float64Array(tokens.length - sequences.length);
  sequences.forEach((sequence, i) => tokens.set(sequence, offsets[i]));
  for (let first = 0; first < sequences.length; first += batchSize) {
    const last = first + batchSize;
    const all = offsets[last] - offsets[first] - batchSize;
    for (let i = first; i < last; i++) {
      const targets = offsets[i + 1] - offsets[i] - 1;
      const weight = lossMean === "documents" ? 1 / (batchSize * targets) : 1 / all;
      weights.fill(weight, offsets[i] - i, offsets[i + 1] - i - 1);
    }
  }
  return {tokens, offsets, weights};
}

/** What plans share; they define sequence(number), in the order of training. */
class Plan {
  constructor(train) {
    this.batchSize = train.batch_size;
    this.lossMean = train.loss_mean;
    this.seed = train.seed;
  }

  /** The sequences of the steps start … start + count - 1. */
  sequencesOf(start, count) {
    const first = start * this.batchSize;
    return Array.from({length: count * this.batchSize}, (_, i) => this.sequence(first + i));
  }

  /** The batches of the steps start … start + count - 1. */
  chunk(start, count) {
    return batchOf(this.sequencesOf(start, count), this.batchSize, this.lossMean);
  }
}

/**
 * All sequences once per epoch, batch_size per step. order: of the first epoch, and of all unless
 * reshuffled.
 */
export class DocumentPlan extends Plan {
  /** core: for the orders of later epochs, if `reshuffle`. */
  constructor(sequences, train, order, reshuffle, core) {
    super(train);
    Object.assign(this, {sequences, order, reshuffle, core});
    this.orders = new Map([[0, order]]);
    this.running = new Map();
    this.targets = sequences.reduce((sum, sequence) => sum + sequence.length - 1, 0);
  }

  /** The order of an epoch; keeps the last two that were asked for. */
  orderOf(epoch) {
    if (!this.reshuffle || epoch === 0) return this.order;
    if (!this.orders.has(epoch)) {
      if (this.orders.size > 2) this.orders.delete([...this.orders.keys()].find((key) => key > 0));
      this.orders.set(epoch, this.core.epochOrder(this.seed, epoch, this.sequences.length));
    }
    return this.orders.get(epoch);
  }

  /** Sequence number `number`, in the order of training. */
  sequence(number) {
    const n = this.sequences.length;
    const epoch = Math.floor(number / n);
    return this.sequences[this.orderOf(epoch)[number - epoch * n]];
  }

  /** Number of targets in the first `steps` steps. */
  tokensBefore(steps) {
    const number = steps * this.batchSize;
    const epoch = Math.floor(number / this.sequences.length);
    return epoch * this.targets + this.targetsBefore(epoch)[number - epoch * this.sequences.length];
  }

  /** Number of targets of the first 0, 1, 2, … sequences of an epoch. */
  targetsBefore(epoch) {
    const key = this.reshuffle ? epoch : 0;
    if (!this.running.has(key)) {
      const sums = new Float64Array(this.sequences.length + 1);
      this.orderOf(key).forEach((index, i) => (sums[i + 1] = sums[i] + this.sequences[index].length - 1));
      if (this.running.size > 1) this.running.delete(this.running.keys().next().value);
      this.running.set(key, sums);
    }
    return this.running.get(key);
  }
}

/** Random windows of a stream (ids): window b of step s starts at a hash of (seed, s · batch_size + b). */
export class WindowPlan extends Plan {
  constructor(stream, train, blockSize, core) {
    super(train);
    Object.assign(this, {stream, blockSize, core});
    this.starts = stream.length - blockSize;
    if (this.starts < 1) {
      const fitting = stream.length - 1;
      const repair = fitting > 1 ? `try \`block_size=${fitting}\`, or more data` : "give more data";
      throw new Error(
        `block_size: expected at least block_size + 1 = ${blockSize + 1} tokens, got ` +
          `${stream.length}; ${repair}`,
      );
    }
  }

  sequence(number) {
    const start = Number(this.core.stream(this.seed, number) % BigInt(this.starts));
    return this.stream.subarray(start, start + this.blockSize + 1);
  }

  tokensBefore(steps) {
    return steps * this.batchSize * this.blockSize;
  }
}

/**
 * The windows of sequences longer than the block: [start, first, end], as in src/motegpt/evaluation/nll.py.
 */
export function windowsOf(targets, blockSize) {
  const found = [];
  let done = 0;
  let end = Math.min(targets, blockSize);
  while (done < end) {
    found.push([Math.max(0, end - blockSize), done, end]);
    [done, end] = [end, Math.min(targets, end + Math.max(1, blockSize >> 1))];
  }
  return found;
}
