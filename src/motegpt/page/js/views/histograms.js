/** Distributions of activations and gradients, and update-to-weight ratios over time. */
import {shownTensors} from "../anatomy.js";
import {make, setText} from "../dom.js";
import {four, ink, percent, plot, rangeOf} from "../draw.js";
import {histogram} from "../numbers.js";
import {Ratios} from "../ratios.js";

const [FEWEST, MOST] = [14, 60]; // bins
const COLORS = 6;
const USUAL = -3; // log10 of a usual update-to-weight ratio

/** A plot with a heading, a legend of its lines, and a sentence on how to read it. */
class Panel {
  constructor(title, note) {
    this.canvas = make("canvas", {class: "plot", role: "img"});
    this.legend = make("ul", {class: "legend"});
    this.faded = null;
    this.element = make("section", {class: "panel"}, make("h3", {}, title), make("p", {class: "view-note"}, note),
      this.canvas, this.legend);
    this.lines = [];
  }

  /** lines: [{label, note, x, y}]. */
  draw(options, lines, said) {
    this.redraw = () => this.#plot(options, lines);
    this.#plot(options, lines);
    this.#writeLegend(lines);
    if (this.canvas.getAttribute("aria-label") !== said) this.canvas.setAttribute("aria-label", said);
  }

  #plot(options, lines) {
    const drawn = lines.map((line, i) => ({...line, color: ink(`series-${(i % COLORS) + 1}`),
      dashed: Math.floor(i / COLORS) % 2 === 1, width: this.only === i ? 3.5 : 1.6}));
    plot(this.canvas, {...options, lines: this.only == null ? drawn : [...drawn.filter((_, i) => i !== this.only)
      .map((line) => ({...line, color: ink("line")})), drawn[this.only]]});
  }

  #writeLegend(lines) {
    const {children} = this.legend;
    while (children.length > lines.length) this.legend.lastChild.remove();
    while (children.length < lines.length) this.#addEntry(children.length);
    lines.forEach(({label, note}, i) => {
      setText(children[i].children[1], label);
      setText(children[i].children[2], note);
    });
  }

  #addEntry(i) {
    const only = (which) => () => {
      this.only = which;
      this.redraw();
    };
    const dashed = Math.floor(i / COLORS) % 2 === 1;
    this.legend.append(make("li", {onpointerenter: only(i), onpointerleave: only(null)},
      make("i", {style: `border-top: 3px ${dashed ? "dashed" : "solid"} var(--series-${(i % COLORS) + 1})`}),
      make("span"), make("small")));
  }
}

class Histograms {
  constructor(element, app) {
    this.app = app;
    this.ratios = new Ratios();
    this.buffers = new Map();
    this.hidden = new Panel("MLP hidden layer before its activation", "ReLU passes what is right of zero, GELU and SwiGLU "
      + "little of what is left of it. Units that are zero at every position do not learn.");
    this.stream = new Panel("Residual stream, x", "Each layer adds to it, so it usually widens with depth.");
    this.gradients = new Panel("Gradients of the text’s loss", "log₁₀ of their size, per tensor: where they differ by "
      + "factors, some tensors learn much faster than others.");
    this.updates = new Panel("Update-to-weight ratio", "log₁₀ of std(update) / std(weights) of a step. About −3 is usual; "
      + "far above, the learning rate is high, far below, low.");
    element.append(make("div", {class: "panels"},
      ...[this.hidden, this.stream, this.gradients, this.updates].map((panel) => panel.element)));
  }

  draw() {
    const {description, look, weights, gradients, update} = this.app.data;
    if (!description) return;
    if (description !== this.description) this.ratios.clear();
    this.description = description;
    if (look) this.#activations(look.look.activations, description.settings);
    const fits = (one) => one?.values.length === description.parameters;
    const tensors = shownTensors(description.tensors);
    if (fits(gradients)) this.#gradients(gradients.values, tensors);
    if (fits(weights) && fits(update) && update !== this.update) this.#ratios(weights, update, tensors);
    else if (this.updates.redraw) this.updates.redraw();
  }

  /** A line of a histogram as density, in arrays that are kept. */
  #density(key, values, offset, count, low, high, transform) {
    const bins = Math.round(Math.min(MOST, Math.max(FEWEST, 2 * Math.sqrt(count))));
    if (this.buffers.get(key)?.x.length !== bins) {
      this.buffers.set(key, {counts: new Float64Array(bins), x: new Float64Array(bins), y: new Float64Array(bins)});
    }
    const {counts, x, y} = this.buffers.get(key);
    const found = histogram(values, offset, count, low, high, counts, transform);
    const width = (high - low) / bins;
    for (let i = 0; i < bins; i += 1) {
      x[i] = low + (i + 0.5) * width;
      y[i] = found.counted ? counts[i] / (found.counted * width) : 0;
    }
    return {...found, x, y};
  }

  #activations(look, {n_layer: layers, activation}) {
    const range = Array.from({length: layers}, (_, i) => i);
    const isRelu = activation.endsWith("relu");
    const hidden = range.filter((i) => `blocks.${i}.mlp.hook_pre` in look).map((i) => {
      const {values} = look[`blocks.${i}.mlp.hook_post`];
      const zeros = values.reduce((sum, value) => sum + (value === 0), 0) / values.length;
      return {hook: `blocks.${i}.mlp.hook_pre`, label: `layer ${i}`, extra: isRelu ? `, zero after ReLU ${percent(zeros)}` : ""};
    });
    this.#distributions(this.hidden, look, hidden);
    this.#distributions(this.stream, look, [{hook: "blocks.0.hook_resid_pre", label: "embedding", extra: ""},
      ...range.map((i) => ({hook: `blocks.${i}.hook_resid_post`, label: `after layer ${i}`, extra: ""}))]);
  }

  #distributions(panel, look, hooks) {
    if (!hooks.length) return;
    const range = Math.max(...hooks.map(({hook}) => rangeOf(look[hook].values))) || 1;
    const lines = hooks.map(({hook, label, extra}) => {
      const {values} = look[hook];
      const {mean, std, x, y} = this.#density(hook, values, 0, values.length, -range, range);
      return {label, x, y, note: `mean ${four(mean)}, std ${four(std)}${extra}`};
    });
    panel.draw({x: [-range, range], y: [0, top(lines)], yLabel: "density"}, lines, said(lines));
  }

  #gradients(values, tensors) {
    const [low, high] = [-8, 1];
    const log = (value) => Math.log10(Math.abs(value));
    const lines = tensors.map(({name, offset, shape}) => {
      const count = shape.reduce((product, size) => product * size, 1);
      const {std, zeros, x, y} = this.#density(`d ${name}`, values, offset, count, low, high, log);
      return {label: name, x, y, note: `std ${four(std)}${zeros > 0 ? `, zero ${percent(zeros)}` : ""}`};
    });
    this.gradients.draw({x: [low, high], y: [0, top(lines)], xLabel: "log₁₀ |gradient|", yLabel: "density"}, lines,
      said(lines));
  }

  #ratios(weights, update, tensors) {
    this.update = update;
    this.ratios.add(update.step, weights.values, update.values, tensors);
    const {steps} = this.ratios;
    const lines = tensors.map(({name}, i) => {
      const y = this.ratios.of(i);
      return {label: name, x: steps, y, note: Number.isFinite(y.at(-1)) ? y.at(-1).toFixed(2) : "–"};
    });
    this.updates.draw({x: [steps[0], Math.max(steps.at(-1), steps[0] + 1)], y: [-6, 0], xLabel: "step", yLabel: "log₁₀",
      xTick: (step) => (Number.isInteger(step) ? step.toLocaleString("en-US") : ""),
      marks: [{y: USUAL, label: "−3"}]}, lines, said(lines));
  }
}

const top = (lines) => 1.08 * Math.max(1e-9, ...lines.map(({y}) => Math.max(...y)));
const said = (lines) => lines.map(({label, note}) => `${label}: ${note}`).join("; ");

export const histogramsView = {
  id: "histograms",
  title: "Activations, gradients and updates",
  short: "Histograms",
  needs: ["look", "weights", "gradients", "update"],
  mount(element, app) {
    this.histograms = new Histograms(element, app);
  },
  draw() {
    this.histograms.draw();
  },
};
