/** A heat map enlarged in a dialog, with labeled axes, the scale of its colors and the number under the pointer. */
import {make, setText} from "./dom.js";
import {colors, four} from "./draw.js";
import {HeatMap} from "./heatmap.js";

const SMALLEST = 8; // pixels of a cell; what does not fit then scrolls

let shown = null; // the open one: {map, source, axes, scale, text}

/** Enlarge a heat map. axes: of axesOf; tell(row, column) -> lines about a cell, the first its name. */
export function enlarge(source, title, axes, tell) {
  const map = new HeatMap({
    name: `${source.name} enlarged`, title, kind: source.kind, scale: source.scale, triangle: source.triangle,
    onPoint: (over, row, column) => setText(reading, over ? tell(row, column).join("  ·  ") : hint),
  });
  const hint = "Point at a cell, or move with the arrow keys. Escape closes.";
  const reading = make("p", {class: "large-reading", role: "status", "aria-live": "polite"}, hint);
  const scale = make("div", {class: "large-scale", "aria-hidden": "true"});
  const close = make("button", {type: "button", class: "large-close", onclick: () => dialog.close()}, "Close");
  const dialog = make("dialog", {class: "large", "aria-label": title},
    make("header", {}, make("h3", {}, title), close), reading,
    make("div", {class: "large-picture"},
      make("div", {class: "large-down"}, `${axes.rows.is} ↓`),
      make("div", {class: "large-columns"}, `${axes.columns.is} →`), map.element), scale);
  dialog.addEventListener("close", () => {
    source.onSet = null;
    dialog.remove();
    shown = null;
    source.box.focus({preventScroll: true});
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  shown = {map, source, axes, scale, text: ""};
  source.onSet = refresh;
  dialog.showModal();
  refresh();
  map.describe(`${title}, enlarged`);
  map.row = source.row;
  map.column = source.column;
  map.box.focus();
}

function refresh() {
  if (!shown) return;
  const {map, source, axes} = shown;
  const {rows, columns} = source;
  const size = Math.max(SMALLEST, Math.min(44, (innerWidth * 0.9 - 110) / columns, (innerHeight - 250) / rows));
  map.element.style.setProperty("--cell", `${size}px`);
  map.set(source.values, source.offset, rows, columns, sparse(axes.rows.labels, rows, 12 / size),
    sparse(axes.columns.labels, columns, 18 / size));
  writeScale();
}

/** A label for each index: the given ones, or numbers, but one in `every` where they would not fit. */
function sparse(labels, count, every) {
  const step = Math.max(1, Math.ceil(every));
  return Array.from({length: count}, (_, i) => (i % step ? "" : labels?.[i] ?? String(i)));
}

function writeScale() {
  const {map, scale} = shown;
  const {css} = colors(map.kind);
  const low = map.kind === "diverging" ? -map.range : 0;
  const text = [low, (low + map.range) / 2, map.range].map(four).join("|") + css[0];
  if (text === shown.text) return;
  shown.text = text;
  const stops = css.filter((_, i) => i % 32 === 0 || i === css.length - 1).join(", ");
  scale.replaceChildren(make("span", {}, four(low)), make("div", {style: `background: linear-gradient(90deg, ${stops})`}),
    make("span", {}, four(map.range)));
}
