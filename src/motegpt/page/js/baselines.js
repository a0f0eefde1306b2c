// The losses of n-gram baselines, as in src/motegpt/ngrams/counts.py: interpolated n-grams after Witten and
// Bell.

/** Counts of the n-grams of up to `order` tokens; size: number of possible targets. */
class NGramCounts {
  constructor(sequences, order, size) {
    Object.assign(this, {order, size, base: size + 2});
    this.counts = new Map();
    this.totals = new Map(); // c(h)
    this.types = new Map(); // T(h)
    for (const sequence of sequences) {
      for (let at = 1; at < sequence.length; at++) {
        for (let n = 1; n <= Math.min(order, at + 1); n++) this.count(sequence, at, n);
      }
    }
  }

  /** The n tokens up to `at` as one number, different for each length. */
  key(sequence, at, n) {
    let key = n;
    for (let i = at - n + 1; i <= at; i++) key = key * this.base + sequence[i];
    return key;
  }

  count(sequence, at, n) {
    const key = this.key(sequence, at, n);
    const context = this.key(sequence, at - 1, n - 1);
    const before = this.counts.get(key) ?? 0;
    this.counts.set(key, before + 1);
    this.totals.set(context, (this.totals.get(context) ?? 0) + 1);
    if (!before) this.types.set(context, (this.types.get(context) ?? 0) + 1);
  }

  /** The probability of sequence[at] after the tokens before it. */
  probability(sequence, at) {
    let p = 1 / this.size;
    for (let n = 1; n <= Math.min(this.order, at + 1); n++) {
      const context = this.key(sequence, at - 1, n - 1);
      const total = this.totals.get(context) ?? 0;
      const types = this.types.get(context) ?? 0;
      if (total) p = ((this.counts.get(this.key(sequence, at, n)) ?? 0) + types * p) / (total + types);
    }
    return p;
  }
}

/**
 * {uniform, unigram, bigram, trigram}: losses in nats per token on `evaluated`, fit to `training`.
 * never: the id that is no target, or null; lossMean: "documents" or "tokens".
 */
export function baselineLosses(training, evaluated, vocabSize, lossMean, never) {
  const size = vocabSize - (never === null ? 0 : 1);
  const losses = {uniform: Math.log(size)};
  ["unigram", "bigram", "trigram"].forEach((name, i) => {
    const counts = new NGramCounts(training, i + 1, size);
    let sum = 0;
    let total = 0;
    for (const sequence of evaluated) {
      const targets = Math.max(1, sequence.length - 1);
      const weight = lossMean === "documents" ? 1 / targets / evaluated.length : 1;
      for (let at = 1; at < sequence.length; at++) {
        sum -= weight * Math.log(counts.probability(sequence, at));
        total += weight;
      }
    }
    losses[name] = sum / total;
  });
  return losses;
}
