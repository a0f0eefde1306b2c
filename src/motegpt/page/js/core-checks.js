// What the core is given, checked: errors name the operation, what it expected and what it got.

/** Throws an Error unless `holds`. */
export function checkCore(holds, operation, expected, got) {
  if (holds) return;
  throw new Error(`${operation}: expected ${expected}${got === undefined ? "" : `, got ${got}`}`);
}

/** Whether i is one of 0 … count - 1. */
export function isCoreIndex(i, count) {
  return Number.isInteger(i) && i >= 0 && i < count;
}

/** The sequences of `count` steps of B each. */
export function checkCoreBatch(operation, shape, { tokens, offsets, weights }, count, B) {
  checkCore(Number.isInteger(B) && B >= 1, operation, "at least one sequence per step", B);
  checkCore(offsets.length > count * B, operation, `offsets of ${count * B} sequences`, offsets.length - 1);
  const end = offsets[count * B], longest = shape.block_size + 1;
  checkCore(offsets[0] >= 0 && end <= tokens.length, operation, `${end} tokens`, tokens.length);
  for (let s = 0; s < count * B; s++) {
    const length = offsets[s + 1] - offsets[s];
    if (length >= 2 && length <= longest) continue;
    checkCore(false, operation, `sequences of 2 … block_size + 1 = ${longest} tokens`, `one of ${length}`);
  }
  checkCoreTokens(operation, shape, tokens.subarray(offsets[0], end));
  const targets = end - offsets[0] - count * B;
  checkCore(weights.length >= targets, operation, `${targets} weights`, weights.length);
  for (let i = 0; i < targets; i++) {
    if (!Number.isFinite(weights[i])) checkCore(false, operation, "finite weights", weights[i]);
  }
}

/** Token ids that the vocabulary has. */
export function checkCoreTokens(operation, shape, ids) {
  for (let i = 0; i < ids.length; i++) {
    if (isCoreIndex(ids[i], shape.vocab_size)) continue;
    checkCore(false, operation, `token ids in 0 … vocab_size - 1 = ${shape.vocab_size - 1}`, ids[i]);
  }
}

/** The mask of a look: layers, heads, positions and parameters that the model has. */
export function checkCoreMask(shape, parameters, mask) {
  const layer = (i) => isCoreIndex(i, shape.n_layer), head = (i) => isCoreIndex(i, shape.n_head);
  const kinds = {
    heads: ["[layer, head]", (one) => layer(one[0]) && head(one[1])],
    layers: ["a layer", (one) => layer(one)],
    parts: ['[layer, "attn" or "mlp"]', (one) => layer(one[0]) && ["attn", "mlp"].includes(one[1])],
    cells: ["[layer, head, t, u] with u in 0 … t", (one) => layer(one[0]) && head(one[1])
      && isCoreIndex(one[2], shape.block_size) && isCoreIndex(one[3], one[2] + 1)],
    weights: ["[index, number] of a parameter", (one) => isCoreIndex(one[0], parameters)
      && Number.isFinite(one[1])],
  };
  for (const [kind, given] of Object.entries(mask)) {
    checkCore(kind in kinds, "look", `a mask of ${Object.keys(kinds).join(", ")}`, kind);
    const [expected, holds] = kinds[kind];
    for (const one of given ?? []) checkCore(holds(one), `look: \`${kind}\``, expected, JSON.stringify(one));
  }
}

/** A request of CoreModel.generate, with every field. */
export function checkedCoreRequest(shape, request) {
  const all = {
    prefix: 0, min: 0, end: null, temperature: 1, stop: [], masked: [], top_k: 0, top_p: 1, min_p: 0,
    repetition_penalty: 1, n_grams: null, ...request,
  };
  const check = (holds, expected) => checkCore(holds, "generate", expected);
  const isFinite = (x) => x >= 0 && x < Infinity;
  for (const ids of [all.prompt, all.stop, all.masked]) checkCoreTokens("generate", shape, ids);
  check(all.prompt.length >= 1, "a prompt of at least 1 token");
  const isEnd = all.end === null || isCoreIndex(all.end, shape.vocab_size);
  check(isEnd, "an `end` in 0 … vocab_size - 1, or null");
  check(all.max >= 1 && all.min >= 0 && all.min <= all.max, "`max` of at least 1, and `min` in 0 … `max`");
  check(isCoreIndex(all.prefix, all.prompt.length + 1), "a `prefix` of 0 … the length of the prompt");
  check(isFinite(all.temperature), "a finite `temperature` of at least 0");
  check(isFinite(all.repetition_penalty) && all.repetition_penalty > 0, "a `repetition_penalty` above 0");
  check(all.top_k >= 0 && all.top_p > 0, "`top_k` of at least 0, and `top_p` above 0");
  check(all.min_p >= 0 && all.min_p <= 1, "`min_p` in 0 … 1");
  return all;
}

/** A bound as the core has it: infinite for null. */
export function coreBound(operation, name, bound) {
  if (bound === null || bound === undefined) return Infinity;
  checkCore(bound > 0, `${operation}: \`${name}\``, "a bound above 0, or null", bound);
  return bound;
}

/** A probability of dropout, 0 for none. */
export function coreDropout(operation, name, given) {
  const p = given ?? 0;
  checkCore(p >= 0 && p < 1, `${operation}: \`${name}\``, "0 or more, and below 1", p);
  return p;
}

/** A seed as 64 bits. */
export function coreSeed(seed) {
  return BigInt.asUintN(64, BigInt(seed ?? 0));
}

/**
 * Tables of Kneser-Ney n-grams; models copy them when they generate with them.
 *
 * As src/motegpt/ngrams/kneser_ney.py has them. levels: those of 2, 3, … tokens, each with children (shorter
 * contexts + 1), first (contexts), starts (contexts + 1), last (n-grams), share (n-grams), backoff
 * (contexts); unigrams (V).
 */
export class CoreNGrams {
  constructor({ levels, unigrams }) {
    const check = (holds, expected) => checkCore(holds, "n-grams", expected);
    const areProbabilities = (numbers) => numbers.every((p) => p >= 0 && p <= 1);
    const areStarts = (starts, ranges, count) => starts.length === ranges + 1 && starts[0] === 0
      && starts[ranges] === count && starts.every((start, i) => i === 0 || start >= starts[i - 1]);
    check(levels.length >= 1 && levels.length <= 7, "n-grams of 2 … 8 tokens");
    check(unigrams.length > 0 && areProbabilities(unigrams), "probabilities");
    let shorter = 1; // contexts: the empty one
    for (const { children, first, starts, last, share, backoff } of levels) {
      check(areStarts(children, shorter, first.length), "children in order");
      check(areStarts(starts, first.length, last.length), "starts in order");
      check(last.every((id) => isCoreIndex(id, unigrams.length)), "token ids in 0 … V - 1");
      check(share.length === last.length && areProbabilities(share), "a probability for each n-gram");
      check(backoff.length === first.length && areProbabilities(backoff), "a probability for each context");
      shorter = first.length;
    }
    this.levels = levels;
    this.unigrams = unigrams;
  }
}
