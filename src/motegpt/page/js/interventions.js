/**
 * The mask of interventions, as values: heads [[layer, head]], parts [[layer, "attn" | "mlp"]], cells
 * [[layer, head, t, u]] set to zero, weights [[index, value]]. Functions return a new mask.
 */
import {four} from "./draw.js";

const same = (one, other, length) => one.slice(0, length).every((value, i) => value === other[i]);

/** Put an entry into a list of the mask, or take it out where it is there already. */
export function toggled(mask, list, entry) {
  const others = mask[list].filter((one) => !same(one, entry, entry.length));
  return {...mask, [list]: others.length < mask[list].length ? others : [...others, entry]};
}

/** Whether an entry is in a list of the mask. */
export const isIn = (mask, list, entry) => mask[list].some((one) => same(one, entry, entry.length));

/** Give a parameter another value; its own value, or null, takes the intervention out. */
export function withWeight(mask, index, value, own) {
  const others = mask.weights.filter(([at]) => at !== index);
  return {...mask, weights: value === null || value === own ? others : [...others, [index, value]]};
}

/** The value that a mask gives a parameter, or its own. */
export const weightUnder = (mask, index, own) => mask.weights.find(([at]) => at === index)?.[1] ?? own;

/** The name of a parameter by its index in the flat array: layer0.attn_wq[3, 5]. */
export function parameterName(tensors, index) {
  const {name, shape, offset} = tensors.find((one) => index < one.offset + one.shape.reduce((a, b) => a * b, 1));
  const at = index - offset;
  if (shape.length === 1) return `${name}[${at}]`;
  return `${name}[${Math.floor(at / shape[1])}, ${at % shape[1]}]`;
}

/** The interventions in force: [{text, without: the mask that lacks it}]. */
export function interventions(mask, tensors) {
  const without = (list, entry) => ({...mask, [list]: mask[list].filter((one) => one !== entry)});
  const said = {
    heads: ([layer, head]) => `Layer ${layer}: head ${head} off`,
    parts: ([layer, part]) => `Layer ${layer}: ${part === "attn" ? "attention" : "MLP"} off`,
    cells: ([layer, head, t, u]) => `Layer ${layer}: head ${head}, attention [${t}, ${u}] = 0`,
    weights: ([index, value]) => `${parameterName(tensors, index)} = ${four(value)}`,
  };
  return Object.entries(said).flatMap(([list, text]) =>
    (mask[list] ?? []).map((entry) => ({list, entry, text: text(entry), without: without(list, entry)})));
}

/** Indices of count probabilities from offset, by the size of their change, then by size, largest first; the n first. */
export function largestChanges(before, after, offset, count, n) {
  const change = (id) => Math.abs(after[offset + id] - before[offset + id]);
  return Array.from({length: count}, (_, id) => id).sort((a, b) => change(b) - change(a) || before[offset + b] - before[offset + a]).slice(0, n);
}
