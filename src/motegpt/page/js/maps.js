/** The heat maps of one view together: pointing at a cell shows its number and frames what it was computed from. */
import {axesOf, cellName, cellPlace, sourcesOf} from "./anatomy.js";
import {four, hideTip, percent, showTip} from "./draw.js";
import {enlarge} from "./enlarge.js";
import {HeatMap} from "./heatmap.js";

const keyOf = ({name, head}) => (head === undefined ? name : `${name} ${head}`);

export class Maps {
  constructor() {
    this.all = new Map();
    this.anatomy = null;
    this.over = null; // {map, row, column} that is pointed at
    this.marked = [];
  }

  clear() {
    this.leave();
    this.all.clear();
  }

  /** A new heat map; options as of HeatMap, head for one head of a pattern; onPoint, onOpen in place of the usual. */
  add(options) {
    const map = new HeatMap({
      onPoint: (over, row, column, event) => (over ? this.point(over, row, column, event) : this.leave()),
      onOpen: (one) => this.open(one), ...options,
    });
    map.head = options.head;
    this.all.set(keyOf(map), map);
    return map;
  }

  get({name, head}) {
    return this.all.get(keyOf({name, head}));
  }

  /** Show an activation, {rows, columns, values}, of a look; nothing where the look has none. */
  setActivation(map, activation) {
    const {rows, columns, values} = activation;
    map.set(values, (map.head ?? 0) * rows * columns, rows, columns, axesOf(map.name, this.anatomy).rows.labels);
  }

  /** Show a tensor out of a flat array of all. */
  setTensor(map, values) {
    const {shape, offset} = this.anatomy.places.get(map.name);
    const [rows, columns] = shape.length === 1 ? [1, shape[0]] : shape;
    map.set(values, offset, rows, columns);
  }

  point(map, row, column, event) {
    this.over = {map, row, column};
    showTip(event.clientX, event.clientY, this.linesOf(map, row, column));
    this.mark(map, row, column);
  }

  leave() {
    this.over = null;
    hideTip();
    this.unmark();
  }

  /** After new numbers: the tooltip and the frames follow them. */
  refresh() {
    if (this.over && !document.querySelector("dialog[open]")) {
      const {map, row, column} = this.over;
      const area = map.cell.getBoundingClientRect();
      showTip(area.right, area.bottom, this.linesOf(map, row, column));
    }
  }

  /** Lines about a cell: its name and number, its place in words. */
  linesOf(map, row, column) {
    const value = map.value(row, column);
    const shown = map.kind === "sequential" ? `${four(value)}  (${percent(value)})` : four(value);
    return [`${cellName(map, row, column, this.anatomy)} = ${shown}`, cellPlace(map, row, column, this.anatomy)];
  }

  mark(map, row, column) {
    this.unmark();
    const regions = new Map();
    for (const source of sourcesOf(map, row, column, this.anatomy)) {
      const one = this.get(source);
      if (one) regions.set(one, [...(regions.get(one) ?? []), source]);
    }
    for (const [one, found] of regions) one.mark(found);
    this.marked = [...regions.keys()];
  }

  unmark() {
    this.marked.forEach((map) => map.mark([]));
    this.marked = [];
  }

  open(map) {
    this.leave();
    const title = map.head === undefined ? map.name : `${map.name}, head ${map.head}`;
    enlarge(map, title, axesOf(map.name, this.anatomy), (row, column) => this.linesOf(map, row, column));
  }
}
