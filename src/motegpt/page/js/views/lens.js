/** What the model would predict at every position after each layer, and at the end at another temperature. */
import {anatomyOf} from "../anatomy.js";
import {NextBars} from "../bars.js";
import {make, setText} from "../dom.js";
import {cellColors, four, percent, symbol} from "../draw.js";
import {MaskNote} from "../mask_note.js";
import {entropy, softmax, topOf} from "../numbers.js";

const WHOLE = 64; // characters of a distribution that are shown
const KEYS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};

class Lens {
  constructor(element, app) {
    Object.assign(this, {app, at: null, stage: null});
    this.slider = make("input", {type: "range", id: "lens-temperature", min: "0.1", max: "2", step: "0.05",
      oninput: () => app.set({temperature: Number(this.slider.value)})});
    this.temperature = make("output", {for: "lens-temperature"});
    this.table = make("table", {class: "lens", onpointerover: (event) => this.#point(event),
      onpointerdown: (event) => this.#point(event), onfocusin: (event) => this.#point(event),
      onkeydown: (event) => this.#key(event)});
    this.bars = new NextBars(WHOLE);
    this.said = make("p", {class: "hidden", role: "status"});
    element.append(
      make("p", {class: "view-note"}, "The head reads the residual stream after each layer, as if that layer were the "
        + "last: the most likely next character, and its probability. The last row is what the model samples from."),
      make("div", {class: "view-tools"},
        make("label", {for: "lens-temperature"}, "Temperature"), this.slider, this.temperature),
      (this.note = new MaskNote(app)).element, this.said, make("div", {class: "lens-parts"}, make("div", {class: "lens-scroll"}, this.table), this.bars.element));
  }

  draw() {
    const {state, data: {description, look}} = this.app;
    if (!description || !look) return;
    this.anatomy = anatomyOf(description, look);
    this.#compute(look, state.temperature);
    this.#build(look.ids.length);
    this.slider.value = state.temperature;
    setText(this.temperature, four(state.temperature));
    this.#write(look);
    this.#showBars(look);
    this.note.draw();
  }

  /** Probabilities of all stages: those of the lens, then the model's at the temperature. */
  #compute({look, probabilities}, temperature) {
    const {vocabulary, layers} = this.anatomy;
    const count = probabilities.length;
    const total = (layers + 2) * count;
    if (this.probabilities?.length !== total) {
      this.probabilities = new Float64Array(total);
      this.logs = new Float64Array(count);
    }
    const across = vocabulary.length;
    for (let i = 0; i < look.lens.length; i += across) softmax(look.lens, i, across, this.probabilities);
    for (let i = 0; i < count; i += 1) this.logs[i] = Math.log(probabilities[i]);
    const last = (layers + 1) * count;
    for (let i = 0; i < count; i += across) softmax(this.logs, i, across, this.probabilities, temperature, last + i);
  }

  #stages() {
    const after = Array.from({length: this.anatomy.layers}, (_, i) => `after layer ${i}`);
    return ["embedding", ...after, "at the temperature"];
  }

  #build(length) {
    const key = [this.anatomy.layers, length].join();
    if (key === this.key) return;
    this.key = key;
    const columns = Array.from({length});
    const stage = (name, row) => make("tr", {},
      make("th", {scope: "row"}, name), ...columns.map((_, column) => make("td", {
        tabindex: row === 0 && column === 0 ? "0" : "-1", "data-row": row, "data-column": column},
      make("b"), make("small"))));
    this.body = make("tbody", {}, ...this.#stages().map(stage));
    this.entropies = make("tr", {class: "lens-entropy"}, make("th", {scope: "row"}, "entropy, bits"),
      ...columns.map(() => make("td")));
    this.head = make("tr", {}, make("th", {scope: "col"}, "after"), ...columns.map(() => make("th", {scope: "col"})));
    this.table.replaceChildren(make("thead", {}, this.head), this.body, make("tfoot", {}, this.entropies));
  }

  #write({labels, ids}) {
    const {vocabulary, layers} = this.anatomy;
    const across = vocabulary.length;
    labels.forEach((label, column) => setText(this.head.children[column + 1], symbol(label)));
    for (let row = 0; row < layers + 2; row += 1) {
      for (let column = 0; column < ids.length; column += 1) {
        const offset = (row * ids.length + column) * across;
        const [best] = topOf(this.probabilities, offset, across, 1);
        this.#writeCell(this.body.children[row].children[column + 1], vocabulary[best], this.probabilities[offset + best]);
      }
    }
    ids.forEach((_, column) => {
      const bits = entropy(this.probabilities, ((layers + 1) * ids.length + column) * across, across);
      setText(this.entropies.children[column + 1], bits.toFixed(2));
    });
  }

  #writeCell(cell, label, share) {
    setText(cell.firstChild, label);
    setText(cell.lastChild, percent(share));
    Object.assign(cell.style, cellColors("sequential", share, 1));
  }

  #showBars({labels, ids}) {
    const column = Math.min(this.at ?? ids.length - 1, ids.length - 1);
    const row = Math.min(this.stage ?? this.anatomy.layers + 1, this.anatomy.layers + 1);
    const across = this.anatomy.vocabulary.length;
    const offset = (row * ids.length + column) * across;
    const title = `after “${symbol(labels[column])}” (position ${column}), ${this.#stages()[row]}`;
    this.bars.set(this.anatomy.vocabulary, this.probabilities, offset, title);
    for (const cell of this.table.querySelectorAll(".chosen")) cell.classList.remove("chosen");
    this.body.children[row].children[column + 1].classList.add("chosen");
    if (!this.app.state.running) {
      setText(this.said, `${title}: ${topOf(this.probabilities, offset, across, 3).map((id) =>
        `${this.anatomy.vocabulary[id]} ${percent(this.probabilities[offset + id])}`).join(", ")}`);
    }
  }

  #point(event) {
    const cell = event.target.closest("td[data-row]");
    if (!cell) return;
    this.at = Number(cell.dataset.column);
    this.stage = Number(cell.dataset.row);
    this.#showBars(this.app.data.look);
  }

  #key(event) {
    const [down, right] = KEYS[event.key] ?? [];
    const cell = event.target.closest("td[data-row]");
    if (down === undefined || !cell) return;
    const next = this.body.children[Number(cell.dataset.row) + down]?.children[Number(cell.dataset.column) + right + 1];
    event.preventDefault();
    event.stopPropagation();
    if (!next?.matches("td")) return;
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

export const lensView = {
  id: "lens",
  title: "Logit lens and temperature",
  short: "Lens",
  needs: ["look"],
  mount(element, app) {
    this.lens = new Lens(element, app);
  },
  draw() {
    this.lens.draw();
  },
};
