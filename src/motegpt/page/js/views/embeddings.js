/** A map of the embeddings of tokens or positions: their principal plane, which turns as little as possible over time. */
import {make, setText} from "../dom.js";
import {cellColors, context2d, four, hideTip, ink, percent, showTip, symbol} from "../draw.js";
import {cosine, topOf} from "../numbers.js";
import {Plane} from "../plane.js";

const KINDS = [["wte", "Characters"], ["wpe", "Positions"]];
const ROUNDS = 14; // of pushing labels apart, per frame
const PAIRS = 1e6; // that are compared in all rounds of a frame
const REACH = 14; // pixels at which a point is under the pointer

class Embeddings {
  constructor(element, app) {
    Object.assign(this, {app, tensor: "wte", plane: null, chosen: null, extent: 0});
    this.canvas = make("canvas", {class: "embedding-map", tabindex: "0", role: "img",
      onpointermove: (event) => this.#point(event), onpointerdown: (event) => this.#point(event),
      onpointerleave: (event) => event.pointerType === "mouse" && this.#choose(null),
      onpointercancel: () => this.#choose(null), onblur: () => this.#choose(null),
      onkeydown: (event) => this.#key(event)});
    this.kinds = make("fieldset", {class: "choices"}, make("legend", {}, "Embeddings of"),
      ...KINDS.map(([name, title]) => make("label", {}, make("input", {type: "radio", name: "embedding", value: name,
        checked: name === "wte", onchange: () => this.#show(name)}), title)));
    this.note = make("span", {class: "view-note inline"});
    element.append(make("div", {class: "view-tools"}, this.kinds, this.note), this.canvas);
  }

  #show(tensor) {
    Object.assign(this, {tensor, plane: null, chosen: null});
    this.draw();
  }

  draw() {
    const {description, weights} = this.app.data;
    if (!description || !weights || weights.values.length !== description.parameters) return;
    const place = description.tensors.find(({name}) => name === this.tensor);
    if (!place) return this.#absent();
    const [rows, columns] = place.shape;
    if (!this.plane || this.plane.rows !== rows || this.plane.columns !== columns) this.#begin(rows, columns);
    this.place = place;
    this.labels = this.tensor === "wte" ? description.vocabulary.map(symbol) : Array.from({length: rows}, (_, i) => `${i}`);
    this.plane.update(weights.values, place.offset);
    const [first, second] = this.plane.shares;
    setText(this.note, `The plane holds ${percent(first + second)} of the variance.`);
    this.#paint();
  }

  #absent() {
    setText(this.note, "This model has no position embedding: it rotates queries and keys (RoPE).");
    context2d(this.canvas);
  }

  #begin(rows, columns) {
    this.plane = new Plane(rows, columns);
    this.shifts = new Float64Array(2 * rows); // of the labels from their points, pixels
    this.spots = new Float64Array(2 * rows); // the points, pixels
    Object.assign(this, {extent: 0, chosen: null});
  }

  #paint() {
    const {pen, width, height} = context2d(this.canvas);
    this.#place(width, height);
    this.#pushApart(width, height);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const {values} = this.app.data.weights;
    this.labels.forEach((label, i) => {
      const near = this.chosen === null ? null
        : cosine(values, this.place.offset, this.plane.columns, this.chosen, i);
      this.#paintLabel(pen, label, i, near);
    });
    this.#describe();
  }

  /** Pixels of the points; the extent grows at once and shrinks slowly, so that the map does not tremble. */
  #place(width, height) {
    const {points} = this.plane;
    let most = 0;
    for (let i = 0; i < points.length; i += 1) most = Math.max(most, Math.abs(points[i]));
    this.extent = Math.max(most, this.extent * 0.985);
    const scale = (Math.min(width, height) / 2 - 22) / (this.extent || 1);
    for (let i = 0; i < points.length; i += 2) {
      this.spots[i] = width / 2 + points[i] * scale * Math.min(1.6, width / height);
      this.spots[i + 1] = height / 2 - points[i + 1] * scale;
    }
  }

  /** Push labels that overlap away from each other, and pull each back to its point. */
  #pushApart(width, height) {
    const {spots, shifts} = this;
    const [across, down] = [17, 18];
    const rounds = Math.min(ROUNDS, PAIRS / (spots.length / 2) ** 2);
    for (let round = 0; round < rounds; round += 1) {
      for (let i = 0; i < shifts.length; i += 1) shifts[i] *= 0.97;
      for (let i = 0; i < spots.length; i += 2) {
        for (let j = 0; j < i; j += 2) {
          const x = spots[i] + shifts[i] - spots[j] - shifts[j];
          const y = spots[i + 1] + shifts[i + 1] - spots[j + 1] - shifts[j + 1];
          const [overX, overY] = [across - Math.abs(x), down - Math.abs(y)];
          if (overX <= 0 || overY <= 0) continue;
          const axis = overX < overY ? 0 : 1;
          const push = 0.5 * (axis ? overY : overX) * ((axis ? y : x) < 0 ? -1 : 1);
          shifts[i + axis] += push;
          shifts[j + axis] -= push;
        }
      }
      for (let i = 0; i < spots.length; i += 2) {
        shifts[i] = Math.min(Math.max(spots[i] + shifts[i], 10), width - 10) - spots[i];
        shifts[i + 1] = Math.min(Math.max(spots[i + 1] + shifts[i + 1], 10), height - 10) - spots[i + 1];
      }
    }
  }

  #paintLabel(pen, label, i, near) {
    const [x, y] = [this.spots[2 * i], this.spots[2 * i + 1]];
    const [left, top] = [x + this.shifts[2 * i], y + this.shifts[2 * i + 1]];
    if (Math.hypot(left - x, top - y) > 6) {
      pen.strokeStyle = ink("muted");
      pen.lineWidth = 0.75;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(left, top);
      pen.stroke();
      pen.fillStyle = ink("muted");
      pen.beginPath();
      pen.arc(x, y, 1.5, 0, 7);
      pen.fill();
    }
    const {background, color} = near === null ? {background: ink("surface"), color: ink("text")}
      : cellColors("diverging", near, 1);
    pen.fillStyle = background;
    pen.strokeStyle = i === this.chosen ? ink("text") : ink("line");
    pen.lineWidth = i === this.chosen ? 2 : 1;
    pen.beginPath();
    pen.arc(left, top, 9, 0, 7);
    pen.fill();
    pen.stroke();
    pen.fillStyle = color;
    pen.font = "600 12px ui-monospace, Consolas, monospace";
    pen.fillText(label, left, top + 0.5);
  }

  #describe() {
    const text = `Map of the ${this.labels.length} embeddings of ${this.tensor}; arrow keys go from one to the next`;
    if (this.canvas.getAttribute("aria-label") !== text) this.canvas.setAttribute("aria-label", text);
  }

  #point(event) {
    if (!this.plane) return;
    const area = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - area.left, event.clientY - area.top];
    let [best, least] = [null, REACH];
    this.labels.forEach((_, i) => {
      const far = Math.hypot(this.spots[2 * i] + this.shifts[2 * i] - x, this.spots[2 * i + 1] + this.shifts[2 * i + 1] - y);
      if (far < least) [best, least] = [i, far];
    });
    this.#choose(best);
  }

  #key(event) {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!step || !this.plane) return;
    event.preventDefault();
    event.stopPropagation();
    this.#choose(((this.chosen ?? (step > 0 ? -1 : 0)) + step + this.labels.length) % this.labels.length);
  }

  #choose(index) {
    if (index === null) hideTip();
    else this.#tell(index);
    if (index === this.chosen) return;
    this.chosen = index;
    if (this.plane) this.#paint();
  }

  #tell(index) {
    const {values} = this.app.data.weights;
    const near = Float64Array.from(this.labels, (_, i) =>
      (i === index ? -2 : cosine(values, this.place.offset, this.plane.columns, index, i)));
    const said = topOf(near, 0, near.length, 4).map((i) => `${this.labels[i]} ${four(near[i])}`);
    const area = this.canvas.getBoundingClientRect();
    showTip(area.left + this.spots[2 * index] + this.shifts[2 * index], area.top + this.spots[2 * index + 1]
      + this.shifts[2 * index + 1], [`${this.tensor}[${index}] “${this.labels[index]}”`,
      `largest cosines: ${said.join(",  ")}`]);
  }
}

export const embeddingsView = {
  id: "embeddings",
  title: "Map of the embeddings",
  short: "Embeddings",
  needs: ["weights"],
  mount(element, app) {
    this.embeddings = new Embeddings(element, app);
  },
  draw() {
    this.embeddings.draw();
  },
};
