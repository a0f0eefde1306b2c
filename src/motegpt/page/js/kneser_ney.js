// Kneser-Ney n-grams from their counts, as in src/motegpt/ngrams/kneser_ney.py, which has the equations.

const UNDEFINED = [0.5, 0.75, 0.9]; // discounts where no n-gram has the count
const MIN_DISCOUNT = 0.05;
const MARGIN = 0.02;

/**
 * The index of each key among sorted distinct keys; exact: -1 where it is not there, else where it belongs.
 */
function indexOf(keys, key, exact = true) {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return exact && keys[low] !== key ? -1 : low;
}

/** The distinct keys, sorted, with the sum of the counts of each. */
function summed(keys, counts) {
  const order = Uint32Array.from(keys.keys()).sort((a, b) => keys[a] - keys[b]);
  const distinct = [];
  const sums = [];
  for (const i of order) {
    if (distinct.length && distinct.at(-1) === keys[i]) sums[sums.length - 1] += counts[i];
    else {
      distinct.push(keys[i]);
      sums.push(counts[i]);
    }
  }
  return {keys: Float64Array.from(distinct), counts: Float64Array.from(sums)};
}

function discountsOf(counts) {
  const n = [1, 2, 3, 4].map((k) => counts.reduce((sum, count) => sum + (count === k), 0));
  const y = n[0] ? n[0] / (n[0] + 2 * n[1]) : 0.5;
  return UNDEFINED.map((undefinedOne, i) => {
    const k = i + 1;
    const d = n[i] ? k - ((k + 1) * y * n[k]) / n[i] : undefinedOne;
    return Math.min(Math.max(d, MIN_DISCOUNT), k - MARGIN);
  });
}

function levelOf(contexts, grams, counts, base) {
  const d = discountsOf(counts);
  const total = new Float64Array(contexts.length);
  const taken = new Float64Array(contexts.length);
  const starts = new Float64Array(contexts.length + 1);
  const discount = (count) => d[Math.min(count, 3) - 1];
  grams.forEach((gram, i) => {
    const row = Math.floor(gram / base);
    total[row] += counts[i];
    taken[row] += discount(counts[i]);
    starts[row + 1]++;
  });
  for (let row = 0; row < contexts.length; row++) starts[row + 1] += starts[row];
  const share = grams.map((gram, i) => (counts[i] - discount(counts[i])) / total[Math.floor(gram / base)]);
  return {contexts, grams, share, backoff: taken.map((one, row) => one / total[row]), starts};
}

/**
 * The tables that the core averages with. grams (G · order): n-grams of ids, vocabSize before a sequence;
 * counts (G); never: the id that is no target, or null. -> {order, levels, unigrams}
 */
export function kneserNeyTables(grams, counts, order, vocabSize, never) {
  const base = vocabSize + 2,
    n = counts.length;
  let rows = new Float64Array(n);
  const contexts = [Float64Array.of(0)];
  for (let column = order - 2; column >= 0; column--) {
    const keys = rows.map((row, i) => row * base + grams[i * order + column]);
    contexts.push(summed(keys, counts).keys);
    const table = contexts.at(-1);
    rows = keys.map((key) => indexOf(table, key));
  }
  let level = summed(
    rows.map((row, i) => row * base + grams[i * order + order - 1]),
    counts,
  );
  const levels = [levelOf(contexts[order - 1], level.keys, level.counts, base)];
  for (let length = order - 1; length >= 1; length--) {
    const longer = contexts[length];
    const shorter = level.keys.map((gram) => {
      const row = Math.floor(gram / base);
      return Math.floor(longer[row] / base) * base + (gram - row * base);
    });
    level = summed(shorter, new Float64Array(shorter.length).fill(1));
    levels.unshift(levelOf(contexts[length - 1], level.keys, level.counts, base));
  }
  return {order, levels: tablesOf(levels, base), unigrams: unigramsOf(levels[0], vocabSize, never)};
}

function unigramsOf(level, vocabSize, never) {
  const size = vocabSize - (never === null ? 0 : 1);
  const p = new Float64Array(vocabSize).fill(level.backoff[0] / size);
  if (never !== null) p[never] = 0;
  level.grams.forEach((id, i) => (p[id] += level.share[i]));
  return p;
}

/** Children, first, starts, last, share and backoff of the levels from 2 up (generation.hpp). */
function tablesOf(levels, base) {
  return levels.slice(1).map(({contexts, grams, share, backoff, starts}, i) => {
    const parents = levels[i].contexts.length;
    const children = Float64Array.from({length: parents + 1}, (_, row) =>
      indexOf(contexts, row * base, false),
    );
    const integers = (values) => Int32Array.from(values, (key) => key % base);
    return {children, first: integers(contexts), starts, last: integers(grams), share, backoff};
  });
}
