// Texts of a model: in one call of the core, or token by token with the generator of a run.

const MIN_LOGIT = -708; // tokens with less than e^-708 of the highest probability are never drawn
const SMALLEST = 2.2250738585072014e-308;
// Settings of generation that the page has, and the values of the others that switch them off.
const NOT_IN_PAGE = {
  repetition_penalty: 1,
  typical_p: null,
  min_new_tokens: 0,
  max_new_tokens: null,
  min_length: null,
  max_length: null,
  stop: "",
  allow: "",
  forbid: "",
  beams: null,
};

/** {prompt, prefix (number of ids), max, end} of texts that begin with a prefix. */
export function requestOf(prefix, tokenizer, blockSize) {
  const prompt = tokenizer.prompt(prefix);
  const length = tokenizer.encode(prefix).length;
  if (length >= blockSize) {
    throw new Error(
      `prefix: expected at most ${blockSize - 1} tokens (block_size ${blockSize} minus one to generate), ` +
        `got ${length}`,
    );
  }
  const max = tokenizer.stop === null ? blockSize - length : blockSize - prompt.length + 1;
  return {prompt: Int32Array.from(prompt), prefix: length, max, end: tokenizer.stop};
}

/** Throws for a setting of generation that the page does not have. */
export function checkGeneration(sample) {
  for (const [name, off] of Object.entries(NOT_IN_PAGE)) {
    if (sample[name] !== off) throw new Error(`${name}: the page does not have it; motegpt sample does`);
  }
}

/** The ids in descending order of their logits that are above -∞. */
function sortedIds(x) {
  return [...x.keys()].filter((i) => x[i] > -Infinity).sort((a, b) => x[b] - x[a] || a - b);
}

function keepOnly(x, kept) {
  const y = new Float64Array(x.length).fill(-Infinity);
  for (const i of kept) y[i] = x[i];
  return y;
}

function topP(x, p) {
  if (p === 1) return x;
  const order = sortedIds(x);
  const target = p * order.reduce((sum, i) => sum + Math.exp(x[i]), 0);
  let mass = 0;
  let count = 0;
  while (count < order.length && mass < target) mass += Math.exp(x[order[count++]]);
  return keepOnly(x, order.slice(0, count));
}

/** The next id, as src/motegpt/generation/filters.py draws it. sample: temperature, top_k, top_p, min_p. */
export function sampleToken(logits, sample, rng) {
  const highest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!Number.isFinite(highest))
    throw new Error("sample: expected finite logits, got NaN or infinity; the model has diverged");
  if (!(sample.temperature > 0 && Number.isFinite(1 / sample.temperature))) return logits.indexOf(highest);
  const inverse = 1 / sample.temperature;
  let x = Float64Array.from(logits, (logit) => (logit - highest) * inverse);
  x = x.map((logit) => (logit >= MIN_LOGIT ? logit : -Infinity));
  if (sample.top_k !== null) x = keepOnly(x, sortedIds(x).slice(0, sample.top_k));
  if (sample.top_p !== null) x = topP(x, sample.top_p);
  if (sample.min_p !== null) x = x.map((logit) => (Math.exp(logit) >= sample.min_p ? logit : -Infinity));
  const e = x.map(Math.exp);
  const total = e.reduce((sum, one) => sum + one, 0);
  const support = [...e.keys()].filter((i) => e[i] / total > 0);
  return support[rng.categorical(Float64Array.from(support, (i) => e[i] / total))];
}

/**
 * sample.n texts as ids, one after the other from one generator; fewer if sample.tries in a row are not
 * accepted. average: n-grams and their weight, or null; accept(ids): whether a text meets the conditions.
 */
export function generateSequentially(model, request, sample, rng, average, accept) {
  const decoder = model.decoder(1);
  const texts = [];
  try {
    for (let tries = 0; texts.length < sample.n && tries < sample.tries; tries++) {
      const drawn = generateOne(decoder, request, sample, rng, average);
      if (!accept(drawn)) continue;
      texts.push(drawn);
      tries = -1;
    }
  } finally {
    decoder.free();
  }
  return texts;
}

function generateOne(decoder, request, sample, rng, average) {
  decoder.reset();
  const history = [...request.prompt];
  const drawn = [];
  let logits = null;
  for (const id of request.prompt) logits = decoder.feed([id]);
  while (drawn.length < request.max) {
    const id = sampleToken(average ? averagedLogits(logits, average, history) : logits, sample, rng);
    if (id === request.end) break;
    drawn.push(id);
    history.push(id);
    if (drawn.length < request.max) logits = decoder.feed([id]);
  }
  return drawn;
}

/** p of every id after a history of ids, under Kneser-Ney tables (V). */
export function nGramProbabilities({order, levels, unigrams}, history) {
  const p = Float64Array.from(unigrams);
  const start = unigrams.length; // the id before a text
  let row = 0;
  for (let i = 0; i < Math.min(levels.length, order - 1); i++) {
    const {children, first, starts, last, share, backoff} = levels[i];
    const token = history[history.length - 1 - i] ?? start;
    let [at, end] = [children[row], children[row + 1]];
    while (at < end && first[at] !== token) at++;
    if (at === end) break;
    row = at;
    for (let id = 0; id < p.length; id++) p[id] *= backoff[row];
    for (let gram = starts[row]; gram < starts[row + 1]; gram++) p[last[gram]] += share[gram];
  }
  return p;
}

/** log p of the average of a model with n-grams, which serve as logits. */
export function averagedLogits(logits, average, history) {
  const highest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const e = Float64Array.from(logits, (logit) => Math.exp(logit - highest));
  const scale = (1 - average.weight) / e.reduce((sum, one) => sum + one, 0);
  const p = nGramProbabilities(average, history);
  return e.map((one, id) => Math.log(Math.max(one * scale + average.weight * p[id], SMALLEST)));
}
