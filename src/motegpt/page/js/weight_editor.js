/** One parameter changed by dragging it up or down on its heat map, by a slider of keys, or as a number. */
import {axesOf, shownTensors} from "./anatomy.js";
import {make, setText} from "./dom.js";
import {four, hideTip, rangeOf} from "./draw.js";
import {HeatMap} from "./heatmap.js";
import {parameterName, weightUnder, withWeight} from "./interventions.js";

const TRAVEL = 120; // pixels of dragging for the largest weight of the tensor

export class WeightEditor {
  constructor(app) {
    Object.assign(this, {app, tensor: null, anatomy: null, map: null, drag: null});
    this.choice = make("select", {"aria-label": "Tensor", onchange: () => this.#choose(this.choice.value)});
    this.name = make("code");
    this.number = make("input", {type: "number", step: "0.01", "aria-label": "Value of the weight",
      oninput: () => this.number.value !== "" && this.#write(Number(this.number.value))});
    this.reset = make("button", {type: "button", onclick: () => this.#write(null)}, "Reset");
    this.place = make("div", {class: "weight-map"});
    this.element = make("section", {class: "weight-editor", "aria-label": "A weight"},
      make("div", {class: "switches"}, make("h3", {}, "A weight"), this.choice), this.place,
      make("div", {class: "weight-value"}, this.name, "=", this.number, this.reset));
  }

  draw(anatomy) {
    this.anatomy = anatomy;
    const {weights} = this.app.data;
    const names = shownTensors([...anatomy.places.values()]).filter(({shape}) => shape.length === 2).map(({name}) => name);
    if (names.join() !== this.names) {
      this.names = names.join();
      this.choice.replaceChildren(...names.map((name) => make("option", {value: name}, name)));
      this.#choose(names.includes(this.tensor) ? this.tensor : anatomy.head);
    }
    if (!weights) return;
    const {shape: [rows, columns], offset} = this.#place();
    this.map.set(this.#withChanges(weights.values, offset, rows * columns), 0, rows, columns,
      axesOf(this.tensor, anatomy).rows.labels?.slice(0, rows) ?? null);
    this.map.mark([...this.#changed(offset, rows * columns, columns), this.#selected()]);
    this.map.describe(`${this.tensor}: arrow keys choose a weight, Enter moves to its value`);
    this.#show();
  }

  #place() {
    return this.anatomy.places.get(this.tensor);
  }

  #choose(name) {
    this.tensor = this.choice.value = name;
    const {shape: [rows, columns]} = this.#place();
    this.map = new HeatMap({name, title: "", onOpen: () => this.number.focus(),
      onPoint: (map, row, column, event) => map && this.#point(row, column, event)});
    const size = Math.max(2, Math.min(11, 320 / columns, 240 / rows));
    this.map.element.style.setProperty("--cell", `${size}px`);
    this.map.box.addEventListener("pointerdown", (event) => this.#grab(event));
    this.map.box.addEventListener("pointermove", (event) => this.#drag(event));
    this.map.box.addEventListener("pointerup", () => (this.drag = null));
    this.map.box.addEventListener("pointercancel", () => (this.drag = null));
    this.place.replaceChildren(this.map.element);
    this.cell = [0, 0];
    if (this.app.data.weights) this.draw(this.anatomy);
  }

  /** The pointer only chooses when it is pressed; the arrow keys always do. */
  #point(row, column, event) {
    if (this.drag || event?.type === "pointermove") return;
    this.cell = [row, column];
    this.draw(this.anatomy);
  }

  #index() {
    const {shape: [, columns], offset} = this.#place();
    return offset + this.cell[0] * columns + this.cell[1];
  }

  #own() {
    return this.app.data.weights.values[this.#index()];
  }

  #value() {
    return weightUnder(this.app.state.mask, this.#index(), this.#own());
  }

  #grab(event) {
    if (!this.app.data.weights || event.button > 0) return;
    const {shape: [rows, columns], offset} = this.#place();
    this.map.box.setPointerCapture(event.pointerId);
    this.drag = {y: event.clientY, value: this.#value(),
      scale: (rangeOf(this.app.data.weights.values, offset, rows * columns) || 0.1) / TRAVEL};
  }

  #drag(event) {
    if (!this.drag) return;
    hideTip();
    const moved = this.drag.y - event.clientY;
    if (moved === 0 && !this.drag.moved) return;
    this.#write(this.drag.value + moved * this.drag.scale, this.drag.moved);
    this.drag.moved = true;
  }

  /** isContinued: of one movement of the pointer, which is undone as a whole. */
  #write(value, isContinued = false) {
    const {state, actions} = this.app;
    actions.setMask(withWeight(state.mask, this.#index(), value, this.#own()), isContinued);
  }

  /** The tensor's values with the mask's in place of its own; in an array that is kept. */
  #withChanges(values, offset, count) {
    if (this.kept?.length !== count) this.kept = new Float64Array(count);
    for (let i = 0; i < count; i += 1) this.kept[i] = values[offset + i];
    for (const [index, value] of this.app.state.mask.weights) {
      if (index >= offset && index < offset + count) this.kept[index - offset] = value;
    }
    return this.kept;
  }

  #changed(offset, count, columns) {
    const inside = this.app.state.mask.weights.map(([index]) => index - offset).filter((at) => at >= 0 && at < count);
    return inside.map((at) => region(Math.floor(at / columns), at % columns));
  }

  #selected() {
    return region(...this.cell);
  }

  #show() {
    const index = this.#index();
    setText(this.name, parameterName(this.app.data.description.tensors, index));
    const value = this.#value();
    if (document.activeElement !== this.number) this.number.value = Number(value.toPrecision(5));
    this.reset.disabled = value === this.#own();
    this.reset.title = `Its own value is ${four(this.#own())}`;
  }
}

const region = (row, column) => ({rows: [row, row + 1], columns: [column, column + 1]});
