/** The four frames of one step in slow motion: forward, loss, backward, update. */
import {axesOf, shownTensors} from "./anatomy.js";
import {make} from "./dom.js";
import {four, percent, symbol} from "./draw.js";
import {parameterName} from "./interventions.js";
import {topOf} from "./numbers.js";
import {largestUpdate, updateRows} from "./update_rule.js";

const note = (text) => make("p", {class: "view-note"}, text);
const sized = ({shape}) => shape.reduce((product, size) => product * size, 1);

/** The gradient of the loss with respect to the logits, (T, V): (p − 1 at the target) / number of targets. */
export function logitGradients(slow, across) {
  return Float64Array.from(slow.probabilities, (p, i) => {
    const position = Math.floor(i / across);
    return (p - (i % across === slow.targets[position] ? 1 : 0)) / slow.targets.length;
  });
}

/** Frame 1: what the model computes from the document. */
export function forwardFrame({maps, anatomy, slow}) {
  const {layers, vocabulary} = anatomy;
  const across = vocabulary.length;
  const rows = Array.from(slow.targets, (target, t) => {
    const [best] = topOf(slow.probabilities, t * across, across, 1);
    return [symbol(slow.labels[t]), vocabulary[best], percent(slow.probabilities[t * across + best]), vocabulary[target],
      percent(slow.probabilities[t * across + target])];
  });
  const stream = ["blocks.0.hook_resid_pre", ...Array.from({length: layers}, (_, i) => `blocks.${i}.hook_resid_post`)];
  const shown = stream.map((name, i) => activation(maps, name, i === 0 ? "embedding" : `after layer ${i - 1}`,
    slow.forward.activations[name]));
  const logits = activation(maps, "logits", "logits",
    {rows: slow.ids.length, columns: across, values: slow.forward.logits});
  return [note(`The document “${slow.text}” goes through the model, all positions at once. Each position predicts the `
    + "next character."), make("div", {class: "units"}, ...shown, logits),
  table(["reads", "most likely next", "p", "in the document", "p"], rows)];
}

function activation(maps, name, title, {rows, columns, values}) {
  const map = maps.add({name, title});
  maps.setActivation(map, {rows, columns, values});
  map.describe(`${title}, ${rows} by ${columns}`);
  return map.element;
}

/** Frame 2: −log p at each position, and its mean. */
export function lossFrame({anatomy, slow, description: {settings}}) {
  const across = anatomy.vocabulary.length;
  const counted = Array.from(slow.targets.keys()).filter((t) => slow.targets[t] >= 0); // not the end of a window
  const most = Math.max(...counted.map((t) => slow.losses[t]), 1e-9);
  const list = make("ol", {class: "slow-losses"}, ...counted.map((t) => make("li", {},
    make("b", {}, `${symbol(slow.labels[t])} → ${anatomy.vocabulary[slow.targets[t]]}`),
    make("i", {style: `--share: ${slow.losses[t] / most}`, "aria-hidden": "true"}),
    make("code", {}, `−log ${four(slow.probabilities[t * across + slow.targets[t]])} = ${four(slow.losses[t])}`))));
  const sum = counted.map((t) => four(slow.losses[t])).join(" + ");
  const batch = settings.batch_size > 1
    ? note(`This is one of the ${settings.batch_size} documents of the step, whose mean loss is ${four(slow.batch_loss)}.`) : null;
  return [note("The loss is the mean of −log p of the characters that really come next: 0 where the model was certain and "
    + "right, large where it gave them little probability."), list,
  make("p", {class: "slow-sum"}, make("code", {}, `(${sum}) / ${counted.length} = `),
    make("strong", {"data-mean": slow.loss}, four(slow.loss)), " nats"), batch];
}

/** Frame 3: the gradient at the logits, and of some tensors. */
export function backwardFrame({maps, anatomy, slow, description}) {
  const across = anatomy.vocabulary.length;
  const values = logitGradients(slow, across);
  const logits = maps.add({name: "dlogits", title: "dlogits", note: "(p − 1 at the target) / targets"});
  logits.set(values, 0, slow.targets.length, across, anatomy.positions.slice(0, slow.targets.length));
  logits.describe(`Gradient of the logits, ${slow.targets.length} by ${across}`);
  const last = `layer${anatomy.layers - 1}`;
  const names = [...new Set([anatomy.head, `${last}.mlp_fc2`, `${last}.mlp_fc1`, `${last}.attn_wo`, "layer0.attn_wq", "wte"])];
  const tensors = names.filter((name) => anatomy.places.has(name)).map((name) => {
    const map = maps.add({name, title: `d ${name}`});
    map.element.classList.add("parameter");
    maps.setTensor(map, slow.gradients);
    map.describe(`Gradient of ${name}`);
    return map.element;
  });
  const clipped = description.settings.clip_norm || description.settings.clip_value ? " They are shown as clipped." : "";
  return [note("Backward: how would the loss change if a number were a little larger? It begins at the logits, where the "
    + `gradient is p, minus 1 at the target, and goes back through every operation to every weight.${clipped}`),
  logits.element, make("div", {class: "units slow-gradients"}, ...tensors)];
}

/** Frame 4: the update of one weight in numbers; onChoose(index) when another is chosen. */
export function updateFrame({maps, anatomy, slow, description, index, onChoose}) {
  const {tensors, settings} = description;
  const tensor = tensors.find((one) => index < one.offset + sized(one));
  const choice = make("select", {"aria-label": "Tensor", onchange: () =>
    onChoose(largestUpdate(slow.before, slow.after, [anatomy.places.get(choice.value)]))}, ...shownTensors(tensors).map(({name}) => make("option", {value: name, selected: name === tensor.name}, name)));
  const map = updateMap(maps, tensor, slow, index, onChoose);
  const pick = (slots) => Object.fromEntries(Object.entries(slots).map(([name, values]) => [name, values[index]]));
  const rows = updateRows({settings, scalars: slow.scalars, lr: slow.lr, w: slow.before[index],
    gradient: slow.gradients[index], slots: pick(slow.slots_before), decayed: ["embedding", "weight"].includes(tensor.role)});
  const body = make("table", {class: "slow-update", "data-index": index}, make("tbody", {}, ...rows.map(({name, value, sum}) =>
    make("tr", {"data-row": name, "data-value": value}, make("th", {scope: "row"}, name), make("td", {}, four(value)),
      make("td", {}, make("code", {}, sum))))));
  return [note("Update: every weight moves against its gradient, by a size that the optimizer chooses. Click a weight to "
    + "follow its numbers; the first shown is the one that moves most."),
  make("div", {class: "switches"}, "Updates of ", choice), make("div", {class: "units"}, map.element,
    make("div", {}, make("h4", {}, parameterName(tensors, index)), body,
      make("p", {class: "view-note", "data-after": slow.after[index]}, `The core’s new weight: ${four(slow.after[index])}, `
      + `a change of ${four(slow.after[index] - slow.before[index])}.`)))];
}

function updateMap(maps, tensor, slow, index, onChoose) {
  const [rows, columns = 1] = tensor.shape;
  const map = maps.add({name: tensor.name, title: `Δ ${tensor.name}`,
    onOpen: (one) => onChoose(tensor.offset + one.row * columns + one.column)});
  const change = Float64Array.from({length: sized(tensor)}, (_, i) => slow.after[tensor.offset + i] - slow.before[tensor.offset + i]);
  map.element.style.setProperty("--cell", `${Math.max(2, Math.min(12, 330 / columns, 300 / rows))}px`);
  const labels = tensor.shape.length === 2 ? axesOf(tensor.name, maps.anatomy).rows.labels : null;
  map.set(change, 0, rows, columns, labels?.slice(0, rows) ?? null);
  const at = index - tensor.offset;
  [map.row, map.column] = [Math.floor(at / columns), at % columns];
  map.mark([{rows: [map.row, map.row + 1], columns: [map.column, map.column + 1]}]);
  map.describe(`Changes of ${tensor.name}: Enter follows a weight`);
  return map;
}

function table(heads, rows) {
  const body = make("table", {class: "slow-table"}, make("thead", {}, make("tr", {}, ...heads.map((head) =>
    make("th", {scope: "col"}, head)))), make("tbody", {}, ...rows.map((row) => make("tr", {},
    ...row.map((cell) => make("td", {}, cell))))));
  return make("div", {class: "lens-scroll"}, body);
}
