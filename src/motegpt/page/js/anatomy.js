/**
 * What each matrix of the model is: its axes, the name of a cell, and what a cell was computed from. Matrices are
 * named as in docs/notation.md; one head of an attention pattern is {name, head}. Nothing here touches the page.
 */
import {symbol} from "./draw.js";
import {kvSize} from "./spec.js";

/** The tensors that a picture can show: all but the tables of n-grams, which have a row for each of many contexts. */
export const shownTensors = (tensors) => tensors.filter(({role}) => role !== "table");

const PER_HEAD = /hook_(q|k|v|z|rot_q|rot_k)$/;

/** What the rules below need of a description and a look. */
export function anatomyOf({settings, vocabulary, tensors}, look) {
  const places = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return {
    layers: settings.n_layer, heads: settings.n_head, width: settings.n_embd, places, ids: look.ids,
    headSize: settings.n_embd / settings.n_head, embeddingNorm: Boolean(settings.embedding_norm),
    sharing: settings.n_embd / kvSize(settings), // queries that share a key
    head: places.has("lm_head") ? "lm_head" : "wte", vocabulary: vocabulary.map(symbol),
    positions: look.labels.map(symbol), hooks: look.look.activations,
  };
}

/** The axes of a matrix: {rows: {is, labels}, columns: {is, labels}}; labels null where numbers say it all. */
export function axesOf(name, {vocabulary, positions}) {
  const [position, token] = [{is: "position", labels: positions}, {is: "token", labels: vocabulary}];
  const channel = {is: "channel", labels: null};
  const hidden = {is: "hidden unit", labels: null};
  if (name === "wte" || name === "lm_head") return {rows: token, columns: channel};
  if (name === "wpe") return {rows: {is: "position", labels: null}, columns: channel};
  if (/mlp_(fc1|gate)$/.test(name)) return {rows: hidden, columns: channel};
  if (name.endsWith("mlp_fc2")) return {rows: channel, columns: hidden};
  if (name.startsWith("layer")) return {rows: {is: "output", labels: null}, columns: {is: "input", labels: null}};
  if (name === "logits" || name === "probabilities") return {rows: position, columns: token};
  if (/hook_(pattern|attn_scores)$/.test(name)) {
    return {rows: {is: "query at position", labels: positions}, columns: {is: "key at position", labels: positions}};
  }
  return {rows: position, columns: /mlp\.hook_(pre|pre_linear|post)$/.test(name) ? hidden : channel};
}

/** Whether a tensor is a gain or a bias, which is shown as one row. */
const isVector = (name, {places}) => places.get(name)?.shape.length === 1;

/** The name of a cell, as an index into the array of docs/notation.md. */
export function cellName({name, head}, row, column, anatomy) {
  const {headSize} = anatomy;
  if (isVector(name, anatomy)) return `${name}[${column}]`;
  if (head !== undefined) return `${name}[${head}, ${row}, ${column}]`;
  if (PER_HEAD.test(name)) return `${name}[${row}, ${Math.floor(column / headSize)}, ${column % headSize}]`;
  return `${name}[${row}, ${column}]`;
}

/** The row and column of a cell in words: position 2 "m", channel 5. */
export function cellPlace(map, row, column, anatomy) {
  if (isVector(map.name, anatomy)) return `channel ${column}`;
  const axes = axesOf(map.name, anatomy);
  const said = ({is, labels}, index) => `${is} ${index}${labels?.[index] ? ` “${labels[index]}”` : ""}`;
  const places = [said(axes.rows, row), said(axes.columns, column)];
  if (map.head !== undefined) places.unshift(`head ${map.head}`);
  else if (PER_HEAD.test(map.name)) places.push(`head ${Math.floor(column / anatomy.headSize)}`);
  return places.join(", ");
}

const one = (index) => [index, index + 1];
const row = (name, index) => ({name, rows: one(index)});
const cell = (name, r, c) => ({name, rows: one(r), columns: one(c)});
const product = (x, w, r, c) => [row(x, r), row(w, c), cell(`${w}_bias`, 0, c)]; // y[r, c] of y = x · wᵀ + bias
const normed = (x, place, r, c) => [row(x, r), cell(`${place}_gain`, 0, c), cell(`${place}_bias`, 0, c)];
const present = (hook, otherwise, {hooks}) => (hook in hooks ? hook : otherwise);

/**
 * The cells that a cell of an activation was computed from: [{name, head?, rows?, columns?}], ranges [from, end).
 * A cell of a tensor has none: it is where the gradient ends.
 */
export function sourcesOf(map, r, c, anatomy) {
  const {places, hooks} = anatomy;
  return anySources(map, r, c, anatomy).filter(({name}) => places.has(name) || name in hooks || name === "logits");
}

/** The same, with gains, biases and gates that the model may not have. */
function anySources({name, head}, r, c, anatomy) {
  const layer = /^blocks\.(\d+)\.(.*)$/.exec(name);
  if (layer) return sourcesInLayer(Number(layer[1]), layer[2], head, r, c, anatomy);
  if (name === "hook_embed") return [cell("wte", anatomy.ids[r], c)];
  if (name === "hook_pos_embed") return [cell("wpe", r, c)];
  const last = `blocks.${anatomy.layers - 1}.hook_resid_post`;
  if (name === "ln_final.hook_normalized") return normed(last, "ln_f", r, c);
  if (name === "logits") return product(present("ln_final.hook_normalized", last, anatomy), anatomy.head, r, c);
  if (name === "probabilities") return [row("logits", r)];
  return [];
}

function embeddingSources(r, c, {embeddingNorm, hooks}) {
  const terms = ["hook_embed", "hook_pos_embed", "hook_ngram_embed"].filter((term) => term in hooks);
  return terms.map((term) => (embeddingNorm ? row(term, r) : cell(term, r, c)));
}

function sourcesInLayer(i, what, head, r, c, anatomy) {
  const at = (hook) => `blocks.${i}.${hook}`;
  const w = (tensor) => `layer${i}.${tensor}`;
  const {headSize, sharing} = anatomy;
  const ofHead = (h) => [h * headSize, (h + 1) * headSize];
  const keys = (h) => Math.floor(h / sharing); // the head of keys and values of a head
  const before = i === 0 ? at("hook_resid_pre") : `blocks.${i - 1}.hook_resid_post`;
  const h1 = present(at("ln1.hook_normalized"), before, anatomy);
  const h2 = present(at("ln2.hook_normalized"), at("hook_resid_mid"), anatomy);
  switch (what) {
    case "hook_resid_pre":
      return i === 0 ? embeddingSources(r, c, anatomy) : [cell(`blocks.${i - 1}.hook_resid_post`, r, c)];
    case "ln1.hook_normalized": return normed(before, w("ln1"), r, c);
    case "attn.hook_q": return product(h1, w("attn_wq"), r, c);
    case "attn.hook_k": return product(h1, w("attn_wk"), r, c);
    case "attn.hook_v": return product(h1, w("attn_wv"), r, c);
    case "attn.hook_pattern":
      return [{...row(at("attn.hook_q"), r), columns: ofHead(head)},
        {...row(at("attn.hook_k"), c), columns: ofHead(keys(head))}];
    case "attn.hook_z": {
      const h = Math.floor(c / headSize);
      const v = keys(h) * headSize + (c % headSize);
      return [{name: at("attn.hook_pattern"), head: h, rows: one(r), columns: [0, r + 1]},
        {name: at("attn.hook_v"), rows: [0, r + 1], columns: one(v)}];
    }
    case "hook_attn_out": return product(at("attn.hook_z"), w("attn_wo"), r, c);
    case "hook_resid_mid":
      return [cell(before, r, c), cell(at("hook_attn_out"), r, c)];
    case "ln2.hook_normalized": return normed(at("hook_resid_mid"), w("ln2"), r, c);
    case "mlp.hook_pre":
      return product(h2, w(at("mlp.hook_pre_linear") in anatomy.hooks ? "mlp_gate" : "mlp_fc1"), r, c);
    case "mlp.hook_pre_linear": return product(h2, w("mlp_fc1"), r, c);
    case "mlp.hook_post": return [cell(at("mlp.hook_pre"), r, c), cell(at("mlp.hook_pre_linear"), r, c)];
    case "hook_mlp_out": return product(at("mlp.hook_post"), w("mlp_fc2"), r, c);
    case "hook_resid_post": return [cell(at("hook_resid_mid"), r, c), cell(at("hook_mlp_out"), r, c)];
    default: return [];
  }
}
