/** A matrix as a heat map: one pixel per number, scaled by the browser; a cell to point at, rows and cells to mark. */
import {make, setText} from "./dom.js";
import {colors, level, rangeOf} from "./draw.js";

const KEYS = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};

/**
 * name: of docs/notation.md, unique in its view; title: shown above; kind: "diverging" or "sequential"; scale: the
 * range of colors, if it does not follow from the values; triangle: the cells above the diagonal are empty.
 * onPoint(map, row, column, event) for a cell under the pointer or reached by the arrow keys, null when left;
 * onOpen(map) for a click or Enter.
 */
export class HeatMap {
  constructor({name, title, note = "", kind = "diverging", scale = null, triangle = false, onPoint, onOpen}) {
    Object.assign(this, {name, title, kind, scale, triangle, onPoint, onOpen});
    Object.assign(this, {rows: 0, columns: 0, offset: 0, values: null, range: 0, theme: null, row: 0, column: 0});
    this.canvas = make("canvas", {width: 1, height: 1, "aria-hidden": "true"});
    this.marks = make("div", {class: "map-marks", "aria-hidden": "true"});
    this.cell = make("div", {class: "map-cell", "aria-hidden": "true", hidden: true});
    this.box = make("div", {class: "map-box", tabindex: "0", role: "img", "aria-roledescription": "heat map"},
      this.canvas, this.marks, this.cell);
    this.labels = make("div", {class: "map-labels", "aria-hidden": "true"});
    this.across = make("div", {class: "map-across", "aria-hidden": "true", hidden: true});
    this.size = make("span", {class: "map-size"});
    this.caption = make("button", {class: "map-title", type: "button", title: "Enlarge", tabindex: "-1"},
      make("span", {}, title), this.size, note ? make("span", {class: "map-note"}, note) : null);
    this.element = make("figure", {class: "map", "data-map": name},
      make("figcaption", {}, this.caption), make("div", {class: "map-body"}, this.labels, this.box, this.across));
    this.#listen();
  }

  #listen() {
    const {box} = this;
    const point = (event) => this.#pointAt(event);
    box.addEventListener("pointermove", point);
    box.addEventListener("pointerdown", point);
    box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
    box.addEventListener("pointercancel", () => this.leave()); // a touch that scrolls
    box.addEventListener("blur", () => this.leave());
    box.addEventListener("focus", () => box.matches(":focus-visible") && this.#go(this.row, this.column));
    box.addEventListener("click", (event) => {
      if (event.pointerType !== "touch") this.onOpen?.(this);
    });
    this.caption.addEventListener("click", () => this.onOpen?.(this));
    box.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    if (event.key === "Escape") this.leave();
    if (event.key === "Enter") this.onOpen?.(this);
    else if (KEYS[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey) {
      this.#go(this.row + KEYS[event.key][0], this.column + KEYS[event.key][1]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #go(row, column) {
    this.row = Math.min(Math.max(row, 0), this.rows - 1);
    this.column = Math.min(Math.max(column, 0), this.columns - 1);
    if (this.triangle) this.column = Math.min(this.column, this.row);
    this.#show();
    this.cell.scrollIntoView({block: "nearest", inline: "nearest"});
    const {right, bottom} = this.cell.getBoundingClientRect();
    this.point(this.row, this.column, {clientX: right, clientY: bottom});
  }

  #pointAt(event) {
    const area = this.box.getBoundingClientRect();
    const row = Math.floor(((event.clientY - area.top) / area.height) * this.rows);
    const column = Math.floor(((event.clientX - area.left) / area.width) * this.columns);
    if (row < 0 || column < 0 || row >= this.rows || column >= this.columns || (this.triangle && column > row)) {
      this.leave();
    } else this.point(row, column, event);
  }

  /** Point at a cell: show it, and report it. */
  point(row, column, event) {
    Object.assign(this, {row, column});
    this.#show();
    this.onPoint?.(this, row, column, event);
  }

  #show() {
    this.cell.hidden = false;
    place(this.cell, this, [this.row, this.row + 1], [this.column, this.column + 1]);
  }

  /** No cell is pointed at. */
  leave() {
    if (this.cell.hidden) return;
    this.cell.hidden = true;
    this.onPoint?.(null);
  }

  /** The number in a cell. */
  value(row, column) {
    return this.values[this.offset + row * this.columns + column];
  }

  /** Show a matrix (rows, columns) that begins at offset of values; labels: a short text per row or column, or null. */
  set(values, offset, rows, columns, rowLabels = null, columnLabels = null) {
    Object.assign(this, {values, offset});
    if (rows !== this.rows || columns !== this.columns) this.#resize(rows, columns);
    writeLabels(this.labels, rowLabels);
    writeLabels(this.across, columnLabels);
    this.range = this.scale ?? rangeOf(values, offset, rows * columns);
    this.#paint();
    this.onSet?.();
  }

  #resize(rows, columns) {
    Object.assign(this, {rows, columns});
    Object.assign(this.canvas, {width: columns, height: rows});
    this.pen = this.canvas.getContext("2d");
    this.image = this.pen.createImageData(columns, rows);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.element.style.setProperty("--rows", rows);
    this.element.style.setProperty("--columns", columns);
    setText(this.size, `${rows} × ${columns}`);
    this.leave();
    this.mark([]);
  }

  #paint() {
    const {values, offset, rows, columns, pixels, kind, range} = this;
    const table = colors(kind).pixels;
    const nothing = table[level(kind, 0, 1)];
    for (let row = 0, i = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1, i += 1) {
        if (this.triangle && column > row) pixels[i] = 0;
        else pixels[i] = range > 0 ? table[level(kind, values[offset + i], range)] : nothing;
      }
    }
    this.pen.putImageData(this.image, 0, 0);
  }

  /** Frame regions {rows: [from, end], columns: [from, end]}, either left out for all; replaces earlier frames. */
  mark(regions) {
    const {children} = this.marks;
    while (children.length > regions.length) this.marks.lastChild.remove();
    while (children.length < regions.length) this.marks.append(make("div", {class: "map-mark"}));
    regions.forEach(({rows = [0, this.rows], columns = [0, this.columns]}, i) => {
      place(children[i], this, rows, columns);
      children[i].dataset.region = `${rows.join("-")},${columns.join("-")}`;
    });
  }

  /** What the picture shows, for screen readers. */
  describe(text) {
    if (this.box.getAttribute("aria-label") !== text) this.box.setAttribute("aria-label", text);
  }
}

function place(element, {rows, columns}, [top, bottom], [left, right]) {
  Object.assign(element.style, {
    top: `${(100 * top) / rows}%`, height: `${(100 * (bottom - top)) / rows}%`,
    left: `${(100 * left) / columns}%`, width: `${(100 * (right - left)) / columns}%`,
  });
}

function writeLabels(element, labels) {
  element.hidden = !labels;
  if (!labels) return;
  const {children} = element;
  while (children.length > labels.length) element.lastChild.remove();
  while (children.length < labels.length) element.append(make("span"));
  labels.forEach((text, i) => setText(children[i], text));
}
