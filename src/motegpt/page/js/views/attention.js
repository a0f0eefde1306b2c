/** The attention of every head, large: rows are the positions that ask, columns those that are looked at. */
import {anatomyOf} from "../anatomy.js";
import {make, setText} from "../dom.js";
import {percent} from "../draw.js";
import {Maps} from "../maps.js";
import {MaskNote} from "../mask_note.js";

class Attention {
  constructor(element, app) {
    Object.assign(this, {app, maps: new Maps(), key: ""});
    this.grid = make("div", {class: "attention"});
    this.said = make("p", {class: "hidden"});
    element.append(make("p", {class: "view-note"}, "Each row is a character, and says how it divides its attention among "
      + "itself and those before it. A row sums to 100 %."), (this.note = new MaskNote(app)).element,
      this.said, this.grid);
  }

  draw() {
    const {description, look} = this.app.data;
    if (!description || !look) return;
    this.maps.anatomy = anatomyOf(description, look);
    const {layers, heads, positions} = this.maps.anatomy;
    this.#build(layers, heads, positions.length);
    for (const map of this.maps.all.values()) {
      const {rows, columns, values} = look.look.activations[map.name];
      map.set(values, map.head * rows * columns, rows, columns, positions, positions);
      map.describe(describePattern(map, positions));
    }
    setText(this.said, `Attention of ${layers * heads} heads over ${positions.length} positions.`);
    this.note.draw();
    this.maps.refresh();
  }

  #build(layers, heads, length) {
    const key = [layers, heads].join();
    this.grid.style.setProperty("--cell", `${Math.max(9, Math.min(34, Math.floor(260 / length)))}px`);
    if (key === this.key) return;
    this.key = key;
    this.maps.clear();
    this.grid.replaceChildren(...Array.from({length: layers}, (_, i) => make("section", {},
      layers > 1 ? make("h3", {}, `Layer ${i}`) : null,
      make("div", {class: "attention-heads"}, ...Array.from({length: heads}, (_, head) => this.maps.add({
        name: `blocks.${i}.attn.hook_pattern`, title: `head ${head}`, head, kind: "sequential", scale: 1,
        triangle: true}).element)))));
  }
}

/** Where the last position looks most, in words. */
export function describePattern(map, positions) {
  const last = positions.length - 1;
  let most = 0;
  for (let column = 1; column <= last; column += 1) if (map.value(last, column) > map.value(last, most)) most = column;
  return `${map.name}, head ${map.head}: the last position, ${positions[last]}, looks most at position ${most}, `
    + `${positions[most]}, ${percent(map.value(last, most))}`;
}

export const attentionView = {
  id: "attention",
  title: "Attention",
  short: "Attention",
  needs: ["look"],
  mount(element, app) {
    this.attention = new Attention(element, app);
  },
  draw() {
    this.attention.draw();
  },
};
